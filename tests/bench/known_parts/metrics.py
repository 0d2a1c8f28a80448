"""How well maps point: pointing game, share of mass, deletion and insertion.

Pointing game: Zhang et al. 2016, section 4.1. Deletion and insertion: Petsiuk, Das, Saenko 2018 (RISE).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d
from torchvision.transforms.functional import gaussian_blur

TOLERANCE = 2  # pixels, of a peak beside a part: half a cell of the map layer
STEPS = 10  # of deletion and insertion
BLUR_SIGMA = 8.0  # pixels: what is deleted shows a blurred picture instead


def enlarged(maps: Tensor, size: int) -> Tensor:
    """Bilinear upsampling of maps (m, h, w) to (m, size, size)."""
    return interpolate(maps[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]


def peaks(maps: Tensor) -> Tensor:
    """Row and column of the largest value of each map (m, h, w): (m, 2) int64; the first one where several are."""
    flat = maps.flatten(1).argmax(1)
    return torch.stack([flat // maps.shape[2], flat % maps.shape[2]], 1)


def with_margin(masks: Tensor, tolerance: int = TOLERANCE) -> Tensor:
    """Masks (m, h, w) bool with every pixel that is at most so far away along each axis."""
    grown = max_pool2d(masks[:, None].float(), 2 * tolerance + 1, stride=1, padding=tolerance)
    return grown[:, 0] > 0


def peak_distances(maps: Tensor, masks: Tensor) -> Tensor:
    """Pixels from each map's peak to its mask along the longer axis, (m,) float32; 0 on the mask.

    Infinite for an empty mask and for a map that is the same everywhere, which points nowhere.

    Args:
        maps: (m, h, w).
        masks: (m, h, w) bool.
    """
    rows, columns = peaks(maps).T[:, :, None]
    away_rows = (torch.arange(maps.shape[1]) - rows).abs()
    away_columns = (torch.arange(maps.shape[2]) - columns).abs()
    away = torch.maximum(away_rows[:, :, None], away_columns[:, None, :]).float()
    nearest = torch.where(masks, away, torch.inf).flatten(1).amin(1)
    return torch.where(maps.flatten(1).amax(1) > maps.flatten(1).amin(1), nearest, torch.inf)


def hits(maps: Tensor, masks: Tensor, tolerance: int = TOLERANCE) -> Tensor:
    """Pointing game: whether each map's peak falls on its mask or so near, (m,) bool."""
    return peak_distances(maps, masks) <= tolerance


def pointed_parts(maps: Tensor, labels: Tensor, candidates: Tensor, tolerance: int = TOLERANCE) -> Tensor:
    """The candidate part nearest to each map's peak, (m,) int64; -1 where none is near enough.

    Args:
        maps: (m, h, w).
        labels: (m, h, w) 0 the background, else 1 + the part.
        candidates: (m, parts) bool.
    """
    away = torch.stack([peak_distances(maps, labels == 1 + part) for part in range(candidates.shape[1])], 1)
    nearest, part = torch.where(candidates, away, torch.inf).min(1)
    return torch.where(nearest <= tolerance, part, -1)


def mass_on(maps: Tensor, masks: Tensor) -> Tensor:
    """Share of each map's mass on its mask, (m,); 0 for a map without any.

    Args:
        maps: (m, h, w), not negative.
        masks: (m, h, w) bool.
    """
    total = maps.sum((1, 2))
    return torch.where(total > 0, (maps * masks).sum((1, 2)) / total.clamp(min=1e-30), 0)


def blurred(images: Tensor) -> Tensor:
    """(n, C, H, W) with nothing left of the parts' shapes."""
    size = 2 * round(2 * BLUR_SIGMA) + 1
    return gaussian_blur(images, [size, size], [BLUR_SIGMA, BLUR_SIGMA])


def replaced_areas(
    start: Tensor, end: Tensor, maps: Tensor, score: Callable[[Tensor], Tensor], steps: int = STEPS
) -> Tensor:
    """Mean score of each image while its pixels are replaced in the order of its map, the largest value first: (n,).

    With the picture as start and its blur as end this is deletion, the other way round insertion. The shares of pixels
    replaced are (i / steps)^2, finer at first; the area under the curve is by the trapezoid rule.

    Args:
        start: (n, C, H, W).
        end: (n, C, H, W).
        maps: (n, H, W).
        score: (n, C, H, W) to (n,).
    """
    count = maps[0].numel()
    rank = maps.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1).reshape(maps.shape)
    shares = (torch.arange(steps + 1) / steps) ** 2
    curve = [
        score(torch.where((rank < round(float(share) * count))[:, None], end, start)) for share in shares
    ]
    return torch.trapezoid(torch.stack(curve, 1), shares, dim=1)
