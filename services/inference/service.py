"""The inference servicer: each method checks, translates, calls and translates back."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from threading import Event

import grpc
import torch
from sqlalchemy import Engine

from onoma.open_inference import v2_pb2_grpc
from onoma.science.pictures import media_type
from onoma.v1 import inference_pb2 as pb
from onoma.v1 import inference_pb2_grpc, jobs_pb2_grpc
from services.inference import (
    dataset_uploads,
    datasets,
    deletion,
    imported_xnns,
    importing,
    kept_cells,
    messages,
    models,
    registry,
    stored_xnns,
    tables,
    training,
    uploads,
)
from services.inference.open_inference import OpenInferenceServicer
from services.inference.prediction import MAX_IMAGES, Predictor
from services.inference.sessions import Sessions
from services.inference.settings import InferenceSettings
from services.runtime.cores import cores
from services.runtime.database import open_database
from services.runtime.decoding import Decoders
from services.runtime.errors import InvalidArgument, Unavailable
from services.runtime.job_service import JobServicer, job_message
from services.runtime.jobs import Jobs
from services.runtime.objects import ObjectStore, open_object_store, store_place
from services.runtime.preprocessing import preprocessing_of
from services.runtime.readiness import check_needs
from services.runtime.server import Service
from services.runtime.settings import RuntimeSettings, read_settings
from services.runtime.shard_work import engine_asked_for

Context = grpc.ServicerContext


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """onoma.v1.InferenceService."""

    def __init__(
        self,
        engine: Engine,
        store: ObjectStore,
        jobs: Jobs,
        import_roots: list[Path],
        predictor: Predictor,
        limits: InferenceSettings,
        decoders: Decoders,
    ) -> None:
        self._engine = engine
        self._store = store
        self._jobs = jobs
        self._import_roots = import_roots
        self._limits = limits
        self._predictor = predictor
        self._decoders = decoders

    def UploadObject(
        self, request_iterator: Iterator[pb.UploadObjectRequest], context: Context
    ) -> pb.UploadObjectResponse:
        pieces = ((message.sha256, message.chunk) for message in request_iterator)
        key, size = uploads.receive(pieces, self._store, self._limits.max_upload_bytes)
        return pb.UploadObjectResponse(object_key=key, size_bytes=size)

    def GetObject(self, request: pb.GetObjectRequest, context: Context) -> Iterator[pb.GetObjectResponse]:
        for chunk in uploads.give(self._store, request.object_key):
            yield pb.GetObjectResponse(chunk=chunk)

    def ImportDataset(self, request: pb.ImportDatasetRequest, context: Context) -> pb.ImportDatasetResponse:
        registry.check_name(request.name, "data set")
        plan = importing.Plan(
            name=request.name,
            folder=str(importing.allowed_folder(request.path, self._import_roots)),
            format=messages.dataset_format(request.format),
            classes=list(request.classes),
            max_train_images_per_class=request.max_train_images_per_class,
            max_test_images_per_class=request.max_test_images_per_class,
            seed=request.seed,
        )
        job = self._jobs.start("import_dataset", asdict(plan), request.request_id)
        return pb.ImportDatasetResponse(job=job_message(job))

    def UploadDataset(
        self, request_iterator: Iterator[pb.UploadDatasetRequest], context: Context
    ) -> pb.UploadDatasetResponse:
        first = next(request_iterator, pb.UploadDatasetRequest())
        registry.check_name(first.name, "data set")
        classes = list(first.classes)
        dataset_uploads.check_classes(classes)
        sent = (
            (messages.item(one), self._store.get(one.image_id) if one.image_id else one.content)
            for one in chain([first], request_iterator)
        )
        row = dataset_uploads.receive(
            first.name,
            classes,
            sent,
            self._engine,
            self._store,
            self._limits,
            self._decoders,
            all_or_nothing=first.all_or_nothing,
        )
        return pb.UploadDatasetResponse(dataset=messages.dataset(row))

    def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.GetDatasetResponse:
        row = registry.find(self._engine, tables.Dataset, request.name)
        return pb.GetDatasetResponse(dataset=messages.dataset(row))

    def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:
        rows, token = registry.page(self._engine, tables.Dataset, request.page_size, request.page_token)
        return pb.ListDatasetsResponse(datasets=map(messages.dataset, rows), next_page_token=token)

    def ListImages(self, request: pb.ListImagesRequest, context: Context) -> pb.ListImagesResponse:
        dataset = registry.find(self._engine, tables.Dataset, request.dataset)
        rows, token = datasets.images(
            self._engine,
            dataset,
            messages.part(request.part),
            request.class_name,
            request.page_size,
            request.page_token,
        )
        images = [messages.image(row, dataset.classes) for row in rows]
        if request.model:
            model = registry.find(self._engine, tables.Model, request.model)
            kept = kept_cells.keys(self._engine, model, [image.image_id for image in images])
            for image in images:
                image.cells_key = kept.get(image.image_id, "")
        return pb.ListImagesResponse(images=images, next_page_token=token)

    def ListImportIssues(
        self, request: pb.ListImportIssuesRequest, context: Context
    ) -> pb.ListImportIssuesResponse:
        dataset = registry.find(self._engine, tables.Dataset, request.dataset)
        rows, token = datasets.issues(self._engine, dataset, request.page_size, request.page_token)
        return pb.ListImportIssuesResponse(issues=map(messages.issue, rows), next_page_token=token)

    def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> pb.DeleteDatasetResponse:
        deletion.delete_named(self._engine, tables.Dataset, request.name)
        return pb.DeleteDatasetResponse()

    def GetImage(self, request: pb.GetImageRequest, context: Context) -> pb.GetImageResponse:
        data = next(self._pictures([request.image_id], request.view, request.model))
        return pb.GetImageResponse(content=data, media_type=media_type(data))

    def GetImages(self, request: pb.GetImagesRequest, context: Context) -> Iterator[pb.GetImagesResponse]:
        count = len(request.image_ids)
        if not 1 <= count <= MAX_IMAGES:
            raise InvalidArgument(f"{count} images in one call; 1 to {MAX_IMAGES} are given")
        for data in self._pictures(request.image_ids, request.view, request.model):
            yield pb.GetImagesResponse(content=data, media_type=media_type(data))

    def _pictures(self, image_ids: Sequence[str], view: pb.ImageView, model_name: str) -> Iterator[bytes]:
        stored = datasets.pictures_bytes(self._engine, self._store, image_ids)
        if not messages.is_model_input(view):
            yield from stored
            return
        model = registry.find(self._engine, tables.Model, model_name)
        for data in stored:
            yield datasets.model_input_png(model, data, self._decoders)

    def RegisterModel(self, request: pb.RegisterModelRequest, context: Context) -> pb.RegisterModelResponse:
        registry.check_name(request.name, "model")
        models.check_request(self._engine, self._store, request.name, request.object_key)
        given = request.HasField("preprocessing")
        params = {
            "name": request.name,
            "object_key": request.object_key,
            "classes": list(request.classes),
            "preprocessing": asdict(preprocessing_of(request.preprocessing)) if given else None,
            "attachment_layer": request.attachment_layer,
            "map_layer": request.map_layer,
            "mode": messages.mode(request.mode),
        }
        job = self._jobs.start("register_model", params, request.request_id)
        return pb.RegisterModelResponse(job=job_message(job))

    def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        row = registry.find(self._engine, tables.Model, request.name)
        return pb.GetModelResponse(model=messages.model(row))

    def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        rows, token = registry.page(self._engine, tables.Model, request.page_size, request.page_token)
        return pb.ListModelsResponse(models=map(messages.model, rows), next_page_token=token)

    def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.DeleteModelResponse:
        deletion.delete_named(self._engine, tables.Model, request.name)
        return pb.DeleteModelResponse()

    def TrainXnn(self, request: pb.TrainXnnRequest, context: Context) -> pb.TrainXnnResponse:
        registry.check_name(request.name, "set of xNNs")
        params = {
            "name": request.name,
            "model": request.model,
            "dataset": request.dataset,
            "classes": list(request.classes),
            "settings": messages.xnn_settings(request.settings),
            "keep_cells_of": messages.part(request.keep_cells_of),
        }
        if (engine := engine_asked_for(request.engine)) != "local":
            # Said only where it is another, so that a request of before there were engines is the same when repeated.
            params["engine"] = engine
        training.plan(self._engine, params)
        job = self._jobs.start("train_xnn", params, request.request_id)
        return pb.TrainXnnResponse(job=job_message(job))

    def GetXnnSet(self, request: pb.GetXnnSetRequest, context: Context) -> pb.GetXnnSetResponse:
        row = registry.find(self._engine, tables.XnnSet, request.name)
        return pb.GetXnnSetResponse(xnn_set=messages.xnn_set(row, stored_xnns.xnns_of(self._engine, row)))

    def ListXnnSets(self, request: pb.ListXnnSetsRequest, context: Context) -> pb.ListXnnSetsResponse:
        rows, token = registry.page(self._engine, tables.XnnSet, request.page_size, request.page_token)
        xnn_sets = [messages.xnn_set(row, stored_xnns.xnns_of(self._engine, row)) for row in rows]
        return pb.ListXnnSetsResponse(xnn_sets=xnn_sets, next_page_token=token)

    def DeleteXnnSet(self, request: pb.DeleteXnnSetRequest, context: Context) -> pb.DeleteXnnSetResponse:
        deletion.delete_named(self._engine, tables.XnnSet, request.name)
        return pb.DeleteXnnSetResponse()

    def ImportXnnSet(self, request: pb.ImportXnnSetRequest, context: Context) -> pb.ImportXnnSetResponse:
        given = request.xnn_set
        registry.check_name(given.name, "set of xNNs")
        xnns = {xnn.class_name: (xnn.weights_key, messages.figures(xnn)) for xnn in given.xnns}
        if len(xnns) < len(given.xnns):
            raise InvalidArgument(f"set '{given.name}' has two xNNs of one class; send one a class")
        row = imported_xnns.take(
            self._engine,
            self._store,
            {"name": given.name, "model": given.model, "dataset": given.dataset},
            messages.xnn_settings(given.settings),
            xnns,
            messages.summary(given),
        )
        return pb.ImportXnnSetResponse(xnn_set=messages.xnn_set(row, stored_xnns.xnns_of(self._engine, row)))

    def ListXnnScores(
        self, request: pb.ListXnnScoresRequest, context: Context
    ) -> Iterator[pb.ListXnnScoresResponse]:
        found = stored_xnns.scores_on_the_test_part(
            self._engine, self._store, request.name, request.class_name
        )
        for dnn_scores, xnn_scores, of_class in found:
            yield pb.ListXnnScoresResponse(dnn_scores=dnn_scores, xnn_scores=xnn_scores, of_class=of_class)

    def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        return self._predictor.predict(request, context.is_active)

    def PredictStream(
        self, request_iterator: Iterator[pb.PredictStreamRequest], context: Context
    ) -> Iterator[pb.PredictStreamResponse]:
        return self._predictor.predict_stream(request_iterator)


def build(settings: RuntimeSettings) -> Service:
    """The inference service over the database and the object store that `settings` name.

    Raises:
        ServiceError: one of them cannot be used; the store has to take and give real bytes now.
    """
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    engine = open_database(settings, "inference")
    store = open_object_store(settings)
    store.prove()
    limits = read_settings(InferenceSettings)
    decoders = Decoders(limits.decode_workers, limits.max_image_pixels, limits.decode_s)
    decoders.start_early()
    handlers = {
        "import_dataset": lambda context: importing.import_dataset(
            context, engine, store, settings.import_roots, settings.data_dir, limits, decoders
        ),
        "register_model": lambda context: models.register(context, engine, store),
        "train_xnn": lambda context: training.train(context, engine, store, store_place(settings), limits),
    }
    jobs = Jobs(engine, handlers)
    sessions = Sessions(store, limits.batches)
    predictor = Predictor(engine, store, sessions, limits, decoders)
    servicer = InferenceServicer(engine, store, jobs, settings.import_roots, predictor, limits, decoders)

    stopping = Event()

    def ready() -> None:
        if stopping.is_set():
            raise Unavailable("the server is stopping")
        check_needs(engine, store)

    def drain() -> None:
        stopping.set()
        jobs.drain()

    def add_to(server: grpc.Server) -> None:
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(jobs), server)
        v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
            OpenInferenceServicer(engine, sessions, ready), server
        )

    def close() -> None:
        jobs.close()
        predictor.close()
        decoders.close()
        sessions.close()
        engine.dispose()

    return Service(
        name="inference",
        add_to=add_to,
        service_names=("onoma.v1.InferenceService", "onoma.v1.JobService", "inference.GRPCInferenceService"),
        close=close,
        drain=drain,
        ready=ready,
        waiting_calls=limits.streams + limits.batch_images,
    )
