"""Samples of a posterior as ArviZ takes them."""

import arviz
from torch import Tensor


def inference_data(name: str, samples: Tensor, x_o: Tensor) -> arviz.InferenceData:
    """Give samples, (n, d), as one chain of the variable `name`, and the observation x_o, (dim_x,)."""
    return arviz.from_dict(
        posterior={name: samples.unsqueeze(0).numpy()},
        observed_data={"x": x_o.numpy()},
        dims={name: ["parameter"], "x": ["component"]},
    )
