"""onnxruntime sessions: the networks as they serve scores and features."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from functools import partial

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from services.inference.batching import Batcher, BatchLimits, Images, Outputs
from services.runtime.cores import cores
from services.runtime.errors import DataLoss, FailedPrecondition, NotFound
from services.runtime.objects import ObjectStore

SCORES, FEATURES, CELLS = "scores", "features", "cells"
_MOST_OPEN = 4
_log = logging.getLogger(__name__)


def providers() -> list[str | tuple[str, dict[str, str]]]:
    """Execution providers in order: CUDA where there is a device, then the CPU; never TensorRT by accident.

    CUDA computes in whole float32: TF32, its default, would miss what registration allows ONNX to differ.
    """
    if torch.cuda.is_available() and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


def open_session(onnx: bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """A session on the best device there is; says in the log which provider is in use.

    Args:
        threads: of its own; 0: one for each core that this process has.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    elif cores() < (os.cpu_count() or 1):  # left to itself it takes a thread for each core of the machine
        options.intra_op_num_threads = cores()
    # Between two batches the cores belong to those who take in the next one.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(onnx, options, providers=providers())
    _log.info("onnxruntime session", extra={"providers": session.get_providers()})
    return session


def open_stored(
    store: ObjectStore, model_name: str, onnx_key: str, threads: int = 0
) -> onnxruntime.InferenceSession:
    """A session of a registered model; `threads` as `open_session` has them.

    Raises:
        DataLoss: its ONNX form is missing or damaged.
    """
    try:
        return open_session(store.get(onnx_key), threads)
    except (NotFound, DataLoss) as error:
        raise DataLoss(
            f"the ONNX form of model '{model_name}' is lost: {error}; register its program again "
            "under the same name",
            error.reason,
            error.details,
        ) from error


class Sessions:
    """Networks of the models used last, each with its queue, by name and object key."""

    def __init__(self, store: ObjectStore, limits: BatchLimits) -> None:
        self._store = store
        self._limits = limits
        self._open: OrderedDict[tuple[str, str], Batcher] = OrderedDict()
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def submit(self, model_name: str, onnx_key: str, images: Images) -> Future[Outputs]:
        """Scores (k, classes) and features (k, D) of images (k, C, H, W), together with those of other callers.

        Raises:
            DataLoss: the model's ONNX form is missing or damaged.
            ResourceExhausted: too many images are waiting.
        """
        key = (model_name, onnx_key)
        while True:
            with self._lock:
                if key in self._open:
                    self._open.move_to_end(key)
                    return self._open[key].submit(images)
            self._make_open(key)

    def close(self) -> None:
        """Answers what waits, and ends."""
        with self._lock:
            batchers = list(self._open.values())
        for batcher in batchers:
            batcher.close()

    def _make_open(self, key: tuple[str, str]) -> None:
        """Opens a network, once for all callers that want it, and closes those not used for longest."""
        with self._opening:
            with self._lock:
                if key in self._open:
                    return
            batcher = Batcher(partial(run, open_stored(self._store, *key)), self._limits)
            with self._lock:
                self._open[key] = batcher
                unused = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - _MOST_OPEN)]
        for batcher in unused:
            batcher.close()


def run(
    session: onnxruntime.InferenceSession, images: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Scores (n, classes) and features (n, D) of images (n, C, H, W)."""
    scores, features = session.run([SCORES, FEATURES], {session.get_inputs()[0].name: images})
    return scores, features


def run_to_cells(
    session: onnxruntime.InferenceSession, images: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Scores, features, and activations (n, C, h, w) of the map layer, of images (n, C, H, W).

    Raises:
        FailedPrecondition: the model was registered by a version that did not have them in its ONNX form.
    """
    if CELLS not in [output.name for output in session.get_outputs()]:
        raise FailedPrecondition(
            "the model's ONNX form gives no activations of the map layer: it was registered by an earlier version; "
            "register the program again under the same name"
        )
    scores, features, cells = session.run([SCORES, FEATURES, CELLS], {session.get_inputs()[0].name: images})
    return scores, features, cells
