"""Models and xNNs made ready to explain, and pictures as those models see them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load as load_arrays
from safetensors.torch import load as load_tensors

from onoma.enum_names import MODES
from onoma.science.activations import Explained, explain
from onoma.science.excitation import Explainer, Mode, Seen, look, look_from, prepare
from onoma.science.matmul_precision import matmul_precision
from onoma.science.pictures import MAX_PIXELS, Pixels, Preprocessing, decode, model_input, normalise
from onoma.science.program import load
from onoma.science.xnn import Xnn, from_tensors
from onoma.v1 import inference_pb2
from services.attribution.plans import Network
from services.runtime.objects import ObjectStore
from services.runtime.preprocessing import preprocessing_of

Cells = npt.NDArray[np.float32]
"""The map layer's activations of a picture, (C, h, w), kept from a feature pass."""


class Explainers:
    """Prepared models and loaded xNNs, those used last kept, on the GPU when there is one.

    Attributes:
        precision: "float32", "tf32" or "bf16".
        turn: held while a picture is explained on request, so that many at once do not share out the memory.
    """

    def __init__(self, store: ObjectStore, precision: str = "float32") -> None:
        """What a precision changes is in docs/decisions/maps-precision.md.

        Raises:
            ValueError: TF32 without a GPU.
        """
        self.precision = precision
        self._store = store
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        if precision == "tf32" and self._device.type != "cuda":
            raise ValueError("ONOMA_MAPS_PRECISION=tf32 needs a GPU, and there is none; use float32 or bf16")
        self._loading = threading.Lock()
        self.turn = threading.Lock()
        self._prepared = lru_cache(maxsize=2)(self._prepare)
        self._xnns = lru_cache(maxsize=256)(self._load_xnn)

    def matmul_precision(self) -> AbstractContextManager[None]:
        """Where matrix products are in this precision, whatever is trained in the process meanwhile."""
        return matmul_precision(self.precision, self._device)

    def model(self, model: inference_pb2.Model) -> Explainer:
        """The model ready for maps."""
        with self._loading:
            return self._prepared(
                model.model_hash, model.attachment_layer, model.map_layer, MODES[model.mode]
            )

    def xnn(self, network: Network, category: str) -> Xnn:
        """The xNN of a class.

        Raises:
            FailedPrecondition: there is none.
        """
        with self._loading:
            return self._xnns(network.weights_key(category))

    def of_class(
        self, network: Network, category: str, share: float, contrastive: bool
    ) -> Callable[[list[Pixels] | list[Cells]], Explained]:
        """What explains pictures, as `picture_seen` gives them, or from kept activations, for one class."""
        explainer, xnn = self.model(network.model), self.xnn(network, category)
        preprocessing = preprocessing_of(network.model.preprocessing)
        class_index = list(network.model.classes).index(category)

        def explain_pictures(pictures: list[Pixels] | list[Cells]) -> Explained:
            with self.matmul_precision():
                seen = look_at(explainer, pictures, preprocessing)
                return explain(explainer, xnn, class_index, seen, share, contrastive=contrastive)

        return explain_pictures

    def _prepare(self, model_hash: str, attachment: str, map_layer: str, mode: Mode) -> Explainer:
        program = load(self._store.get(model_hash))
        return prepare(program, attachment, map_layer, mode, self._device, self._dtype)

    def _load_xnn(self, weights_key: str) -> Xnn:
        tensors = load_tensors(self._store.get(weights_key))
        return from_tensors({name: tensor.to(self._device) for name, tensor in tensors.items()})


def picture_seen(content: bytes, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS) -> Pixels:
    """A file's picture as the network sees it, uint8 (height, width, channels).

    Raises:
        BrokenPicture: it does not decode.
    """
    return model_input(decode(content, max_pixels=max_pixels), preprocessing)


def cells_kept(content: bytes) -> Cells:
    """Activations out of the object that a feature pass kept."""
    cells: Cells = load_arrays(content)["cells"]
    return cells


def look_at(explainer: Explainer, pictures: list[Pixels] | list[Cells], preprocessing: Preprocessing) -> Seen:
    """One forward pass over pictures as `picture_seen` gives them, or from their kept activations on."""
    stacked = np.stack(pictures)
    if stacked.dtype == np.float32:
        return look_from(explainer, torch.from_numpy(stacked))
    return look(explainer, torch.from_numpy(normalise(stacked, preprocessing)))
