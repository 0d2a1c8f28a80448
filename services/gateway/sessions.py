"""Who asks: the owner (signing_in.py), or an annotator, by the token of the invitation.

An annotator's token lies in a cookie that scripts cannot read, one cookie an annotator, so that two
links opened in one browser never mix. What others named opens to all who see others by any
of their cookies: viewers, and annotators of a study that is closed or not blind. Results open to
viewers, and to annotators once the study is closed, blind or not: they group maps by X-feature.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import grpc

from onoma.v1 import naming_pb2
from services.gateway.backends import Visitor
from services.gateway.problems import RefusedError
from services.runtime.tokens import Caller, Role

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from services.gateway.backends import Backends
    from services.gateway.signing_in import SignIn

MAX_LINKS = 8  # of one study in one browser that are tried
UNKNOWN_TOKEN = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
)


def check_owner(request: Request) -> Visitor:
    """Lets the owner in, as signing_in.py knows them.

    Raises:
        RefusedError: it is somebody else.
    """
    sign_in: SignIn = request.app.state.sign_in
    owner = sign_in.owner_of(request)
    if owner is None:
        raise sign_in.refusal()
    return Visitor(owner)


async def check_viewer(request: Request, backends: Backends, *, of_results: bool) -> Visitor:
    """Lets the owner in, and who may read what others named: AcceptInvitationResponse.sees_others.

    Args:
        of_results: whether results are asked for, which annotators get of closed studies alone.
    Returns:
        The owner, or who they are let in as: a viewer.
    Raises:
        RefusedError: neither of them.
        grpc.RpcError: the naming service could not answer.
    """
    try:
        return check_owner(request)
    except RefusedError as error:
        not_the_owner = error
    study_id = request.path_params["study_id"]
    links = cookie_name(study_id, "")
    tokens = [token for name, token in request.cookies.items() if name.startswith(links) and token]
    if not tokens:
        raise not_the_owner
    refused = RefusedError(
        grpc.StatusCode.PERMISSION_DENIED,
        "results open to viewers, and to annotators of the study once it is closed: ask its owner"
        if of_results
        else "what others named opens to viewers, and to annotators of a blind study once it is closed: ask its owner",
    )
    for token in tokens[:MAX_LINKS]:
        try:
            accepted = await _accepted(request, backends, token)
        except RefusedError as error:
            refused = error
            continue
        names_still = (
            accepted.annotator.role != naming_pb2.ROLE_VIEWER
            and accepted.study.state != naming_pb2.STUDY_STATE_CLOSED
        )
        is_open = accepted.sees_others and not (of_results and names_still)
        if is_open and accepted.study.study_id == study_id:
            return Visitor(Caller(Role.VIEWER, accepted.annotator.annotator_id, study_id), token)
    raise refused


async def annotator_of(
    request: Request, backends: Backends
) -> tuple[naming_pb2.AcceptInvitationResponse, Visitor]:
    """The study and annotator that the path names, by the token that the request carries.

    Raises:
        RefusedError: UNAUTHENTICATED without the token, or where it was revoked;
            PERMISSION_DENIED where it is another's.
        grpc.RpcError: the naming service could not answer.
    """
    study_id, annotator_id = request.path_params["study_id"], request.path_params["annotator_id"]
    token = request.cookies.get(cookie_name(study_id, annotator_id))
    if not token:
        raise RefusedError(
            grpc.StatusCode.UNAUTHENTICATED, "this naming opens with its invitation: follow your link again"
        )
    accepted = await _accepted(request, backends, token)
    if (accepted.study.study_id, accepted.annotator.annotator_id) != (study_id, annotator_id):
        raise RefusedError(
            grpc.StatusCode.PERMISSION_DENIED, "this invitation is another annotator's: follow your own link"
        )
    return accepted, Visitor(Caller(Role.ANNOTATOR, annotator_id, study_id), token)


async def accept(request: Request, backends: Backends, token: str) -> naming_pb2.AcceptInvitationResponse:
    """The study and annotator of a token.

    Raises:
        grpc.RpcError: the naming service does not know the token.
    """
    accepted: naming_pb2.AcceptInvitationResponse = await backends.call(
        "naming",
        "AcceptInvitation",
        naming_pb2.AcceptInvitationRequest(token=token),
        timeout_s=10,
        request_id=request.state.request_id,
    )
    return accepted


async def _accepted(request: Request, backends: Backends, token: str) -> naming_pb2.AcceptInvitationResponse:
    try:
        return await accept(request, backends, token)
    except grpc.RpcError as error:
        if error.code() in UNKNOWN_TOKEN:
            raise RefusedError(
                grpc.StatusCode.UNAUTHENTICATED,
                "this invitation is not valid any more: ask the study's owner for a new link",
            ) from error
        raise


def remember(
    request: Request, response: Response, accepted: naming_pb2.AcceptInvitationResponse, token: str
) -> None:
    """Put the token into its holder's cookie, for as long as the link is good."""
    expiry_s = accepted.annotator.link_expiry.seconds
    response.set_cookie(
        cookie_name(accepted.study.study_id, accepted.annotator.annotator_id),
        token,
        max_age=max(0, int(expiry_s - time.time())),
        path="/api",
        secure=request.app.state.sign_in.is_https(request),
        httponly=True,
        samesite="strict",
    )


def cookie_name(study_id: str, annotator_id: str) -> str:
    """Name of one person's cookie, of hashes, as ids may hold any character; without an id, what names begin with."""
    person = hashlib.sha256(annotator_id.encode()).hexdigest()[:16] if annotator_id else ""
    return f"onoma_{hashlib.sha256(study_id.encode()).hexdigest()[:16]}_{person}"
