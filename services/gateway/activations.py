"""The activations of a category as an annotator may see them, and their maps as bytes."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import numpy as np

from onoma.v1 import attribution_pb2, types_pb2
from services.gateway.locks import Locks
from services.gateway.problems import RefusedError, proto_json
from services.runtime.last_used import LastUsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onoma.v1 import naming_pb2
    from services.gateway.backends import Backends

MAPS_PER_CALL = 10_000
MAX_CATEGORIES = 64  # remembered
MOST_ASKED_FOR = 500  # maps by their ids: an address has to hold them
_NO_COLUMNS = proto_json(types_pb2.ActivationColumns())


@dataclass(frozen=True)
class Visible:
    """What an annotator may see of a category's activations.

    Attributes:
        activation_ids: sorted; the maps of the category have the same order.
        json: them with image and share, as an ActivationColumns in protobuf JSON.
        version: a name for exactly these activations, and so, as a map never changes, for their maps.
    """

    activation_ids: tuple[str, ...]
    json: bytes
    version: str


class Activations:
    """The activations of studies, listed once a category: those of a study are added and never change."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._listing = Locks()
        self._listed = LastUsed[tuple[str, str, int], Visible](MAX_CATEGORIES)

    def of(self, study: naming_pb2.Study, category: str, request_id: str) -> Visible:
        """The activations of a category; blocks, so call it off the event loop.

        Neither the X-feature nor anything that orders or groups by it is passed on: the
        service sends activations by image and X-feature, so they are sorted by their opaque
        ids, and value, contribution and sum stay behind.
        """
        key = (study.study_id, category, study.activation_count)
        with self._listing.holding(key):
            visible = self._listed.get(key) or self._list(study.study_id, category, request_id)
            self._listed.put(key, visible)
        return visible

    def _list(self, study_id: str, category: str, request_id: str) -> Visible:
        request = attribution_pb2.ListActivationsRequest(study_id=study_id, category=category)
        rows: list[tuple[str, str, float]] = []
        for batch in self._backends.stream(
            "attribution", "ListActivations", request, timeout_s=60, request_id=request_id
        ):
            columns = batch.activations
            rows.extend(zip(columns.activation_id, columns.image_id, columns.share, strict=True))
        rows.sort()
        ids = tuple(row[0] for row in rows)
        # As proto_json would write it, in a quarter of the time: a float32 in its shortest digits.
        shares = np.asarray([row[2] for row in rows], np.float32).astype(str)
        document = {
            **_NO_COLUMNS,
            "activation_id": ids,
            "image_id": [row[1] for row in rows],
            "share": [float(share) for share in shares],
        }
        version = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32]
        return Visible(ids, json.dumps(document, separators=(",", ":")).encode(), version)

    def maps_npy(self, study: naming_pb2.Study, category: str, version: str, request_id: str) -> bytes:
        """The maps of a category in the order of its activations, as `some_maps_npy`.

        Raises:
            RefusedError: NOT_FOUND where the activations are no longer those of `version`.
        """
        visible = self.of(study, category, request_id)
        if version != visible.version:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                f"the activations of {category!r} have changed since version {version!r}: list them again",
            )
        return self.some_maps_npy(study.study_id, visible.activation_ids, request_id)

    def some_maps_npy(self, study_id: str, activation_ids: Sequence[str], request_id: str) -> bytes:
        """The maps of these activations of the study, in this order.

        Returns:
            A version 1.0 .npy file of uint8 (n, height, width); see `stretch`.
        """
        batches = []
        for start in range(0, len(activation_ids), MAPS_PER_CALL):
            request = attribution_pb2.GetMapsRequest(
                study_id=study_id, activation_ids=activation_ids[start : start + MAPS_PER_CALL]
            )
            for reply in self._backends.stream(
                "attribution", "GetMaps", request, timeout_s=120, request_id=request_id
            ):
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
