"""Which pictures a study shows: those whose explanations it holds. Those shown last are kept for the next to ask."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc

from onoma.v1 import attribution_pb2, inference_pb2
from services.gateway.locks import Locks
from services.gateway.problems import RefusedError
from services.runtime.last_used import LastUsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onoma.v1 import naming_pb2
    from services.gateway.backends import Backends

MAX_STUDIES = 32  # remembered
MOST_PICTURES = 96  # in one answer: an address has to hold their ids
MAX_KEPT_BYTES = 64 * 1024 * 1024  # of pictures, which never change
LISTED_AGAIN_S = 5.0  # so long does an answer hold for a picture that was not in it
_NOTHING_LISTED: tuple[float, frozenset[str]] = (0.0, frozenset())


class Pictures:
    """The pictures of studies, listed once a study: maps of a study are added and never change."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._listing = Locks()
        self._listed = LastUsed[str, tuple[float, frozenset[str]]](MAX_STUDIES)
        self._kept = LastUsed[tuple[str, str], inference_pb2.GetImagesResponse](
            MAX_KEPT_BYTES, lambda picture: len(picture.content)
        )

    def of(
        self, study: naming_pb2.Study, image_ids: Sequence[str], request_id: str
    ) -> list[inference_pb2.GetImagesResponse]:
        """Pictures as the study's network sees them, in this order; blocks, so call it off the event loop.

        Raises:
            RefusedError: NOT_FOUND where one is not of the study.
            grpc.RpcError: attribution or inference could not answer.
        """
        self.check(study.study_id, image_ids, request_id)
        kept = {image_id: self._kept.get((study.study_id, image_id)) for image_id in image_ids}
        found = {image_id: picture for image_id, picture in kept.items() if picture is not None}
        missing = [image_id for image_id in image_ids if image_id not in found]
        if missing:
            request = inference_pb2.GetImagesRequest(
                image_ids=missing, view=inference_pb2.IMAGE_VIEW_MODEL_INPUT, model=study.model
            )
            made = self._backends.stream(
                "inference", "GetImages", request, timeout_s=30, request_id=request_id
            )
            for image_id, picture in zip(missing, made, strict=True):
                self._kept.put((study.study_id, image_id), picture)
                found[image_id] = picture
        return [found[image_id] for image_id in image_ids]

    def check(self, study_id: str, image_ids: Iterable[str], request_id: str) -> None:
        """Refuses pictures that are not of the study; blocks.

        Raises:
            RefusedError: NOT_FOUND.
            grpc.RpcError: attribution could not answer.
        """
        if not self._are_known(study_id, image_ids):
            self.list_of(study_id, request_id)
        known = (self._listed.get(study_id) or _NOTHING_LISTED)[1]
        for image_id in image_ids:
            if image_id not in known:
                raise RefusedError(grpc.StatusCode.NOT_FOUND, f"the study shows no picture {image_id[:80]!r}")

    def list_of(self, study_id: str, request_id: str) -> None:
        """Lists the pictures of a study where that was not done lately; blocks.

        Raises:
            grpc.RpcError: attribution could not answer.
        """
        with self._listing.holding(study_id):
            if time.monotonic() >= (self._listed.get(study_id) or _NOTHING_LISTED)[0]:
                self._list(study_id, request_id)

    def _are_known(self, study_id: str, image_ids: Iterable[str]) -> bool:
        until, images = self._listed.get(study_id) or _NOTHING_LISTED
        return images.issuperset(image_ids) or time.monotonic() < until

    def _list(self, study_id: str, request_id: str) -> None:
        request = attribution_pb2.ListExplainedImagesRequest(study_id=study_id)
        images = frozenset(
            image_id
            for batch in self._backends.stream(
                "attribution", "ListExplainedImages", request, timeout_s=60, request_id=request_id
            )
            for image_id in batch.images.image_id
        )
        self._listed.put(study_id, (time.monotonic() + LISTED_AGAIN_S, images))
