"""The command line against running services: what it prints, writes and returns."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from onoma import cli
from onoma.cli import export, jobs
from onoma.client import JobFailed, NotFound
from onoma.science.program import load
from onoma.v1 import inference_pb2, jobs_pb2, naming_pb2, types_pb2
from tests.command_line import Terminal
from tests.conftest import OpenStudy
from tests.networks import SHAPE, vgg_like
from tests.short_fits import short_fits
from tests.synthetic import write_image_folder


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("dataset", "list"), "shapes"),
        (("model", "list"), "tiny"),
        (("xnn", "list"), "tiny"),
        (("study", "list"), "shapes"),
    ],
)
def test_every_list_is_a_table_and_json(onoma, command, name) -> None:
    code, table = onoma(*command)
    assert code == 0
    assert name in table
    code, text = onoma(*command, "--json")
    assert code == 0
    assert name in [row["name"] for row in json.loads(text)]


def test_a_job_is_listed_cancelled_resumed_and_watched(onoma, open_study: OpenStudy) -> None:
    settings = inference_pb2.XnnSettings(epochs=1000, batch_size=2)
    job = open_study.client.train_xnn("long", "tiny", "shapes", settings=settings)
    next(one for one in job.watch() if one.state == jobs_pb2.JOB_STATE_RUNNING)
    code, text = onoma("job", "list")
    assert (code, text.splitlines()[1].split()[:4]) == (0, [job.job_id[:8], "train_xnn", "long", "running"])
    code, text = onoma("job", "cancel", job.job_id[:8])
    assert code == 0, text
    with pytest.raises(JobFailed, match="cancelled"):
        job.wait()
    code, text = onoma("job", "list", "--json")
    latest = json.loads(text)[0]
    assert (latest["job_id"], latest["state"]) == (job.job_id, "JOB_STATE_CANCELLED")
    open_study.client.get_job("inference", job.job_id).resume()
    open_study.client.get_job("inference", job.job_id).cancel()
    with pytest.raises(JobFailed, match="cancelled"):
        job.wait()
    done = next(one for one in open_study.client.list_jobs() if one.message.kind == "compute_maps")
    code, text = onoma("job", "watch", done.job_id)
    assert (code, "activations" in text or "maps" in text) == (0, True), text
    code, text = onoma("job", "resume", done.job_id)
    assert code == 1
    code, text = onoma("xnn", "show", "long")
    assert (code, "has no xNN yet; its latest train_xnn is cancelled" in text) == (1, True), text
    assert f"onoma job resume {job.job_id[:8]}" in text
    code, text = onoma("job", "watch", "no-such-job")
    assert (code, "onoma job list" in text) == (1, True)


def test_the_list_of_jobs_is_cut_for_people_who_are_told_and_not_for_programs(onoma, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "_SHOWN", 1)
    code, text = onoma("job", "list")
    assert (code, len(text.splitlines())) == (0, 3), text
    assert text.splitlines()[2] == "the last 1; --all lists those before them too"
    every = json.loads(onoma("job", "list", "--json")[1])
    assert len(every) > 1
    text = onoma("job", "list", "--all")[1]
    assert all(job["job_id"][:8] in text for job in every)


def test_the_list_says_why_a_job_failed(onoma, open_study: OpenStudy, tmp_path: Path) -> None:
    job = open_study.client.import_dataset("empty", str(tmp_path))
    with pytest.raises(JobFailed) as failed:
        job.wait()
    code, text = onoma("job", "list")
    assert code == 0
    assert text.splitlines()[0].split()[-1] == "why"
    assert failed.value.job.error[:10] in text


@pytest.fixture(scope="module")
def named_category(open_study: OpenStudy) -> Iterator[str]:
    """One of the categories in which "Ada of the commands" has put all maps in one concept."""
    client, study = open_study.client, open_study.study
    annotator = client.invite_annotator(study.study_id, "Ada of the commands").annotator
    named = None
    for category in study.categories:
        naming = client.get_naming(study.study_id, annotator.annotator_id, category)
        if len(naming.pool) >= 3:
            create = naming_pb2.CreateConcept(
                concept_id=f"all-{category}", name=f"the {category}", activation_ids=naming.pool
            )
            client.act(naming, naming_pb2.Command(create=create))
            named = category
    assert named is not None
    yield named
    client.delete_annotator(
        study.study_id, annotator.annotator_id
    )  # the module may come again, and invite her


def test_explain_says_the_names_and_writes_a_picture(
    onoma, open_study: OpenStudy, named_category: str, tmp_path: Path
) -> None:
    client, named = open_study.client, named_category
    image_id = client.list_activations(open_study.study.study_id, named).image_id[0]
    picture = tmp_path / "picture.png"
    picture.write_bytes(client.get_image(image_id).content)
    out = tmp_path / "in" / "a" / "new folder" / "explained.png"
    code, text = onoma(
        "explain", str(picture), "--study", "shapes", "--annotator", "Ada of the commands", "--out", str(out)
    )
    assert code == 0, text
    assert f"{named}: the {named}" in text
    assert out.read_bytes().startswith(b"\x89PNG")
    code, text = onoma(
        "explain",
        str(picture),
        "--study",
        "shapes",
        "--annotator",
        "Ada of the commands",
        "--out",
        str(out),
        "--json",
    )
    assert code == 0, text
    made_by = json.loads(text)["provenance"]
    assert (made_by["model"], made_by["method"]) == ("tiny", "Excitation Backprop")


def test_a_picture_is_named_as_what_it_is(onoma, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"")
    out = tmp_path / "picture.jpg"
    code, text = onoma("explain", str(picture), "-s", "shapes", "-a", "Ada", "--out", str(out))
    assert code == 2
    assert "does not end with .png; the picture is written as PNG" in " ".join(text.replace("│", " ").split())
    assert not out.exists()


def test_report_writes_a_page_and_tables(onoma, tmp_path: Path) -> None:
    code, text = onoma("report", "shapes", "--out", str(tmp_path / "report"))
    assert code == 0, text
    assert (tmp_path / "report" / "index.html").is_file()
    assert (tmp_path / "report" / "table1.csv").read_text().count("\n") >= 4


def test_table_1_is_written_as_csv_and_latex(onoma, open_study: OpenStudy, tmp_path: Path) -> None:
    code, text = onoma(
        "xnn", "show", "tiny", "--csv", str(tmp_path / "1.csv"), "--latex", str(tmp_path / "1.tex")
    )
    assert code == 0, text
    with (tmp_path / "1.csv").open(newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    for xnn in open_study.client.get_xnn_set("tiny").xnns:
        row = rows.pop(xnn.class_name)
        assert float(row["rmse"]) == xnn.rmse
        assert int(row["x_features_that_mattered_at_first"]) == xnn.first_mattering_count
        known = xnn.HasField("mean_abs_correlation")
        assert row["mean_abs_correlation"] == (str(xnn.mean_abs_correlation) if known else "")
    assert not rows
    assert (tmp_path / "1.tex").read_text().count(r" \\") >= 3


def test_pictures_are_scored_by_network_and_xnns(onoma, open_study: OpenStudy, tmp_path: Path) -> None:
    client, study = open_study.client, open_study.study
    image_ids = list(client.list_explained_images(study.study_id, "cross").image_id)[:3]
    pictures = [tmp_path / f"{image_id[:8]}.png" for image_id in image_ids]
    for picture, image_id in zip(pictures, image_ids, strict=True):
        picture.write_bytes(client.get_image(image_id).content)
    files = [str(picture) for picture in pictures]
    code, text = onoma("predict", "tiny", *files, "--xnn", "tiny", "--json")
    assert code == 0, text
    wanted = client.predict("tiny", image_ids=image_ids, xnn_set="tiny")
    for row, prediction in zip(json.loads(text), wanted, strict=True):
        assert row["predicted_class"] == prediction.predicted_class
        assert row["xnn_scores"] == pytest.approx(list(prediction.xnn_scores), abs=1e-3)
    code, text = onoma("predict", "tiny", *files)
    assert code == 0, text
    assert all(prediction.predicted_class in text for prediction in wanted)
    code, text = onoma("predict", "tiny", files[0], "--ids", ",".join(image_ids[1:]), "--json")
    assert code == 0, text
    for row, prediction in zip(json.loads(text), wanted, strict=True):
        assert row["dnn_scores"] == pytest.approx(list(prediction.dnn_scores), abs=1e-3)
    code, text = onoma("predict", "tiny")
    assert code == 2
    assert "no picture to score" in text


def test_a_file_that_is_no_picture_is_named(onoma, open_study: OpenStudy, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(
        open_study.client.get_image(next(open_study.client.list_images("shapes")).image_id).content
    )
    bad.write_bytes(b"no picture")
    code, text = onoma("predict", "tiny", str(good), str(bad))
    assert (code, f"{bad}: " in text, "stream" in text) == (1, True, False), text


def test_what_an_import_left_out_is_counted_by_reason(
    onoma, onoma_apart, tmp_path: Path, open_study: OpenStudy
) -> None:
    picture = open_study.client.get_image(next(open_study.client.list_images("shapes")).image_id).content
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(picture)
    for number in range(3):
        (tmp_path / "a" / f"broken-{number}.png").write_bytes(b"no picture")
    code, out, _ = onoma_apart("dataset", "add", str(tmp_path), "--name", "with-issues", "--json")
    assert (code, json.loads(out)["skipped_count"]) == (0, 3)
    code, text = onoma("dataset", "issues", "with-issues")
    assert (code, "broken-2.png" in text, "by reason" in text) == (0, True, True), text
    assert re.search(r"^ *3 +skipped", text, re.MULTILINE), text
    assert onoma("dataset", "delete", "with-issues", "--yes")[0] == 0


def test_scores_of_network_and_xnns_are_drawn(onoma, tmp_path: Path) -> None:
    code, text = onoma("xnn", "show", "tiny", "--plot", str(tmp_path / "scores.svg"))
    assert code == 0, text
    drawn = (tmp_path / "scores.svg").read_text()
    assert all(f">{name}<" in drawn for name in ("circle", "cross", "square"))
    assert drawn.count(">n = ") == 3


def test_a_sweep_shows_faithfulness_and_sparsity_by_k(onoma_apart, tmp_path: Path) -> None:
    plot = tmp_path / "k.svg"
    sweep = (
        "xnn",
        "sweep",
        "tiny",
        "shapes",
        "--features",
        "1,3",
        "--classes",
        "circle",
        "--plot",
        str(plot),
    )
    code, out, err = onoma_apart(*sweep, "--json")
    assert code == 0, err
    rows = json.loads(out)  # the bars stand elsewhere
    assert "K = 3" in err
    assert [row["x_feature_count"] for row in rows] == [1, 3]
    assert rows[0]["significant_mean"] <= 1
    assert "K, X-features a class" in plot.read_text()
    code, _, err = onoma_apart("xnn", "show", "tiny-k3")
    assert code == 0, err


@pytest.mark.parametrize("features", ["0..3", "5..2", "a few", "1..65", ""])
def test_values_of_k_that_make_no_sense_are_refused(onoma, features: str) -> None:
    code, text = onoma("xnn", "sweep", "tiny", "shapes", "--features", features)
    assert code == 2
    assert f"'{features}' is neither a range like 1..12" in " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize(
    ("file", "line"), [("k.gif", ".svg nor with .png"), ("gone/k.svg", "does not exist")]
)
def test_a_figure_that_cannot_be_written_is_refused_before_the_work(onoma, tmp_path, file, line) -> None:
    code, text = onoma("xnn", "show", "tiny", "--plot", str(tmp_path / file))
    assert code == 2
    assert line in " ".join(text.replace("│", " ").split())


def test_a_name_that_is_not_there_is_one_clear_line_and_exit_1(onoma) -> None:
    code, text = onoma("xnn", "show", "nobody")
    assert code == 1
    assert text.strip() == "onoma: no set of xNNs is named 'nobody'; onoma xnn list shows those there are"


def test_an_annotator_that_is_not_there_is_told_who_is(onoma, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"")
    code, text = onoma("explain", str(picture), "--study", "shapes", "--annotator", "Nobody")
    assert code == 1
    assert "has no annotator 'Nobody'" in text


def test_no_server_is_one_clear_line_with_the_way_out(onoma, monkeypatch) -> None:
    monkeypatch.setenv("ONOMA_INFERENCE_ADDRESS", "127.0.0.1:1")
    code, text = onoma("dataset", "list")
    assert code == 1
    assert "start one with `onoma up`" in text


def test_a_server_on_this_machine_is_asked_past_any_proxy(onoma, monkeypatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert onoma("study", "list")[0] == 0


def test_wrong_use_is_exit_2() -> None:
    result: Result = CliRunner().invoke(cli.app, ["dataset", "add"])
    assert result.exit_code == 2


def test_a_torchvision_network_is_exported_and_checked(onoma, tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pt2"
    code, text = onoma("model", "export", "torchvision:resnet18", "--out", str(file), "--size", "64")
    assert code == 0, text
    code, text = onoma("model", "check", str(file), "--json")
    assert code == 0, text
    assert json.loads(text)["map_layer"]


def test_an_exported_network_wants_pictures_as_torchvisions_weights_of_that_name_do(
    onoma, tmp_path: Path
) -> None:
    weights, file = tmp_path / "squeezenet1_1-b8a52dc0.safetensors", tmp_path / "squeezenet.pt2"
    save_file(torchvision.models.squeezenet1_1().state_dict(), weights)
    command = ("model", "export", "torchvision:squeezenet1_1", "--weights", str(weights), "--out", str(file))
    code, text = onoma(*command)
    assert code == 0, text
    told = load(file.read_bytes()).metadata["preprocessing"]
    assert (told["height"], told["width"], told["resize_shorter_side"]) == (224, 224, 256)
    assert "shorter side to 256 px (bilinear), centre of 224 x 224, mean (0.485, 0.456, 0.406)" in text


@pytest.mark.parametrize(
    ("name", "file", "size", "wanted"),
    [
        ("efficientnet_b0", "", 64, (64, 73, "bicubic", 0.485)),
        ("inception_v3", "mine.pth", None, (299, 342, "bilinear", 0.485)),
        ("resnet50", "resnet50-11ad3fa6.pth", None, (224, 232, "bilinear", 0.485)),
        ("vit_b_16", "vit_b_16_swag-9ac1b537.pth", None, (384, 384, "bicubic", 0.485)),
        ("vgg16", "vgg16_features-amdegroot-88682ab5.pth", None, (224, 256, "bilinear", 0.48235)),
    ],
)
def test_torchvisions_weights_are_known_by_the_name_of_their_file(
    name: str, file: str, size: int | None, wanted: tuple[int, int, str, float]
) -> None:
    used = export.weights_of(name, Path(file) if file else None)
    found = export.preprocessing_of(used, size)
    assert (found.height, found.resize_shorter_side, found.interpolation, round(found.mean[0], 5)) == wanted


def test_a_size_that_the_network_cannot_take_is_said(onoma, tmp_path: Path) -> None:
    command = (
        "model",
        "export",
        "torchvision:squeezenet1_1",
        "--out",
        str(tmp_path / "x.pt2"),
        "--size",
        "8",
    )
    code, text = onoma(*command)
    assert code == 1
    assert "the network cannot be exported on images of (3, 8, 8)" in text


def test_ctrl_c_while_it_still_loads_ends_it_quietly() -> None:
    interrupted = """
import runpy, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "onoma.cli.studies":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
runpy.run_module("onoma", run_name="__main__")
"""
    ended = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_the_version_is_printed(onoma) -> None:
    code, text = onoma("--version")
    assert (code, text.strip()) == (0, f"onoma {version('onoma')}")


def test_a_file_that_cannot_be_written_is_named(onoma, open_study: OpenStudy, tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "namings.csv"
    code, text = onoma("naming", "export", open_study.study.study_id, "--out", str(file))
    assert code == 1
    assert f"onoma: {file}: No such file or directory" in text.replace("\n", "")


def test_the_layers_that_can_be_named_are_listed(onoma, tmp_path: Path) -> None:
    file = tmp_path / "squeezenet.pt2"
    assert onoma("model", "export", "torchvision:squeezenet1_1", "--out", str(file), "--size", "64")[0] == 0
    code, text = onoma("model", "check", str(file), "--layers", "--map-layer", "relu")
    assert code == 0, text
    assert re.search(r"relu +aten.relu.default +64 x 31 x 31 +yes", text)
    assert "map layer: relu" in text
    code, text = onoma("model", "check", str(file), "--map-layer", "relu_99")
    assert code == 1
    assert "has no layer 'relu_99' (onoma model check --layers lists them)" in text


def test_weights_of_another_kind_are_named_with_the_way_out(onoma, tmp_path: Path) -> None:
    whole, checkpoint, broken = (
        tmp_path / name for name in ("whole.pth", "checkpoint.pth", "broken.safetensors")
    )
    network = torch.nn.Linear(2, 2)
    torch.save(network, whole)
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, checkpoint)
    broken.write_bytes(b"no such thing")
    for file, said in (
        (whole, "holds no state dict that can be read safely"),
        (checkpoint, "is a checkpoint with more than a state dict (such as 'state_dict')"),
        (broken, "holds no state dict that can be read safely"),
    ):
        command = (
            "model",
            "export",
            "torchvision:resnet18",
            "--weights",
            str(file),
            "--out",
            str(tmp_path / "x.pt2"),
        )
        code, text = onoma(*command)
        assert code == 1
        assert said in text
        assert str(file) in text


def test_a_study_of_the_same_name_is_refused(onoma, open_study: OpenStudy) -> None:
    name, study_id = open_study.study.name, open_study.study.study_id
    code, text = onoma("study", "create", name, "--model", "tiny", "--dataset", "shapes")
    assert code == 1
    assert f"a study is named '{name}' already ({study_id}); choose another name" in text


def test_a_study_of_pictures_that_its_xnns_were_not_trained_on_is_made_with_a_warning(
    onoma, open_study: OpenStudy, tmp_path: Path
) -> None:
    client = open_study.client
    client.import_dataset("others", str(write_image_folder(tmp_path / "others"))).wait()
    code, text = onoma("study", "create", "of others", "--model", "tiny", "--dataset", "others", "--json")
    assert code == 0, text
    assert "the xNNs 'tiny' were trained on data set 'shapes', not on 'others'" in text
    made = json.loads(text[: text.index("\n}\n") + 3])  # the warning is on stderr
    assert (made["name"], made["study_id"]) == ("of others", client.get_study("of others").study_id)
    client.delete_study(made["study_id"])
    client.delete_dataset("others")


def test_a_file_that_is_no_program_is_refused_by_check(onoma, tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    file.write_bytes(b"not a program")
    code, text = onoma("model", "check", str(file))
    assert code == 1
    assert "no .pt2 archive" in text


def test_a_program_that_torch_saved_is_registered_with_what_it_does_not_say(
    onoma, onoma_apart, open_study: OpenStudy, tmp_path: Path
) -> None:
    file, how = tmp_path / "plain.pt2", tmp_path / "how.json"
    exported = torch.export.export(
        vgg_like(), (torch.rand(2, *SHAPE),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    torch.export.save(exported, file)
    code, text = onoma("model", "check", str(file))
    assert code == 0, text
    for key in ("classes", "preprocessing"):
        assert f"{key}: not in the file; say it with onoma model add --{key}" in text
    names = [letter * 70 for letter in "abcd"]  # together longer than a path may be
    add = ("model", "add", str(file), "--name", "plain", "--classes", ",".join(names))
    code, text = onoma(*add)
    assert (code, "say it (--preprocessing)" in text) == (1, True), text
    for content, said in (
        ('{"channels": 3, "higth": 32}', '"higth"'),
        ('{"interpolation": "nearest"}', "interpolation 'nearest'; it can be bilinear or bicubic"),
        ("5", "no JSON object"),
        ("{", "Expecting"),
    ):
        how.write_text(content)
        code, text = onoma(*add, "--preprocessing", str(how))
        assert (code, f"{how}: " in text, said in " ".join(text.split())) == (1, True, True), text
    how.write_text('{"channels": 3, "height": 32, "width": 32, "interpolation": "bicubic"}')
    code, out, _ = onoma_apart(*add, "--preprocessing", str(how), "--json")
    assert (code, json.loads(out)["name"]) == (0, "plain")
    model = open_study.client.get_model("plain")
    assert list(model.classes) == names
    said = model.preprocessing
    assert (said.channels, said.height, said.width) == (3, 32, 32)
    assert said.interpolation == types_pb2.INTERPOLATION_BICUBIC
    open_study.client.delete_model("plain")


def test_an_unknown_torchvision_name_lists_those_that_there_are(onoma, tmp_path: Path) -> None:
    code, text = onoma("model", "export", "torchvision:nothing", "--out", str(tmp_path / "x.pt2"))
    assert code == 1
    assert "vgg16" in text


def test_a_study_is_renamed_unless_another_has_the_name(onoma, open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    assert onoma("study", "rename", "shapes", "figures")[0] == 0
    assert client.get_study("figures").study_id == study_id
    taken = client.create_study("taken", "tiny", "shapes", "tiny", ["circle"])
    code, text = onoma("study", "rename", "figures", "taken")
    assert (code, f"a study is named 'taken' already ({taken.study_id})" in " ".join(text.split())) == (
        1,
        True,
    )
    assert onoma("study", "rename", "figures", "shapes")[0] == 0
    client.delete_study(taken.study_id)


def test_people_links_and_labels_of_a_study(
    onoma, open_study: OpenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    code, link = onoma("study", "invite", "shapes", "Eve of the commands", "--days", "2")
    assert code == 0
    first = link.strip().rpartition("#")[2]
    monkeypatch.setenv("ONOMA_PUBLIC_URL", "https://onoma.example/")
    code, text = onoma("study", "renew", "shapes", "Eve of the commands", "--json")
    link = json.loads(text)["link"]
    assert link.startswith("https://onoma.example/name#")
    assert client.accept_invitation(link.strip().rpartition("#")[2]).study.study_id == study_id
    with pytest.raises(NotFound):
        client.accept_invitation(first)
    code, text = onoma("study", "invite", "shapes", "Vi of the commands", "--viewer", "--json")
    invited = json.loads(text)
    assert (code, invited["study_id"], invited["display_name"]) == (0, study_id, "Vi of the commands")
    assert (
        client.accept_invitation(invited["link"].rpartition("#")[2]).annotator.annotator_id
        == (invited["annotator_id"])
    )
    assert onoma("study", "revoke", "shapes", "Eve of the commands")[0] == 0
    code, text = onoma("study", "annotators", "shapes", "--json")
    states = {person["display_name"]: (person["role"], person["link_state"]) for person in json.loads(text)}
    assert states["Eve of the commands"] == ("ROLE_ANNOTATOR", "LINK_STATE_REVOKED")
    assert states["Vi of the commands"] == ("ROLE_VIEWER", "LINK_STATE_GOOD")
    code, text = onoma("study", "revoke", "shapes", "Nobody")
    assert code == 1
    assert "study 'shapes' has no annotator 'Nobody'" in text
    code, text = onoma(
        "study", "labels", "shapes", "--synonyms", "beak, nose", "--overrule", "a", "b", "none", "--by", "Ada"
    )
    assert code == 0
    assert "beak, nose" in text
    assert "Ada" in text
    assert onoma("study", "labels", "shapes", "--overrule", "a", "b", "none")[0] == 2


def test_words_are_added_to_those_of_a_study_and_taken_away(onoma, open_study: OpenStudy) -> None:
    client = open_study.client
    study_id = client.create_study("words", "tiny", "shapes", "tiny", ["circle"]).study_id
    built_in = list(client.get_vocabulary(study_id).vague_words)

    def after(*options: str) -> tuple[list[list[str]], list[str]]:
        code, text = onoma("study", "labels", "words", *options, "--json")
        assert code == 0, text
        shown = json.loads(text)
        return [group["words"] for group in shown["synonyms"]], shown["vague_words"]

    assert after("--vague", "blob", "--vague", built_in[0].upper()) == ([], [*built_in, "blob"])
    assert after("--not-vague", "Blob", "--synonyms", "bill, beak") == ([["bill", "beak"]], built_in)
    assert after("--synonyms", "paw, foot")[0] == [["bill", "beak"], ["paw", "foot"]]
    assert after("--synonyms", "Beak, nose")[0] == [["paw", "foot"], ["bill", "beak", "nose"]]
    assert after("--not-synonym", "paw", "--not-synonym", "nose") == ([["bill", "beak"]], built_in)
    for words in (("--not-vague", "blob"), ("--not-synonym", "paw")):
        code, text = onoma("study", "labels", "words", *words)
        assert (code, f"'{words[1]}' is " in text, "onoma study labels STUDY" in text) == (1, True, True)
    assert client.get_vocabulary(study_id).revision == 5
    client.delete_study(study_id)


def test_what_is_deleted_is_asked_for_first(onoma, open_study: OpenStudy, monkeypatch) -> None:
    client, study = open_study.client, open_study.study
    made = client.create_study("to go", "tiny", "shapes", "tiny", study.categories)
    client.invite_annotator(study.study_id, "Gus of the commands")
    client.invite_annotator(made.study_id, "Ada")
    deletions = (
        (("study", "delete", "to go"), "study to go (0 activations; 1 annotator or viewer"),
        (
            ("study", "erase", "shapes", "Gus of the commands"),
            "annotator Gus of the commands of study shapes",
        ),
    )
    for command, what in deletions:
        code, text = onoma(*command)
        assert (code, what in text, "give --yes" in text) == (1, True, True), text
        monkeypatch.setattr("sys.stdin", Terminal("n\n"))
        code, text = onoma(*command)
        assert (code, f"{what}" in text, "delete for good?" in text) == (1, True, True), text
        monkeypatch.setattr("sys.stdin", io.StringIO())
    assert client.get_study("to go") == made
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert onoma(*deletions[0][0])[0] == 0
    code, text = onoma(*deletions[1][0], "--yes")
    assert (code, "deleted" in text) == (0, True), text
    with pytest.raises(NotFound):
        client.get_study("to go")
    assert "Gus of the commands" not in [one.display_name for one in client.list_annotators(study.study_id)]


def test_a_study_is_closed_only_after_yes(onoma, open_study: OpenStudy, monkeypatch) -> None:
    client = open_study.client
    made = client.create_study("to close", "tiny", "shapes", "tiny", ["circle"])
    client.invite_annotator(made.study_id, "Ada")
    client.invite_annotator(made.study_id, "Vi", role=naming_pb2.ROLE_VIEWER)

    def state() -> naming_pb2.StudyState:
        return client.get_study("to close").state

    code, text = onoma("study", "close", "to close")
    assert (code, "is not open yet, so there is nothing to close" in " ".join(text.split())) == (1, True)
    client.compute_maps(made.study_id).wait()
    client.open_study(made.study_id)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, text = onoma("study", "close", "to close")
    assert (code, "give --yes" in text, state()) == (1, True, naming_pb2.STUDY_STATE_OPEN), text
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    code, text = onoma("study", "close", "to close")
    question = "Close the study to close? 1 annotator can name no more, and it cannot be opened again."
    assert (code, question in text, state()) == (1, True, naming_pb2.STUDY_STATE_OPEN), text
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, text = onoma("study", "close", "to close", "--yes")
    assert (code, "closed" in text, state()) == (0, True, naming_pb2.STUDY_STATE_CLOSED), text
    assert onoma("study", "close", "to close")[0] == 0  # nothing happens, so nothing is asked
    client.delete_study(made.study_id)


@pytest.mark.parametrize("kind", ["study", "dataset"])
def test_what_a_deletion_may_have_left_is_asked_for_too(onoma, monkeypatch, kind: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, text = onoma(kind, "delete", "nothing-here")
    assert (code, "give --yes" in text) == (1, True), text
    code, text = onoma(kind, "delete", "nothing-here", "--yes")
    assert (code, "nothing-here" in text, "list shows those there are" in text) == (1, True, True), text


@pytest.mark.parametrize(("kind", "name"), [("dataset", "shapes"), ("model", "tiny"), ("xnn", "tiny")])
def test_what_a_study_needs_is_not_deleted(onoma, kind: str, name: str) -> None:
    code, text = onoma(kind, "delete", name, "--yes")
    assert (code, f"'{name}' is needed by the studies" in text) == (1, True), text


def test_a_data_set_a_model_and_xnns_are_deleted(onoma, open_study: OpenStudy) -> None:
    client = open_study.client
    picture = next(client.list_images("shapes"))
    content = client.get_image(picture.image_id).content
    picture.class_name = "a"
    client.upload_dataset("to-go", ["a", "b"], [(picture, content)])
    code, text = onoma("dataset", "delete", "to-go", "--yes")
    assert (code, text.strip()) == (0, "data set to-go (1 picture): deleted")
    assert "to-go" not in [one.name for one in client.list_datasets()]
    model = client.get_model("tiny")
    program = b"".join(client.get_object(model.model_hash))
    client.register_model("to-go", program, classes=model.classes, preprocessing=model.preprocessing).wait()
    settings = inference_pb2.XnnSettings(epochs=1)
    with short_fits():
        client.train_xnn("to-go", "to-go", "shapes", settings=settings).wait()
    for kind, set_name in (("xnn", "set to-go"), ("model", "model to-go")):
        code, text = onoma(kind, "delete", "to-go", "--yes")
        assert (code, text.startswith(set_name)) == (0, True), text
    assert "to-go" not in [one.name for one in [*client.list_models(), *client.list_xnn_sets()]]
    assert client.get_model("tiny") == model


def test_what_jobs_made_is_told_as_json(onoma_apart, open_study: OpenStudy) -> None:
    client = open_study.client
    code, out, _ = onoma_apart("xnn", "train", "tiny", "shapes", "--name", "told", "--epochs", "1", "--json")
    assert (code, len(json.loads(out)["xnns"])) == (0, 3)
    study = client.create_study("told", "tiny", "shapes", "told", ["circle"])
    code, out, err = onoma_apart("maps", "compute", "told", "--json")
    assert code == 0, err
    assert json.loads(out)["activations"] > 0
    job = next(one for one in client.list_jobs() if one.message.kind == "compute_maps")
    code, again, err = onoma_apart("job", "watch", job.job_id, "--json")
    assert (code, json.loads(again)) == (0, json.loads(out)), err
    client.delete_study(study.study_id)
    client.delete_xnn_set("told")


@pytest.mark.usefixtures("named_category")
def test_a_study_is_analysed_as_it_stands(onoma_apart, open_study: OpenStudy) -> None:
    code, out, err = onoma_apart("study", "analyse", "shapes", "--shuffles", "5", "--json")
    assert code == 0, err
    assert set(json.loads(out)["expected"]) == set(open_study.study.categories)
    code, table, err = onoma_apart("study", "analyse", "shapes", "--shuffles", "0")
    assert code == 0, err
    assert "circle" in table
    assert "%" in table
    assert "0." not in table


@pytest.mark.parametrize(
    "command",
    [
        ("maps", "compute", "shapes"),
        ("xnn", "train", "tiny", "shapes"),
        ("xnn", "sweep", "tiny", "shapes", "--features", "2"),
    ],
)
def test_an_engine_that_there_is_not_is_refused_before_anything_starts(onoma, monkeypatch, command) -> None:
    code, text = onoma(*command, "--engine", "spark")
    assert code == 2
    assert "'spark' is not one of 'local', 'ray'" in " ".join(text.replace("│", " ").split())
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    code, text = onoma(*command, "--engine", "ray")
    assert code == 1
    assert "pip install 'WHEEL[ray]' there, of the wheel that Onoma was" in " ".join(text.split())
