"""The catalogue: the records of all metrics, in the order of reports."""

from collections.abc import Iterator

from .bridges import ESS_FRACTION, LOG_LIKELIHOOD_ERROR, PARAMETER_RMSE
from .diagnostics import COVERAGE, EXPECTED_COVERAGE, PREDICTIVE_DISTANCE, SBC, TARP, TARP_GAP
from .metric import Fitted, Metric, Row
from .samples import C2ST_ENSEMBLE, C2ST_MLP, MMD, MMD_SQUARED, POSTERIOR_MEAN_ERROR, POSTERIOR_STD_ERROR
from .scores import (
    EXCESS_VARIANCE,
    GATE_GAIN,
    LEARNED_WEIGHT,
    OPTIMAL_WEIGHT,
    SCORE_ERROR,
    TARGET_VARIANCE,
    TRAINING_STEPS,
)

IN_ORDER = (
    SCORE_ERROR,
    MMD,
    MMD_SQUARED,
    C2ST_MLP,
    C2ST_ENSEMBLE,
    COVERAGE,
    EXPECTED_COVERAGE,
    POSTERIOR_MEAN_ERROR,
    POSTERIOR_STD_ERROR,
    PARAMETER_RMSE,
    TARP,
    TARP_GAP,
    SBC,
    PREDICTIVE_DISTANCE,
    EXCESS_VARIANCE,
    TARGET_VARIANCE,
    OPTIMAL_WEIGHT,
    LEARNED_WEIGHT,
    ESS_FRACTION,
    LOG_LIKELIHOOD_ERROR,
    GATE_GAIN,
    TRAINING_STEPS,
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in IN_ORDER}
MAIN = (SCORE_ERROR.name, MMD.name)  # the metrics that comparisons show first


def record_of(name: str) -> Metric:
    """Return the record of a metric. A name that only a table knows gets an unranked record."""
    return METRICS.get(name) or Metric(name, name, "", _unknown, perfect=None, ranked=False)


def _unknown(fitted: Fitted) -> Iterator[Row]:
    raise NotImplementedError("this version of the suite has no such metric")


def reported(names: set[str]) -> list[str]:
    """Return metrics in the order of a report. Unknown names come last; those with `same_as` are left out."""
    known = [name for name, metric in METRICS.items() if name in names and not metric.same_as]
    return known + sorted(names - METRICS.keys())
