"""Which pictures a study shows: those whose explanations it holds. Those shown last are kept for the next to ask."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import grpc

from onoma.v1 import attribution_pb2
from services.gateway.locks import Locks
from services.gateway.problems import RefusedError

if TYPE_CHECKING:
    from onoma.v1 import inference_pb2
    from services.gateway.backends import Backends

MAX_STUDIES = 32  # remembered
MOST_PICTURES = 96  # in one answer: an address has to hold their ids
MAX_KEPT_BYTES = 64 * 1024 * 1024  # of pictures, which never change
LISTED_AGAIN_S = 5.0  # so long does an answer hold for a picture that was not in it


class Pictures:
    """The pictures of studies, listed once a study: maps of a study are added and never change."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._listing = Locks()
        self._changing = threading.Lock()
        self._listed: OrderedDict[str, tuple[float, frozenset[str]]] = OrderedDict()
        self._kept: OrderedDict[tuple[str, str], inference_pb2.GetImageResponse] = OrderedDict()
        self._kept_bytes = 0

    def check(self, study_id: str, image_id: str, request_id: str) -> None:
        """Returns where the picture is one of the study's; blocks, so call it off the event loop.

        Raises:
            RefusedError: NOT_FOUND where it is not.
            grpc.RpcError: attribution could not answer.
        """
        if not self._is_known(study_id, image_id):
            with self._listing.holding(study_id):
                if not self._is_known(study_id, image_id):
                    self._list(study_id, request_id)
        if image_id not in self._listed.get(study_id, (0.0, frozenset()))[1]:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"the study shows no picture {image_id[:80]!r}")

    def kept(self, study_id: str, image_id: str) -> inference_pb2.GetImageResponse | None:
        """The picture as the study's network sees it, where somebody has asked for it lately."""
        with self._changing:
            picture = self._kept.get((study_id, image_id))
            if picture is not None:
                self._kept.move_to_end((study_id, image_id))
            return picture

    def keep(self, study_id: str, image_id: str, picture: inference_pb2.GetImageResponse) -> None:
        """Keeps a picture, and drops those asked for longest ago where all take too much memory."""
        with self._changing:
            if (study_id, image_id) in self._kept:
                return
            self._kept[study_id, image_id] = picture
            self._kept_bytes += len(picture.content)
            while self._kept_bytes > MAX_KEPT_BYTES:
                _, oldest = self._kept.popitem(last=False)
                self._kept_bytes -= len(oldest.content)

    def _is_known(self, study_id: str, image_id: str) -> bool:
        until, images = self._listed.get(study_id, (0.0, frozenset()))
        return image_id in images or time.monotonic() < until

    def _list(self, study_id: str, request_id: str) -> None:
        request = attribution_pb2.ListExplainedImagesRequest(study_id=study_id)
        images = frozenset(
            image_id
            for batch in self._backends.stream(
                "attribution", "ListExplainedImages", request, timeout_s=60, request_id=request_id
            )
            for image_id in batch.images.image_id
        )
        with self._changing:
            self._listed[study_id] = (time.monotonic() + LISTED_AGAIN_S, images)
            while len(self._listed) > MAX_STUDIES:
                self._listed.popitem(last=False)
