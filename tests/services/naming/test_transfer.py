"""Namings out of a study and into one."""

import csv
import io
import json

import grpc
import pytest

from onoma.v1 import naming_pb2 as pb
from tests.services.naming.conftest import ACTIVATIONS, create
from tests.services.naming.test_refusals import refusal

Code = grpc.StatusCode
A, B, C, D = ACTIVATIONS["boat"][:4]
DOCUMENT = {
    "format": "onoma-namings",
    "version": 1,
    "namings": {"Ada": {"boat": {"concepts": [{"name": "bow", "activations": [A]}]}}},
}


def export(server, study, *annotator_ids):
    request = pb.ExportNamingsRequest(study_id=study.study_id, annotator_ids=annotator_ids)
    return json.loads(server.calls.ExportNamings(request).json)


def take_in(server, study, document, request_id=""):
    text = document if isinstance(document, str) else json.dumps(document)
    request = pb.ImportNamingsRequest(study_id=study.study_id, json=text, request_id=request_id)
    answer = server.calls.ImportNamings(request, timeout=30)
    return answer.annotator_count, answer.concept_count


@pytest.fixture
def named(desk):
    """A naming with two concepts and discards for two reasons."""
    desk.act(**create("c1", [B, A], "bow"))
    desk.act(**create("c2", name="\u00e9toile"))
    desk.act(discard=pb.DiscardActivations(activation_ids=[C], reason=pb.DISCARD_REASON_NOISE))
    desk.act(discard=pb.DiscardActivations(activation_ids=[D]))
    return desk


def test_the_export_holds_every_naming_with_an_act(server, study, named):
    idle = server.invite(study.study_id, "Bo").annotator.annotator_id
    assert export(server, study) == {
        "format": "onoma-namings",
        "version": 1,
        "study": study.study_id,
        "annotators": {named.annotator_id: "Ada", idle: "Bo"},
        "namings": {
            named.annotator_id: {
                "boat": {
                    "concepts": [
                        {"id": "c1", "name": "bow", "activations": [B, A]},
                        {"id": "c2", "name": "\u00e9toile", "activations": []},
                    ],
                    "discarded": [D, C],
                    "discard_reasons": {C: "noise"},
                }
            },
            idle: {},
        },
    }


def test_the_export_can_be_of_some_annotators(server, study, named):
    idle = server.invite(study.study_id, "Bo").annotator.annotator_id
    assert list(export(server, study, idle)["namings"]) == [idle]
    assert refusal(lambda: export(server, study, "x"))[0] == Code.NOT_FOUND


def without_ids(document):
    names = document["annotators"]
    for by_category in document["namings"].values():
        for naming in by_category.values():
            for concept in naming["concepts"]:
                del concept["id"]
    return {names[id_]: by_category for id_, by_category in document["namings"].items()}


def test_an_import_into_another_study_gives_the_same_namings_as_acts(server, study, named):
    document = export(server, study)
    other = server.open_study(name="other")
    assert take_in(server, other, document) == (1, 2)
    copy = export(server, other)
    (annotator_id,) = copy["annotators"]
    assert without_ids(copy) == without_ids(document)
    acts = pb.ListActsRequest(study_id=other.study_id, annotator_id=annotator_id, category="boat")
    assert len(server.calls.ListActs(acts).acts) == 5


def test_an_import_finds_annotators_by_name(server, study, desk):
    assert take_in(server, study, DOCUMENT) == (1, 1)
    assert [list(concept.activation_ids) for concept in desk.naming().concepts] == [[A]]


def test_the_same_import_twice_is_one(server, study, desk):
    assert take_in(server, study, DOCUMENT, "r") == (1, 1)
    after = desk.naming()
    assert take_in(server, study, DOCUMENT, "r") == (1, 1)
    assert desk.naming() == after
    changed = DOCUMENT | {"namings": {}}
    assert refusal(lambda: take_in(server, study, changed, "r"))[0] == Code.INVALID_ARGUMENT


def naming_document(**naming):
    return DOCUMENT | {"namings": {"Ada": {"boat": {"concepts": []} | naming}, "New": {}}}


@pytest.mark.parametrize(
    ("document", "code", "words"),
    [
        ("{", Code.INVALID_ARGUMENT, "not a document of namings"),
        ("[]", Code.INVALID_ARGUMENT, "not a document of namings"),
        (DOCUMENT | {"format": "other"}, Code.INVALID_ARGUMENT, "format"),
        (DOCUMENT | {"version": 2}, Code.INVALID_ARGUMENT, "version"),
        (DOCUMENT | {"namings": {"Ada": {"hat": {"concepts": []}}}}, Code.INVALID_ARGUMENT, "category 'hat'"),
        (DOCUMENT | {"namings": {"": {}}}, Code.INVALID_ARGUMENT, "display name is empty"),
        (naming_document(discarded=["x"]), Code.NOT_FOUND, "no activation 'x'"),
        (naming_document(discarded=[A, A]), Code.INVALID_ARGUMENT, "twice"),
        (
            naming_document(discarded=[A], discard_reasons={A: "dull"}),
            Code.INVALID_ARGUMENT,
            "'dull' is none of",
        ),
        (
            naming_document(concepts=[{"name": "a\n", "activations": []}]),
            Code.INVALID_ARGUMENT,
            "control character",
        ),
        (
            naming_document(concepts=[{"name": 1, "activations": []}]),
            Code.INVALID_ARGUMENT,
            "concepts.0.name",
        ),
    ],
)
def test_a_document_that_does_not_fit_changes_nothing(server, study, desk, document, code, words):
    refused = refusal(lambda: take_in(server, study, document))
    assert refused[0] == code
    assert words in refused[1]
    assert desk.naming().revision == 0
    assert list(export(server, study)["annotators"].values()) == ["Ada"]


def test_an_import_needs_an_open_study(server, study):
    server.calls.CloseStudy(pb.CloseStudyRequest(study_id=study.study_id))
    assert refusal(lambda: take_in(server, study, DOCUMENT))[0] == Code.FAILED_PRECONDITION


def test_an_import_takes_more_activations_than_one_act_may(server, study, desk, monkeypatch):
    monkeypatch.setattr("services.naming.acts.MAX_ACTIVATIONS", 5)
    many = naming_document(concepts=[{"name": "all", "activations": ACTIVATIONS["boat"]}])
    take_in(server, study, many)
    assert list(desk.naming().concepts[0].activation_ids) == ACTIVATIONS["boat"]


def test_the_csv_has_a_row_for_each_activation_that_was_placed(server, study, named):
    named.act(rename=pb.RenameConcept(concept_id="c1", name="=bow, stern"))
    request = pb.ExportNamingsRequest(study_id=study.study_id, format=pb.NAMINGS_FORMAT_CSV)
    rows = list(csv.DictReader(io.StringIO(server.calls.ExportNamings(request).csv)))
    assert {row["annotator"] for row in rows} == {"Ada"}
    assert {row["category"] for row in rows} == {"boat"}
    assert [(row["concept"], row["activation_id"], row["discard_reason"]) for row in rows] == [
        ("'=bow, stern", B, ""),
        ("'=bow, stern", A, ""),
        ("", D, "unspecified"),
        ("", C, "noise"),
    ]
    assert [row["image_id"] for row in rows] == ["image" + id_ for id_ in (B, A, D, C)]


def test_a_format_that_is_none_is_refused(server, study):
    request = pb.ExportNamingsRequest(study_id=study.study_id, format=9)
    assert refusal(lambda: server.calls.ExportNamings(request))[0] == Code.INVALID_ARGUMENT
