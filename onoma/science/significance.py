"""Significant X-features: the fewest that hold most of the positive evidence."""

import torch
from torch import Tensor


def significant(terms: Tensor, share: float = 0.9) -> Tensor:
    """Smallest set of positive terms holding `share` of the positive sum [P 3.3].

    Terms are taken in descending order, the first index first where they are equal. The bias is not a term. A sum that
    falls short by rounding alone has reached the share: by 1e-12 of it in float64, by 1e-6 where terms are coarser.

    Args:
        terms: (..., K) contributions w_i * x_i, any float dtype.
        share: in (0, 1].
    Returns:
        (..., K) bool, all False where no term is positive.
    Raises:
        ValueError: `share` is outside (0, 1], or a term is not finite.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of the positive evidence is {share}; it must be in (0, 1]")
    if not terms.isfinite().all():
        raise ValueError("a term is NaN or infinite: the xNN's weights or the features are damaged")
    evidence = terms.double().clamp(min=0)
    descending, order = evidence.sort(dim=-1, descending=True, stable=True)
    before = descending.cumsum(-1) - descending  # held by the terms already taken
    wanted = share * evidence.sum(-1, keepdim=True)
    rounding = 1e-12 if terms.dtype == torch.float64 else 1e-6
    taken = (descending > 0) & ((before < wanted * (1 - rounding)) | (share == 1))
    return taken.new_zeros(taken.shape).scatter(-1, order, taken)


def significant_in_groups(groups: Tensor, terms: Tensor, share: float = 0.9) -> Tensor:
    """`significant` for groups of any size, each on its own.

    Args:
        groups: (n,) int64, the group of each term, counted from 0.
        terms: (n,) any float dtype.
        share: in (0, 1].
    Returns:
        (n,) bool.
    Raises:
        ValueError: as `significant`, or there are not as many groups as terms.
    """
    if groups.shape != terms.shape:
        raise ValueError(
            f"{len(terms)} terms with {len(groups)} groups; give each term the group that it is in"
        )
    order = groups.argsort(stable=True)
    sizes = groups.bincount()
    starts = sizes.cumsum(0) - sizes
    found = torch.zeros_like(groups, dtype=torch.bool)
    for size in set(sizes.tolist()) - {0}:
        members = order[starts[sizes == size, None] + torch.arange(size)]
        found[members] = significant(terms[members], share)
    return found
