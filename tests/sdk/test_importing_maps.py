"""Maps made elsewhere, from the archive to the report, over the client and the command line."""

import json
from pathlib import Path

import pytest

from onoma.client import FailedPrecondition, JobFailed
from onoma.report.study import write_study_report
from onoma.v1 import naming_pb2, types_pb2
from tests.archives_of_maps import entries, packed, random_maps, script_of_the_docs
from tests.conftest import OpenStudy

CATEGORIES = ["circle", "cross"]


@pytest.fixture(scope="module")
def archive(open_study: OpenStudy) -> bytes:
    """Two units of every test image of two classes, by path."""
    rows = [
        (image.path, category, unit, weight)
        for category in CATEGORIES
        for image in open_study.client.list_images(
            "shapes", part=types_pb2.DATASET_PART_TEST, class_name=category
        )
        for unit, weight in enumerate((2.0, 1.0))
    ]
    return packed(entries(rows, random_maps(len(rows), 8, 8)))


@pytest.fixture(scope="module")
def imported(open_study: OpenStudy, archive: bytes) -> naming_pb2.Study:
    """An open study of imported maps, without xNNs."""
    client = open_study.client
    study = client.create_study("imported", "tiny", "shapes", "", CATEGORIES)
    client.import_maps(study.study_id, archive).wait()
    return client.open_study(study.study_id)


@pytest.fixture(scope="module")
def annotator_id(open_study: OpenStudy, imported: naming_pb2.Study) -> str:
    """An annotator who has called unit 0 of the circles 'rim', and left unit 1 unnamed."""
    client, study_id = open_study.client, imported.study_id
    annotator_id = client.invite_annotator(study_id, "Ada of the archive").annotator.annotator_id
    naming = client.get_naming(study_id, annotator_id, "circle")
    columns = client.list_activations(study_id, "circle")
    first = [id_ for id_, unit in zip(columns.activation_id, columns.x_feature, strict=True) if unit == 0]
    assert set(first) < set(naming.pool)
    create = naming_pb2.CreateConcept(concept_id="rim", name="rim", activation_ids=first)
    client.act(naming, naming_pb2.Command(create=create))
    return annotator_id


def test_an_imported_image_is_explained_in_the_annotator_s_words(
    open_study: OpenStudy, imported: naming_pb2.Study, annotator_id: str
) -> None:
    client = open_study.client
    image_id = client.list_activations(imported.study_id, "circle").image_id[0]
    response = client.explain_image(imported.study_id, annotator_id, image_id=image_id)
    assert [activation.name for activation in response.activations] == ["rim", ""]
    assert set(response.names) == {"rim", "other"}
    assert [activation.share for activation in response.activations] == pytest.approx([2 / 3, 1 / 3])
    assert response.predicted_class == ""
    assert (response.maps.height, response.maps.width) == (8, 8)


def test_coverage_and_summary_are_those_of_any_study(
    open_study: OpenStudy, imported: naming_pb2.Study, annotator_id: str
) -> None:
    client = open_study.client
    [mine] = [c for c in client.get_coverage(imported.study_id, "circle") if c.annotator_id == annotator_id]
    assert (mine.activation, mine.partial, mine.complete) == (0.5, 1, 0)
    summary = client.get_summary(imported.study_id, annotator_id, "circle")
    assert [(list(row.names), row.share) for row in summary.rows] == [(["rim"], 1)]


def test_the_report_says_where_the_maps_come_from(
    open_study: OpenStudy, imported: naming_pb2.Study, annotator_id: str, tmp_path: Path
) -> None:
    page = write_study_report(open_study.client, imported, tmp_path).read_text(encoding="utf-8")
    assert "imported: Grad-CAM on somebody&#39;s vgg16" in page
    assert "rim" in page
    assert not (tmp_path / "table1.csv").exists()
    assert (tmp_path / "figures" / "maps_circle.png").is_file()


def test_a_picture_outside_an_imported_study_is_refused(
    open_study: OpenStudy, imported: naming_pb2.Study, annotator_id: str
) -> None:
    picture = next((open_study.images / "train" / "circle").iterdir()).read_bytes()
    with pytest.raises(
        FailedPrecondition, match=r"were imported .Grad-CAM., so that only its own images can be"
    ):
        open_study.client.explain_image(imported.study_id, annotator_id, content=picture, category="circle")


def test_a_bad_archive_is_one_clear_line_and_the_study_is_as_before(open_study: OpenStudy) -> None:
    client = open_study.client
    study = client.create_study("refused", "tiny", "shapes", "", CATEGORIES)
    bad = packed(entries([("none.png", "circle", 0, 1.0)], random_maps(1)))
    with pytest.raises(JobFailed, match=r"row 0 of activations.csv .image 'none.png'.*give its path there"):
        client.import_maps(study.study_id, bad).wait()
    assert client.get_study(study.study_id).activation_count == 0


def test_units_of_many_channels_give_a_report_of_the_strongest(open_study: OpenStudy, tmp_path: Path) -> None:
    client = open_study.client
    image = next(client.list_images("shapes", part=types_pb2.DATASET_PART_TEST, class_name="circle"))
    rows = [(image.path, "circle", 700 * unit, 1.0 + unit) for unit in range(60)]
    study = client.create_study("channels", "tiny", "shapes", "", ["circle"])
    client.import_maps(
        study.study_id, packed(entries(rows, random_maps(60), already_significant=True))
    ).wait()
    page = write_study_report(client, study, tmp_path).read_text(encoding="utf-8")
    assert page.count("map of X-feature") == 24
    assert "map of X-feature 41300 " in page


def test_from_the_docs_script_to_a_study_by_commands(onoma, open_study, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(script_of_the_docs(), {})
    code, text = onoma(
        "study", "create", "by command", "--model", "tiny", "--dataset", "shapes", "--imported"
    )
    assert code == 0, text
    code, text = onoma("maps", "import", "by command", "maps.zip")
    assert code == 0, text
    assert ["activations", "4"] in [line.split() for line in text.splitlines()]
    code, text = onoma("maps", "show", "by command", "--json")
    assert code == 0, text
    made_by = json.loads(text)
    assert (made_by["method"], made_by["parameters_json"]) == ("random numbers", '{"seed": 0}')
    code, text = onoma("maps", "import", "by command", "maps.zip")
    assert code == 0, text


def test_maps_show_says_what_made_computed_maps(onoma, open_study) -> None:
    code, text = onoma("maps", "show", "shapes")
    assert code == 0, text
    assert "Excitation Backprop" in text
    assert open_study.client.get_model("tiny").model_hash in text


def test_an_imported_study_takes_no_set_of_xnns(onoma) -> None:
    code, text = onoma(
        "study", "create", "x", "--model", "tiny", "--dataset", "shapes", "--imported", "--xnn", "tiny"
    )
    assert code == 2
    assert "--imported goes with neither --xnn nor --plain" in " ".join(text.split())
