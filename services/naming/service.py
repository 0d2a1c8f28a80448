"""The naming servicer: each method checks, translates, calls and translates back."""

import hashlib
import threading
import time
from collections.abc import Iterator

import grpc
from sqlalchemy import Engine

from onoma.v1 import naming_pb2 as pb
from onoma.v1 import naming_pb2_grpc
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from services.naming import (
    activations,
    deletion,
    inference,
    invitations,
    ledger,
    namings,
    studies,
    transfer,
    vocabularies,
)
from services.naming.changes import change
from services.naming.guests import Guests
from services.naming.ledger import Asked
from services.naming.namings import Held, NamingKey, reading
from services.naming.watching import Bell
from services.naming.writer import Writer
from services.runtime.channels import open_channel
from services.runtime.database import open_database
from services.runtime.readiness import check_needs
from services.runtime.server import Service
from services.runtime.settings import RuntimeSettings

Context = grpc.ServicerContext

_LOOK_S = 2.0  # between looks for what other replicas did
_PEOPLE_S = 1.0  # between counts of everybody's progress
_WATCH_S = 60.0  # then a stream is ended, and the client asks again
_MAX_WATCHERS = 128  # each holds a thread; one beyond that gets the present state and the stream's end


class NamingServicer(naming_pb2_grpc.NamingServiceServicer):
    """onoma.v1.NamingService."""

    def __init__(self, engine: Engine, inference_calls: InferenceServiceStub) -> None:
        self._engine = engine
        self._inference = inference_calls
        self._watchers = threading.BoundedSemaphore(_MAX_WATCHERS)
        self.bell = Bell()
        self.guests = Guests(engine)
        self.writer = Writer(engine)

    def CreateStudy(self, request: pb.CreateStudyRequest, context: Context) -> pb.CreateStudyResponse:
        columns = studies.checked_request(request)
        request_hash = _hash(request)
        with reading(self._engine) as opened:
            made = studies.made_by(opened, request.request_id, request_hash)
            if made is not None:
                return pb.CreateStudyResponse(study=studies.message(made))
        inference.check_fits(self._inference, request)
        study = studies.create(self._engine, columns, request.request_id, request_hash)
        return pb.CreateStudyResponse(study=study)

    def GetStudy(self, request: pb.GetStudyRequest, context: Context) -> pb.GetStudyResponse:
        with reading(self._engine) as opened:
            return pb.GetStudyResponse(study=studies.message(studies.find(opened, request.study_id)))

    def ListStudies(self, request: pb.ListStudiesRequest, context: Context) -> pb.ListStudiesResponse:
        with reading(self._engine) as opened:
            rows, token = studies.page(opened, request.page_size, request.page_token)
            return pb.ListStudiesResponse(studies=map(studies.message, rows), next_page_token=token)

    def RenameStudy(self, request: pb.RenameStudyRequest, context: Context) -> pb.RenameStudyResponse:
        return pb.RenameStudyResponse(
            study=studies.rename_study(self._engine, request.study_id, request.name)
        )

    def OpenStudy(self, request: pb.OpenStudyRequest, context: Context) -> pb.OpenStudyResponse:
        return pb.OpenStudyResponse(study=studies.open_study(self._engine, request.study_id))

    def CloseStudy(self, request: pb.CloseStudyRequest, context: Context) -> pb.CloseStudyResponse:
        study = studies.close_study(self._engine, request.study_id)
        self._access_changed(request.study_id)
        return pb.CloseStudyResponse(study=study)

    def ForgetStudy(self, request: pb.ForgetStudyRequest, context: Context) -> pb.ForgetStudyResponse:
        deletion.forget_study(self._engine, request.study_id)
        self._access_changed(request.study_id)
        return pb.ForgetStudyResponse()

    def PublishActivations(
        self, request_iterator: Iterator[pb.PublishActivationsRequest], context: Context
    ) -> pb.PublishActivationsResponse:
        count = activations.publish(self._engine, request_iterator)
        return pb.PublishActivationsResponse(activation_count=count)

    def InviteAnnotator(
        self, request: pb.InviteAnnotatorRequest, context: Context
    ) -> pb.InviteAnnotatorResponse:
        response = invitations.invite(self._engine, request)
        self._access_changed(request.study_id)
        return response

    def AcceptInvitation(
        self, request: pb.AcceptInvitationRequest, context: Context
    ) -> pb.AcceptInvitationResponse:
        with reading(self._engine) as opened:
            return invitations.accept(opened, request.token)

    def RevokeInvitation(
        self, request: pb.RevokeInvitationRequest, context: Context
    ) -> pb.RevokeInvitationResponse:
        invitations.revoke(self._engine, request.study_id, request.annotator_id)
        self._access_changed(request.study_id)
        return pb.RevokeInvitationResponse()

    def RenewInvitation(
        self, request: pb.RenewInvitationRequest, context: Context
    ) -> pb.RenewInvitationResponse:
        response = invitations.renew(self._engine, request.study_id, request.annotator_id, request.link_days)
        self._access_changed(request.study_id)
        return response

    def DeleteAnnotator(
        self, request: pb.DeleteAnnotatorRequest, context: Context
    ) -> pb.DeleteAnnotatorResponse:
        deletion.delete_annotator(self._engine, request.study_id, request.annotator_id)
        self._access_changed(request.study_id)
        return pb.DeleteAnnotatorResponse()

    def ListAnnotators(
        self, request: pb.ListAnnotatorsRequest, context: Context
    ) -> pb.ListAnnotatorsResponse:
        with reading(self._engine) as opened:
            return pb.ListAnnotatorsResponse(annotators=invitations.listed(opened, request.study_id))

    def WatchAnnotators(
        self, request: pb.WatchAnnotatorsRequest, context: Context
    ) -> Iterator[pb.WatchAnnotatorsResponse | None]:
        shown = None
        for _ in self._looks(request.study_id, request.study_id, context):
            yield None
            with reading(self._engine) as opened:
                present = pb.WatchAnnotatorsResponse(annotators=invitations.listed(opened, request.study_id))
            if present != shown:
                shown = present
                yield present
                time.sleep(_PEOPLE_S)

    def GetNaming(self, request: pb.GetNamingRequest, context: Context) -> pb.GetNamingResponse:
        return pb.GetNamingResponse(naming=self._naming(_key(request)))

    def Act(self, request: pb.ActRequest, context: Context) -> pb.ActResponse:
        key = _key(request)
        done = self.writer.act(Asked(key, request.request_id, request.base_revision, request.command))
        self.bell.ring(key, key.study_id)
        if done.before is None:
            return pb.ActResponse(naming=namings.message(key, done.held, done.shown_in))
        return pb.ActResponse(change=change(done.before, done.held, done.shown_in))

    def WatchNaming(
        self, request: pb.WatchNamingRequest, context: Context
    ) -> Iterator[pb.WatchNamingResponse | None]:
        key = _key(request)
        shown: Held | None = None
        for _ in self._looks(key, key.study_id, context):
            yield None
            with reading(self._engine) as opened:
                study = namings.check_key(opened, key)
                revision = namings.revision(opened, key)
                if shown is not None and revision == shown.state.revision:
                    continue
                present = self.writer.held(key, revision) or namings.load(opened, key)
                shown_in = namings.order(opened, study, key)
            if shown is None:
                yield pb.WatchNamingResponse(naming=namings.message(key, present, shown_in))
            else:
                yield pb.WatchNamingResponse(change=change(shown, present, shown_in))
            shown = present

    def ListActs(self, request: pb.ListActsRequest, context: Context) -> pb.ListActsResponse:
        key = _key(request)
        with reading(self._engine) as opened:
            namings.check_key(opened, key)
            logged, token = ledger.page(opened, key, request.page_size, request.page_token)
            return pb.ListActsResponse(acts=logged, next_page_token=token)

    def ExportNamings(
        self, request: pb.ExportNamingsRequest, context: Context
    ) -> Iterator[pb.ExportNamingsResponse]:
        with reading(self._engine) as opened:
            for text in transfer.export_namings(opened, request):
                yield pb.ExportNamingsResponse(text=text)

    def ImportNamings(
        self, request_iterator: Iterator[pb.ImportNamingsRequest], context: Context
    ) -> pb.ImportNamingsResponse:
        request = transfer.received(request_iterator)
        changed, annotator_count, concept_count = transfer.import_namings(self._engine, request)
        self.bell.ring(request.study_id, *changed)
        return pb.ImportNamingsResponse(annotator_count=annotator_count, concept_count=concept_count)

    def GetVocabulary(self, request: pb.GetVocabularyRequest, context: Context) -> pb.GetVocabularyResponse:
        with reading(self._engine) as opened:
            return pb.GetVocabularyResponse(vocabulary=vocabularies.present(opened, request.study_id))

    def SetVocabulary(self, request: pb.SetVocabularyRequest, context: Context) -> pb.SetVocabularyResponse:
        return pb.SetVocabularyResponse(vocabulary=vocabularies.put(self._engine, request))

    def OverruleLabels(
        self, request: pb.OverruleLabelsRequest, context: Context
    ) -> pb.OverruleLabelsResponse:
        return pb.OverruleLabelsResponse(vocabulary=vocabularies.overrule(self._engine, request))

    def _access_changed(self, study_id: str) -> None:
        """Has everybody's access to a study looked at anew, that of open streams too."""
        self.guests.forget()
        self.bell.ring(_access_to(study_id))

    def _looks(self, to: object, study_id: str, context: Context) -> Iterator[None]:
        """One now, one after each ring, and one every few seconds, until it is time for the client to ask again."""
        if not self._watchers.acquire(blocking=False):
            yield
            return
        try:
            with self.bell.listening(to, _access_to(study_id)) as rung:
                yield
                context.add_callback(rung.set)
                until = time.monotonic() + _WATCH_S
                while time.monotonic() < until:
                    rung.wait(_LOOK_S)
                    rung.clear()
                    if self.bell.is_stopped or not context.is_active():
                        return
                    yield
        finally:
            self._watchers.release()

    def _naming(self, key: NamingKey) -> pb.Naming:
        with reading(self._engine) as opened:
            study = namings.check_key(opened, key)
            return namings.read(opened, study, key)


def build(settings: RuntimeSettings) -> Service:
    """The naming service over the database that `settings` name."""
    engine = open_database(settings, "naming")
    channel = open_channel(settings.inference_address, settings, "naming")
    servicer = NamingServicer(engine, InferenceServiceStub(channel))

    def close() -> None:
        servicer.writer.close()
        channel.close()
        engine.dispose()

    def ready() -> None:
        check_needs(engine)

    return Service(
        name="naming",
        add_to=lambda server: naming_pb2_grpc.add_NamingServiceServicer_to_server(servicer, server),
        service_names=("onoma.v1.NamingService",),
        close=close,
        ready=ready,
        drain=servicer.bell.stop,
        guest_of=servicer.guests.of,
        waiting_calls=_MAX_WATCHERS,
    )


def _key(
    request: pb.GetNamingRequest | pb.ActRequest | pb.WatchNamingRequest | pb.ListActsRequest,
) -> NamingKey:
    return NamingKey(request.study_id, request.annotator_id, request.category)


def _access_to(study_id: str) -> tuple[str, str]:
    """What rings when links of a study, or what they show, change."""
    return ("access", study_id)


def _hash(request: pb.CreateStudyRequest) -> str:
    """SHA-256 of a request without its id."""
    content = pb.CreateStudyRequest()
    content.CopyFrom(request)
    content.request_id = ""
    return hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()
