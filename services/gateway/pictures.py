"""Which pictures a study shows: those whose explanations it holds."""

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
    from services.gateway.backends import Backends

MAX_STUDIES = 32  # remembered
LISTED_AGAIN_S = 5.0  # so long does an answer hold for a picture that was not in it


class Pictures:
    """The pictures of studies, listed once a study: maps of a study are added and never change."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._listing = Locks()
        self._changing = threading.Lock()
        self._listed: OrderedDict[str, tuple[float, frozenset[str]]] = OrderedDict()

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
