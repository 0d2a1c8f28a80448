"""What xNNs find in images: the significant activations of each class, with their maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
        pooled: (m, C) the map layer's activations, averaged with the map for weights, as vectors of length 1; all 0
            where the map is. How alike two are is the product of theirs.
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
    pooled: Floats


def explain(
    explainer: Explainer,
    xnn: Xnn,
    class_index: int,
    seen: Seen,
    share: float = 0.9,
    *,
    contrastive: bool = True,
) -> Explained:
    """Significant X-features of one class and the map of each; see `explain_classes`."""
    return explain_classes(explainer, [(class_index, xnn)], seen, share, contrastive=contrastive)[0]


def explain_classes(
    explainer: Explainer,
    classes: Sequence[tuple[int, Xnn]],
    seen: Seen,
    share: float = 0.9,
    *,
    contrastive: bool = True,
) -> list[Explained]:
    """Significant X-features of several classes and the map of each, all in one pass down the network.

    A contrastive map is the positive part of P - Q, scaled to the mass of P, where P goes down from the X-feature and
    Q from what inhibits it (Zhang et al. 2016, section 3.3); where both are the same it is P. A plain map is P. An
    xNN's dense layers mix P so much that the plain maps of two X-features on one image are the same
    (docs/decisions/contrastive-maps.md).

    Args:
        classes: index among the network's scores, and xNN on the explainer's device, of each; one or more.
        seen: the images' forward pass; features of another float dtype are computed in float32.
        share: of the positive evidence that significant X-features hold.
        contrastive: what kind of map.
    Returns:
        A class each, in the order given; the images of each are all that were seen.
    Raises:
        ValueError: no class is given, the network has none of an index, an xNN reads another number of features, or a
            feature or score is not finite.
    """
    if not classes:
        raise ValueError("no class to explain; give one (index, xNN) or more")
    found, scores = seen.features.shape[1], seen.scores.shape[1]
    for class_index, xnn in classes:
        if not 0 <= class_index < scores:
            raise ValueError(f"class {class_index}: the network has {scores} scores, 0 to {scores - 1}")
        if (wanted := xnn.encoder[0][0].shape[1]) != found:
            raise ValueError(
                f"the xNN reads {wanted} features; layer '{explainer.attachment.name}' has {found}"
            )
    if not seen.scores.isfinite().all():
        raise ValueError("a score of the network is NaN or infinite")
    seen = replace(seen, features=seen.features.float())
    with torch.inference_mode():
        evidence = [_evidence(xnn, seen.features, share) for _, xnn in classes]
        maps = _maps(explainer, seen, evidence, contrastive)
        cells = seen.values[explainer.map_layer].movedim(explainer.channel_axis, 1)
        return [
            Explained(
                dnn_scores=seen.scores[:, class_index].cpu().numpy(),
                xnn_scores=(of.terms.sum(1) + xnn.bias).cpu().numpy(),
                predicted=seen.scores.argmax(1).cpu().numpy(),
                images=of.images.cpu().numpy(),
                x_features=of.chosen.cpu().numpy(),
                values=of.x[of.images, of.chosen].cpu().numpy(),
                contributions=of.contributions.cpu().numpy(),
                shares=(of.contributions / of.terms.clamp(min=0).sum(1)[of.images]).cpu().numpy(),
                maps=drawn.cpu().numpy(),
                map_sums=drawn.sum((1, 2)).cpu().numpy(),
                pooled=_pooled(cells, drawn, of.images).cpu().numpy(),
            )
            for (class_index, xnn), of, drawn in zip(classes, evidence, maps, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class _Evidence:
    """One class's X-features x and terms w x, (n, K), and its m targets: image and X-feature of each, (m,)."""

    xnn: Xnn
    x: Tensor
    terms: Tensor
    images: Tensor
    chosen: Tensor

    @property
    def contributions(self) -> Tensor:
        """(m,) w x of each target."""
        return self.terms[self.images, self.chosen]


def _evidence(xnn: Xnn, features: Tensor, share: float) -> _Evidence:
    x = x_features(xnn, features)
    terms = x * xnn.read_out
    images, chosen = significant(terms, share).nonzero(as_tuple=True)
    return _Evidence(xnn, x, terms, images, chosen)


def _maps(explainer: Explainer, seen: Seen, evidence: Sequence[_Evidence], contrastive: bool) -> list[Tensor]:
    """Maps of each class's targets, (m, h, w)."""
    images = torch.cat([of.images for of in evidence])
    masses = [_encoder_masses(explainer, seen, of, contrastive) for of in evidence]
    mass = torch.cat([torch.cat(of_kind) for of_kind in zip(*masses, strict=True)])
    drawn = draw(explainer, seen, mass, images.repeat(2 if contrastive else 1))
    maps = drawn[: len(images)]
    if contrastive:
        kept = drawn[len(images) :].clamp(min=0)
        arrived, left = maps.sum((1, 2)), kept.sum((1, 2))
        differs = left > LEAST_CONTRAST * arrived
        maps = torch.where(differs[:, None, None], kept * (arrived / left)[:, None, None], maps)
    maps = torch.where(maps.isfinite().all(2).all(1)[:, None, None], maps, 0)
    return list(torch.split(maps, [len(of.images) for of in evidence]))


def _pooled(cells: Tensor, maps: Tensor, images: Tensor) -> Tensor:
    """Vectors of length 1, (m, C), of activations (n, C, h, w) under maps (m, h, w) of these images, (m,)."""
    pooled = maps.new_zeros(len(maps), cells.shape[1])
    for image in range(len(cells)):
        of_image = images == image
        pooled[of_image] = maps[of_image].flatten(1) @ cells[image].float().flatten(1).T
    return torch.nan_to_num(torch.nn.functional.normalize(pooled))


def _encoder_masses(explainer: Explainer, seen: Seen, of: _Evidence, contrastive: bool) -> list[Tensor]:
    """Mass of a class's targets on the features, (m, D) float64: P and, for contrastive maps, P - Q.

    P - Q, which goes down as one, may be less than float32's rounding of P and Q
    (docs/decisions/maps-precision.md).
    """
    encoder = [(weight.double(), bias.double()) for weight, bias in of.xnn.encoder]

    def mass(*, inhibiting: bool) -> Tensor:
        return encoder_mass(
            encoder, seen.features, of.images, of.chosen, explainer.mode, inhibiting=inhibiting
        )

    excited = mass(inhibiting=False)
    return [excited, excited - mass(inhibiting=True)] if contrastive else [excited]
