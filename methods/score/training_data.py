"""The simulations of R replicates as tensors, the form in which gates and networks are fitted to them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingData:
    """Simulations of R replicates: u (R, n, d), x (R, n, dim_x), and the scores that the target uses."""

    u: Tensor
    x: Tensor
    score: Tensor | None

    def to(self, device: str) -> "TrainingData":
        """Move the tensors to a device."""
        score = None if self.score is None else self.score.to(device)
        return TrainingData(self.u.to(device), self.x.to(device), score)

    def rows(self, index: Tensor) -> "TrainingData":
        """Gather rows (..., R, B) of each replicate: tensors (..., R, B, features)."""
        replicate = torch.arange(len(self.u), device=self.u.device).unsqueeze(1)
        score = None if self.score is None else self.score[replicate, index]
        return TrainingData(self.u[replicate, index], self.x[replicate, index], score)
