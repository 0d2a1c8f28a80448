from typing import Any

import grpc
import numpy as np
import pytest

from onoma.v1 import analytics_pb2 as pb
from onoma.v1 import analytics_pb2_grpc
from tests.services.analytics.stand_ins import EXAMPLE, STUDY_ID, World, image_id, picture

Stub = analytics_pb2_grpc.AnalyticsServiceStub
EXPECTED = EXAMPLE["expected"]
DEADLINE_S = 20


def explain(analytics: Stub, annotator: str = "A1", **what: Any) -> pb.ExplainImageResponse:
    request = pb.ExplainImageRequest(study_id=STUDY_ID, annotator_id=annotator, **what)
    return analytics.ExplainImage(request, timeout=DEADLINE_S)


def refusal(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=DEADLINE_S)
    return caught.value.code(), caught.value.details()


def test_coverage_is_the_worked_examples(analytics: Stub) -> None:
    response = analytics.GetCoverage(pb.GetCoverageRequest(study_id=STUDY_ID), timeout=DEADLINE_S)
    assert [(row.category, row.annotator_id) for row in response.coverages] == [
        (category, annotator) for category in ("p", "q") for annotator in ("A1", "A2", "A3", "")
    ]
    for row in response.coverages:
        expected = EXPECTED[row.category]
        for key, wanted in expected["coverage"][row.annotator_id or "any"].items():
            assert getattr(row, key) == pytest.approx(wanted["value"], abs=1e-6)
        if row.annotator_id:
            assert list(row.removed_concepts) == expected["clusters_removed"][row.annotator_id]
            assert row.concept_count == len(expected["clusters_kept"][row.annotator_id])
    assert (response.coverages[0].activation_count, response.coverages[0].image_count) == (11, 6)
    assert response.coverages[0].left_out_count == 1


def test_coverage_of_one_category_says_nothing_of_the_others(analytics: Stub) -> None:
    request = pb.GetCoverageRequest(study_id=STUDY_ID, category="q")
    response = analytics.GetCoverage(request, timeout=DEADLINE_S)
    assert {row.category for row in response.coverages} == {"q"}


def test_coverage_of_an_annotator_who_has_not_acted_is_unset(analytics: Stub, world: World) -> None:
    del world.namings["A2"]["q"]
    request = pb.GetCoverageRequest(study_id=STUDY_ID, category="q")
    row = analytics.GetCoverage(request, timeout=DEADLINE_S).coverages[1]
    assert row.annotator_id == "A2"
    assert not row.HasField("activation")
    assert row.activation_count == 4


def test_coverage_without_annotators_is_unset_with_its_counts(analytics: Stub, world: World) -> None:
    world.annotators.clear()
    request = pb.GetCoverageRequest(study_id="worked example", category="q")
    (row,) = analytics.GetCoverage(request, timeout=DEADLINE_S).coverages
    assert not row.HasField("activation")
    assert not row.HasField("complete_by_one_annotator")
    assert row.image_count == 3


def test_coverage_of_a_category_without_images_is_unset(analytics: Stub, world: World) -> None:
    world.categories["empty"] = {"images": [], "activations": {}}
    world.namings["A1"]["empty"] = {"concepts": [], "discarded": []}
    request = pb.GetCoverageRequest(study_id=STUDY_ID, category="empty")
    for row in analytics.GetCoverage(request, timeout=DEADLINE_S).coverages:
        assert not row.HasField("activation")
        assert not row.HasField("partial")


def test_purity_is_the_worked_examples(analytics: Stub) -> None:
    response = analytics.GetPurity(pb.GetPurityRequest(study_id=STUDY_ID), timeout=DEADLINE_S)
    assert len(response.purities) == 6
    for row in response.purities:
        for field, key in (("cx", "CX"), ("xc", "XC")):
            wanted = EXPECTED[row.category]["purity"][row.annotator_id][key]
            if wanted is None:
                assert not row.HasField(field)
            else:
                assert getattr(row, field) == pytest.approx(wanted["value"], abs=1e-6)


@pytest.mark.parametrize(
    ("reading", "key"),
    [
        (pb.SUMMARY_READING_UNSPECIFIED, "explanation_summary_table4_style"),
        (pb.SUMMARY_READING_NAMED_ONLY, "explanation_summary_table4_style"),
        (pb.SUMMARY_READING_WITH_OTHER, "explanation_summary_section33_style"),
    ],
)
def test_summaries_are_the_worked_examples(analytics: Stub, reading: int, key: str) -> None:
    for category in ("p", "q"):
        for annotator in ("A1", "A2", "A3"):
            request = pb.GetSummaryRequest(
                study_id=STUDY_ID, annotator_id=annotator, category=category, reading=reading
            )
            response = analytics.GetSummary(request, timeout=DEADLINE_S)
            rows = [(list(row.names), row.image_count) for row in response.rows]
            wanted = EXPECTED[category][key][annotator]
            assert rows == [(row["labels"], row["images"]) for row in wanted]
            assert sum(row.share for row in response.rows) == pytest.approx(1)
            assert response.left_out_count == (1 if category == "p" else 0)


def test_an_image_of_the_study_bears_the_annotators_names(analytics: Stub) -> None:
    response = explain(analytics, image_id=image_id("p5"))
    assert response.in_study
    assert response.category == "p"
    assert response.predicted_class == "seen as p5"
    assert list(response.names) == ["Eye", "other"]
    assert [(a.activation_id, a.name) for a in response.activations] == [("t5", ""), ("e5", "Eye")]
    assert not response.activations[1].HasField("name_support")
    assert response.model_input_png == b"PNG of p5"


def test_an_answer_says_what_made_its_maps(analytics: Stub) -> None:
    """The study's where the image is one of its own, those of the moment for any other picture."""
    assert explain(analytics, image_id=image_id("p5")).provenance.method == World().method
    assert explain(analytics, content=picture("a holiday")).provenance.method == "drawn on the spot"


def test_the_maps_come_in_the_order_of_the_activations(analytics: Stub) -> None:
    response = explain(analytics, image_id=image_id("p5"))
    assert list(response.maps.activation_id) == ["t5", "e5"]
    values = np.frombuffer(response.maps.values, dtype="<f2").reshape(-1, 2, 2)
    assert values[:, 0, 0].tolist() == [0, 1]


def test_the_file_of_an_image_of_the_study_is_that_image(analytics: Stub) -> None:
    response = explain(analytics, content=picture("p5"))
    assert response.in_study
    assert list(response.names) == ["Eye", "other"]


def test_a_name_that_cleaning_removed_is_not_in_the_explanation(analytics: Stub) -> None:
    assert list(explain(analytics, "A2", image_id=image_id("p4")).names) == ["beak", "other"]


def test_an_image_without_significant_activations_has_an_empty_explanation(analytics: Stub) -> None:
    response = explain(analytics, image_id=image_id("p7"))
    assert response.in_study
    assert list(response.names) == []
    assert not response.activations
    assert response.maps.values == b""


def test_a_picture_outside_the_study_gets_inferred_names_with_their_support(analytics: Stub) -> None:
    response = explain(analytics, "A3", content=picture("a holiday"))
    assert not response.in_study
    assert response.category == "p"
    head, other = response.activations
    assert (head.name, head.activation_id) == ("Head", "")
    assert head.name_support == pytest.approx(3 / 4)
    assert (other.name, other.HasField("name_support")) == ("", False)
    assert list(response.names) == ["Head", "other"]
    assert response.model_input_png.startswith(b"\x89PNG")


def test_a_picture_outside_the_study_is_explained_by_the_studys_share(analytics: Stub, world: World) -> None:
    """Not by that of the set of xNNs, which may be another."""
    world.significant_share = 0.5
    explain(analytics, content=picture("a holiday"))
    assert world.attributed[-1].significant_share == 0.5


def test_an_image_asked_for_another_category_is_outside_the_study(analytics: Stub) -> None:
    response = explain(analytics, image_id=image_id("p5"), category="q")
    assert not response.in_study
    assert response.category == "q"
    assert list(response.names) == ["eye", "other"]


def test_a_stored_image_outside_the_study_is_explained_from_its_bytes(analytics: Stub) -> None:
    response = explain(analytics, image_id=image_id("stored"))
    assert not response.in_study
    assert response.model_input_png.startswith(b"\x89PNG")


def test_a_class_that_the_study_does_not_show_has_maps_and_no_names(analytics: Stub, world: World) -> None:
    world.live_category = "zebra"
    response = explain(analytics, content=picture("a holiday"))
    assert response.category == "zebra"
    assert list(response.names) == ["other"]
    assert len(response.maps.activation_id) == 2


def test_a_picture_without_significant_x_features_has_an_empty_explanation(
    analytics: Stub, world: World
) -> None:
    world.live_x_features = []
    assert list(explain(analytics, content=picture("a holiday")).names) == []


def test_an_annotator_who_named_nothing_explains_with_other_only(analytics: Stub, world: World) -> None:
    world.namings = {}
    assert list(explain(analytics, image_id=image_id("p1")).names) == ["other"]
    assert list(explain(analytics, content=picture("a holiday")).names) == ["other"]


def test_annotators_are_found_by_name_too(analytics: Stub) -> None:
    assert list(explain(analytics, "name of A1", image_id=image_id("p1")).names) == ["Eye", "Wing"]


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"study_id": "nope"}, grpc.StatusCode.NOT_FOUND, "no study 'nope'"),
        ({"study_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, "study_id is empty"),
        ({"annotator_id": "Zoe"}, grpc.StatusCode.NOT_FOUND, "has no annotator 'Zoe'; it has 'name of A1'"),
        ({"image_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, "give either the image_id"),
        ({"image_id": "ff"}, grpc.StatusCode.NOT_FOUND, "no image 'ff'"),
        ({"content": b"x"}, grpc.StatusCode.INVALID_ARGUMENT, "give either the image_id"),
        (
            {"image_id": "", "content": b"no picture"},
            grpc.StatusCode.INVALID_ARGUMENT,
            "text, not a picture",
        ),
    ],
)
def test_a_wrong_request_is_refused_by_name(
    analytics: Stub, change: dict[str, Any], code: grpc.StatusCode, says: str
) -> None:
    given = {"study_id": STUDY_ID, "annotator_id": "A1", "image_id": image_id("p1"), **change}
    got, message = refusal(analytics.ExplainImage, pb.ExplainImageRequest(**given))
    assert got is code
    assert says in message


def test_a_picture_over_the_servers_limit_is_refused(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("ONOMA_MAX_IMAGE_PIXELS", "23")
    analytics: Stub = request.getfixturevalue("analytics")
    large = pb.ExplainImageRequest(study_id=STUDY_ID, annotator_id="A1", content=picture("a holiday"))
    code, message = refusal(analytics.ExplainImage, large)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "declares 24 pixels (6 x 4), limit 23" in message


def test_an_image_of_two_categories_asks_which(analytics: Stub, world: World) -> None:
    world.categories["q"]["images"] = ["q1", "q2", "q3", "p1"]
    request = pb.ExplainImageRequest(study_id=STUDY_ID, annotator_id="A1", image_id=image_id("p1"))
    code, message = refusal(analytics.ExplainImage, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "explained for 'p', 'q'" in message
    assert explain(analytics, image_id=image_id("p1"), category="p").in_study


@pytest.mark.parametrize("category", ["", "zebra"])
def test_a_summary_of_an_unknown_category_lists_the_known(analytics: Stub, category: str) -> None:
    request = pb.GetSummaryRequest(study_id=STUDY_ID, annotator_id="A1", category=category)
    code, message = refusal(analytics.GetSummary, request)
    assert code is grpc.StatusCode.NOT_FOUND
    assert f"no category '{category}'; it has 'p', 'q'" in message


def test_namings_of_activations_that_are_gone_are_one_clear_line(analytics: Stub, world: World) -> None:
    world.namings["A1"]["p"]["concepts"][0]["activations"] = ["gone"]
    code, message = refusal(analytics.GetCoverage, pb.GetCoverageRequest(study_id=STUDY_ID))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "'gone' in concept 'Eye' is not one of the category's" in message


def test_a_service_that_does_not_answer_is_named(analytics: Stub, world: World) -> None:
    world.is_attribution_down = True
    code, message = refusal(analytics.GetCoverage, pb.GetCoverageRequest(study_id=STUDY_ID))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "the attribution service does not answer" in message
