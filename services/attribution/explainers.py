"""A model and its xNNs made ready to explain images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load as load_tensors
from torch import Tensor

from onoma.science import xnn as science
from onoma.science.excitation import Explainer, Mode, draw, encoder_mass, look, prepare
from onoma.science.pictures import Preprocessing, decode, model_input, normalise
from onoma.science.program import load
from onoma.science.significance import significant
from onoma.v1 import inference_pb2, types_pb2
from services.runtime.errors import FailedPrecondition
from services.runtime.objects import ObjectStore

MODES: dict[int, Mode] = {
    types_pb2.EXCITATION_MODE_STRICT: "strict",
    types_pb2.EXCITATION_MODE_LOCAL: "local",
}
_INTERPOLATIONS = {types_pb2.INTERPOLATION_BICUBIC: "bicubic"}


@dataclass(frozen=True, eq=False)
class Explained:
    """Images explained for one class; n images, m significant activations.

    Attributes:
        dnn_scores: (n,) the network's score of the class.
        xnn_scores: (n,) the xNN's.
        predicted: (n,) index of the network's class.
        rows: (m,) image of each activation, ascending.
        x_features: (m,) its X-feature.
        values: (m,) x.
        contributions: (m,) w x, in score units.
        shares: (m,) of the image's positive evidence.
        maps: (m, h, w) probability mass; all 0 where it was not finite.
        map_sums: (m,) sum of each map, 1 where no mass was lost.
    """

    dnn_scores: npt.NDArray[np.float32]
    xnn_scores: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    x_features: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    contributions: npt.NDArray[np.float32]
    shares: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    map_sums: npt.NDArray[np.float32]


class Explainers:
    """Prepared models and loaded xNNs, the ones used last kept."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._prepared = lru_cache(maxsize=2)(self._prepare)
        self._xnn = lru_cache(maxsize=256)(self._load_xnn)

    def explain(
        self,
        model: inference_pb2.Model,
        xnn_set: inference_pb2.XnnSet,
        category: str,
        contents: Sequence[bytes],
        share: float,
    ) -> Explained:
        """Explains pictures for one class: one forward pass, then the maps of every significant X-feature.

        Args:
            contents: files of pictures that decode.
            share: of the positive evidence that significant X-features hold.
        Raises:
            BrokenPicture: a file that does not decode.
            FailedPrecondition: the set has no xNN of the class.
        """
        explainer = self._prepared(
            model.model_hash, model.attachment_layer, model.map_layer, MODES[model.mode]
        )
        xnn = self._xnn(_weights_key(xnn_set, category))
        preprocessing = preprocessing_of(model)
        pixels = np.stack([model_input(decode(content), preprocessing) for content in contents])
        images = torch.from_numpy(normalise(pixels, preprocessing))
        return _explain(explainer, xnn, list(model.classes).index(category), images, share)

    def scores(self, model: inference_pb2.Model, content: bytes) -> npt.NDArray[np.float32]:
        """The network's scores of one picture, (classes,)."""
        explainer = self._prepared(
            model.model_hash, model.attachment_layer, model.map_layer, MODES[model.mode]
        )
        preprocessing = preprocessing_of(model)
        pixels = model_input(decode(content), preprocessing)[None]
        scores: npt.NDArray[np.float32] = (
            look(explainer, torch.from_numpy(normalise(pixels, preprocessing))).scores[0].cpu().numpy()
        )
        return scores

    def _prepare(self, model_hash: str, attachment: str, map_layer: str, mode: Mode) -> Explainer:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return prepare(load(self._store.get(model_hash)), attachment, map_layer, mode, device)

    def _load_xnn(self, weights_key: str) -> science.Xnn:
        return science.from_tensors(load_tensors(self._store.get(weights_key)))


def preprocessing_of(model: inference_pb2.Model) -> Preprocessing:
    """How pictures become the model's input."""
    message = model.preprocessing
    return Preprocessing(
        channels=message.channels,
        height=message.height,
        width=message.width,
        resize_shorter_side=message.resize_shorter_side,
        mean=tuple(message.mean),
        std=tuple(message.std),
        interpolation=_INTERPOLATIONS.get(message.interpolation, "bilinear"),
    )


def _weights_key(xnn_set: inference_pb2.XnnSet, category: str) -> str:
    for xnn in xnn_set.xnns:
        if xnn.class_name == category:
            return xnn.weights_key
    raise FailedPrecondition(
        f"set '{xnn_set.name}' has no xNN of class '{category}'; train one (onoma xnn train)"
    )


def _explain(
    explainer: Explainer, xnn: science.Xnn, class_index: int, images: Tensor, share: float
) -> Explained:
    with torch.inference_mode():
        seen = look(explainer, images)
        features = seen.features.cpu()
        x = science.x_features(xnn, features)
        terms = x * xnn.read_out
        rows, chosen = significant(terms, share).nonzero(as_tuple=True)
        device = seen.features.device
        encoder = [(weight.to(device), bias.to(device)) for weight, bias in xnn.encoder]
        at = rows.to(device)
        mass = encoder_mass(encoder, seen.features, at, chosen.to(device), explainer.mode)
        maps = draw(explainer, seen, mass, at).float().cpu()
        maps[~maps.flatten(1).isfinite().all(1)] = 0
        contributions = terms[rows, chosen]
        positive = terms.clamp(min=0).sum(1)[rows]
        return Explained(
            dnn_scores=seen.scores[:, class_index].cpu().numpy(),
            xnn_scores=(terms.sum(1) + xnn.bias).numpy(),
            predicted=seen.scores.argmax(1).cpu().numpy(),
            rows=rows.numpy(),
            x_features=chosen.numpy(),
            values=x[rows, chosen].numpy(),
            contributions=contributions.numpy(),
            shares=(contributions / positive).numpy(),
            maps=maps.numpy(),
            map_sums=maps.sum((1, 2)).numpy(),
        )
