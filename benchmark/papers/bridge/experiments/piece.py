"""What an experiment is: it yields its pieces, and each piece computes rows of its table when it is called.

Errors are errors of log-likelihoods in nats against the exact law; `bias` is their mean over end points.
`ess_stderr` is the standard error of the mean ESS/N over end points.
"""

from collections.abc import Iterator
from functools import partial

Row = dict[str, object]
Experiment = Iterator[partial[list[Row]]]
