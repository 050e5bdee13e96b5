"""The reproduction of Boserup et al., Diffusion Bridge Importance Sampling: its figures and claims."""

from collections.abc import Callable
from functools import partial

import pandas as pd

from ..findings import Finding
from ..paper import Claim, Paper, PaperFigure, Picture, Source
from . import claims, figures

EXACT, LEARNED = ("bridges/exact_scores",), ("bridges/learned_scores",)
FEW, MANY = ("bridges/landmarks",), ("bridges/many_landmarks",)
RECOVERY, MEANS = ("bridges/recovery",), ("bridges/diffusion_means",)
APES = ("shapes/apes/summary", "shapes/apes/classification")

Find = Callable[[pd.DataFrame], claims.Found]


def _of(keep: Callable[[pd.DataFrame], pd.DataFrame], find: Find) -> Callable[..., list[Finding]]:
    return lambda table: list(find(keep(table)))


LIKELIHOODS = PaperFigure(
    "Likelihoods",
    "Log-likelihoods of diffusions from importance sampling over bridges, without a closed-form density.",
    (
        Picture(
            "likelihoods",
            EXACT + LEARNED,
            figures.likelihoods,
            "Processes whose law is known: bridges with the exact score, learned ones, and the classical "
            "guided proposal.",
        ),
    ),
    (
        Claim(
            "The estimator gives the log-likelihood, given the score",
            EXACT,
            _of(claims.exact_proposals, claims.likelihoods_are_unbiased),
        ),
        Claim(
            "Bridges with the score are good proposals",
            EXACT,
            _of(claims.exact_proposals, claims.bridges_are_good),
            "With the bridge's own covariance and, where Σ depends on x, the adjoint kernel; see Ablations.",
        ),
        Claim(
            "A network approximates the score well enough, up to two dimensions",
            LEARNED,
            _of(claims.low_dimensions, claims.bridges_are_good),
        ),
        Claim(
            "… in twenty dimensions",
            LEARNED,
            _of(partial(claims.high_dimensions, network="plain"), claims.bridges_are_good),
        ),
        Claim(
            "Suite: … as a residual on the score of the linearised process",
            LEARNED,
            _of(partial(claims.high_dimensions, network="residual"), claims.bridges_are_good),
            "It does not lower the held-out objective, is not used, and what counts is the base alone.",
        ),
        Claim("Likelihoods with learned scores are right", LEARNED, claims.likelihoods_are_unbiased),
    ),
)
LANDMARKS = PaperFigure(
    "Landmarks",
    "Bridges between landmark shapes in hundreds of correlated dimensions.",
    (
        Picture(
            "landmarks",
            FEW + MANY,
            figures.landmarks,
            "Landmarks on an ellipse, N = 256, K = 50, closed-form base scores; 20 end points, 4 of 32 and "
            "2 of 64 landmarks.",
        ),
    ),
    (
        Claim("Bridges of 8 and 16 landmarks are usable proposals", FEW, claims.few_landmarks_are_usable),
        Claim(
            "Bridges in many correlated dimensions (64 and 128) are usable proposals",
            MANY,
            claims.many_landmarks_do_not_collapse,
            "0.05 is the floor below which the suite warns. Resampling helps at the end of the bridges (open "
            "signs) and makes runs agree, see results/bridges; counted by origins it does not suffice.",
        ),
        Claim(
            "… in hundreds of dimensions, with a deep network",
            reason="Not run: in no released table is a network trained on landmarks.",
        ),
    ),
)
ABLATIONS = PaperFigure(
    "Ablations",
    "Theorem 3.4, the stable objective; the log-sum-exp estimator; and what a proposal needs besides.",
    (
        Picture(
            "ablations",
            ("bridges/covariance_factor", "bridges/forward_kernel", "bridges/explicit_target"),
            figures.ablations,
            "Dashed: what theory says. Geometric Brownian motion in the middle, landmarks to the right.",
        ),
        Picture(
            "objectives",
            ("bridges/objective_coefficients",),
            figures.objectives,
            "What the stable objective learns where Σ depends on x, and what it learns with div Σ added.",
        ),
    ),
    (
        Claim(
            "The stable objective needs no inverse of Σ, so it does not suffer from its condition",
            ("bridges/explicit_target",),
            claims.target_is_stable,
            "The explicit target is expected to grow, at least tenfold.",
        ),
        Claim(
            "Its minimiser is the score",
            ("bridges/objective_coefficients",),
            claims.learns_the_score("paper"),
            "It is ∇log p + Σ⁻¹ div Σ, which is the score only where Σ is constant. It gives the same "
            "bridges, if div Σ is not added to the reverse drift once more.",
        ),
        Claim(
            "Suite: with div Σ added to the target it is",
            ("bridges/objective_coefficients",),
            claims.learns_the_score("corrected"),
        ),
        Claim(
            "Log-sum-exp prevents underflow and overflow",
            ("bridges/naive_averaging",),
            claims.log_sum_exp_is_right,
            "Averaging the weights as they are has no finite value in these dimensions.",
        ),
        Claim(
            "Suite: without the bridge's covariance factor t_k/t_{k+1} proposals are poor",
            ("bridges/covariance_factor",),
            claims.factor_is_needed,
        ),
        Claim(
            "Suite: with the forward kernel, where Σ depends on x, they are poor",
            ("bridges/forward_kernel",),
            claims.adjoint_kernel_is_needed,
        ),
        Claim(
            "Variance parameters can be inferred without determinants",
            reason="The suite takes the Cholesky factor of the n × n matrix of landmarks, which gives them "
            "for free; the paper's reformulation is not implemented.",
        ),
    ),
)
PARAMETERS = PaperFigure(
    "Parameter inference",
    "Variance parameters by gradient ascent on the log-likelihood, through the simulated bridges.",
    (
        Picture(
            "recovery",
            RECOVERY,
            figures.recovery_figure,
            "20 data sets of 64 simulated shapes of 8 landmarks; dashed: what made them.",
        ),
    ),
    (Claim("Gradient ascent recovers variance parameters", RECOVERY, claims.parameters_are_recovered),),
)
ANCESTORS = PaperFigure(
    "Diffusion means",
    "The diffusion mean as the ancestral shape, found by gradient ascent over the start.",
    (
        Picture(
            "diffusion-means",
            (*MEANS, "shapes/apes/means"),
            figures.diffusion_means,
            "Left: simulated shapes, 32 a data set. Right: groups of skulls, shipped with the suite.",
        ),
    ),
    (
        Claim("The diffusion mean reconstructs the start", MEANS, claims.starts_are_recovered),
        Claim(
            "On skulls it is the sample mean, in all that matters",
            ("shapes/apes/groups",),
            claims.means_of_groups_agree,
            "The suite's finding: the diffusion has no drift, so that the sample mean is unbiased.",
        ),
    ),
)
RELATIONS = PaperFigure(
    "Relations between groups",
    "Log-likelihoods within and between species, as biological interpretability.",
    (
        Picture(
            "relations",
            ("shapes/apes/likelihoods",),
            figures.shape_matrix,
            "Great apes, species and sex: gor, gorilla; pan, chimpanzee; pongo, orangutan; f and m.",
        ),
    ),
    (
        Claim(
            "Likelihoods tell species apart, in 2-D",
            APES,
            claims.species_are_told_apart,
            "Wanted is better than the largest group's share. Skulls of apes stand in for the paper's "
            "canids.",
        ),
        Claim(
            "… in 3-D",
            ("shapes/macaques/summary",),
            claims.groups_are_told_apart("macaques"),
            "Macaques, two sexes, 18 skulls.",
        ),
        Claim(
            "The relations are biologically meaningful",
            reason="Needs the judgement of biologists; not a number.",
        ),
    ),
)
NOT_AVAILABLE = (
    PaperFigure(
        "Butterflies",
        "Ancestral shapes of butterflies.",
        reason="Landmarks of butterflies are not shipped with the suite.",
    ),
    PaperFigure(
        "Canids",
        "Relations within and between species of canids.",
        reason="Landmarks of canids are not shipped with the suite; apes and macaques stand in for them.",
    ),
    PaperFigure(
        "Open questions",
        "Phylogenetic trees, networks that are stable when conditioned on the start, convergence guarantees.",
        reason="Named by the paper as future work; not attempted.",
    ),
)

BRIDGE = Paper(
    "bridge",
    "Differentiable Diffusion Bridge Importance Sampling",
    "Nicklas Boserup, Gefan Yang, Michael Lind Severinsen, Christy Anna Hipsley and Stefan Sommer, "
    "*Parameter Inference via Differentiable Diffusion Bridge Importance Sampling*, "
    "[arXiv 2411.08993](https://arxiv.org/abs/2411.08993)",
    "The paper's figures, numbers and data were not at hand, only its abstract and a summary: the sections "
    "follow its claims, in the order of its method, and nothing is compared with its values. Thresholds are "
    "the suite's. Claims that begin with “Suite:” are about what we found to be needed besides.",
    (
        Source("bridges", ("bridges",), "diffusion_means.csv", "work"),
        Source("shapes/apes", ("shapes", "apes", "--group", "group"), "summary.csv", "work"),
        Source("shapes/macaques", ("shapes", "macaques", "--group", "group"), "summary.csv", "work"),
    ),
    (LIKELIHOODS, LANDMARKS, ABLATIONS, PARAMETERS, ANCESTORS, RELATIONS, *NOT_AVAILABLE),
)
