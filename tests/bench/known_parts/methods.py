"""The maps that are compared, one function a kind; all are (m, 16, 16), not negative, or as large as the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from onoma.science.activations import Explained, explain_classes
from onoma.science.excitation import Explainer, Seen, draw, encoder_mass
from onoma.science.xnn import Xnn

CENTRE_SIGMA = 0.25  # of the picture's width: the centre baseline


def significant_activations(
    explainer: Explainer, xnns: Sequence[Xnn], seen: Seen, classes: Tensor, *, contrastive: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations that are significant for each image's class.

    Args:
        xnns: of each class.
        classes: (n,) the class that each image is explained for.
    Returns:
        By image: image of each activation (m,), its contribution (m,), its map (m, h, w).
    """
    found = explain_classes(explainer, list(enumerate(xnns)), seen, contrastive=contrastive)
    chosen = [np.flatnonzero(classes.numpy()[of.images] == index) for index, of in enumerate(found)]
    images, contributions, maps = (
        torch.cat([torch.from_numpy(_values(of, name)[rows]) for of, rows in zip(found, chosen, strict=True)])
        for name in ("images", "contributions", "maps")
    )
    order = images.argsort(stable=True)
    return images[order], contributions[order], maps[order]


def _values(explained: Explained, name: str) -> np.ndarray:
    return getattr(explained, name)


def summed(images: Tensor, contributions: Tensor, maps: Tensor, count: int) -> Tensor:
    """An image's explanation: the maps of its activations, weighted by contribution, (count, h, w).

    0 everywhere for an image without a significant activation.
    """
    return maps.new_zeros(count, *maps.shape[1:]).index_add(0, images, contributions[:, None, None] * maps)


def excitation_of_score(
    explainer: Explainer,
    classifier: Sequence[tuple[Tensor, Tensor]],
    seen: Seen,
    classes: Tensor,
    *,
    contrastive: bool,
) -> Tensor:
    """Excitation Backprop from the network's own score, without an xNN: (n, h, w).

    The contrastive map is the positive part of P - Q, as Zhang et al. 2016 have it.

    Args:
        classifier: W (out, in) and b (out,) of each layer above the attachment; a score that is not positive draws 0.
    """
    rows = torch.arange(len(classes))
    mass = encoder_mass(classifier, seen.features, rows, classes, explainer.mode)
    if contrastive:
        mass = mass - encoder_mass(classifier, seen.features, rows, classes, explainer.mode, inhibiting=True)
    return draw(explainer, seen, mass, rows).clamp(min=0)


def grad_cam(network: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """captum's Grad-CAM of the class's score on the map layer, its positive part: (n, h, w)."""
    attributed = LayerGradCam(network, layer).attribute(images, target=classes, relu_attributions=True)
    assert isinstance(attributed, Tensor)
    return attributed[:, 0].detach()


def noise(count: int, cells: int, seed: int) -> Tensor:
    """Random maps, (count, cells, cells)."""
    return torch.rand(count, cells, cells, generator=torch.Generator().manual_seed(seed))


def centre(count: int, size: int) -> Tensor:
    """A Gaussian in the picture's middle, (count, size, size)."""
    along = (torch.arange(size) + 0.5) / size - 0.5
    bell = torch.exp(-(along**2) / (2 * CENTRE_SIGMA**2))
    return (bell[:, None] * bell).expand(count, size, size)


def drawn_masks(masks: Tensor, seed: int) -> Tensor:
    """Masks (n, h, w) as maps: even on the mask but for a little noise, which decides between equals."""
    return masks * (1 + 1e-3 * torch.rand(masks.shape, generator=torch.Generator().manual_seed(seed)))
