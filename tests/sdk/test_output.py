"""What commands print on a terminal of 80 columns."""

import io
import math

import pytest
from rich.console import Console

from onoma.cli import explain, models, output, studies
from onoma.v1 import analytics_pb2, inference_pb2, naming_pb2, types_pb2

ID = "4ae5a320c1d84de180db544d6002d4d9"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What stands on it."""
    text = io.StringIO()
    for name in ("console", "errors"):
        monkeypatch.setattr(output, name, Console(file=text, width=80, highlight=False))
    return text


def test_an_id_can_be_copied_whatever_stands_beside_it(screen: io.StringIO) -> None:
    study = naming_pb2.Study(
        name="first look at all the garments", study_id=ID, model="mine", dataset="garments"
    )
    studies.print_studies([study])
    assert ID in screen.getvalue()
    assert "mine" not in screen.getvalue()  # no room for the model


def test_a_study_stands_in_one_line_and_names_its_model_where_there_is_room(screen: io.StringIO) -> None:
    closed = naming_pb2.STUDY_STATE_CLOSED
    study = naming_pb2.Study(
        name="clothes-tidy", study_id=ID, model="network", dataset="clothing", state=closed,
        categories=["hat"] * 10, activation_count=672,
    )  # fmt: skip
    studies.print_studies([study])
    assert screen.getvalue().splitlines()[2].split() == [
        "clothes-tidy",
        ID,
        "closed",
        "clothing",
        "10",
        "672",
    ]
    study.name = "hats"
    studies.print_studies([study])
    assert screen.getvalue().splitlines()[-1].split()[:4] == ["hats", ID, "closed", "network"]


def test_a_models_layers_stand_in_one_piece(screen: io.StringIO) -> None:
    model = inference_pb2.Model(
        name="mine",
        classes=["hat", "pants"],
        attachment_layer="relu_3",
        map_layer="getitem_13",
        feature_count=4096,
        map_height=14,
        map_width=14,
        mode=types_pb2.EXCITATION_MODE_STRICT,
    )
    models.print_models([model])
    head, leak, row = screen.getvalue().splitlines()
    assert "attachment" in leak
    assert row.split() == ["mine", "2", "relu_3", "4096", "getitem_13", "14x14", "strict", "0.0%", "0.0e+00"]
    assert "strict" in head


def test_the_score_of_a_class_without_an_xnn_is_undefined(screen: io.StringIO) -> None:
    prediction = inference_pb2.Prediction(
        predicted_class="hat", dnn_scores=[1.0, 0.1], xnn_scores=[math.nan, 0.1]
    )
    models.print_predictions(["a.png"], [prediction], ["hat", "cap"])
    assert screen.getvalue().splitlines()[1].split() == ["a.png", "hat", "1.000", output.DASH]
    assert models.prediction_as_json(prediction)["xnn_scores"] == [None, 0.1]
    without = inference_pb2.Prediction(predicted_class="hat", dnn_scores=[1.0, 0.1])
    models.print_predictions(["a.png"], [without], ["hat", "cap"])
    assert screen.getvalue().splitlines()[-1].split() == ["a.png", "hat", "1.000", output.DASH]
    assert models.prediction_as_json(without)["xnn_scores"] == []


def test_coverage_fits_and_has_no_number_of_concepts_for_all_together(screen: io.StringIO) -> None:
    counts = {"activation_count": 124, "image_count": 49}
    rows = [
        analytics_pb2.Coverage(category="pants", annotator_id="a", activation=1.0, concept_count=7, **counts),
        analytics_pb2.Coverage(category="pants", activation=1.0, **counts),
    ]
    explain.print_coverage(rows, {"a": "Ada"})
    *_, ada, anybody = screen.getvalue().splitlines()
    dash = output.DASH
    assert ada.split() == ["pants", "Ada", "100.0%", dash, dash, "7", "124", "49"]
    assert anybody.split() == ["pants", "any", "100.0%", dash, dash, dash, "124", "49"]


def test_columns_come_nearer_before_a_word_is_broken(screen: io.StringIO) -> None:
    output.print_table(
        ("annotator", "id", "role", "link", "named", "discarded"), [("Ada", ID, "annotator", "revoked", 1, 0)]
    )
    assert screen.getvalue().splitlines()[1].split() == ["Ada", ID, "annotator", "revoked", "1", "0"]


def test_percentages_stand_right_aligned_as_numbers_do(screen: io.StringIO) -> None:
    output.print_table(("share",), [("5.0%",), ("100.0%",)])
    assert screen.getvalue().splitlines()[1:] == ["  5.0%", "100.0%"]


def test_a_table_without_rows_says_what_to_do(screen: io.StringIO) -> None:
    studies.print_studies([])
    assert screen.getvalue().startswith("no study yet: onoma study create NAME")


NAMES = ("collar [left]", ":smile:", "wing [/x]", "[bold]eye[/bold]")


def test_names_are_printed_as_they_are_and_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name", "n"), [(name, 1) for name in NAMES], title="[b] of :cat:")
    output.print_table(("name",), [], empty=NAMES[0])
    output.console.print(NAMES[2])
    for name in NAMES:
        with output.bar(f"import {name}") as progress:
            progress(1, 1)
    printed, bars = capsys.readouterr()
    assert [line.rstrip() for line in printed.splitlines() if line.strip()] == [
        "[b] of :cat:",
        "name              n",
        *(f"{name:<16}  1" for name in NAMES),
        NAMES[0],
        NAMES[2],
    ]
    for name in NAMES:
        assert f"import {name}" in bars


def test_a_bar_keeps_its_numbers_where_the_words_are_long(screen: io.StringIO) -> None:
    with output.bar("import fashion-mnist: importing pictures") as progress:
        progress(40000, 40000)
    assert "40000/40000" in screen.getvalue()


def test_a_stage_of_unknown_length_shows_no_question_mark(screen: io.StringIO) -> None:
    with output.bar("publishing"):
        pass
    assert "?" not in screen.getvalue()
