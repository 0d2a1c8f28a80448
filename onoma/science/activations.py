"""What an xNN finds in images: the significant activations of one class, with their maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from onoma.science.excitation import Explainer, Seen, draw, encoder_mass
from onoma.science.significance import significant
from onoma.science.xnn import Xnn, x_features

LEAST_CONTRAST = 1e-3  # of P's mass; a map that Q leaves less of is drawn plain, it would be rounding [ours]

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Explained:
    """n images explained for one class: m significant activations, by image and X-feature.

    Attributes:
        dnn_scores: (n,) the network's score of the class.
        xnn_scores: (n,) the xNN's.
        predicted: (n,) index of the class that the network gives.
        images: (m,) image of each activation.
        x_features: (m,) its X-feature.
        values: (m,) x.
        contributions: (m,) w x, in score units.
        shares: (m,) of the image's positive evidence.
        maps: (m, h, w) probability mass; all 0 where what was computed is not finite.
        map_sums: (m,) mass that arrived of each target's 1: 1 where none was lost, 0 where the map is all 0.
    """

    dnn_scores: Floats
    xnn_scores: Floats
    predicted: Indices
    images: Indices
    x_features: Indices
    values: Floats
    contributions: Floats
    shares: Floats
    maps: Floats
    map_sums: Floats


def explain(
    explainer: Explainer,
    xnn: Xnn,
    class_index: int,
    seen: Seen,
    share: float = 0.9,
    *,
    contrastive: bool = True,
) -> Explained:
    """Significant X-features of one class and the map of each, all in one pass down the network.

    A contrastive map is the positive part of P - Q, scaled to the mass of P, where P goes down from the X-feature and
    Q from what inhibits it (Zhang et al. 2016, section 3.3); where both are the same it is P. A plain map is P. An
    xNN's dense layers mix P so much that the plain maps of two X-features on one image are the same
    (docs/decisions/contrastive-maps.md).

    Args:
        xnn: of the class, on the explainer's device.
        class_index: of the class, among the network's scores.
        seen: the images' forward pass.
        share: of the positive evidence that significant X-features hold.
        contrastive: what kind of map.
    Raises:
        ValueError: the xNN reads another number of features, or a feature or score is not finite.
    """
    wanted, found = xnn.encoder[0][0].shape[1], seen.features.shape[1]
    if wanted != found:
        raise ValueError(f"the xNN reads {wanted} features; layer '{explainer.attachment.name}' has {found}")
    if not seen.scores.isfinite().all():
        raise ValueError("a score of the network is NaN or infinite")
    with torch.inference_mode():
        x = x_features(xnn, seen.features)
        terms = x * xnn.read_out
        images, chosen = significant(terms, share).nonzero(as_tuple=True)
        maps = _maps(explainer, xnn, seen, images, chosen, contrastive)
        contributions = terms[images, chosen]
        return Explained(
            dnn_scores=seen.scores[:, class_index].cpu().numpy(),
            xnn_scores=(terms.sum(1) + xnn.bias).cpu().numpy(),
            predicted=seen.scores.argmax(1).cpu().numpy(),
            images=images.cpu().numpy(),
            x_features=chosen.cpu().numpy(),
            values=x[images, chosen].cpu().numpy(),
            contributions=contributions.cpu().numpy(),
            shares=(contributions / terms.clamp(min=0).sum(1)[images]).cpu().numpy(),
            maps=maps.cpu().numpy(),
            map_sums=maps.sum((1, 2)).cpu().numpy(),
        )


def _maps(
    explainer: Explainer, xnn: Xnn, seen: Seen, images: Tensor, chosen: Tensor, contrastive: bool
) -> Tensor:
    """Map of each target, (m, h, w)."""
    kinds = (False, True) if contrastive else (False,)
    mass = torch.cat(
        [
            encoder_mass(xnn.encoder, seen.features, images, chosen, explainer.mode, inhibiting=kind)
            for kind in kinds
        ]
    )
    drawn = draw(explainer, seen, mass, images.repeat(len(kinds)))
    maps = drawn[: len(images)]
    if contrastive:
        kept = (maps - drawn[len(images) :]).clamp(min=0)
        mass, left = maps.sum((1, 2)), kept.sum((1, 2))
        differs = left > LEAST_CONTRAST * mass
        maps = torch.where(differs[:, None, None], kept * (mass / left)[:, None, None], maps)
    return torch.where(maps.isfinite().all(2).all(1)[:, None, None], maps, 0)
