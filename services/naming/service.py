"""The naming servicer: each method checks, translates, calls and translates back."""

import hashlib
import threading
import time
from collections.abc import Iterator

import grpc
from sqlalchemy import Engine, text

from onoma.v1 import naming_pb2 as pb
from onoma.v1 import naming_pb2_grpc
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from services.naming import activations, inference, invitations, ledger, namings, studies, transfer
from services.naming.namings import NamingKey, reading
from services.runtime.channels import open_channel
from services.runtime.database import open_database
from services.runtime.server import Service
from services.runtime.settings import RuntimeSettings

Context = grpc.ServicerContext

_POLL_S = 0.25
_WATCH_S = 60.0
_MAX_WATCHERS = 6  # of a server's threads; a watcher beyond that gets the present state and the stream's end


class NamingServicer(naming_pb2_grpc.NamingServiceServicer):
    """onoma.v1.NamingService."""

    def __init__(self, engine: Engine, inference_calls: InferenceServiceStub) -> None:
        self._engine = engine
        self._inference = inference_calls
        self._watchers = threading.BoundedSemaphore(_MAX_WATCHERS)

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

    def OpenStudy(self, request: pb.OpenStudyRequest, context: Context) -> pb.OpenStudyResponse:
        return pb.OpenStudyResponse(study=studies.open_study(self._engine, request.study_id))

    def CloseStudy(self, request: pb.CloseStudyRequest, context: Context) -> pb.CloseStudyResponse:
        return pb.CloseStudyResponse(study=studies.close_study(self._engine, request.study_id))

    def PublishActivations(
        self, request_iterator: Iterator[pb.PublishActivationsRequest], context: Context
    ) -> pb.PublishActivationsResponse:
        count = activations.publish(self._engine, request_iterator)
        return pb.PublishActivationsResponse(activation_count=count)

    def InviteAnnotator(
        self, request: pb.InviteAnnotatorRequest, context: Context
    ) -> pb.InviteAnnotatorResponse:
        return invitations.invite(self._engine, request.study_id, request.display_name, request.request_id)

    def AcceptInvitation(
        self, request: pb.AcceptInvitationRequest, context: Context
    ) -> pb.AcceptInvitationResponse:
        with reading(self._engine) as opened:
            return invitations.accept(opened, request.token)

    def RevokeInvitation(
        self, request: pb.RevokeInvitationRequest, context: Context
    ) -> pb.RevokeInvitationResponse:
        invitations.revoke(self._engine, request.study_id, request.annotator_id)
        return pb.RevokeInvitationResponse()

    def ListAnnotators(
        self, request: pb.ListAnnotatorsRequest, context: Context
    ) -> pb.ListAnnotatorsResponse:
        with reading(self._engine) as opened:
            return pb.ListAnnotatorsResponse(annotators=invitations.listed(opened, request.study_id))

    def GetNaming(self, request: pb.GetNamingRequest, context: Context) -> pb.GetNamingResponse:
        return pb.GetNamingResponse(naming=self._naming(_key(request)))

    def Act(self, request: pb.ActRequest, context: Context) -> pb.ActResponse:
        key = _key(request)
        ledger.act(self._engine, key, request.request_id, request.base_revision, request.command)
        return pb.ActResponse(naming=self._naming(key))

    def WatchNaming(
        self, request: pb.WatchNamingRequest, context: Context
    ) -> Iterator[pb.WatchNamingResponse]:
        """Polls the revision; a stream is ended after a minute, and the client asks again."""
        key = _key(request)
        naming = self._naming(key)
        yield pb.WatchNamingResponse(naming=naming)
        if not self._watchers.acquire(blocking=False):
            return
        try:
            until = time.monotonic() + _WATCH_S
            while context.is_active() and time.monotonic() < until:
                time.sleep(_POLL_S)
                with reading(self._engine) as opened:
                    revision = namings.revision(opened, key)
                if revision != naming.revision:
                    naming = self._naming(key)
                    yield pb.WatchNamingResponse(naming=naming)
        finally:
            self._watchers.release()

    def ListActs(self, request: pb.ListActsRequest, context: Context) -> pb.ListActsResponse:
        key = _key(request)
        with reading(self._engine) as opened:
            namings.check_key(opened, key)
            logged, token = ledger.page(opened, key, request.page_size, request.page_token)
            return pb.ListActsResponse(acts=logged, next_page_token=token)

    def ExportNamings(self, request: pb.ExportNamingsRequest, context: Context) -> pb.ExportNamingsResponse:
        with reading(self._engine) as opened:
            document = transfer.export_namings(opened, request.study_id, request.annotator_ids)
            return pb.ExportNamingsResponse(json=document)

    def ImportNamings(self, request: pb.ImportNamingsRequest, context: Context) -> pb.ImportNamingsResponse:
        annotator_count, concept_count = transfer.import_namings(
            self._engine, request.study_id, request.json, request.request_id
        )
        return pb.ImportNamingsResponse(annotator_count=annotator_count, concept_count=concept_count)

    def _naming(self, key: NamingKey) -> pb.Naming:
        with reading(self._engine) as opened:
            study = namings.check_key(opened, key)
            return namings.read(opened, study, key)


def build(settings: RuntimeSettings) -> Service:
    """The naming service over the database that `settings` name."""
    engine = open_database(settings, "naming")
    channel = open_channel(settings.inference_address, settings)
    servicer = NamingServicer(engine, InferenceServiceStub(channel))

    def close() -> None:
        channel.close()
        engine.dispose()

    def ready() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    return Service(
        name="naming",
        add_to=lambda server: naming_pb2_grpc.add_NamingServiceServicer_to_server(servicer, server),
        service_names=("onoma.v1.NamingService",),
        close=close,
        ready=ready,
    )


def _key(
    request: pb.GetNamingRequest | pb.ActRequest | pb.WatchNamingRequest | pb.ListActsRequest,
) -> NamingKey:
    return NamingKey(request.study_id, request.annotator_id, request.category)


def _hash(request: pb.CreateStudyRequest) -> str:
    """SHA-256 of a request without its id."""
    content = pb.CreateStudyRequest()
    content.CopyFrom(request)
    content.request_id = ""
    return hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()
