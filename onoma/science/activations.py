"""What an xNN finds in images: the significant activations of one class, with their maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from onoma.science.excitation import Explainer, Seen, draw, encoder_mass
from onoma.science.significance import significant
from onoma.science.xnn import Xnn, x_features

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
        map_sums: (m,) sum of each map, 1 where no mass was lost.
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


def explain(explainer: Explainer, xnn: Xnn, class_index: int, seen: Seen, share: float = 0.9) -> Explained:
    """Significant X-features of one class and the map of each, all in one pass down the network.

    Args:
        xnn: of the class, on the explainer's device.
        class_index: of the class, among the network's scores.
        seen: the images' forward pass.
        share: of the positive evidence that significant X-features hold.
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
        mass = encoder_mass(xnn.encoder, seen.features, images, chosen, explainer.mode)
        maps = draw(explainer, seen, mass, images)
        maps = torch.where(maps.isfinite().all(2).all(1)[:, None, None], maps, 0)
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
