"""Who may call what: the owner everything, annotators and viewers what the table says, nobody else anything.

A call carries its token as `authorization: Bearer TOKEN`: ONOMA_ACCESS_TOKEN for the owner and for the services
among each other, an invitation's for an annotator or a viewer. Where ONOMA_ACCESS_TOKEN is empty, calls without a
token are the owner's, who sits at the machine: servers then listen on loopback.
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from services.runtime.errors import PermissionDenied, Unauthenticated

AUTHORIZATION = "authorization"
_OPEN = ("/grpc.health.", "/grpc.reflection.", "/onoma.v1.NamingService/AcceptInvitation")


class Reach(enum.Enum):
    """What of a study an RPC shows or changes, for those who hold an invitation."""

    STUDY = "what everybody in the study sees"
    NAMING = "namings: one's own; others' for those who see others"
    OTHERS = "who takes part, how far they are, how their labels are read: for those who see others"
    OWN_NAMING = "changes of one's own naming: for annotators"


# RPCs that are not in it are the owner's alone.
REACHES: Mapping[str, Reach] = {
    "/onoma.v1.NamingService/GetStudy": Reach.STUDY,
    "/onoma.v1.NamingService/ListAnnotators": Reach.OTHERS,
    "/onoma.v1.NamingService/WatchAnnotators": Reach.OTHERS,
    "/onoma.v1.NamingService/GetNaming": Reach.NAMING,
    "/onoma.v1.NamingService/WatchNaming": Reach.NAMING,
    "/onoma.v1.NamingService/ListActs": Reach.NAMING,
    "/onoma.v1.NamingService/ExportNamings": Reach.NAMING,
    "/onoma.v1.NamingService/GetVocabulary": Reach.OTHERS,
    "/onoma.v1.NamingService/Act": Reach.OWN_NAMING,
}


@dataclass(frozen=True)
class Guest:
    """Who holds an invitation.

    Attributes:
        acts: whether they name; viewers do not.
        sees_others: whether they may read what others named: viewers, and annotators once a blind study is closed.
    """

    study_id: str
    annotator_id: str
    acts: bool
    sees_others: bool


class AccessInterceptor(grpc.ServerInterceptor):
    """Refuses what a caller may not do, before the handler sees it, and before each message of a stream leaves.

    A stream that waits yields None from time to time: nothing is sent, but its caller is looked at again, so that
    a link that was taken back ends what it opened.

    Args:
        access_token: the owner's; empty where calls without a token are the owner's.
        guest_of: whose invitation a token is; None for one that lets nobody in.
    """

    def __init__(self, access_token: str, guest_of: Callable[[str], Guest | None] | None) -> None:
        self._access_token = access_token.encode()
        self._guest_of = guest_of

    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """See grpc.ServerInterceptor."""
        handler = continuation(details)
        if handler is None or details.method.startswith(_OPEN):
            return handler
        metadata = dict(details.invocation_metadata or ())
        token = str(metadata.get(AUTHORIZATION, "")).removeprefix("Bearer ").strip()
        is_owner = self._is_owner(token)
        if is_owner and not handler.response_streaming:
            return handler
        kind = "_".join(
            "stream" if s else "unary" for s in (handler.request_streaming, handler.response_streaming)
        )
        behaviour = getattr(handler, kind)

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            self._check(details.method, token, request)
            return behaviour(request, context)

        def streaming(request: Any, context: grpc.ServicerContext) -> Any:
            if not is_owner:
                self._check(details.method, token, request)
            for message in behaviour(request, context):
                if not is_owner:
                    self._check(details.method, token, request)
                if message is not None:
                    yield message

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped = streaming if handler.response_streaming else unary
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _is_owner(self, token: str) -> bool:
        if not self._access_token:
            return not token
        return hmac.compare_digest(token.encode(), self._access_token)

    def _check(self, method: str, token: str, request: Any) -> None:
        guest = self._guest_of(token) if token and self._guest_of else None
        if guest is None:
            raise Unauthenticated(
                "this call's token lets nobody in: follow your invitation's link again, or ask for a new one"
                if token
                else "this server wants a token: set ONOMA_ACCESS_TOKEN, or use an invitation's"
            )
        reach = REACHES.get(method)
        if reach is None:
            raise PermissionDenied("this is for the study's owner: ask them, or call with their token")
        if request.study_id != guest.study_id:
            raise PermissionDenied("this invitation is for another study: follow the link to this one")
        if not _may(guest, reach, request):
            raise PermissionDenied(
                "this is another annotator's, or not to be seen before the owner closes the study"
            )


def _may(guest: Guest, reach: Reach, request: Any) -> bool:
    if reach is Reach.STUDY:
        return True
    if reach is Reach.OTHERS:
        return guest.sees_others
    fields = request.DESCRIPTOR.fields_by_name
    named = [request.annotator_id] if "annotator_id" in fields else list(request.annotator_ids)
    own = named == [guest.annotator_id]
    return (own and guest.acts) if reach is Reach.OWN_NAMING else (own or guest.sees_others)
