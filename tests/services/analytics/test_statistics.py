"""Agreement, consensus and the whole analysis over the services: the worked example's numbers."""

import json
from typing import Any

import grpc
import pytest

from onoma.science.analysis import analyse
from onoma.science.study_file import study_from_document
from onoma.v1 import analytics_pb2 as pb
from onoma.v1 import analytics_pb2_grpc
from tests.services.analytics.stand_ins import EXAMPLE, STUDY_ID, World
from tests.services.analytics.test_analytics_service import refusal

Stub = analytics_pb2_grpc.AnalyticsServiceStub
DEADLINE_S = 60


def by_display_names(value: Any) -> Any:
    """The example's annotators under the names that the stand-in for naming shows."""
    text = json.dumps(value)
    for annotator in EXAMPLE["input"]["annotators"]:
        text = text.replace(f'"{annotator}"', f'"name of {annotator}"')
    return json.loads(text)


@pytest.fixture
def expected() -> dict[str, Any]:
    """What the science gives for the same study as a file."""
    return analyse(study_from_document(by_display_names(EXAMPLE["input"])))


def test_the_whole_analysis_is_that_of_the_same_study_as_a_file(analytics: Stub, expected: Any) -> None:
    answers = list(analytics.AnalyseStudy(pb.AnalyseStudyRequest(study_id=STUDY_ID), timeout=DEADLINE_S))
    assert [answer.category for answer in answers] == [*EXAMPLE["input"]["categories"], ""]
    assert [answer.done for answer in answers] == sorted(answer.done for answer in answers)
    assert answers[-1].done == answers[-1].total > 0
    for answer in answers[:-1]:
        part, wanted = json.loads(answer.json)["expected"], expected["expected"][answer.category]
        assert part["pair_summary"] == wanted["pair_summary"]
        assert part["coverage"] == wanted["coverage"]
        assert part["purity"] == wanted["purity"]
        assert part["named_by_exactly_n"] == wanted["named_by_exactly_n"]
    averages = json.loads(answers[-1].json)
    assert averages == expected["averages"]


def test_agreement_of_one_category(analytics: Stub, expected: Any) -> None:
    request = pb.GetAgreementRequest(study_id=STUDY_ID, category="q", shuffles=0)
    found = json.loads(analytics.GetAgreement(request, timeout=DEADLINE_S).json)
    assert list(found) == ["q"]
    wanted = expected["expected"]["q"]["pairs"]
    assert found["q"]["pairs"].keys() == wanted.keys()
    for pair, of_pair in found["q"]["pairs"].items():
        assert of_pair["jaccard"] == wanted[pair]["jaccard"]


def test_consensus_is_one_categorys(analytics: Stub, expected: Any) -> None:
    request = pb.GetConsensusRequest(study_id=STUDY_ID, category="p")
    found = json.loads(analytics.GetConsensus(request, timeout=DEADLINE_S).json)
    assert found == expected["expected"]["p"]["consensus"]
    code, message = refusal(
        analytics.GetConsensus, pb.GetConsensusRequest(study_id=STUDY_ID, category="none")
    )
    assert code is grpc.StatusCode.NOT_FOUND
    assert "no category 'none'" in message


@pytest.mark.parametrize("annotators", [[], ["A1"]])
def test_few_annotators_are_no_error(analytics: Stub, world: World, annotators: list[str]) -> None:
    world.annotators[:] = annotators
    answers = list(analytics.AnalyseStudy(pb.AnalyseStudyRequest(study_id=STUDY_ID), timeout=DEADLINE_S))
    part = json.loads(answers[0].json)["expected"]
    assert part["pairs"] == {}
    assert "NaN" not in answers[0].json


@pytest.mark.parametrize(("shuffles", "seed"), [(-1, 0), (100_001, 0), (0, -1)])
def test_options_that_cannot_be_are_refused(analytics: Stub, shuffles: int, seed: int) -> None:
    request = pb.GetAgreementRequest(study_id=STUDY_ID, shuffles=shuffles, seed=seed)
    assert refusal(analytics.GetAgreement, request)[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_where_objects_lie_is_told_by_bounding_boxes(analytics: Stub, world: World) -> None:
    for content in world.categories.values():
        for name in content["images"]:
            world.boxes[name] = (0, 0, 3, 2)  # a quarter of the picture; the maps are the same everywhere
    answers = list(
        analytics.AnalyseStudy(pb.AnalyseStudyRequest(study_id=STUDY_ID, shuffles=0), timeout=DEADLINE_S)
    )
    places = json.loads(answers[0].json)["expected"]["concept_places"]
    found = [place for of_annotator in places.values() for place in of_annotator]
    assert found
    for place in found:
        assert place["inside"] == pytest.approx(0.25)
        assert place["outside"] is True


def test_each_picture_says_by_its_own_box_or_points_where_its_object_is(
    analytics: Stub, world: World
) -> None:
    first, *others = world.categories["p"]["images"]  # the first says nothing
    for name in others[:2]:
        world.boxes[name] = (0, 0, 3, 2)
    for name in others[2:]:
        world.points[name] = [(1.5, 1)]  # the middle of one of four cells
    request = pb.AnalyseStudyRequest(study_id=STUDY_ID, shuffles=0)
    answer = next(a for a in analytics.AnalyseStudy(request, timeout=DEADLINE_S) if a.category == "p")
    places = json.loads(answer.json)["expected"]["concept_places"]["name of A1"]
    activations = world.categories["p"]["activations"]
    for concept in world.namings["A1"]["p"]["concepts"]:
        images = [activations[id_][0] for id_ in concept["activations"]]
        place = next(one for one in places if one["name"] == concept["name"])
        assert place["inside"] == pytest.approx(0.25)
        assert place["n"] <= len([name for name in images if name != first])
        assert place["n_by_points"] == len([name for name in images if name in others[2:]])
