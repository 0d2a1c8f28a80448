"""The client: one method an RPC, under the RPC's name; messages are the stubs' own."""

from __future__ import annotations

import hashlib
import heapq
import json as json_text
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from onoma.client import namings
from onoma.client.analysis import AS_BY_DEFAULT, AnalysisOptions
from onoma.client.errors import FailedPrecondition, OnomaError
from onoma.client.jobs import RunningJob
from onoma.client.transport import Addresses, Connect, Transport, connector
from onoma.v1 import (
    analytics_pb2,
    attribution_pb2,
    inference_pb2,
    jobs_pb2,
    naming_pb2,
    types_pb2,
)

_ANALYSIS_S = 3600.0  # longest that the statistics of a study may take
_TRANSFER_S = 600.0  # longest that namings of a study may take on their way
_DELETION_S = 600.0  # longest that a deletion may take
_CHUNK_BYTES = 1024 * 1024
_LARGEST_IN_MESSAGE = 16 * 1024 * 1024  # of a picture; a larger one is uploaded by itself


class Client:
    """Speaks to the four services.

    Args:
        addresses: where they listen; by default what the environment says
            (ONOMA_INFERENCE_ADDRESS, ...), else the ports of `onoma up`.
        token: who calls: an invitation's token, or the server's ONOMA_ACCESS_TOKEN; by default what the environment
            says (ONOMA_ACCESS_TOKEN), else none, which is the owner on a server without one.
        timeout_s: deadline of a call that is not a job; jobs are watched for as long as they take.
        tls_dir: folder of ca.crt, tls.crt and tls.key where the services want mutual TLS; by default what the
            environment says (ONOMA_TLS_DIR), else none, which is a plain connection.
        connect: opens the channels instead, and says by them who calls; for servers that are clients.

    Every method raises `onoma.client.OnomaError` in one of its forms. A method that starts a job takes a
    `request_id`: asking again with the same one gives the same job, and by default each call is a new one.
    """

    def __init__(
        self,
        addresses: Addresses | None = None,
        *,
        token: str | None = None,
        timeout_s: float = 60.0,
        tls_dir: Path | None = None,
        connect: Connect | None = None,
    ) -> None:
        if connect is None:
            token = os.environ.get("ONOMA_ACCESS_TOKEN", "") if token is None else token
            given = os.environ.get("ONOMA_TLS_DIR")
            connect = connector(tls_dir or (Path(given) if given else None))
        self._transport = Transport(
            addresses or Addresses.from_environment(), timeout_s, token or "", connect
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channels."""
        self._transport.close()

    # Data sets

    def upload_object(self, content: bytes | Path) -> str:
        """Stores bytes, or a file's, on the server and returns their key (SHA-256, hexadecimal)."""
        sha256 = _sha256(content)

        def chunks() -> Iterator[inference_pb2.UploadObjectRequest]:
            yield inference_pb2.UploadObjectRequest(sha256=sha256)
            for chunk in _chunks(content):
                yield inference_pb2.UploadObjectRequest(chunk=chunk)

        response: inference_pb2.UploadObjectResponse = self._transport.call(
            "inference", "UploadObject", chunks(), timeout_s=600
        )
        return response.object_key

    def get_object(self, object_key: str) -> Iterator[bytes]:
        """An object's bytes in pieces: an uploaded file, a picture, an xNN, a shard of maps."""
        request = inference_pb2.GetObjectRequest(object_key=object_key)
        for response in self._transport.stream("inference", "GetObject", request, timeout_s=600):
            yield response.chunk

    def import_dataset(
        self,
        name: str,
        path: str,
        *,
        format: inference_pb2.DatasetFormat = inference_pb2.DATASET_FORMAT_UNSPECIFIED,
        classes: Sequence[str] = (),
        max_train_images_per_class: int = 0,
        max_test_images_per_class: int = 0,
        seed: int = 0,
        request_id: str | None = None,
    ) -> RunningJob:
        """Starts reading a folder on the server into a data set."""
        request = inference_pb2.ImportDatasetRequest(
            name=name,
            path=path,
            format=format,
            classes=classes,
            max_train_images_per_class=max_train_images_per_class,
            max_test_images_per_class=max_test_images_per_class,
            seed=seed,
            request_id=request_id or _new_id(),
        )
        return self._job("inference", "ImportDataset", request)

    def upload_dataset(
        self,
        name: str,
        classes: Sequence[str],
        images: Iterable[tuple[inference_pb2.Image, bytes]],
        *,
        all_or_nothing: bool = False,
        timeout_s: float = 3600,
    ) -> inference_pb2.Dataset:
        """Sends a data set picture by picture; it is seen when the last one is there.

        Args:
            classes: in the order of their indices; one may have no picture.
            images: path, class, part, bounding box and part points of each, with the file's bytes.
            all_or_nothing: store nothing where a picture cannot be taken, instead of leaving it out.
            timeout_s: for the whole data set.
        Raises:
            FailedPrecondition: no picture can be taken, or one cannot that may not be left out.
            Exception: what `images` raised; nothing is stored then.
        """
        failures: list[Exception] = []

        def messages() -> Iterator[inference_pb2.UploadDatasetRequest]:
            message = inference_pb2.UploadDatasetRequest(
                name=name, classes=classes, all_or_nothing=all_or_nothing
            )
            try:
                for image, content in images:
                    message.path, message.class_name, message.part = image.path, image.class_name, image.part
                    message.bounding_box.extend(image.bounding_box)
                    message.part_points.extend(image.part_points)
                    if len(content) > _LARGEST_IN_MESSAGE:
                        message.image_id = self.upload_object(content)
                    else:
                        message.content = content
                    yield message
                    message = inference_pb2.UploadDatasetRequest()
            except Exception as error:
                failures.append(error)
                raise

        try:
            response: inference_pb2.UploadDatasetResponse = self._transport.call(
                "inference", "UploadDataset", messages(), timeout_s
            )
        except OnomaError:
            if failures:  # gRPC says no more than that the call was cut off
                raise failures[0] from None
            raise
        return response.dataset

    def get_dataset(self, name: str) -> inference_pb2.Dataset:
        """One data set with its counts."""
        request = inference_pb2.GetDatasetRequest(name=name)
        response: inference_pb2.GetDatasetResponse = self._transport.call("inference", "GetDataset", request)
        return response.dataset

    def list_datasets(self) -> Iterator[inference_pb2.Dataset]:
        """All data sets, by name."""
        request = inference_pb2.ListDatasetsRequest()
        return self._paged("inference", "ListDatasets", request, "datasets")

    def list_images(
        self,
        dataset: str,
        *,
        part: types_pb2.DatasetPart = types_pb2.DATASET_PART_UNSPECIFIED,
        class_name: str = "",
    ) -> Iterator[inference_pb2.Image]:
        """Images of a data set, by part, class and path."""
        request = inference_pb2.ListImagesRequest(dataset=dataset, part=part, class_name=class_name)
        return self._paged("inference", "ListImages", request, "images")

    def list_import_issues(self, dataset: str) -> Iterator[inference_pb2.ImportIssue]:
        """What the import skipped or changed, and why."""
        request = inference_pb2.ListImportIssuesRequest(dataset=dataset)
        return self._paged("inference", "ListImportIssues", request, "issues")

    def delete_dataset(self, name: str) -> None:
        """Deletes a data set for good, with the pictures that no other one holds.

        Raises:
            FailedPrecondition: xNNs, a study or a job at work need it.
        """
        self._check_no_study("dataset", name)
        self._transport.call(
            "inference", "DeleteDataset", inference_pb2.DeleteDatasetRequest(name=name), _DELETION_S
        )

    def get_image(
        self,
        image_id: str,
        *,
        view: inference_pb2.ImageView = inference_pb2.IMAGE_VIEW_ORIGINAL,
        model: str = "",
    ) -> inference_pb2.GetImageResponse:
        """One picture's bytes with their media type."""
        request = inference_pb2.GetImageRequest(image_id=image_id, view=view, model=model)
        response: inference_pb2.GetImageResponse = self._transport.call("inference", "GetImage", request)
        return response

    # Models

    def register_model(
        self,
        name: str,
        content: bytes | Path,
        *,
        classes: Sequence[str] = (),
        preprocessing: types_pb2.Preprocessing | None = None,
        attachment_layer: str = "",
        map_layer: str = "",
        mode: types_pb2.ExcitationMode = types_pb2.EXCITATION_MODE_UNSPECIFIED,
        request_id: str | None = None,
    ) -> RunningJob:
        """Uploads a .pt2 program and starts checking, converting and storing it."""
        request = inference_pb2.RegisterModelRequest(
            name=name,
            object_key=self.upload_object(content),
            classes=classes,
            preprocessing=preprocessing,
            attachment_layer=attachment_layer,
            map_layer=map_layer,
            mode=mode,
            request_id=request_id or _new_id(),
        )
        return self._job("inference", "RegisterModel", request)

    def get_model(self, name: str) -> inference_pb2.Model:
        """One model."""
        request = inference_pb2.GetModelRequest(name=name)
        response: inference_pb2.GetModelResponse = self._transport.call("inference", "GetModel", request)
        return response.model

    def list_models(self) -> Iterator[inference_pb2.Model]:
        """All models, by name."""
        request = inference_pb2.ListModelsRequest()
        return self._paged("inference", "ListModels", request, "models")

    def delete_model(self, name: str) -> None:
        """Deletes a model for good.

        Raises:
            FailedPrecondition: xNNs, a study or a job at work need it.
        """
        self._check_no_study("model", name)
        self._transport.call("inference", "DeleteModel", inference_pb2.DeleteModelRequest(name=name))

    def predict(
        self,
        model: str,
        *,
        xnn_set: str = "",
        image_ids: Sequence[str] = (),
        contents: Sequence[bytes] = (),
    ) -> Sequence[inference_pb2.Prediction]:
        """Scores of the network, and of the xNNs where a set is named: stored images first."""
        request = inference_pb2.PredictRequest(
            model=model, xnn_set=xnn_set, image_ids=image_ids, contents=contents
        )
        response: inference_pb2.PredictResponse = self._transport.call("inference", "Predict", request)
        return response.predictions

    def predict_stream(
        self, model: str, images: Iterable[bytes | str], *, xnn_set: str = "", timeout_s: float = 3600
    ) -> Iterator[inference_pb2.Prediction]:
        """Scores of any number of images, in order, each as soon as it is there.

        Args:
            images: files' contents as bytes, ids of stored images as str; read as answers are taken, some ahead.
            timeout_s: for the whole stream.
        Raises:
            Exception: what `images` raised, after the scores of those before.
        """
        failures: list[Exception] = []

        def messages() -> Iterator[inference_pb2.PredictStreamRequest]:
            message = inference_pb2.PredictStreamRequest(model=model, xnn_set=xnn_set)
            try:
                for image in images:
                    if isinstance(image, bytes):
                        message.content = image
                    else:
                        message.image_id = image
                    yield message
                    message = inference_pb2.PredictStreamRequest()
            except Exception as error:  # noqa: BLE001  gRPC would swallow it: raised below
                failures.append(error)

        for response in self._transport.stream("inference", "PredictStream", messages(), timeout_s):
            yield response.prediction
        if failures:
            raise failures[0]

    # Explanation networks

    def train_xnn(
        self,
        name: str,
        model: str,
        dataset: str,
        *,
        classes: Sequence[str] = (),
        settings: inference_pb2.XnnSettings | None = None,
        keep_cells_of: types_pb2.DatasetPart = types_pb2.DATASET_PART_UNSPECIFIED,
        engine: Literal["local", "ray"] = "local",
        request_id: str | None = None,
    ) -> RunningJob:
        """Starts training one xNN a class.

        Args:
            keep_cells_of: part whose images' activations at the map layer are kept, so that maps are drawn from them.
            engine: where the features are computed: in the process of the service, or on its Ray cluster; they are the
                same.
        """
        request = inference_pb2.TrainXnnRequest(
            name=name,
            model=model,
            dataset=dataset,
            classes=classes,
            settings=settings,
            keep_cells_of=keep_cells_of,
            engine=f"ENGINE_{engine.upper()}",
            request_id=request_id or _new_id(),
        )
        return self._job("inference", "TrainXnn", request)

    def get_xnn_set(self, name: str) -> inference_pb2.XnnSet:
        """One set of xNNs, with a row of Table 1 for each class."""
        request = inference_pb2.GetXnnSetRequest(name=name)
        response: inference_pb2.GetXnnSetResponse = self._transport.call("inference", "GetXnnSet", request)
        return response.xnn_set

    def list_xnn_sets(self) -> Iterator[inference_pb2.XnnSet]:
        """All sets of xNNs, by name."""
        request = inference_pb2.ListXnnSetsRequest()
        return self._paged("inference", "ListXnnSets", request, "xnn_sets")

    def delete_xnn_set(self, name: str) -> None:
        """Deletes a set of xNNs for good.

        Raises:
            FailedPrecondition: a study or a job at work needs it.
        """
        self._check_no_study("xnn_set", name)
        self._transport.call("inference", "DeleteXnnSet", inference_pb2.DeleteXnnSetRequest(name=name))

    def import_xnn_set(self, xnn_set: inference_pb2.XnnSet) -> inference_pb2.XnnSet:
        """Takes over a set of xNNs that was trained elsewhere; its weights are uploaded before."""
        request = inference_pb2.ImportXnnSetRequest(xnn_set=xnn_set)
        response: inference_pb2.ImportXnnSetResponse = self._transport.call(
            "inference", "ImportXnnSet", request
        )
        return response.xnn_set

    def list_xnn_scores(self, name: str, class_name: str) -> inference_pb2.ListXnnScoresResponse:
        """Scores of one class by the network and by its xNN over the test images, as columns."""
        request = inference_pb2.ListXnnScoresRequest(name=name, class_name=class_name)
        columns = inference_pb2.ListXnnScoresResponse()
        for response in self._transport.stream("inference", "ListXnnScores", request, timeout_s=300):
            columns.MergeFrom(response)
        return columns

    # Maps

    def compute_maps(
        self, study_id: str, *, engine: Literal["local", "ray"] = "local", request_id: str | None = None
    ) -> RunningJob:
        """Starts finding a study's significant activations and drawing their maps.

        Args:
            engine: where: in the process of the service, or on its Ray cluster; the maps are the same.
        """
        request = attribution_pb2.ComputeMapsRequest(
            study_id=study_id, request_id=request_id or _new_id(), engine=f"ENGINE_{engine.upper()}"
        )
        return self._job("attribution", "ComputeMaps", request)

    def import_maps(
        self, study_id: str, archive: bytes | Path, *, request_id: str | None = None
    ) -> RunningJob:
        """Uploads maps made elsewhere and starts taking them into a study (docs/importing-maps.md)."""
        request = attribution_pb2.ImportMapsRequest(
            study_id=study_id, object_key=self.upload_object(archive), request_id=request_id or _new_id()
        )
        return self._job("attribution", "ImportMaps", request)

    def get_study_maps(self, study_id: str) -> attribution_pb2.StudyMaps:
        """What made a study's maps, what each is of, and the objects that hold them (`get_object`)."""
        request = attribution_pb2.GetStudyMapsRequest(study_id=study_id)
        maps = attribution_pb2.StudyMaps()
        for response in self._transport.stream("attribution", "GetStudyMaps", request, timeout_s=300):
            maps.MergeFrom(response.maps)
        return maps

    def import_study_maps(
        self, study_id: str, maps_json: bytes, *, request_id: str | None = None
    ) -> RunningJob:
        """Uploads what `get_study_maps` gave elsewhere, as protobuf's JSON, and starts taking it over.

        The shards that it names are uploaded before.
        """
        request = attribution_pb2.ImportStudyMapsRequest(
            study_id=study_id, object_key=self.upload_object(maps_json), request_id=request_id or _new_id()
        )
        return self._job("attribution", "ImportStudyMaps", request)

    def get_map_provenance(self, study_id: str) -> attribution_pb2.MapProvenance:
        """What made a study's maps: method, model, layers, rule, threshold, version; or the archive they came from."""
        request = attribution_pb2.GetMapProvenanceRequest(study_id=study_id)
        response: attribution_pb2.GetMapProvenanceResponse = self._transport.call(
            "attribution", "GetMapProvenance", request
        )
        return response.provenance

    def list_activations(self, study_id: str, category: str = "") -> types_pb2.ActivationColumns:
        """The significant activations of a study, or of one category, as columns."""
        request = attribution_pb2.ListActivationsRequest(study_id=study_id, category=category)
        columns = types_pb2.ActivationColumns()
        for response in self._transport.stream("attribution", "ListActivations", request, timeout_s=300):
            columns.MergeFrom(response.activations)
        return columns

    def list_explained_images(self, study_id: str, category: str = "") -> types_pb2.ExplainedImageColumns:
        """The images of a study that were explained, as columns."""
        request = attribution_pb2.ListExplainedImagesRequest(study_id=study_id, category=category)
        columns = types_pb2.ExplainedImageColumns()
        for response in self._transport.stream("attribution", "ListExplainedImages", request, timeout_s=300):
            columns.MergeFrom(response.images)
        return columns

    def get_maps(self, study_id: str, activation_ids: Sequence[str]) -> Iterator[types_pb2.MapColumns]:
        """Maps of activations in batches of at most 1000, in the order asked for."""
        request = attribution_pb2.GetMapsRequest(study_id=study_id, activation_ids=activation_ids)
        for response in self._transport.stream("attribution", "GetMaps", request, timeout_s=300):
            yield response.maps

    def attribute(
        self,
        model: str,
        xnn_set: str,
        content: bytes,
        *,
        categories: Sequence[str] = (),
        contrastive: bool = True,
        significant_share: float | None = None,
    ) -> attribution_pb2.AttributeResponse:
        """Significant activations and maps of one picture that need not be stored; of the network's own answer, or of
        several classes in one pass.

        Args:
            significant_share: of the positive evidence, in (0, 1]; that of the set where none is given.
        """
        request = attribution_pb2.AttributeRequest(
            model=model,
            xnn_set=xnn_set,
            categories=categories,
            content=content,
            contrastive=contrastive,
            significant_share=significant_share,
        )
        response: attribution_pb2.AttributeResponse = self._transport.call(
            "attribution", "Attribute", request
        )
        return response

    # Studies and annotators

    def create_study(
        self,
        name: str,
        model: str,
        dataset: str,
        xnn_set: str,
        categories: Sequence[str],
        *,
        part: types_pb2.DatasetPart = types_pb2.DATASET_PART_TEST,
        settings: naming_pb2.StudySettings | None = None,
        request_id: str | None = None,
    ) -> naming_pb2.Study:
        """Makes a study; it takes acts once its maps are computed or imported and it is open.

        Args:
            xnn_set: "" where the maps are to be imported.
        """
        request = naming_pb2.CreateStudyRequest(
            name=name,
            model=model,
            dataset=dataset,
            part=part,
            xnn_set=xnn_set,
            categories=categories,
            settings=settings,
            request_id=request_id or _new_id(),
        )
        response: naming_pb2.CreateStudyResponse = self._transport.call("naming", "CreateStudy", request)
        return response.study

    def get_study(self, study: str) -> naming_pb2.Study:
        """One study, by its id, or by its name where only one has it."""
        request = naming_pb2.GetStudyRequest(study_id=study)
        response: naming_pb2.GetStudyResponse = self._transport.call("naming", "GetStudy", request)
        return response.study

    def list_studies(self) -> Iterator[naming_pb2.Study]:
        """All studies, latest first."""
        request = naming_pb2.ListStudiesRequest()
        return self._paged("naming", "ListStudies", request, "studies")

    def open_study(self, study_id: str) -> naming_pb2.Study:
        """Lets annotators in."""
        request = naming_pb2.OpenStudyRequest(study_id=study_id)
        response: naming_pb2.OpenStudyResponse = self._transport.call("naming", "OpenStudy", request)
        return response.study

    def rename_study(self, study_id: str, name: str) -> naming_pb2.Study:
        """Gives a study another name."""
        request = naming_pb2.RenameStudyRequest(study_id=study_id, name=name)
        response: naming_pb2.RenameStudyResponse = self._transport.call("naming", "RenameStudy", request)
        return response.study

    def close_study(self, study_id: str) -> naming_pb2.Study:
        """Ends naming."""
        request = naming_pb2.CloseStudyRequest(study_id=study_id)
        response: naming_pb2.CloseStudyResponse = self._transport.call("naming", "CloseStudy", request)
        return response.study

    def delete_study(self, study_id: str) -> None:
        """Deletes a study for good: its maps, its annotators and all that they named.

        What a deletion that was cut off has left goes by another.

        Raises:
            FailedPrecondition: it is open, or a job is at work on it.
        """
        request = attribution_pb2.DeleteStudyRequest(study_id=study_id)
        self._transport.call("attribution", "DeleteStudy", request, _DELETION_S)

    def invite_annotator(
        self,
        study_id: str,
        display_name: str,
        *,
        role: naming_pb2.Role = naming_pb2.ROLE_ANNOTATOR,
        link_days: int = 0,
        request_id: str | None = None,
    ) -> naming_pb2.InviteAnnotatorResponse:
        """Adds an annotator, or a viewer, and returns the link's token, which is shown once.

        Args:
            link_days: how long the link lets them in, 1 to 365; 0 for 30.
        """
        request = naming_pb2.InviteAnnotatorRequest(
            study_id=study_id,
            display_name=display_name,
            role=role,
            link_days=link_days,
            request_id=request_id or _new_id(),
        )
        response: naming_pb2.InviteAnnotatorResponse = self._transport.call(
            "naming", "InviteAnnotator", request
        )
        return response

    def accept_invitation(self, token: str) -> naming_pb2.AcceptInvitationResponse:
        """The annotator and study that a token was made for."""
        request = naming_pb2.AcceptInvitationRequest(token=token)
        response: naming_pb2.AcceptInvitationResponse = self._transport.call(
            "naming", "AcceptInvitation", request
        )
        return response

    def revoke_invitation(self, study_id: str, annotator_id: str) -> None:
        """Makes an annotator's token worthless; the work stays."""
        request = naming_pb2.RevokeInvitationRequest(study_id=study_id, annotator_id=annotator_id)
        self._transport.call("naming", "RevokeInvitation", request)

    def renew_invitation(
        self, study_id: str, annotator_id: str, *, link_days: int = 0
    ) -> naming_pb2.RenewInvitationResponse:
        """A new token for an annotator; the old one stops working."""
        request = naming_pb2.RenewInvitationRequest(
            study_id=study_id, annotator_id=annotator_id, link_days=link_days
        )
        response: naming_pb2.RenewInvitationResponse = self._transport.call(
            "naming", "RenewInvitation", request
        )
        return response

    def delete_annotator(self, study_id: str, annotator_id: str) -> None:
        """Deletes an annotator, or a viewer, for good, with all that they named; others' work stays."""
        request = naming_pb2.DeleteAnnotatorRequest(study_id=study_id, annotator_id=annotator_id)
        self._transport.call("naming", "DeleteAnnotator", request, _DELETION_S)

    def watch_annotators(
        self, study_id: str, *, timeout_s: float = 3600
    ) -> Iterator[Sequence[naming_pb2.Annotator]]:
        """The annotators with their progress, now and whenever it changes; the stream ends after a minute."""
        request = naming_pb2.WatchAnnotatorsRequest(study_id=study_id)
        for response in self._transport.stream("naming", "WatchAnnotators", request, timeout_s):
            yield response.annotators

    def list_annotators(self, study_id: str) -> Sequence[naming_pb2.Annotator]:
        """The annotators of a study with their progress."""
        request = naming_pb2.ListAnnotatorsRequest(study_id=study_id)
        response: naming_pb2.ListAnnotatorsResponse = self._transport.call(
            "naming", "ListAnnotators", request
        )
        return response.annotators

    # Naming

    def get_naming(self, study_id: str, annotator_id: str, category: str) -> naming_pb2.Naming:
        """One annotator's naming of one category, as it stands."""
        request = naming_pb2.GetNamingRequest(study_id=study_id, annotator_id=annotator_id, category=category)
        response: naming_pb2.GetNamingResponse = self._transport.call("naming", "GetNaming", request)
        return response.naming

    def act(
        self,
        naming: naming_pb2.Naming,
        command: naming_pb2.Command,
        *,
        request_id: str | None = None,
    ) -> naming_pb2.Naming:
        """One act on a naming as last seen; returns the naming after it.

        Raises:
            Conflict: another act came first; `.present` holds the naming to go on from.
        """
        request = naming_pb2.ActRequest(
            study_id=naming.study_id,
            annotator_id=naming.annotator_id,
            category=naming.category,
            request_id=request_id or _new_id(),
            base_revision=naming.revision,
            command=command,
        )
        response: naming_pb2.ActResponse = self._transport.call("naming", "Act", request)
        return response.naming if response.HasField("naming") else namings.after(naming, response.change)

    def watch_naming(
        self, study_id: str, annotator_id: str, category: str, *, timeout_s: float = 3600
    ) -> Iterator[naming_pb2.Naming]:
        """The naming now and after each act, from any tab."""
        request = naming_pb2.WatchNamingRequest(
            study_id=study_id, annotator_id=annotator_id, category=category
        )
        naming = naming_pb2.Naming()
        for response in self._transport.stream("naming", "WatchNaming", request, timeout_s):
            is_whole = response.HasField("naming")
            naming = response.naming if is_whole else namings.after(naming, response.change)
            yield naming

    def list_acts(self, study_id: str, annotator_id: str, category: str) -> Iterator[naming_pb2.LoggedAct]:
        """The log of acts of one naming, oldest first."""
        request = naming_pb2.ListActsRequest(study_id=study_id, annotator_id=annotator_id, category=category)
        return self._paged("naming", "ListActs", request, "acts")

    def export_namings(self, study_id: str, annotator_ids: Sequence[str] = ()) -> str:
        """Namings of a study as one JSON document (docs/namings-format.md)."""
        return self._exported(study_id, annotator_ids, naming_pb2.NAMINGS_FORMAT_JSON)

    def export_namings_csv(self, study_id: str, annotator_ids: Sequence[str] = ()) -> str:
        """Namings of a study as CSV, one row an activation."""
        return self._exported(study_id, annotator_ids, naming_pb2.NAMINGS_FORMAT_CSV)

    def _exported(self, study_id: str, annotator_ids: Sequence[str], format: naming_pb2.NamingsFormat) -> str:
        request = naming_pb2.ExportNamingsRequest(
            study_id=study_id, annotator_ids=annotator_ids, format=format
        )
        pieces = self._transport.stream("naming", "ExportNamings", request, _TRANSFER_S)
        return "".join(piece.text for piece in pieces)

    def import_namings(
        self, study_id: str, json: str, *, request_id: str | None = None
    ) -> naming_pb2.ImportNamingsResponse:
        """Takes a document as `export_namings` makes it in, as acts, all of it or nothing."""
        return self._imported(study_id, json, naming_pb2.NAMINGS_FORMAT_JSON, request_id)

    def import_namings_csv(
        self, study_id: str, table: str, *, request_id: str | None = None
    ) -> naming_pb2.ImportNamingsResponse:
        """Takes a table as `export_namings_csv` makes it in, as acts, all of it or nothing."""
        return self._imported(study_id, table, naming_pb2.NAMINGS_FORMAT_CSV, request_id)

    def _imported(
        self, study_id: str, text: str, format: naming_pb2.NamingsFormat, request_id: str | None
    ) -> naming_pb2.ImportNamingsResponse:
        def messages() -> Iterator[naming_pb2.ImportNamingsRequest]:
            yield naming_pb2.ImportNamingsRequest(
                study_id=study_id, format=format, request_id=request_id or _new_id()
            )
            for start in range(0, len(text), _CHUNK_BYTES):
                yield naming_pb2.ImportNamingsRequest(text=text[start : start + _CHUNK_BYTES])
            yield naming_pb2.ImportNamingsRequest(last=True)

        response: naming_pb2.ImportNamingsResponse = self._transport.call(
            "naming", "ImportNamings", messages(), _TRANSFER_S
        )
        return response

    def sort_by_similarity(
        self, study_id: str, category: str, activation_ids: Sequence[str]
    ) -> attribution_pb2.SortBySimilarityResponse:
        """All activations of a category, most like these first; where the study's `suggestions` are on."""
        request = attribution_pb2.SortBySimilarityRequest(
            study_id=study_id, category=category, activation_ids=activation_ids
        )
        response: attribution_pb2.SortBySimilarityResponse = self._transport.call(
            "attribution", "SortBySimilarity", request
        )
        return response

    # Labels

    def get_vocabulary(self, study_id: str) -> naming_pb2.Vocabulary:
        """How the statistics read and compare the labels of a study."""
        request = naming_pb2.GetVocabularyRequest(study_id=study_id)
        response: naming_pb2.GetVocabularyResponse = self._transport.call("naming", "GetVocabulary", request)
        return response.vocabulary

    def set_vocabulary(self, study_id: str, vocabulary: naming_pb2.Vocabulary) -> naming_pb2.Vocabulary:
        """Puts the synonyms and vague words of a vocabulary in place of those there are.

        Raises:
            Conflict: it was changed since the vocabulary was read.
        """
        request = naming_pb2.SetVocabularyRequest(
            study_id=study_id,
            base_revision=vocabulary.revision,
            synonyms=vocabulary.synonyms,
            vague_words=vocabulary.vague_words,
        )
        response: naming_pb2.SetVocabularyResponse = self._transport.call("naming", "SetVocabulary", request)
        return response.vocabulary

    def overrule_labels(
        self,
        study_id: str,
        first: str,
        second: str,
        outcome: naming_pb2.LabelOutcome,
        decided_by: str,
        *,
        time: Timestamp | None = None,
    ) -> naming_pb2.Vocabulary:
        """Decides by hand what two labels are to each other; earlier decisions are kept.

        Args:
            time: when it was decided, for a decision that is taken over from elsewhere; now when None.
        """
        request = naming_pb2.OverruleLabelsRequest(
            study_id=study_id, first=first, second=second, outcome=outcome, decided_by=decided_by, time=time
        )
        response: naming_pb2.OverruleLabelsResponse = self._transport.call(
            "naming", "OverruleLabels", request
        )
        return response.vocabulary

    # Explanations and statistics

    def explain_image(
        self,
        study_id: str,
        annotator_id: str,
        *,
        image_id: str = "",
        content: bytes = b"",
        category: str = "",
    ) -> analytics_pb2.ExplainImageResponse:
        """One picture's explanation under one annotator's naming."""
        request = analytics_pb2.ExplainImageRequest(
            study_id=study_id,
            annotator_id=annotator_id,
            image_id=image_id,
            content=content,
            category=category,
        )
        response: analytics_pb2.ExplainImageResponse = self._transport.call(
            "analytics", "ExplainImage", request
        )
        return response

    def get_summary(
        self,
        study_id: str,
        annotator_id: str,
        category: str,
        reading: analytics_pb2.SummaryReading = analytics_pb2.SUMMARY_READING_NAMED_ONLY,
    ) -> analytics_pb2.GetSummaryResponse:
        """The distinct explanations of a category, most frequent first (paper, Table 4)."""
        request = analytics_pb2.GetSummaryRequest(
            study_id=study_id, annotator_id=annotator_id, category=category, reading=reading
        )
        response: analytics_pb2.GetSummaryResponse = self._transport.call("analytics", "GetSummary", request)
        return response

    def get_coverage(self, study_id: str, category: str = "") -> Sequence[analytics_pb2.Coverage]:
        """Activation, partial and complete coverage (paper, Figures 3 to 5)."""
        request = analytics_pb2.GetCoverageRequest(study_id=study_id, category=category)
        response: analytics_pb2.GetCoverageResponse = self._transport.call(
            "analytics", "GetCoverage", request
        )
        return response.coverages

    def get_purity(self, study_id: str, category: str = "") -> Sequence[analytics_pb2.Purity]:
        """CX- and XC-purity (paper, Tables 2 and 3)."""
        request = analytics_pb2.GetPurityRequest(study_id=study_id, category=category)
        response: analytics_pb2.GetPurityResponse = self._transport.call("analytics", "GetPurity", request)
        return response.purities

    def get_agreement(
        self, study_id: str, category: str = "", options: AnalysisOptions = AS_BY_DEFAULT
    ) -> dict[str, Any]:
        """Matchings, agreement and label compatibility by category (docs/statistics.md; paper, Tables 5 and 6)."""
        request = analytics_pb2.GetAgreementRequest(
            study_id=study_id, category=category, **options.of(analytics_pb2.GetAgreementRequest)
        )
        found: dict[str, Any] = {}
        while True:
            response: analytics_pb2.GetAgreementResponse = self._transport.call(
                "analytics", "GetAgreement", request, timeout_s=_ANALYSIS_S
            )
            found |= json_text.loads(response.json)
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    def get_consensus(
        self, study_id: str, category: str, options: AnalysisOptions = AS_BY_DEFAULT
    ) -> list[dict[str, Any]]:
        """The concepts that annotators of a category share, with names, counts, support and dissenters."""
        request = analytics_pb2.GetConsensusRequest(
            study_id=study_id, category=category, **options.of(analytics_pb2.GetConsensusRequest)
        )
        response: analytics_pb2.GetConsensusResponse = self._transport.call(
            "analytics", "GetConsensus", request, timeout_s=_ANALYSIS_S
        )
        found: list[dict[str, Any]] = json_text.loads(response.json)
        return found

    def analyse_categories(
        self,
        study_id: str,
        category: str = "",
        *,
        parts: Sequence[analytics_pb2.AnalysisPart] = (),
        options: AnalysisOptions = AS_BY_DEFAULT,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The statistics of a study or of one category, category by category (docs/statistics.md).

        Args:
            parts: to be computed; all when empty.
            progress: called with the pairs of namings done and in all, while a category is being done too.
        Yields:
            The category and {"expected": ..., "other_measures": ...}.
        """
        request = analytics_pb2.AnalyseStudyRequest(
            study_id=study_id,
            category=category,
            parts=parts,
            **options.of(analytics_pb2.AnalyseStudyRequest),
        )
        for response in self._transport.stream("analytics", "AnalyseStudy", request, _ANALYSIS_S):
            progress(response.done, response.total)
            if response.category:
                yield response.category, json_text.loads(response.json)

    # Jobs

    def list_jobs(self) -> Iterator[RunningJob]:
        """The jobs of all services, latest first."""

        def of(service: str) -> Iterator[RunningJob]:
            for message in self._paged(service, "ListJobs", jobs_pb2.ListJobsRequest(), "jobs"):
                yield RunningJob(self._transport, service, message)

        asked_for = attrgetter("message.create_time.seconds", "message.create_time.nanos")
        return heapq.merge(of("inference"), of("attribution"), key=asked_for, reverse=True)

    def get_job(self, service: str, job_id: str) -> RunningJob:
        """A job by its service ('inference' or 'attribution') and id."""
        request = jobs_pb2.GetJobRequest(job_id=job_id)
        return RunningJob(self._transport, service, self._transport.call(service, "GetJob", request).job)

    def _check_no_study(self, field: str, name: str) -> None:
        """Refuses to delete what a study needs; the inference service knows of no studies."""
        studies = [study.name for study in self.list_studies() if getattr(study, field) == name]
        if studies:
            names = ", ".join(f"'{study}'" for study in studies)
            raise FailedPrecondition(
                f"'{name}' is needed by the studies {names}: delete those first (onoma study delete STUDY)"
            )

    def _paged(self, service: str, method: str, request: Any, field: str) -> Iterator[Any]:
        while True:
            response = self._transport.call(service, method, request)
            yield from getattr(response, field)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def _job(self, service: str, method: str, request: object) -> RunningJob:
        return RunningJob(self._transport, service, self._transport.call(service, method, request).job)


def _new_id() -> str:
    return str(uuid.uuid4())


def _sha256(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        for start in range(0, len(content), _CHUNK_BYTES):
            yield content[start : start + _CHUNK_BYTES]
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
