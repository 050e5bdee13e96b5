"""The reproduction of Boserup et al., Diffusion Bridge Importance Sampling: its figures and claims."""

from collections.abc import Callable
from functools import partial

import pandas as pd

from ...shapes import figures as shape_figures
from ..findings import Finding
from ..paper import Claim, Paper, PaperFigure, Picture, Source
from . import claims, error_figures, figures, network_claims, network_figures, species_claims, tree_claims

EXACT, LEARNED = ("bridges/exact_scores",), ("bridges/learned_scores",)
FEW, MANY = ("bridges/landmarks",), ("bridges/many_landmarks",)
RECOVERY, MEANS = ("bridges/recovery",), ("bridges/diffusion_means",)
WELLS, OBJECTIVES, COVERAGE = ("bridges/amortised_scores",), ("bridges/objectives",), ("bridges/coverage",)
NETWORK, PAPER_NETWORK = ("bridges/landmark_network",), ("bridges/paper_network",)
LONG_COVERAGE = ("bridges/long_coverage",)
LAGGED, MANY_ERRORS = ("bridges/lagged_errors",), ("bridges/many_errors",)
CONVERGENCE, STARTS = ("bridges/convergence",), ("bridges/network_means",)
ON_TREES, TREES = ("trees/simulated/tree_coverage",), ("papilio", "carnivores")
HELD_OUT = tuple(f"trees/{sample}/held_out_summary" for sample in TREES)
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
        Picture(
            "wells",
            WELLS,
            network_figures.wells,
            "A double well from −1: one network for all θ and x_0, beside its base alone. One training "
            "for each T, N = 4,096; intervals are of the bridges alone.",
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
        Claim(
            "Suite: one network for all θ and x_0 gives likelihoods of a non-linear diffusion",
            WELLS,
            network_claims.wells_are_served,
            "Errors are against the density of the process, and so with those of the Euler scheme.",
        ),
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
        Picture(
            "landmark-networks",
            NETWORK + PAPER_NETWORK + LAGGED,
            error_figures.landmark_networks,
            "What holds landmarks back, a = 0.2, N = 256. Left and middle: five end points, a network "
            "trained on n = 16. Right: 20 runs of one end point, resampled; shaded: the wanted range; the "
            "lag 0 follows all ancestors.",
        ),
        Picture(
            "many-errors",
            MANY_ERRORS,
            error_figures.many_errors,
            "Runs of one end point with midpoint and resampling, a = 0.2; bars are 95 % intervals by the "
            "stated error. Green: a run with 64 times the bridges. Right: the wanted range is shaded.",
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
            "… with an attention network, trained on 16 landmarks",
            NETWORK,
            network_claims.networks_help_landmarks,
            "A residual on the base midpoint. ESS/N is that without resampling.",
        ),
        Claim(
            "… with the paper's own network",
            PAPER_NETWORK,
            network_claims.paper_network_serves,
            "After 1,000 steps of 32 paths, and not as a residual; longer training was not tried.",
        ),
        Claim(
            "Suite: bridges that resample state the right error",
            LAGGED,
            network_claims.errors_are_right,
            "One run far off makes the interval wide: a run does not know the weights that it did not draw.",
        ),
        Claim("Suite: … at 32 and 64 landmarks", MANY_ERRORS, network_claims.errors_are_right),
        Claim("Suite: … and a small one", MANY_ERRORS, network_claims.errors_are_small),
        Claim("Suite: … and have no bias beyond it", MANY_ERRORS, network_claims.long_runs_agree),
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
        Picture(
            "trainings",
            OBJECTIVES,
            network_figures.trainings,
            "The same network trained by each objective; both in turn is matching, then the variance. One "
            "training each, so there are no intervals. Open: held-out data rejected the network, and what "
            "counts is the base.",
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
            ("bridges/determinants",),
            network_claims.determinants_do_not_matter,
            "The determinant that is left, next to x_0, is taken as constant. The factor that colours the "
            "noise gives determinants for nothing.",
        ),
        Claim(
            "Suite: score matching is the best training of a proposal",
            OBJECTIVES,
            network_claims.matching_is_best,
            "Against the variance of log w, the divergence, and matching followed by the variance.",
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
        Picture(
            "coverage",
            COVERAGE + LONG_COVERAGE,
            network_figures.coverage,
            "Drift and noise of a double well, from 50 observations. In brackets: fits with standard errors; "
            "a fit without them covers nothing.",
        ),
    ),
    (
        Claim("Gradient ascent recovers variance parameters", RECOVERY, claims.parameters_are_recovered),
        Claim(
            "Suite: … and those of a non-linear diffusion at T = 1, with one network for all θ and x_0",
            COVERAGE,
            network_claims.intervals_cover("learned"),
            "With 20 data sets, coverage of 0.95 and of 0.85 cannot be told apart.",
        ),
        Claim(
            "Suite: … over a time in which the wells are often crossed, T = 4",
            LONG_COVERAGE,
            network_claims.intervals_cover("learned"),
            "Fits without standard errors cover nothing.",
        ),
        Claim(
            "Suite: … at T = 1, with the base in closed form that `auto` chooses",
            COVERAGE,
            network_claims.intervals_cover("auto"),
        ),
    ),
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
            "Wanted is better than the largest group's share.",
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
BUTTERFLIES = PaperFigure(
    "Butterflies",
    "Ancestral shapes of butterflies.",
    (
        Picture(
            "butterflies",
            ("shapes/papilio/likelihoods",),
            figures.shape_matrix,
            "Outlines of swallowtails, eight specimens of each of five species, at 20 points.",
        ),
    ),
    (
        Claim(
            "The mean of two species is their ancestor",
            ("shapes/papilio/ancestor_shapes", "trees/papilio/nodes"),
            species_claims.ancestors_agree_with_the_tree,
            "The diffusion mean of the species' means, beside the ancestor that the tree's diffusion gives. "
            "At this distance between species every midpoint is within the errors.",
        ),
        Claim(
            "Likelihoods tell species apart",
            ("shapes/papilio/summary",),
            claims.groups_are_told_apart("papilio"),
            "The nearest Procrustes mean is right more often, see results/shapes.",
        ),
        Claim(
            "Species differ by more than specimens of a species do",
            ("shapes/papilio/between",),
            species_claims.species_differ_more_than_specimens,
            "Variance parameters of the species' means from one shape, without the errors of these means.",
        ),
    ),
    "Four of the paper's six species are among the five. The data are downloaded, not shipped.",
)
CANIDS = PaperFigure(
    "Canids",
    "Relations within and between species of canids.",
    (
        Picture(
            "canids",
            ("shapes/foxes/also", "shapes/foxes/likelihoods"),
            shape_figures.also,
            "Under the diffusion of 21 red foxes: the foxes, each held out, and one skull of each of 19 "
            "carnivorans. Vul_vul is one of the 21 foxes, Can_lup the wolf.",
        ),
    ),
    (
        Claim(
            "Fox to fox is likelier than fox to wolf",
            ("shapes/foxes/also", "shapes/foxes/likelihoods"),
            species_claims.foxes_are_likelier,
            "From the foxes' diffusion mean. Wolf to wolf cannot be asked: the data have one wolf.",
        ),
        Claim(
            "Variance between species is larger than within one",
            ("shapes/foxes/groups", "shapes/carnivores/groups"),
            species_claims.carnivorans_differ_more_than_foxes,
            "Diffusions over time 1 from one shape: to 19 species, and to the foxes.",
        ),
    ),
    "The data are downloaded, not shipped. The paper's own canids were not at hand.",
)
OPEN_QUESTIONS = PaperFigure(
    "Open questions",
    "Phylogenetic trees, networks that are stable when conditioned on the start, convergence guarantees.",
    (
        Picture(
            "network-means",
            STARTS,
            network_figures.network_means,
            "Starts from 30 end points at T = 1: fitted with a network conditioned on x_0, the mean of "
            "the end points, and the maximum of the exact likelihood.",
        ),
        Picture(
            "convergence",
            CONVERGENCE,
            error_figures.convergence,
            "Exponents with 95 % intervals of the fit. Bias against the law of the scheme over N and D, "
            "and of the process over K; intervals of the spread are narrower than its marks.",
        ),
    ),
    (
        Claim(
            "Phylogenetic trees: intervals of a, ℓ and the root hold the truth",
            ON_TREES,
            tree_claims.intervals_on_trees_cover,
            "Simulated trees, a from 0.05 to 0.3.",
        ),
        Claim(
            "… the diffusion's root is nearer to the truth than that of Brownian motion",
            ON_TREES,
            tree_claims.roots_are_nearer,
            "Without a drift the root of Brownian motion is unbiased for the diffusion too.",
        ),
        Claim(
            "… it predicts a held-out species better than its nearest relative",
            HELD_OUT,
            tree_claims.species_are_predicted(TREES, "nearest_relative"),
            "Swallowtails and carnivorans, with their trees.",
        ),
        Claim(
            "… and better than Brownian motion",
            HELD_OUT,
            tree_claims.species_are_predicted(TREES, "brownian_gaussian"),
            "Over these trees shapes change too little for the kernel to change with them.",
        ),
        Claim(
            "A network conditioned on the start finds diffusion means",
            STARTS,
            network_claims.starts_are_found,
            "In a double well states forget where they began: there the exact maximum is no better.",
        ),
        Claim(
            "The bias of log-likelihoods converges as theory says",
            CONVERGENCE,
            network_claims.errors_fall_as_expected("bias"),
            "With the exact score, by measurement: 1/N and 1/K, and in proportion to D.",
        ),
        Claim(
            "… and so does their spread",
            CONVERGENCE,
            network_claims.errors_fall_as_expected("spread"),
            "1/√N, 1/√K and √D.",
        ),
    ),
    "The paper names them as future work; the claims are the suite's.",
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
        Source("bridges", ("bridges",), "network_means.csv", "work"),
        Source("shapes/apes", ("shapes", "apes", "--group", "group"), "summary.csv", "work"),
        Source("shapes/macaques", ("shapes", "macaques", "--group", "group"), "summary.csv", "work"),
        Source("shapes/papilio", ("shapes", "papilio", "--group", "species"), "ancestors.csv", "work"),
        Source("shapes/foxes", ("shapes", "foxes", "--also", "carnivores"), "also.csv", "work"),
        Source(
            "shapes/carnivores",
            ("shapes", "carnivores", "--particles", "32", "--steps", "20"),
            "groups.csv",
            "work",
        ),
        Source("trees/simulated", ("bridges", "--only", "tree_coverage"), "tree_coverage.csv", "work"),
        *(
            Source(
                f"trees/{sample}",
                ("shapes", sample, *options, "--tree", sample),
                "held_out_summary.csv",
                "work",
            )
            for sample, options in zip(TREES, (("--group", "species"), ()), strict=True)
        ),
    ),
    (
        LIKELIHOODS,
        LANDMARKS,
        ABLATIONS,
        PARAMETERS,
        ANCESTORS,
        RELATIONS,
        BUTTERFLIES,
        CANIDS,
        OPEN_QUESTIONS,
    ),
)
