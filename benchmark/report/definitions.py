"""What each metric is called in a report, how it is defined, and how it is averaged and drawn."""

from typing import NamedTuple

from ..analysis.table import UNRANKED


class Definition(NamedTuple):
    """A metric as readers see it.

    Attributes:
        title: its name in headings.
        text: its definition, in a sentence.
        geometric: whether means over tasks are geometric, as for errors that differ by orders of magnitude.
        scale: of its axis: "log", "symlog" (linear near 0) or "linear".
    """

    title: str
    text: str
    geometric: bool = False
    scale: str = "linear"


DEFINITIONS = {
    "score_error": Definition(
        "Score error",
        "σ² E‖ŝ − s‖²/d, ŝ the learned and s the true score, with u_t from the true diffused posterior, "
        "averaged over diffusion time; 0 is perfect.",
        geometric=True,
        scale="log",
    ),
    "mmd": Definition(
        "MMD",
        "√max(MMD², 0), the maximum mean discrepancy between samples of the learned and of the reference "
        "posterior of θ: Gaussian kernel, bandwidth the reference's median distance; 0 is perfect.",
        scale="symlog",
    ),
    "c2st_mlp": Definition(
        "C2ST",
        "Held-out accuracy of scikit-learn's MLP at telling samples from the reference; 0.5 is perfect.",
    ),
    "coverage": Definition(
        "Coverage",
        "Share of parameters within their central 90 % intervals, on fresh pairs of parameters and data; 0.9 "
        "is perfect.",
    ),
    "expected_coverage": Definition(
        "Expected coverage",
        "Share of parameters within the 90 % region of highest density; 0.9 is perfect.",
    ),
    "posterior_mean_error": Definition(
        "Error of the mean",
        "Error of the marginal means, in units of the reference's standard deviations; 0 is perfect.",
        geometric=True,
        scale="log",
    ),
    "posterior_std_error": Definition(
        "Error of the standard deviation",
        "Relative error of the marginal standard deviations; 0 is perfect.",
        geometric=True,
        scale="log",
    ),
    "parameter_rmse": Definition(
        "Parameter error",
        "Root mean square over parameters of the posterior mean less the θ behind the observation.",
        geometric=True,
        scale="log",
    ),
    "tarp": Definition(
        "TARP",
        "Area between the coverage of random regions and their credibility: above 0 the posterior is too "
        "wide, below 0 too narrow or beside the truth.",
    ),
    "sbc": Definition(
        "SBC",
        "Least p-value over parameters, times their number, of tests that ranks are uniform. An exact "
        "posterior has any value, one below 0.05 at most 5 times in 100: low values speak against a "
        "posterior, and of others none is better.",
    ),
    "predictive_distance": Definition(
        "Predictive distance",
        "Median distance from the observation of data simulated at posterior draws, in units of the prior "
        "predictive's spread.",
        scale="log",
    ),
    "excess_variance": Definition(
        "Excess variance",
        "σ² (v − v of DSM), v the variance of the regression target, averaged over diffusion time: below 0 "
        "the target is less noisy than DSM's.",
        scale="symlog",
    ),
    "target_variance": Definition(
        "Target variance",
        "v = E‖y − s‖²/d of the regression target y around the true score s, on fresh simulations; 0 is "
        "perfect.",
        scale="log",
    ),
    "ess_fraction": Definition(
        "ESS fraction",
        "Effective sample size of importance-weighted bridges over their number; 1 is perfect.",
    ),
    "log_likelihood_error": Definition(
        "Error of the log-likelihood", "Error of the estimated log-likelihood at the true parameters."
    ),
    "gate_gain": Definition(
        "Gate's gain", "What the chosen gate is expected to take from the excess variance."
    ),
}


LEFT_OUT = {"mmd_squared"}  # says what mmd says


def definition(metric: str) -> Definition:
    """Give the definition of a metric; one that is not known here is shown by its name."""
    return DEFINITIONS.get(metric, Definition(metric, ""))


def is_ranked(metric: str) -> bool:
    """Say whether a value nearer to the perfect one makes a method better; not of a metric unknown here."""
    return metric in DEFINITIONS and metric not in UNRANKED


def in_order(metrics: set[str]) -> list[str]:
    """Put metrics into the order of the report, unknown ones last, without those that are left out."""
    metrics = metrics - LEFT_OUT
    return [m for m in DEFINITIONS if m in metrics] + sorted(metrics - DEFINITIONS.keys())
