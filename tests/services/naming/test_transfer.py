"""Namings out of a study and into one."""

import csv
import hashlib
import io
import json

import grpc
import pytest
import rapidjson
from typer.testing import CliRunner

from onoma import cli
from onoma.v1 import naming_pb2 as pb
from services.naming import documents, service, transfer
from tests.services.naming.conftest import ACTIVATIONS, create, taken
from tests.services.naming.test_refusals import refusal

Code = grpc.StatusCode
A, B, C, D = ACTIVATIONS["boat"][:4]
DOCUMENT = {
    "format": "onoma-namings",
    "version": 1,
    "namings": {"Ada": {"boat": {"concepts": [{"name": "bow", "activations": [A]}]}}},
}


def export(server, study, *annotator_ids):
    return json.loads(exported(server, study.study_id, annotator_ids))


def exported(server, study_id, annotator_ids=(), format=pb.NAMINGS_FORMAT_JSON):
    request = pb.ExportNamingsRequest(study_id=study_id, annotator_ids=annotator_ids, format=format)
    return "".join(piece.text for piece in server.calls.ExportNamings(request, timeout=30))


def export_csv(server, study):
    return exported(server, study.study_id, format=pb.NAMINGS_FORMAT_CSV)


def take_in(server, study, document, request_id="", format=pb.NAMINGS_FORMAT_JSON):
    text = document if isinstance(document, str) else json.dumps(document)
    messages = [
        pb.ImportNamingsRequest(study_id=study.study_id, request_id=request_id, format=format),
        *(pb.ImportNamingsRequest(text=text[start : start + 50]) for start in range(0, len(text), 50)),
        pb.ImportNamingsRequest(last=True),
    ]
    answer = server.calls.ImportNamings(iter(messages), timeout=30)
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
        "orders": {
            annotator_id: {"kind": "random", "seed": f"0/{annotator_id}"}
            for annotator_id in (named.annotator_id, idle)
        },
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


def test_an_annotator_who_is_named_twice_is_exported_once(server, study, named):
    once, twice = (
        exported(server, study.study_id, [named.annotator_id] * count, pb.NAMINGS_FORMAT_JSON)
        for count in (1, 2)
    )
    assert once == twice


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


def test_an_import_is_not_repeated_for_an_annotator_who_was_deleted_since(server, study):
    take_in(server, study, DOCUMENT, "r")
    (annotator_id,) = export(server, study)["annotators"]
    server.calls.DeleteAnnotator(
        pb.DeleteAnnotatorRequest(study_id=study.study_id, annotator_id=annotator_id), timeout=30
    )
    code, message = refusal(lambda: take_in(server, study, DOCUMENT, "r"))
    assert code == Code.FAILED_PRECONDITION
    assert "annotator 'Ada' was deleted since" in message
    assert not export(server, study)["annotators"]
    assert take_in(server, study, DOCUMENT, "another") == (1, 1)


@pytest.mark.parametrize("format", [pb.NAMINGS_FORMAT_JSON, pb.NAMINGS_FORMAT_CSV])
def test_an_annotators_own_export_comes_in_without_a_change(server, study, named, format):
    before = named.naming()
    text = exported(server, study.study_id, format=format)
    assert take_in(server, study, text, format=format) == (1, 0)
    assert named.naming() == before


def test_an_import_of_another_study_twice_adds_its_named_concepts_once(server, study, named):
    other = server.open_study()
    for _ in range(2):
        take_in(server, other, export(server, study))
    assert without_ids(export(server, other)) == without_ids(export(server, study))


def test_an_import_adds_to_the_concept_of_its_id_or_else_of_its_name(server, study, named):
    before = named.naming()
    table = f"annotator,category,concept_id,concept,activation_id\nAda,boat,c1,stern,{C}\nAda,boat,,\u00e9toile,{A}\n"
    assert take_in(server, study, table, format=pb.NAMINGS_FORMAT_CSV) == (1, 0)
    assert [(c.concept_id, c.name, list(c.activation_ids)) for c in named.naming().concepts] == [
        ("c1", "stern", [B, C]),
        ("c2", "\u00e9toile", [A]),
    ]
    for _ in range(3):  # a name, and the activations of each concept
        named.act(undo=pb.UndoAct())
    taken_back = named.naming()
    assert (taken_back.concepts, taken_back.discards) == (before.concepts, before.discards)


def test_concepts_of_a_document_stay_apart_whatever_they_are_named(server, study, desk):
    concepts = [{"name": name, "activations": [id_]} for name, id_ in (("bow", A), ("bow", B), ("", C))]
    take_in(server, study, naming_document(concepts=concepts))
    take_in(server, study, naming_document(concepts=[{"name": "", "activations": [D]}]))
    assert [(c.name, list(c.activation_ids)) for c in desk.naming().concepts] == [
        ("bow", [A]),
        ("bow", [B]),
        ("", [C]),
        ("", [D]),
    ]


def test_a_refused_act_makes_no_naming(server, study, desk):
    server.calls.CloseStudy(pb.CloseStudyRequest(study_id=study.study_id))
    assert refusal(lambda: desk.act(**create("c1")))[0] == Code.FAILED_PRECONDITION
    assert export(server, study)["namings"] == {desk.annotator_id: {}}


def test_a_naming_that_was_taken_back_comes_in_as_one(server, study, desk):
    desk.act(**create("c1", [A]))
    desk.act(undo=pb.UndoAct())
    other = server.open_study()
    for _ in range(2):
        assert take_in(server, other, export(server, study)) == (1, 0)
    empty = {"concepts": [], "discarded": [], "discard_reasons": {}}
    assert without_ids(export(server, other)) == {"Ada": {"boat": empty}}


BOAT = {"boat": {"concepts": []}}


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
        (
            naming_document(discarded=[A, A]),
            Code.INVALID_ARGUMENT,
            "naming of category 'boat' by 'Ada' has activation 'boat000' twice, in the discard pile and in the "
            "discard pile",
        ),
        (
            naming_document(
                concepts=[{"name": "bow", "activations": [A]}, {"name": "stern", "activations": [B, A]}]
            ),
            Code.INVALID_ARGUMENT,
            "'boat000' twice, in concept 1 ('bow') and in concept 2 ('stern')",
        ),
        (
            naming_document(concepts=[{"name": "bow", "activations": [A]}], discarded=[A]),
            Code.INVALID_ARGUMENT,
            "'boat000' twice, in concept 1 ('bow') and in the discard pile",
        ),
        (
            naming_document(discarded=[B], discard_reasons={A: "noise"}),
            Code.INVALID_ARGUMENT,
            "a discard reason for activation 'boat000', which it does not discard",
        ),
        (
            json.dumps(naming_document(discarded=[A])).replace('"New"', '"Ada"'),
            Code.INVALID_ARGUMENT,
            "has the key 'Ada' twice",
        ),
        (
            naming_document() | {"annotators": {"New": "Ada"}, "namings": {"Ada": BOAT, "New": BOAT}},
            Code.INVALID_ARGUMENT,
            "'Ada' and 'New' are one annotator here and both name category 'boat'",
        ),
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
    rows = list(csv.DictReader(io.StringIO(export_csv(server, study))))
    assert {row["annotator"] for row in rows} == {"Ada"}
    assert {row["category"] for row in rows} == {"boat"}
    assert [(row["concept"], row["activation_id"], row["discard_reason"]) for row in rows] == [
        ("'=bow, stern", B, ""),
        ("'=bow, stern", A, ""),
        ("\u00e9toile", "", ""),
        ("", D, "unspecified"),
        ("", C, "noise"),
    ]
    assert [row["image_id"] for row in rows] == [id_ and "image" + id_ for id_ in (B, A, "", D, C)]


def test_a_format_that_is_none_is_refused(server, study):
    refused = refusal(lambda: exported(server, study.study_id, format=9))
    assert refused[0] == Code.INVALID_ARGUMENT
    assert "format 9 is none of" in refused[1]
    assert refusal(lambda: take_in(server, study, DOCUMENT, format=9))[0] == Code.INVALID_ARGUMENT


NAMES = ["=1+1", "'=1+1", "''@x", "'tis", "-", 'a, "b"', "\u05e9\u05dc\u05d5\u05dd", "", "same", "same"]


@pytest.mark.parametrize("format", [pb.NAMINGS_FORMAT_JSON, pb.NAMINGS_FORMAT_CSV])
def test_what_is_exported_comes_in_as_it_was(server, study, format):
    desk = server.desk(study.study_id, "=Ada")
    for number, name in enumerate(NAMES):
        desk.act(**create(f"c{number}", ACTIVATIONS["boat"][number : number + 1], name))
    desk.act(**create("empty", name="empty"))
    desk.at("shoe").act(
        discard=pb.DiscardActivations(
            activation_ids=ACTIVATIONS["shoe"][3:1:-1], reason=pb.DISCARD_REASON_NOISE
        )
    )
    desk.at("shoe").act(discard=pb.DiscardActivations(activation_ids=ACTIVATIONS["shoe"][:1]))
    text, other = exported(server, study.study_id, format=format), server.open_study()
    assert take_in(server, other, text, format=format) == (1, len(NAMES) + 1)
    assert without_ids(export(server, other)) == without_ids(export(server, study))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "no column 'activation_id'"),
        ("annotator,category\n", "no column 'activation_id'"),
        (
            "annotator,category,activation_id,concept\nAda,boat\n",
            "line 2 of the table has more or fewer cells",
        ),
        (
            "annotator,category,activation_id\nAda,boat,boat000,x\n",
            "line 2 of the table has more or fewer cells",
        ),
        (
            "annotator,category,activation_id\nAda,boat,boat000\n",
            "line 2 of the table names neither a concept nor",
        ),
        (
            'annotator,category,activation_id,concept\nAda,boat,"boat000" x,bow\n',
            "what follows line 1 of the table is not CSV",
        ),
        (
            "annotator,category,concept_id,concept,activation_id\n"
            "Ada,boat,x,bow,boat000\nAda,boat,x,prow,boat001\n",
            "line 3 of the table names concept 'x' 'prow', and a line before it 'bow'",
        ),
        (
            "annotator,category,activation_id,concept_id,Concept\nAda,boat,boat000,x,bow\n",
            "a column 'Concept', which says nothing here",
        ),
        (
            "annotator,category,activation_id,concept,concept\nAda,boat,boat000,bow,prow\n",
            "the column 'concept' twice",
        ),
        (
            "annotator,category,activation_id,concept,discard_reason\nAda,boat,boat000,bow,noise\n",
            "line 2 of the table has a concept and a discard_reason",
        ),
        (
            "annotator,category,activation_id,concept\nAda,boat,boat000,bow\nAda,boat,boat000,stern\n",
            "'boat000' twice, in concept 1 ('bow') and in concept 2 ('stern')",
        ),
        ("annotator,category,activation_id,concept\nAda,hat,boat000,bow\n", "no category 'hat'"),
        ("annotator,category,activation_id,discard_reason\nAda,boat,boat000,dull\n", "'dull' is none of"),
    ],
)
def test_a_table_that_does_not_fit_changes_nothing(server, study, desk, table, words):
    refused = refusal(lambda: take_in(server, study, table, format=pb.NAMINGS_FORMAT_CSV))
    assert refused[0] == Code.INVALID_ARGUMENT
    assert words in refused[1]
    assert desk.naming().revision == 0


def test_a_table_of_a_spreadsheet_needs_no_ids_of_concepts(server, study, desk):
    table = f"\ufeffconcept,annotator,category,activation_id\r\nbow,Ada,boat,{B}\r\nbow,Ada,boat,{A}\r\n"
    assert take_in(server, study, table, format=pb.NAMINGS_FORMAT_CSV) == (1, 1)
    assert [(c.name, list(c.activation_ids)) for c in desk.naming().concepts] == [("bow", [B, A])]


def test_a_concept_of_an_id_and_one_of_a_name_stay_apart_in_a_table(server, study, desk):
    table = f"annotator,category,concept_id,concept,activation_id\nAda,boat,name x,y,{A}\nAda,boat,,x,{B}\n"
    assert take_in(server, study, table, format=pb.NAMINGS_FORMAT_CSV) == (1, 2)
    assert [(c.name, list(c.activation_ids)) for c in desk.naming().concepts] == [("y", [A]), ("x", [B])]


def test_a_table_comes_back_whatever_its_categories_are_named():
    rows = [("Ada", category, "c", "bow", "a", "image", "") for category in ("a\rb", "\rc", "d\ne", 'x,"y"')]
    read = documents.read_csv("".join(documents.write_csv(rows)))
    assert list(read.namings["Ada"]) == [row[1] for row in rows]


def test_an_import_that_was_cut_off_changes_nothing(server, study, desk):
    request = pb.ImportNamingsRequest(study_id=study.study_id, text=json.dumps(DOCUMENT))
    refused = refusal(lambda: server.calls.ImportNamings(iter([request]), timeout=30))
    assert refused[0] == Code.INVALID_ARGUMENT
    assert "cut off" in refused[1]
    assert desk.naming().revision == 0


def test_an_import_over_the_limit_is_refused(server, study, desk, monkeypatch):
    monkeypatch.setattr(transfer, "MAX_IMPORT_BYTES", 100)
    refused = refusal(lambda: take_in(server, study, DOCUMENT))
    assert refused[0] == Code.RESOURCE_EXHAUSTED
    assert "in several documents" in refused[1]
    assert desk.naming().revision == 0


def test_an_import_is_seen_by_those_who_watch_the_naming(server, study, desk, monkeypatch):
    monkeypatch.setattr(service, "_LOOK_S", 60.0)  # over the stream's deadline: rung, not found by looking
    stream = server.calls.WatchNaming(pb.WatchNamingRequest(**desk.key()), timeout=30)
    empty = next(stream).naming
    take_in(server, study, DOCUMENT)
    assert taken(empty, next(stream)) == desk.naming() != empty
    stream.cancel()


def test_the_schema_file_is_up_to_date():
    written = json.loads(documents.SCHEMA_FILE.read_text(encoding="utf-8"))
    assert written == documents.schema(), "run: python -m services.naming.documents"


def test_an_export_is_what_the_schema_says(server, study, named):
    valid = rapidjson.Validator(documents.SCHEMA_FILE.read_text(encoding="utf-8"))
    document = export(server, study)
    valid(json.dumps(document))
    (naming,) = document["namings"][named.annotator_id].values()
    naming["discard"] = naming.pop("discarded")
    with pytest.raises(rapidjson.ValidationError):
        valid(json.dumps(document))


def test_the_order_shown_can_be_made_again_from_the_export(server, study, desk):
    seed = export(server, study)["orders"][desk.annotator_id]["seed"]
    key = hashlib.blake2b(seed.encode()).digest()

    def place(activation_id):
        return hashlib.blake2b(activation_id.encode(), digest_size=16, key=key).digest()

    assert list(desk.naming().pool) == sorted(ACTIVATIONS["boat"], key=place)
    by_image = server.open_study(settings=pb.StudySettings(pool_order=pb.POOL_ORDER_IMAGE))
    server.desk(by_image.study_id)
    assert [order["kind"] for order in export(server, by_image)["orders"].values()] == ["image"]


@pytest.mark.parametrize(
    "options", [["namings.csv"], ["namings.CSV"], ["table.txt", "--format", "csv"], ["namings.json"]]
)
def test_commands_write_and_read_a_file_as_its_name_says(server, named, tmp_path, monkeypatch, options):
    monkeypatch.setenv("ONOMA_NAMING_ADDRESS", server.address)
    name, *form = options
    file, other = tmp_path / name, server.open_study()
    run = CliRunner().invoke
    written = run(cli.app, ["naming", "export", named.study_id, "--out", str(file), *form])
    assert written.exit_code == 0, written.output
    is_csv = "json" not in name
    assert file.read_text(encoding="utf-8").startswith("annotator,category" if is_csv else '{"format"')
    file = file.rename(tmp_path / "in.csv") if form else file
    taken = run(cli.app, ["naming", "import", other.study_id, str(file)])
    assert taken.exit_code == 0, taken.output
    assert "1 annotators, 2 concepts" in taken.output
    assert without_ids(export(server, other)) == without_ids(
        export(server, pb.Study(study_id=named.study_id))
    )
