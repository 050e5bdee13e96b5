"""Samples of a posterior in the form that ArviZ takes."""

import arviz
from torch import Tensor


def inference_data(name: str, samples: Tensor, x_o: Tensor) -> arviz.InferenceData:
    """Return ArviZ's form of samples and an observation.

    Args:
        name: the name of the variable.
        samples: (n, d), stored as one chain.
        x_o: the observation (dim_x,).
    """
    return arviz.from_dict(
        posterior={name: samples.unsqueeze(0).numpy()},
        observed_data={"x": x_o.numpy()},
        dims={name: ["parameter"], "x": ["component"]},
    )
