"""Who may call what: one table of every RPC. The owner calls all of them, others what their row says, nobody else any.

A call carries its token as `authorization: Bearer TOKEN`, one of three kinds:
- ONOMA_ACCESS_TOKEN, the owner's own, from the SDK and the command line;
- a signed one of a minute (services.runtime.tokens): services among each other, and the gateway for whom it serves;
- an invitation's, which naming alone understands.
Where neither ONOMA_ACCESS_TOKEN nor ONOMA_SIGNING_KEYS_DIR is set, calls without a token are the owner's, who sits at
the machine: servers then listen on loopback.
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from services.runtime import audit
from services.runtime.errors import PermissionDenied, ResourceExhausted, Unauthenticated
from services.runtime.rates import Buckets
from services.runtime.tokens import Caller, Keys, Role

AUTHORIZATION = "authorization"
# Of one person on one replica; a hand makes a few acts a second, a script of theirs many.
ACTS_PER_S, ACTS_AT_ONCE = 20, 100
OPEN = ("/grpc.health.", "/grpc.reflection.", "/onoma.v1.NamingService/AcceptInvitation")
SIT_AT_THE_MACHINE = Caller(Role.OWNER, "at-the-machine")
BY_ACCESS_TOKEN = Caller(Role.OWNER, "access-token")


def bearer(token: str) -> str:
    """What AUTHORIZATION holds of a caller with that token."""
    return f"Bearer {token}"


def token_of(authorization: str) -> str:
    """The token that AUTHORIZATION holds; empty where there is none."""
    return authorization.removeprefix("Bearer ").strip()


class Reach(enum.Enum):
    """What of a study an RPC shows or changes, for those who hold an invitation."""

    NOTHING = "nothing"
    STUDY = "what everybody in the study sees"
    NAMING = "namings: one's own; others' for those who see others"
    OTHERS = "who takes part, how far they are, how their labels are read: for those who see others"
    RESULTS = "what belongs to which X-feature: for viewers"
    OWN_NAMING = "changes of one's own naming: for annotators"


@dataclass(frozen=True)
class Row:
    """Who calls an RPC beside the owner.

    Attributes:
        reach: what of their study annotators and viewers get of it.
        services: those that need it for themselves.
    """

    reach: Reach = Reach.NOTHING
    services: frozenset[str] = frozenset()


def _row(*services: str, reach: Reach = Reach.NOTHING) -> Row:
    return Row(reach, frozenset(services))


def _rows(service: str, **rows: Row) -> dict[str, Row]:
    return {f"/{service}/{rpc}": row for rpc, row in rows.items()}


_OWNER = _row()

TABLE: Mapping[str, Row] = {
    **_rows(
        "onoma.v1.InferenceService",
        UploadObject=_OWNER,
        GetObject=_OWNER,
        ImportDataset=_OWNER,
        UploadDataset=_OWNER,
        GetDataset=_row("attribution", "naming"),
        ListDatasets=_OWNER,
        ListImages=_row("analytics", "attribution"),
        ListImportIssues=_OWNER,
        DeleteDataset=_OWNER,
        GetImage=_row("analytics", "gateway"),
        GetImages=_row("gateway"),
        RegisterModel=_OWNER,
        GetModel=_row("analytics", "attribution", "gateway", "naming"),
        ListModels=_OWNER,
        DeleteModel=_OWNER,
        TrainXnn=_OWNER,
        GetXnnSet=_row("attribution", "gateway", "naming"),
        ListXnnSets=_OWNER,
        DeleteXnnSet=_OWNER,
        ImportXnnSet=_OWNER,
        ListXnnScores=_OWNER,
        Predict=_OWNER,
        PredictStream=_OWNER,
    ),
    **_rows(
        "inference.GRPCInferenceService",
        ServerLive=_OWNER,
        ServerReady=_OWNER,
        ModelReady=_OWNER,
        ServerMetadata=_OWNER,
        ModelMetadata=_OWNER,
        ModelInfer=_OWNER,
    ),
    **_rows(
        "onoma.v1.AttributionService",
        ComputeMaps=_OWNER,
        ImportMaps=_OWNER,
        GetStudyMaps=_OWNER,
        ImportStudyMaps=_OWNER,
        DeleteStudy=_OWNER,
        ListActivations=_row("analytics", "gateway"),
        ListExplainedImages=_row("analytics", "gateway"),
        GetMaps=_row("analytics", "gateway"),
        SortBySimilarity=_row(reach=Reach.STUDY),
        GetMapProvenance=_row("analytics", "gateway"),
        Attribute=_row("analytics"),
    ),
    **_rows(
        "onoma.v1.NamingService",
        CreateStudy=_OWNER,
        GetStudy=_row("analytics", "attribution", "gateway", reach=Reach.STUDY),
        ListStudies=_OWNER,
        RenameStudy=_OWNER,
        OpenStudy=_OWNER,
        CloseStudy=_OWNER,
        ForgetStudy=_row("attribution"),
        PublishActivations=_row("attribution"),
        InviteAnnotator=_OWNER,
        AcceptInvitation=_OWNER,  # the token is in the request: open to all
        RevokeInvitation=_OWNER,
        RenewInvitation=_OWNER,
        DeleteAnnotator=_OWNER,
        ListAnnotators=_row("analytics", "gateway", reach=Reach.OTHERS),
        WatchAnnotators=_row(reach=Reach.OTHERS),
        GetNaming=_row(reach=Reach.NAMING),
        Act=_row(reach=Reach.OWN_NAMING),
        WatchNaming=_row(reach=Reach.NAMING),
        ListActs=_row(reach=Reach.NAMING),
        ExportNamings=_row("analytics", "gateway", reach=Reach.NAMING),
        ImportNamings=_OWNER,
        GetVocabulary=_row("analytics", reach=Reach.OTHERS),
        SetVocabulary=_OWNER,
        OverruleLabels=_OWNER,
    ),
    **_rows(
        "onoma.v1.AnalyticsService",
        ExplainImage=_row(reach=Reach.RESULTS),
        GetSummary=_row(reach=Reach.RESULTS),
        GetCoverage=_row("gateway", reach=Reach.RESULTS),
        GetPurity=_row(reach=Reach.RESULTS),
        GetAgreement=_row(reach=Reach.RESULTS),
        GetConsensus=_row(reach=Reach.RESULTS),
        AnalyseStudy=_row("gateway"),
    ),
    **_rows(
        "onoma.v1.JobService",
        GetJob=_OWNER,
        ListJobs=_OWNER,
        WatchJob=_OWNER,
        CancelJob=_OWNER,
        ResumeJob=_OWNER,
    ),
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

    A stream that waits yields None from time to time: nothing is sent, but whoever came by an invitation is looked
    at again, so that a link that was taken back ends what it opened.

    Args:
        access_token: the owner's.
        keys: that tokens are signed with; None where there are none.
        guest_of: whose invitation a token is; None for one that lets nobody in. Whoever asks by an invitation is known
            to this service alone: where it is given, nobody else may vouch for annotators and viewers.
    """

    def __init__(
        self, access_token: str, keys: Keys | None, guest_of: Callable[[str], Guest | None] | None
    ) -> None:
        self._access_token = access_token.encode()
        self._keys = keys
        self._guest_of = guest_of
        self._acts = Buckets(ACTS_PER_S, ACTS_AT_ONCE)
        self._open_to_the_machine = not access_token and (keys is None or not keys.are_shared)

    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """See grpc.ServerInterceptor."""
        handler = continuation(details)
        if handler is None or details.method.startswith(OPEN):
            return handler
        metadata = dict(details.invocation_metadata or ())
        token = token_of(str(metadata.get(AUTHORIZATION, "")))
        kind = "_".join(
            "stream" if s else "unary" for s in (handler.request_streaming, handler.response_streaming)
        )
        behaviour = getattr(handler, kind)

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            self._check(details.method, token, request)
            return behaviour(request, context)

        def streaming(request: Any, context: grpc.ServicerContext) -> Any:
            is_guest = self._check(details.method, token, request)
            for message in behaviour(request, context):
                if is_guest:
                    self._check(details.method, token, request)
                if message is not None:
                    yield message

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped = streaming if handler.response_streaming else unary
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _check(self, method: str, token: str, request: Any) -> bool:
        """Returns where the call may be made: whether by an invitation."""
        row = TABLE.get(method, _OWNER)
        caller = self._known(method, token)
        if caller is None:
            guest = self._invited(token)
            role = Role.ANNOTATOR if guest.acts else Role.VIEWER
            audit.who.set(audit.Who(role.value, guest.annotator_id, guest.study_id))
            self._check_guest(guest, row, request)
            return True
        study_id = caller.study_id or getattr(request, "study_id", "")
        audit.who.set(audit.Who(caller.role.value, caller.subject, study_id))
        if caller.role is Role.SERVICE:
            if caller.subject not in row.services:
                raise PermissionDenied(
                    f"the {caller.subject} service has no need of this: access.py says of what it has"
                )
        elif caller.role is not Role.OWNER:
            if self._guest_of:
                raise Unauthenticated("annotators and viewers come by their own invitation here")
            is_viewer = caller.role is Role.VIEWER
            guest = Guest(caller.study_id, caller.subject, acts=not is_viewer, sees_others=is_viewer)
            self._check_guest(guest, row, request)
        return False

    def _known(self, method: str, token: str) -> Caller | None:
        """The caller by every token but an invitation's."""
        if not token:
            return SIT_AT_THE_MACHINE if self._open_to_the_machine else None
        if self._access_token and hmac.compare_digest(token.encode(), self._access_token):
            return BY_ACCESS_TOKEN
        if self._keys and token.count(".") == 2:
            return self._keys.caller_of(token, audience_of(method))
        return None

    def _invited(self, token: str) -> Guest:
        guest = self._guest_of(token) if token and self._guest_of else None
        if guest is None:
            raise Unauthenticated(
                "this call's token lets nobody in: follow your invitation's link again, or ask for a new one"
                if token
                else "this server wants a token: set ONOMA_ACCESS_TOKEN, or use an invitation's"
            )
        return guest

    def _check_guest(self, guest: Guest, row: Row, request: Any) -> None:
        if row.reach is Reach.NOTHING:
            raise PermissionDenied("this is for the study's owner: ask them, or call with their token")
        if request.study_id != guest.study_id:
            raise PermissionDenied("this invitation is for another study: follow the link to this one")
        if not _may(guest, row.reach, request):
            raise PermissionDenied(
                "this is another annotator's, or not to be seen before the owner closes the study"
            )
        if row.reach is Reach.OWN_NAMING:
            wait_s = self._acts.take((guest.study_id, guest.annotator_id))
            if wait_s:
                raise ResourceExhausted(
                    f"over {ACTS_PER_S} acts a second for longer than a moment: send them more slowly",
                    "TOO_FAST",
                    retry_after_s=wait_s,
                )


def audience_of(method: str) -> str:
    """The gRPC service of a method: /onoma.v1.NamingService/Act is onoma.v1.NamingService."""
    return method.lstrip("/").partition("/")[0]


def _may(guest: Guest, reach: Reach, request: Any) -> bool:
    if reach is Reach.STUDY:
        return True
    if reach is Reach.OTHERS:
        return guest.sees_others
    if reach is Reach.RESULTS:
        return guest.sees_others and not guest.acts
    fields = request.DESCRIPTOR.fields_by_name
    named = [request.annotator_id] if "annotator_id" in fields else list(request.annotator_ids)
    own = named == [guest.annotator_id]
    return (own and guest.acts) if reach is Reach.OWN_NAMING else (own or guest.sees_others)
