"""The catalogue: the records of all metrics, in the order of reports."""

import math

from .metric import Metric

REFERENCE, PATH = frozenset({"reference"}), frozenset({"sde_path"})
ANY = (-math.inf, math.inf)
EXACT = "the expected value of an exact posterior"
TWO_SAMPLES = "the value of two reference samples of the same size, averaged over five such pairs"

IN_ORDER = (
    Metric(
        "score_error",
        "Score error",
        "σ² E‖ŝ − s‖²/d, where ŝ is the learned and s the true score at u_t from the true diffused "
        "posterior, averaged over diffusion time; 0 is perfect.",
        "graybench.benchmark.metrics.scores:score_error",
        needs=REFERENCE,
        scale="log",
        axis="score error\n" r"$\sigma^2\,\mathrm{E}\|\hat s - s\|^2/d$",
        floor="the estimated error of the reference's score, 0 if the reference is exact; times where it "
        "exceeds 0.001 are skipped",
    ),
    Metric(
        "mmd",
        "MMD",
        "√max(MMD², 0), the maximum mean discrepancy between posterior and reference samples of θ. The "
        "kernel is Gaussian; its bandwidth is the median distance between reference samples. 0 is perfect.",
        "graybench.benchmark.metrics.mmd:measure_mmd",
        needs=REFERENCE,
        bounds=(0.0, math.sqrt(2.0)),
        scale="symlog",
        axis="MMD (asinh scale)",
        floor=TWO_SAMPLES,
    ),
    Metric(
        "mmd_squared",
        "MMD²",
        "The unbiased estimate of MMD², which may be negative; 0 is perfect.",
        "graybench.benchmark.metrics.mmd:measure_mmd_squared",
        needs=REFERENCE,
        bounds=(-2.0, 2.0),
        floor=TWO_SAMPLES,
        same_as="mmd",
    ),
    Metric(
        "c2st_mlp",
        "C2ST",
        "Held-out accuracy of scikit-learn's MLP at telling posterior from reference samples; 0.5 is "
        "perfect.",
        "graybench.benchmark.metrics.c2st:measure_c2st_mlp",
        needs=REFERENCE,
        perfect=0.5,
        bounds=(0.0, 1.0),
        axis="C2ST accuracy",
        floor=TWO_SAMPLES,
    ),
    Metric(
        "c2st_ensemble",
        "C2ST, ensemble",
        "Held-out accuracy of a quadratic logistic regression and boosted trees, together, at telling "
        "posterior from reference samples; 0.5 is perfect.",
        "graybench.benchmark.metrics.c2st:measure_c2st_ensemble",
        needs=REFERENCE,
        perfect=0.5,
        bounds=(0.0, 1.0),
        axis="C2ST accuracy",
        floor=TWO_SAMPLES,
    ),
    Metric(
        "coverage",
        "Coverage",
        "Share of parameters inside their central 90 % intervals, on fresh pairs of parameters and data; 0.9"
        " is perfect.",
        "graybench.benchmark.metrics.diagnostics:coverage",
        perfect=0.9,
        bounds=(0.0, 1.0),
        floor=EXACT,
    ),
    Metric(
        "expected_coverage",
        "Expected coverage",
        "Share of fresh parameter vectors inside the posterior's 90 % region of highest density; 0.9 is "
        "perfect.",
        "graybench.benchmark.metrics.diagnostics:expected_coverage",
        perfect=0.9,
        bounds=(0.0, 1.0),
        floor=EXACT,
    ),
    Metric(
        "posterior_mean_error",
        "Error of the mean",
        "Root mean square error of the marginal means, in standard deviations of the reference; 0 is "
        "perfect.",
        "graybench.benchmark.metrics.moments:measure_posterior_mean_error",
        needs=REFERENCE,
        scale="log",
        floor=TWO_SAMPLES,
    ),
    Metric(
        "posterior_std_error",
        "Error of the standard deviation",
        "Root mean square relative error of the marginal standard deviations; 0 is perfect.",
        "graybench.benchmark.metrics.moments:measure_posterior_std_error",
        needs=REFERENCE,
        scale="log",
        floor=TWO_SAMPLES,
    ),
    Metric(
        "parameter_rmse",
        "Parameter error",
        "Root mean square difference, over parameters, between the posterior mean and the θ that generated "
        "the observation.",
        "graybench.benchmark.metrics.bridges:parameter_rmse",
        scale="log",
    ),
    Metric(
        "tarp",
        "TARP",
        "Area between the coverage of random regions and their credibility, from credibility ½ on; 0 is "
        "perfect. Above 0 the posterior is too wide, below 0 it is too narrow. Bias may show as either or "
        "not at all; `tarp_gap` sees it.",
        "graybench.benchmark.metrics.diagnostics:tarp",
        bounds=(-0.375, 0.125),
        floor=EXACT,
    ),
    Metric(
        "tarp_gap",
        "TARP gap",
        "Largest difference between the coverage of random regions and their credibility; 0 is perfect. It "
        "sees bias and a wrong width, but not a posterior that equals the prior. An exact posterior is above"
        " 0.095 in 5 of 100 cases.",
        "graybench.benchmark.metrics.diagnostics:tarp_gap",
        bounds=(0.0, 1.0),
        floor=EXACT,
    ),
    Metric(
        "sbc",
        "SBC",
        "The least p-value, over parameters, of tests that ranks are uniform, times the number of "
        "parameters. An exact posterior is below 0.05 at most 5 times in 100, so low values are evidence "
        "against a posterior; larger values do not rank posteriors.",
        "graybench.benchmark.metrics.diagnostics:sbc",
        perfect=None,
        ranked=False,
        bounds=(0.0, 1.0),
    ),
    Metric(
        "predictive_distance",
        "Predictive distance",
        "Median distance between the observation and data simulated at posterior draws, in units of the "
        "spread of the prior predictive.",
        "graybench.benchmark.metrics.diagnostics:predictive_distance",
        perfect=None,
        ranked=False,
        scale="log",
        floor="the value of the reference, if the task has one",
    ),
    Metric(
        "excess_variance",
        "Excess variance",
        "σ² (v − v_DSM), where v = E‖y − s‖²/d is the variance of the regression target, averaged over "
        "diffusion time; below 0 the target is less noisy than DSM's.",
        "graybench.benchmark.metrics.scores:excess_variance",
        perfect=None,
        bounds=ANY,
        scale="symlog",
    ),
    Metric(
        "target_variance",
        "Target variance",
        "v = E‖y − s‖²/d, the variance of the regression target y around the true score s, on fresh "
        "simulations; 0 is perfect.",
        "graybench.benchmark.metrics.scores:target_variance",
        needs=REFERENCE,
        ranked=False,
        scale="log",
        axis="target variance\n" r"$\mathrm{E}\|y - s\|^2/d$",
        floor="0",
    ),
    Metric(
        "optimal_weight",
        "Optimal weight",
        "The weight w*(t) of DSM in a mixture with the least variance on the training simulations.",
        "graybench.benchmark.metrics.scores:best_weight",
        perfect=None,
        ranked=False,
        bounds=(0.0, 1.0),
    ),
    Metric(
        "learned_weight",
        "Learned weight",
        "The weight w(t) of DSM in a mixture, learned together with the score.",
        "graybench.benchmark.metrics.scores:learned_weight",
        perfect=None,
        ranked=False,
        bounds=(0.0, 1.0),
    ),
    Metric(
        "ess_fraction",
        "ESS fraction",
        "Effective sample size of the importance-weighted bridges, divided by their number; 1 is perfect.",
        "graybench.benchmark.metrics.bridges:ess_fraction",
        needs=PATH,
        perfect=1.0,
        bounds=(0.0, 1.0),
    ),
    Metric(
        "log_likelihood_error",
        "Error of the log-likelihood",
        "Absolute error of the estimated log-likelihood at the true parameters, in nats; 0 is perfect.",
        "graybench.benchmark.metrics.bridges:log_likelihood_error",
        needs=PATH,
    ),
    Metric(
        "gate_gain",
        "Gate's gain",
        "The reduction of the excess variance that the method expects from its chosen gate.",
        "graybench.benchmark.metrics.scores:gate_gain",
        perfect=None,
        ranked=False,
        bounds=ANY,
    ),
    Metric(
        "training_steps",
        "Training steps",
        "The number of training steps that the replicate took until it stopped.",
        "graybench.benchmark.metrics.scores:training_steps",
        perfect=None,
        ranked=False,
        scale="log",
    ),
)
METRICS = {metric.name: metric for metric in IN_ORDER}
MAIN = ("score_error", "mmd")  # the metrics that comparisons show first


def record_of(name: str) -> Metric:
    """Return the record of a metric. A name that only a table knows gets an unranked record."""
    return METRICS.get(name) or Metric(name, name, "", "", perfect=None, ranked=False)


def reported(names: set[str]) -> list[str]:
    """Return metrics in the order of a report. Unknown names come last; those with `same_as` are left out."""
    known = [name for name, metric in METRICS.items() if name in names and not metric.same_as]
    return known + sorted(names - METRICS.keys())
