"""Statistics that several tests share."""

import math

import torch


def largest_z_of_moments(x, mean, covariance):
    """Compare mean and covariance of rows x, (n, k), with a Gaussian's: the largest of k + k(k + 1)/2 |z|."""
    n, k = x.shape
    factor = torch.linalg.cholesky(torch.as_tensor(covariance))
    white = torch.linalg.solve_triangular(factor, (x - torch.as_tensor(mean)).T, upper=False)
    z = (white @ white.T / n - torch.eye(k)) * math.sqrt(n)
    z.diagonal().div_(math.sqrt(2))
    return max(float(z.abs().max()), float((white.mean(1) * math.sqrt(n)).abs().max()))
