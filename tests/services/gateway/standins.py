"""Stand-ins for the four services: real gRPC servers with canned answers, so that these
tests are about the gateway alone.
"""
# ruff: noqa: N802 (gRPC names its methods like this)

import time
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import numpy as np
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, status_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from onoma.v1 import (
    analytics_pb2,
    analytics_pb2_grpc,
    attribution_pb2,
    attribution_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    naming_pb2,
    naming_pb2_grpc,
    types_pb2,
)

STUDY = naming_pb2.Study(
    study_id="s1", name="garments", model="net", categories=["T-shirt/top", "dress"], activation_count=3
)
LINK_DAYS = 365
GOOD = {"link_expiry": Timestamp(seconds=int(time.time()) + LINK_DAYS * 24 * 3600)}
ADA = naming_pb2.Annotator(annotator_id="ada", display_name="Ada", **GOOD)
BOB = naming_pb2.Annotator(annotator_id="bob", display_name="Bob", **GOOD)
VI = naming_pb2.Annotator(annotator_id="vi", display_name="Vi", role=naming_pb2.ROLE_VIEWER, **GOOD)
TOKENS = {"ada-token": ADA, "bob-token": BOB, "vi-token": VI}
PRESENT_REVISION = 7

# As attribution sends them: by image and X-feature. The second map is flat.
ACTIVATIONS = types_pb2.ActivationColumns(
    activation_id=["ff", "aa", "cc"],
    image_id=["image1", "image1", "image2"],
    category=["T-shirt/top"] * 3,
    x_feature=[0, 1, 0],
    x=[2.0, 1.0, 3.0],
    contribution=[4.0, 1.0, 5.0],
    share=[0.75, 0.25, 1.0],
    map_sum=[1.0, 1.0, 1.0],
)
MAPS = {
    "ff": np.array([[0, 0.5], [1, 0.25]], "<f2"),
    "aa": np.array([[1, 1], [1, 1]], "<f2"),
    "cc": np.array([[0.5, 1], [0.75, 0.5]], "<f2"),
}


class StandInNaming(naming_pb2_grpc.NamingServiceServicer):
    """Knows one study, two annotators, and what it was asked."""

    def __init__(self) -> None:
        self.acts: list[naming_pb2.ActRequest] = []
        self.asked: list[Message] = []
        self.refusal = (grpc.StatusCode.UNIMPLEMENTED, "not served")
        self.request_ids: list[str] = []
        self.authorizations: list[tuple[str, str | None]] = []
        self.activation_count = STUDY.activation_count
        self.state = naming_pb2.STUDY_STATE_UNSPECIFIED

    def ListStudies(self, request, context):
        self.request_ids.append(dict(context.invocation_metadata())["x-request-id"])
        return naming_pb2.ListStudiesResponse(studies=[STUDY])

    def GetStudy(self, request, context):
        if request.study_id != STUDY.study_id:
            info = Any()
            info.Pack(ErrorInfo(reason="NO_SUCH_STUDY", domain="onoma.v1"))
            message = f"no study {request.study_id!r}"
            status = status_pb2.Status(code=code_pb2.NOT_FOUND, message=message, details=[info])
            context.abort_with_status(rpc_status.to_status(status))
        answer = naming_pb2.GetStudyResponse(study=STUDY)
        answer.study.state = self.state
        return answer

    def OpenStudy(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "its maps are not computed yet")

    def CloseStudy(self, request, context):
        context.abort(*self.refusal)

    def AcceptInvitation(self, request, context):
        if request.token not in TOKENS:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such invitation")
        annotator = TOKENS[request.token]
        sees_others = annotator.role == naming_pb2.ROLE_VIEWER
        answer = naming_pb2.AcceptInvitationResponse(
            study=STUDY, annotator=annotator, sees_others=sees_others
        )
        answer.study.activation_count = self.activation_count
        return answer

    def GetNaming(self, request, context):
        return naming_pb2.GetNamingResponse(naming=self._naming(request))

    def WatchNaming(self, request, context):
        naming = self._naming(request)
        for revision in range(3):
            naming.revision = revision
            yield naming_pb2.WatchNamingResponse(naming=naming)

    def WatchAnnotators(self, request, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "no database")
        yield

    def ListAnnotators(self, request, context):
        return naming_pb2.ListAnnotatorsResponse(annotators=[ADA, BOB, VI])

    def ExportNamings(self, request, context):
        if request.format == naming_pb2.NAMINGS_FORMAT_CSV:
            for text in ("annotator,", "category\n"):
                yield naming_pb2.ExportNamingsResponse(text=text)
        else:
            yield naming_pb2.ExportNamingsResponse(text="{}")

    def Act(self, request, context):
        naming = self._naming(request)
        if request.base_revision != PRESENT_REVISION:
            present = Any()
            present.Pack(naming)
            status = status_pb2.Status(code=code_pb2.ABORTED, message="stale revision", details=[present])
            context.abort_with_status(rpc_status.to_status(status))
        self.acts.append(request)
        naming.revision += 1
        return naming_pb2.ActResponse(naming=naming)

    def _naming(self, request):
        return naming_pb2.Naming(
            study_id=request.study_id,
            annotator_id=request.annotator_id,
            category=request.category,
            revision=PRESENT_REVISION,
            pool=["aa"],
        )


class StandInAttribution(attribution_pb2_grpc.AttributionServiceServicer):
    """Knows three activations of one category, and what it was asked for the images."""

    def __init__(self) -> None:
        self.images = ["image1", "image2", "bare"]
        self.image_lists = 0
        self.activation_lists = 0

    def ListExplainedImages(self, request, context):
        self.image_lists += 1
        if request.study_id == STUDY.study_id:
            for image_id in self.images:
                images = types_pb2.ExplainedImageColumns(image_id=[image_id])
                yield attribution_pb2.ListExplainedImagesResponse(images=images)

    def ListActivations(self, request, context):
        self.activation_lists += 1
        if request.category == "T-shirt/top":
            yield attribution_pb2.ListActivationsResponse(activations=ACTIVATIONS)

    def GetMaps(self, request, context):
        for ids in (request.activation_ids[:2], request.activation_ids[2:]):
            yield attribution_pb2.GetMapsResponse(
                maps=types_pb2.MapColumns(
                    activation_id=ids,
                    height=2,
                    width=2,
                    scale=[1.0] * len(ids),
                    values=b"".join(MAPS[one].tobytes() for one in ids),
                )
            )


class StandInInference(inference_pb2_grpc.InferenceServiceServicer):
    """Answers with the model's name in place of a picture."""

    def GetImages(self, request, context):
        assert request.view == inference_pb2.IMAGE_VIEW_MODEL_INPUT
        for image_id in request.image_ids:
            content = f"{image_id} as {request.model} sees it".encode()
            yield inference_pb2.GetImagesResponse(content=content, media_type="image/png")


class StandInAnalytics(analytics_pb2_grpc.AnalyticsServiceServicer):
    """Fails inside."""

    def GetCoverage(self, request, context):
        context.abort(grpc.StatusCode.INTERNAL, "internal error, request id 1")

    def GetSummary(self, request, context):
        reading = analytics_pb2.SummaryReading.Name(request.reading)
        row = analytics_pb2.SummaryRow(names=[request.annotator_id, reading], image_count=1, share=1.0)
        return analytics_pb2.GetSummaryResponse(rows=[row], image_count=1)


class Hearing(grpc.ServerInterceptor):
    """Notes what naming is asked, and by whose token."""

    def __init__(self, naming: StandInNaming) -> None:
        self.naming = naming

    def intercept_service(self, continuation, details):
        handler = continuation(details)
        service, _, rpc = details.method.rpartition("/")
        if handler is None or not service.endswith("NamingService"):
            return handler
        authorization = dict(details.invocation_metadata).get("authorization")

        def read(content):
            request = handler.request_deserializer(content)
            self.naming.asked.append(request)
            self.naming.authorizations.append((rpc, authorization))
            return request

        return handler._replace(request_deserializer=read)


@dataclass
class StandIns:
    """The four of them behind one address."""

    naming: StandInNaming = field(default_factory=StandInNaming)
    attribution: StandInAttribution = field(default_factory=StandInAttribution)

    def start(self) -> tuple[grpc.Server, str]:
        """A running server and its address."""
        server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[Hearing(self.naming)])
        naming_pb2_grpc.add_NamingServiceServicer_to_server(self.naming, server)
        attribution_pb2_grpc.add_AttributionServiceServicer_to_server(self.attribution, server)
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(StandInInference(), server)
        analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(StandInAnalytics(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return server, f"127.0.0.1:{port}"
