"""The three losses that an xNN is trained by; leading dimensions are of classes trained together.

[P] Hamidi-Haines et al. 2018, section 3.2; [X] Qi, Khorram, Li, arXiv 1709.05360.
"""

from __future__ import annotations

import torch
from torch import Tensor


def faithfulness_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Lp = mean_i (y_hat_i - y_i)^2 [P 3.2]; (..., n), (..., n) to (...)."""
    return (predicted - wanted).square().mean(-1)


def reconstruction_loss(reconstructed: Tensor, features: Tensor, q: float) -> Tensor:
    """Lr = (1/D) sum_d log(1 + q m_d), m_d = (1/n) sum_i (r_id - z_id)^2 [X]; (..., n, D), (n, D) to (...).

    The logarithm is of each unit's batch mean, so some units may be given up altogether.
    """
    return torch.log1p(q * (reconstructed - features).square().mean(-2)).mean(-1)


def pull_away_loss(contributions: Tensor) -> Tensor:
    """Lo = sum_{i != j} cos(V_:i, V_:j)^2 / (K (K - 1)) over pairs of X-features [X]; V (..., n, K) to (...).

    0 for K = 1. Over pairs of images it is the loss of V's transpose.
    """
    count = contributions.shape[-1]
    if count < 2:
        return contributions.new_zeros(contributions.shape[:-2])
    columns = contributions / contributions.norm(dim=-2, keepdim=True).clamp(min=1e-8)
    cosines = (columns.mT @ columns).square()
    diagonals = cosines.diagonal(dim1=-2, dim2=-1).sum(-1)
    loss: Tensor = (cosines.sum((-2, -1)) - diagonals) / (count * (count - 1))
    return loss
