"""Analytics over the real naming service: what naming exports is what analytics reads."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from onoma.v1 import (
    analytics_pb2,
    analytics_pb2_grpc,
    attribution_pb2_grpc,
    inference_pb2_grpc,
    naming_pb2,
    naming_pb2_grpc,
    types_pb2,
)
from services.analytics.service import build as build_analytics
from services.naming.service import build as build_naming
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings
from tests.services.analytics.stand_ins import (
    EXAMPLE,
    StandInAttribution,
    StandInInference,
    World,
    image_id,
)

DEADLINE_S = 20
Stubs = tuple[naming_pb2_grpc.NamingServiceStub, analytics_pb2_grpc.AnalyticsServiceStub]


@pytest.fixture
def stubs(world: World, tmp_path: Path) -> Iterator[Stubs]:
    peers = grpc.server(ThreadPoolExecutor(4))
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(StandInInference(world), peers)
    attribution_pb2_grpc.add_AttributionServiceServicer_to_server(StandInAttribution(world), peers)
    address = f"127.0.0.1:{peers.add_insecure_port('127.0.0.1:0')}"
    peers.start()
    settings = RuntimeSettings(data_dir=tmp_path, inference_address=address, attribution_address=address)
    naming = start(build_naming(settings), "127.0.0.1:0", settings)
    settings = settings.model_copy(update={"naming_address": naming.address})
    analytics = start(build_analytics(settings), "127.0.0.1:0", settings)
    with (
        grpc.insecure_channel(naming.address) as to_naming,
        grpc.insecure_channel(analytics.address) as to_analytics,
    ):
        yield (
            naming_pb2_grpc.NamingServiceStub(to_naming),
            analytics_pb2_grpc.AnalyticsServiceStub(to_analytics),
        )
    analytics.stop()
    naming.stop()
    peers.stop(None)


def a_study_of(world: World, naming: naming_pb2_grpc.NamingServiceStub) -> str:
    """Makes and opens a study that shows the worked example's activations; returns its id."""
    study_id = naming.CreateStudy(
        naming_pb2.CreateStudyRequest(
            name="worked example", model="m", dataset="d", xnn_set="x", categories=["p", "q"], request_id="r"
        ),
        timeout=DEADLINE_S,
    ).study.study_id
    published = [
        naming_pb2.PublishActivationsRequest(
            study_id=study_id,
            activations=types_pb2.ActivationColumns(
                activation_id=content["activations"],
                image_id=[image_id(image) for image, _ in content["activations"].values()],
                category=[category] * len(content["activations"]),
            ),
        )
        for category, content in world.categories.items()
    ]
    naming.PublishActivations(iter(published), timeout=DEADLINE_S)
    naming.OpenStudy(naming_pb2.OpenStudyRequest(study_id=study_id), timeout=DEADLINE_S)
    return study_id


def test_namings_done_in_naming_are_covered_as_the_worked_example_says(stubs: Stubs, world: World) -> None:
    naming, analytics = stubs
    study_id = a_study_of(world, naming)
    document = {"format": "onoma-namings", "version": 1, "namings": world.namings}
    request = naming_pb2.ImportNamingsRequest(study_id=study_id, text=json.dumps(document), last=True)
    naming.ImportNamings(iter([request]), timeout=DEADLINE_S)
    annotators = naming.ListAnnotators(
        naming_pb2.ListAnnotatorsRequest(study_id=study_id), timeout=DEADLINE_S
    ).annotators
    names = {annotator.annotator_id: annotator.display_name for annotator in annotators} | {"": "any"}
    coverages = analytics.GetCoverage(
        analytics_pb2.GetCoverageRequest(study_id=study_id), timeout=DEADLINE_S
    ).coverages
    assert len(coverages) == 8
    for row in coverages:
        expected = EXAMPLE["expected"][row.category]["coverage"][names[row.annotator_id]]
        for key, wanted in expected.items():
            assert getattr(row, key) == pytest.approx(wanted["value"], abs=1e-6)


def test_an_annotator_who_was_invited_and_has_not_acted_has_no_coverage(stubs: Stubs, world: World) -> None:
    naming, analytics = stubs
    study_id = a_study_of(world, naming)
    invitation = naming_pb2.InviteAnnotatorRequest(study_id=study_id, display_name="Zoe", request_id="z")
    naming.InviteAnnotator(invitation, timeout=DEADLINE_S)
    request = analytics_pb2.GetCoverageRequest(study_id=study_id, category="p")
    zoe, anyone = analytics.GetCoverage(request, timeout=DEADLINE_S).coverages
    assert not zoe.HasField("activation")
    assert not anyone.HasField("activation")
    assert anyone.activation_count == 11
