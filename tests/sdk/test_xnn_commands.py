"""`onoma xnn` against running services: what is printed and written is what the server has."""

from pathlib import Path

import pytest

from onoma.cli.xnns import Pairs, Precision, training_settings
from onoma.client import Client
from onoma.v1 import inference_pb2 as pb
from tests.conftest import OpenStudy


@pytest.fixture
def xnns(open_study: OpenStudy) -> list[pb.Xnn]:
    return list(open_study.client.get_xnn_set("tiny").xnns)


def share(xnn: pb.Xnn) -> float:
    return xnn.rmse / (xnn.score_max - xnn.score_min)


def correlation(xnn: pb.Xnn) -> float | None:
    return xnn.mean_abs_correlation if xnn.HasField("mean_abs_correlation") else None


def test_show_prints_every_column_of_every_class(onoma, xnns: list[pb.Xnn]) -> None:
    code, text = onoma("xnn", "show", "tiny")
    assert code == 0, text
    lines = [line.split() for line in text.splitlines()]
    for xnn in xnns:
        paper, ours = (line[1:] for line in lines if line and line[0] == xnn.class_name)
        assert paper == [
            str(xnn.image_count),
            str(xnn.significant_count),
            f"{xnn.significant_mean:.3f}",
            *(f"{value:.1%}" for value in (xnn.dnn_accuracy, xnn.xnn_accuracy)),
            *(f"{value:.3f}" for value in (xnn.rmse, xnn.score_min, xnn.score_max)),
        ]
        known = correlation(xnn)
        assert ours == [
            f"{share(xnn):.2%}",
            "\N{EN DASH}" if known is None else f"{known:.3f}",
            *map(str, (xnn.mattering_count, xnn.first_mattering_count, xnn.restart_count)),
            "yes" if xnn.accepted else "no",
        ]


@pytest.mark.parametrize("ours", [False, True])
def test_latex_has_the_papers_columns_and_on_demand_ours(
    onoma, xnns: list[pb.Xnn], tmp_path: Path, ours: bool
) -> None:
    file = tmp_path / "table1.tex"
    code, text = onoma("xnn", "show", "tiny", "--latex", str(file), *["--ours"] * ours)
    assert code == 0, text
    table = file.read_text()
    width = 14 if ours else 8
    heads = [line for line in table.splitlines() if line.endswith("\\\\") and line.startswith("Class")]
    assert [head.count("&") for head in heads] == [width - 1]
    for xnn in xnns:
        row = next(line for line in table.splitlines() if line.startswith(xnn.class_name))
        cells = row.removesuffix(r" \\").split(" & ")
        assert len(cells) == width
        assert cells[1:3] == [str(xnn.image_count), str(xnn.significant_count)]
        assert cells[6:8] == [f"{xnn.rmse:.3f}", f"${xnn.score_min:.3g}$ to ${xnn.score_max:.3g}$"]
        known = correlation(xnn)
        assert cells[8:] == ours * [
            f"{share(xnn):.4f}",
            "--" if known is None else f"{known:.2f}",
            str(xnn.mattering_count),
            str(xnn.first_mattering_count),
            str(xnn.restart_count),
            "yes" if xnn.accepted else "no",
        ]


def test_ours_without_latex_is_refused(onoma) -> None:
    code, text = onoma("xnn", "show", "tiny", "--ours")
    assert code == 2
    assert "give --latex FILE too" in " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize(("pairs", "weights"), [(Pairs.FEATURES, (15, 5)), (Pairs.IMAGES, (10, 10))])
def test_paper_takes_the_papers_batches_units_and_weights(pairs: Pairs, weights: tuple[int, int]) -> None:
    settings = training_settings(5, 0, 0, False, True, Precision.FLOAT32, pairs)
    assert (settings.batch_size, settings.reconstructed_units) == (50, 0)
    assert (settings.reconstruction_weight, settings.pull_away_weight) == weights


def test_without_paper_the_weights_are_the_servers() -> None:
    settings = training_settings(5, 0, 0, False, False, Precision.FLOAT32, Pairs.IMAGES)
    for field in ("reconstruction_weight", "pull_away_weight", "reconstructed_units"):
        assert not settings.HasField(field)


def test_a_sweep_takes_the_options_of_a_training(onoma, open_study: OpenStudy) -> None:
    options = ("--epochs", "2", "--paper", "--precision", "bf16", "--pull-away", "images", "--seed", "3")
    code, text = onoma(
        "xnn", "sweep", "tiny", "shapes", "--features", "2", "--classes", "circle", "-n", "swept", *options
    )
    assert code == 0, text
    used = settings_of(open_study.client, "swept-k2")
    assert (used.x_feature_count, used.epochs, used.seed, used.batch_size) == (2, 2, 3, 50)
    assert (used.reconstruction_weight, used.pull_away_weight, used.reconstructed_units) == (10, 10, 0)
    assert (used.precision, used.pull_away_pairs) == (pb.PRECISION_BF16, pb.PULL_AWAY_PAIRS_IMAGES)


def test_tf32_without_a_gpu_is_one_clear_line(onoma) -> None:
    code, text = onoma("xnn", "train", "tiny", "shapes", "--precision", "tf32", "-n", "fine")
    assert code == 1
    assert text.strip() == (
        "onoma: precision tf32 is that of an NVIDIA GPU, and there is none here; take float32 or bf16"
    )


def settings_of(client: Client, name: str) -> pb.XnnSettings:
    return client.get_xnn_set(name).settings
