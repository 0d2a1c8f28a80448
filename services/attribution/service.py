"""The attribution servicer: each method checks, translates, calls and translates back."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import torch
from sqlmodel import Session

from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import attribution_pb2_grpc, jobs_pb2_grpc
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.attribution import live, reading, runs
from services.attribution.computing import Computing, compute_maps
from services.attribution.explainers import Explainers
from services.attribution.importing import check_object, import_maps
from services.attribution.plans import Peers, fetch_network, fetch_plan, fetch_study, forget_study
from services.attribution.provenance import provenance
from services.attribution.settings import AttributionSettings
from services.attribution.similarity import Similarity
from services.attribution.taking_over import check_made_by, import_study_maps
from services.runtime.channels import open_channel
from services.runtime.cores import cores
from services.runtime.database import open_database
from services.runtime.decoding import Decoders
from services.runtime.errors import FailedPrecondition, NotFound, Unavailable
from services.runtime.job_service import JobServicer, job_message
from services.runtime.jobs import Jobs
from services.runtime.objects import open_object_store, store_place
from services.runtime.readiness import check_needs
from services.runtime.server import Service
from services.runtime.settings import RuntimeSettings, read_settings
from services.runtime.shard_work import engine_asked_for

Context = grpc.ServicerContext


class AttributionServicer(attribution_pb2_grpc.AttributionServiceServicer):
    """onoma.v1.AttributionService."""

    def __init__(self, jobs: Jobs, of: Computing, decoders: Decoders) -> None:
        self._jobs = jobs
        self._decoders = decoders
        self._of = of
        self._similarity = Similarity(of.engine, of.store)

    def ComputeMaps(self, request: pb.ComputeMapsRequest, context: Context) -> pb.ComputeMapsResponse:
        engine = engine_asked_for(request.engine)
        study = fetch_plan(self._of.peers, request.study_id).study
        runs.begun(self._of.engine, study, archive_hash="")
        params = {"study_id": study.study_id, "engine": engine}
        job = self._jobs.start("compute_maps", params, request.request_id)
        return pb.ComputeMapsResponse(job=job_message(job))

    def ImportMaps(self, request: pb.ImportMapsRequest, context: Context) -> pb.ImportMapsResponse:
        of = self._of
        check_object(of.store, request.object_key, of.settings.max_import_bytes)
        study = fetch_study(of.peers, request.study_id)
        runs.begun(of.engine, study, request.object_key)
        params = {"study_id": study.study_id, "object_key": request.object_key}
        job = self._jobs.start("import_maps", params, request.request_id)
        return pb.ImportMapsResponse(job=job_message(job))

    def GetStudyMaps(
        self, request: pb.GetStudyMapsRequest, context: Context
    ) -> Iterator[pb.GetStudyMapsResponse]:
        study = fetch_study(self._of.peers, request.study_id)
        with Session(self._of.engine) as opened:
            made_by = provenance(runs.completed(opened, study.study_id))
        check_made_by(self._of.peers, study, made_by)
        for part in reading.study_maps(self._of.engine, study.study_id):
            yield pb.GetStudyMapsResponse(maps=part)

    def ImportStudyMaps(
        self, request: pb.ImportStudyMapsRequest, context: Context
    ) -> pb.ImportStudyMapsResponse:
        of = self._of
        check_object(of.store, request.object_key, of.settings.max_import_bytes)
        study = fetch_study(of.peers, request.study_id)
        params = {"study_id": study.study_id, "object_key": request.object_key}
        job = self._jobs.start("import_study_maps", params, request.request_id)
        return pb.ImportStudyMapsResponse(job=job_message(job))

    def DeleteStudy(self, request: pb.DeleteStudyRequest, context: Context) -> pb.DeleteStudyResponse:
        study_id = request.study_id
        runs.check_idle(self._of.engine, study_id)
        forgotten = forget_study(self._of.peers, study_id)
        if "\0" in study_id or not (runs.delete_run(self._of.engine, study_id) or forgotten):
            raise NotFound(f"no study has the id '{study_id[:80]}'; onoma study list shows those there are")
        return pb.DeleteStudyResponse()

    def ListActivations(
        self, request: pb.ListActivationsRequest, context: Context
    ) -> Iterator[pb.ListActivationsResponse]:
        for columns in reading.activations(self._of.engine, request.study_id, request.category):
            yield pb.ListActivationsResponse(activations=columns)

    def ListExplainedImages(
        self, request: pb.ListExplainedImagesRequest, context: Context
    ) -> Iterator[pb.ListExplainedImagesResponse]:
        for columns in reading.explained_images(self._of.engine, request.study_id, request.category):
            yield pb.ListExplainedImagesResponse(images=columns)

    def GetMaps(self, request: pb.GetMapsRequest, context: Context) -> Iterator[pb.GetMapsResponse]:
        of = self._of
        for columns in reading.maps(of.engine, of.store, request.study_id, request.activation_ids):
            yield pb.GetMapsResponse(maps=columns)

    def SortBySimilarity(
        self, request: pb.SortBySimilarityRequest, context: Context
    ) -> pb.SortBySimilarityResponse:
        study = fetch_study(self._of.peers, request.study_id)
        if not study.settings.suggestions:
            raise FailedPrecondition(
                f"study '{study.name}' shows no similarity: its setting 'suggestions' is off",
                "NO_SUGGESTIONS",
            )
        ids, cosines = self._similarity.order(study.study_id, request.category, request.activation_ids)
        return pb.SortBySimilarityResponse(activation_ids=ids, similarity=cosines)

    def GetMapProvenance(
        self, request: pb.GetMapProvenanceRequest, context: Context
    ) -> pb.GetMapProvenanceResponse:
        with Session(self._of.engine) as opened:
            run = runs.completed(opened, request.study_id)
            return pb.GetMapProvenanceResponse(provenance=provenance(run))

    def Attribute(self, request: pb.AttributeRequest, context: Context) -> pb.AttributeResponse:
        of = self._of
        network = fetch_network(of.peers, request.model, request.xnn_set)
        with of.explainers.turn:
            if not context.is_active():
                raise Unavailable("the caller has left before the picture's turn came")
            return live.attribute(
                of.explainers,
                network,
                list(request.categories),
                request.content,
                self._decoders,
                contrastive=request.contrastive if request.HasField("contrastive") else True,
                significant_share=request.significant_share
                if request.HasField("significant_share")
                else None,
            )


def build(settings: RuntimeSettings) -> Service:
    """The attribution service over the database and the object store that `settings` name.

    Raises:
        ServiceError: one of them cannot be used; the store has to take and give real bytes now.
    """
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    limits = read_settings(AttributionSettings)
    engine = open_database(settings, "attribution")
    store = open_object_store(settings)
    store.prove()
    channels = [
        open_channel(address, settings, "attribution")
        for address in (settings.inference_address, settings.naming_address)
    ]
    peers = Peers(InferenceServiceStub(channels[0]), NamingServiceStub(channels[1]))
    of = Computing(
        engine, store, Explainers(store, limits.maps_precision), peers, limits, store_place(settings)
    )
    handlers = {
        "compute_maps": lambda context: compute_maps(context, of),
        "import_maps": lambda context: import_maps(context, of),
        "import_study_maps": lambda context: import_study_maps(context, of),
    }
    jobs = Jobs(engine, handlers)
    decoders = Decoders(1, limits.max_image_pixels)  # one picture has its turn at a time
    servicer = AttributionServicer(jobs, of, decoders)

    def add_to(server: grpc.Server) -> None:
        attribution_pb2_grpc.add_AttributionServiceServicer_to_server(servicer, server)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(jobs), server)

    def close() -> None:
        jobs.close()
        decoders.close()
        for channel in channels:
            channel.close()
        engine.dispose()

    def ready() -> None:
        check_needs(engine, store)

    return Service(
        name="attribution",
        add_to=add_to,
        service_names=("onoma.v1.AttributionService", "onoma.v1.JobService"),
        close=close,
        ready=ready,
        drain=jobs.drain,
    )
