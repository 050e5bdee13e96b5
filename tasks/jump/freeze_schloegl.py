"""Make the frozen references of `schloegl`, in about 4 minutes.

    python -m graybench.tasks.jump.freeze_schloegl

They come from `importance_reference`, as for every task with a tractable likelihood. Of its draws, the first
2,000 of each half are stored with their exact scores.
"""

import torch

from ..frozen import save
from ..importance import DRAWS
from ..likelihood import sampled_posterior
from ..task import Task
from .schloegl import Schloegl

STORED = 4_000


def main() -> None:
    """Freeze the references of all observations of the task."""
    torch.set_num_threads(1)
    task, references = Schloegl(), []
    for k, x_o in enumerate(Task.observations(task).x):
        made = sampled_posterior(task, tuple(x_o.tolist()))
        assert made.scores is not None  # importance sampling gives them
        half = len(made.draws) // 2
        stored = torch.cat([torch.arange(STORED // 2), half + torch.arange(STORED // 2)])
        references.append(
            {
                "draws": made.draws[stored],
                "scores": made.scores[stored],
                "log_evidence": made.log_evidence,
                "effective_size": 1 / (1 / STORED + 1 / (made.ess_fraction * DRAWS)),
                "ess_fraction": made.ess_fraction,
            }
        )
        print(k, "ess_fraction", made.ess_fraction, flush=True)
    print(save(task, references))


if __name__ == "__main__":
    main()
