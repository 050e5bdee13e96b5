"""The reproduction of Ko & Geffner, Latent Target Score Matching: every figure and every claim."""

from matplotlib.figure import Figure

from ....tasks.classic.galton import Galton
from ...figures.board import board
from ..paper import Claim, Paper, PaperFigure, Picture, Source
from . import claims, figures, weights

LEARNED = weights.LEARNED
GALTON, TASKS = ("galton",), ("suite",)


def _board() -> Figure:
    return board(Galton())


FIGURE_1 = PaperFigure(
    "Figure 1",
    "Left, the variance of the regression targets over diffusion time for DSM, LTSM and their mixture on "
    "three tasks; right, the error of the learned score.",
    (
        Picture(
            "figure-1-galton",
            GALTON,
            figures.galton_variance,
            "The Galton board with the papers' network, without early stopping; a panel of score errors a "
            "budget.",
        ),
        Picture(
            "figure-1-tasks",
            TASKS,
            figures.variance_by_task,
            "Every task whose score is exact, with the suite's defaults; the variance is that at the "
            "largest budget.",
        ),
    ),
    (
        Claim("DSM's target variance rises as t → 0, Galton", GALTON, claims.dsm_variance_rises),
        Claim("… other tasks", TASKS, claims.elsewhere(claims.dsm_variance_rises)),
        Claim("LTSM's target variance stays low at small t, Galton", GALTON, claims.ltsm_variance_is_low),
        Claim("… other tasks", TASKS, claims.elsewhere(claims.ltsm_variance_is_low)),
        Claim("LTSM's target variance increases for larger t, Galton", GALTON, claims.ltsm_variance_rises),
        Claim("… other tasks", TASKS, claims.elsewhere(claims.ltsm_variance_rises)),
        Claim(
            "The mixture retains the best of both at every t, Galton",
            GALTON,
            claims.keeps_the_best("mix"),
            "At t → 0 and t → 1 the mixture is one of the two, so 1 % is allowed for.",
        ),
        Claim("… other tasks", TASKS, claims.elsewhere(claims.keeps_the_best("mix"))),
        Claim("… with the learned w, Galton", GALTON, claims.keeps_the_best(LEARNED)),
        Claim("… with the learned w, other tasks", TASKS, claims.elsewhere(claims.keeps_the_best(LEARNED))),
        Claim(
            "The mixture's score error is below DSM's", GALTON, claims.against("score_error", "mix", "dsm")
        ),
        Claim(
            "The mixture's score error is below LTSM's", GALTON, claims.against("score_error", "mix", "ltsm")
        ),
        Claim(
            "LTSM alone is effective at low noise: below DSM's score error",
            GALTON,
            claims.between_times(0, claims.SMALL_T, "ltsm", "dsm"),
        ),
        Claim(
            "LTSM alone is not at high noise: the mixture is below its score error",
            GALTON,
            claims.between_times(claims.LARGE_T, 1, "mix", "ltsm"),
        ),
    ),
    "The paper's three tasks are not named in its abstract and captions, but for the Galton board.",
)
FIGURE_2 = PaperFigure(
    "Figure 2",
    "MMD over simulator budget, tasks as rows; left the average over five observations, then each "
    "observation.",
    (
        Picture(
            "figure-2-galton",
            GALTON,
            figures.galton_mmd,
            "The Galton board with the papers' network, without early stopping.",
        ),
        Picture(
            "figure-2-tasks",
            TASKS,
            figures.mmd_by_task,
            "Every task whose score is exact, with the suite's defaults; five observations.",
        ),
    ),
    (
        Claim("The mixture improves MMD over DSM", GALTON, claims.against("mmd", "mix", "dsm")),
        Claim("The gap in MMD is largest at the lowest budget, Galton", GALTON, claims.gap_shrinks),
        Claim("… other tasks", TASKS, claims.elsewhere(claims.gap_shrinks)),
        Claim(
            "The mixture has improved sample efficiency",
            GALTON,
            claims.fewer_simulations,
            "Read as: with a third of the simulations MIX is no worse than DSM with all.",
        ),
        Claim(
            "Across tasks, sample quality improves consistently",
            TASKS,
            claims.over_tasks("mmd", "mix", "dsm"),
        ),
        Claim(
            "Across tasks, score accuracy improves consistently",
            TASKS,
            claims.over_tasks("score_error", "mix", "dsm"),
            "“Consistently” is read as: better on average over tasks, worse on none, shown better on half "
            "at least.",
        ),
        Claim("Across tasks, variance improves consistently", TASKS, claims.variance_improves),
        Claim(
            "Across tasks, the gain is largest under limited budgets", TASKS, claims.few_simulations_gain_more
        ),
    ),
)
FIGURE_3 = PaperFigure(
    "Figure 3",
    "The Galton board: nails, paths of two balls, and how the final positions depend on θ.",
    (Picture("figure-3-board", (), _board, "Paths for two θ, and the exact distribution of x for three."),),
    (Claim("For different θ the distribution of x changes", (), claims.board_differs),),
)
FIGURE_4 = PaperFigure(
    "Figure 4",
    "The variance-optimal weight w*(t) of DSM in the mixture.",
    (
        Picture(
            "figure-4-galton",
            GALTON,
            figures.galton_optimal_weight,
            "The Galton board: w*(t) of the simulations of each budget, and how far from that of the "
            "largest.",
        ),
    ),
    (
        Claim("w* is low near t = 0 and close to 1 near t = 1, Galton", GALTON, weights.optimal_weight_rises),
        Claim("… all tasks", TASKS, weights.optimal_weight_rises),
        Claim("w* increases with t, all tasks", TASKS, weights.optimal_weight_never_falls),
        Claim(
            "Propositions 3.1, B.1: the joint score over α(t) is an unbiased target",
            reason="Not a number of a sweep: `graybench check task` tests what it implies of the joint "
            "score, on every task.",
        ),
        Claim(
            "Proposition 3.2: w* minimises the variance in closed form",
            reason="Not a number of a sweep: the test suite compares w* with a search by brute force.",
        ),
    ),
)
FIGURE_5 = PaperFigure(
    "Figure 5",
    "The weight w(t) learned jointly with the score network.",
    (
        Picture(
            "figure-5-galton",
            GALTON,
            figures.galton_learned_weight,
            "The Galton board with the papers' network, without early stopping.",
        ),
        Picture(
            "figure-5-tasks",
            TASKS,
            figures.weights_by_task,
            "Figures 4 and 5 on every task whose score is exact, with the suite's defaults.",
        ),
    ),
    (
        Claim("The learned w closely tracks w*, Galton", GALTON, weights.learned_weight_tracks),
        Claim("… all tasks", TASKS, weights.learned_weight_tracks_on_all_tasks),
        Claim(
            "The mixture with the learned w has a score error below DSM's",
            GALTON,
            claims.against("score_error", LEARNED, "dsm"),
        ),
    ),
)

LTSM = Paper(
    "ltsm",
    "Latent Target Score Matching",
    "Joohwan Ko and Tomas Geffner, *Latent Target Score Matching, with an application to Simulation-Based "
    "Inference*, [arXiv 2602.07189](https://arxiv.org/abs/2602.07189)",
    "Claims are those of the paper's abstract and captions, figures those its captions describe. Its own "
    "numbers, tasks and networks are known from there only, so that trends are compared and not values. "
    "Thresholds that the paper does not give, such as 0.05 for “low”, are the suite's.",
    (
        Source("galton", ("run", "galton.yaml"), "table.parquet", "cells"),
        Source("suite", ("run", "suite.yaml"), "table.parquet", "cells"),
    ),
    (FIGURE_1, FIGURE_2, FIGURE_3, FIGURE_4, FIGURE_5),
)
