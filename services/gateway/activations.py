"""The activations of a category as an annotator may see them, and their maps as bytes."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import grpc
import numpy as np

from onoma.v1 import attribution_pb2, types_pb2
from services.gateway.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.gateway.backends import Backends

MAPS_PER_CALL = 10_000


def list_visible(
    backends: Backends, study_id: str, category: str, request_id: str
) -> types_pb2.ActivationColumns:
    """The activations of a category, with the columns that an annotator may see.

    Neither the X-feature nor anything that orders or groups by it is passed on: the
    service sends activations by image and X-feature, so they are sorted by their opaque
    ids, and value, contribution and sum stay behind.
    """
    request = attribution_pb2.ListActivationsRequest(study_id=study_id, category=category)
    rows: list[tuple[str, str, float]] = []
    for batch in backends.stream(
        "attribution", "ListActivations", request, timeout_s=60, request_id=request_id
    ):
        columns = batch.activations
        rows.extend(zip(columns.activation_id, columns.image_id, columns.share, strict=True))
    rows.sort()
    return types_pb2.ActivationColumns(
        activation_id=[row[0] for row in rows],
        image_id=[row[1] for row in rows],
        share=[row[2] for row in rows],
    )


def version_of(activation_ids: Iterable[str]) -> str:
    """A name for exactly these activations, and so, as a map never changes, for their maps."""
    return hashlib.sha256("\n".join(activation_ids).encode()).hexdigest()[:32]


def maps_npy(backends: Backends, study_id: str, category: str, version: str, request_id: str) -> bytes:
    """The maps of a category in the order of `list_visible`, as a .npy file.

    Returns:
        A version 1.0 .npy file of uint8 (n, height, width); see `stretch`.

    Raises:
        RefusedError: NOT_FOUND where the activations are no longer those of `version`.
    """
    ids = list(list_visible(backends, study_id, category, request_id).activation_id)
    if version != version_of(ids):
        raise RefusedError(
            grpc.StatusCode.NOT_FOUND,
            f"the activations of {category!r} have changed since version {version!r}: list them again",
        )
    batches = []
    for start in range(0, len(ids), MAPS_PER_CALL):
        request = attribution_pb2.GetMapsRequest(
            study_id=study_id, activation_ids=ids[start : start + MAPS_PER_CALL]
        )
        for reply in backends.stream("attribution", "GetMaps", request, timeout_s=120, request_id=request_id):
            maps = reply.maps
            values = np.frombuffer(maps.values, dtype="<f2").reshape(-1, maps.height, maps.width)
            batches.append(stretch(values))
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(batches) if batches else np.zeros((0, 1, 1), np.uint8))
    return buffer.getvalue()


def stretch(maps: np.ndarray) -> np.ndarray:
    """Each map from its own minimum (0) to its own maximum (255).

    Args:
        maps: (n, h, w), any float dtype; NaN counts as 0.

    Returns:
        (n, h, w) uint8; all 0 where a map is flat.
    """
    finite = np.nan_to_num(maps.astype(np.float32))
    low = finite.min(axis=(1, 2), keepdims=True)
    span = finite.max(axis=(1, 2), keepdims=True) - low
    share: np.ndarray = (finite - low) / np.where(span > 0, span, 1)
    return np.rint(255 * share).astype(np.uint8)
