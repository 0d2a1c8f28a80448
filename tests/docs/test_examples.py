"""The examples of tutorial and how-to pages are run, or are the code that they say they show."""

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from onoma.client import Addresses, Client
from onoma.science import excitation_rules
from onoma.science.program import save
from onoma.science.registration import check
from onoma.v1 import inference_pb2, naming_pb2
from services.up import local_settings, start_all
from tests.command_line import Terminal, run
from tests.docs.test_docs import DOCS, ROOT, command_lines
from tests.services.inference import folders
from tests.short_fits import short_fits
from tests.synthetic import CLASSES, tiny_program, vgg_like, write_image_folder

_TUTORIAL = "test_the_tutorial_is_walked_to_its_end"
_INVITED = "test_annotators_are_invited_as_the_page_says"
_REGISTERED = "test_a_model_of_ones_own_is_registered"
_IMPORTED = "test_a_data_set_of_ones_own_is_imported"
_SHOWN = "test_examples_that_show_code_show_it_as_it_is"

RUN_BY = {
    "tutorial.md": [_TUTORIAL] * 8,
    "howto/invite-annotators.md": [_INVITED, _INVITED],
    "howto/own-dataset.md": [
        *[_IMPORTED] * 3,
        "not run: the paper's twelve species take the pictures of CUB-200-2011 and a network of all 200",
    ],
    "howto/own-model.md": ["test_a_model_of_ones_own_is_written_and_accepted", _REGISTERED, _REGISTERED],
    "howto/write-a-figure.md": [_SHOWN, _SHOWN],
    "howto/write-a-metric.md": [_SHOWN],
    "howto/write-an-rpc.md": [_SHOWN],
}
"""Who runs each code block of tutorial and how-to pages, or compares it with the code, in the pages' order."""


def blocks(page: str, language: str = r"\w*") -> list[str]:
    """Code blocks of a page, without their indentation; of any language where none is given."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [textwrap.dedent(one) for one in re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.M | re.S)]


def not_quoted(block: str, source: str) -> list[str]:
    """Lines of a block that its source lacks; what stands for something left out ("...") is not looked for."""
    lines = {line.strip() for line in source.splitlines()}
    return [line for line in map(str.strip, block.splitlines()) if line not in lines and "..." not in line]


@pytest.mark.parametrize(
    ("page", "language", "source"),
    [
        ("howto/write-a-metric.md", "python", "onoma/science/purity.py"),
        ("howto/write-an-rpc.md", "python", "services/analytics/service.py"),
        ("howto/write-a-figure.md", "python", "onoma/report/write.py"),
        ("howto/write-a-figure.md", "html", "onoma/report/templates/page.html"),
    ],
)
def test_examples_that_show_code_show_it_as_it_is(page: str, language: str, source: str) -> None:
    [block] = blocks(page, language)
    assert not_quoted(block, (ROOT / source).read_text(encoding="utf-8")) == []
    assert not_quoted("no such line", (ROOT / source).read_text(encoding="utf-8")) == ["no such line"]


def test_every_block_of_tutorial_and_how_to_is_run_or_says_why_not() -> None:
    pages = [DOCS / "tutorial.md", *(DOCS / "howto").glob("*.md")]
    counts = {name: len(blocks(name)) for name in (page.relative_to(DOCS).as_posix() for page in pages)}
    assert {name: count for name, count in counts.items() if count} == {
        name: len(runners) for name, runners in RUN_BY.items()
    }
    runners = {runner for of_page in RUN_BY.values() for runner in of_page}
    assert [one for one in runners if one not in globals() and not one.startswith("not run: ")] == []


def test_the_python_of_every_page_is_run_by_a_test() -> None:
    elsewhere = {
        "decisions/one-client.md": "tests/sdk/test_many_threads.py",
        "importing-maps.md": "tests/archives_of_maps.py",
        "study-archives.md": "tests/sdk/test_study_archive.py",
    }
    with_python = {
        page.relative_to(DOCS).as_posix()
        for page in DOCS.rglob("*.md")
        if blocks(page.relative_to(DOCS).as_posix(), "python")
    }
    runners = {page: elsewhere.get(page, "tests/docs/test_examples.py") for page in with_python}
    assert len(runners) > 6
    assert [
        page for page, runner in runners.items() if f'"{page}"' not in (ROOT / runner).read_text("utf-8")
    ] == []


def test_every_file_that_a_page_names_is_there() -> None:
    named = {
        (page.name, path)
        for page in [DOCS / "tutorial.md", *(DOCS / "howto").glob("*.md"), ROOT / "CONTRIBUTING.md"]
        for path in re.findall(
            r"`((?:onoma|services|protos|tests|docs|deploy|scripts)/[\w./-]+)`",
            page.read_text(encoding="utf-8"),
        )
    }
    assert len(named) > 15
    assert [(page, path) for page, path in sorted(named) if not (ROOT / path).exists()] == []


def test_a_model_of_ones_own_is_written_and_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [block] = blocks("howto/own-model.md", "python")
    names = ["circle", "cross"]
    given = {
        "network": vgg_like(4, 224, 8, len(names)),
        "example_images": torch.rand(2, 3, 224, 224),
        "names": names,
    }
    exec(compile(block, "own-model.md", "exec"), given)
    assert check((tmp_path / "mine.pt2").read_bytes()).reasons == ()


def test_the_readmes_way_to_write_a_model_is_that_of_the_page() -> None:
    [block] = blocks("../README.md", "python")
    [page] = blocks("howto/own-model.md", "python")
    assert not_quoted(block, re.sub(r"  # .*", "", page)) == []


def test_the_rule_of_the_page_lets_a_network_in() -> None:
    class Root(torch.nn.Module):
        def forward(self, cells: torch.Tensor) -> torch.Tensor:
            return torch.sqrt(torch.relu(cells))

    network = vgg_like(4, 32, 8, 2)
    network[1], network[4] = Root(), Root()
    preprocessing = {"channels": 3, "height": 32, "width": 32}
    metadata = {"classes": ["circle", "cross"], "preprocessing": preprocessing}
    content = save(network, torch.rand(2, 3, 32, 32), metadata)
    [reason] = check(content).reasons
    assert "no rule for aten.sqrt" in reason
    [block] = blocks("excitation-rules.md", "python")
    try:
        exec(compile(block, "excitation-rules.md", "exec"), dict(vars(excitation_rules)))
        assert check(content).reasons == ()
    finally:
        excitation_rules.RULES.pop(torch.ops.aten.sqrt.default, None)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """What `onoma up` starts, which the command line finds, with nothing in it."""
    running = start_all(local_settings(tmp_path / "onoma-data", free_ports=True), http_port=0)
    try:
        for service, address in running.addresses.items():
            monkeypatch.setenv(f"ONOMA_{service.upper()}_ADDRESS", address)
        with Client(Addresses(**running.addresses)) as client:
            yield client
    finally:
        running.stop()


def test_the_tutorial_is_walked_to_its_end(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every command of the tutorial but two: the servers run already, and in place of VGG16 a tiny network is there."""
    monkeypatch.chdir(tmp_path)
    images = write_image_folder(tmp_path / "IMAGES")
    (tmp_path / "photo.jpg").write_bytes(next((images / "test/circle").iterdir()).read_bytes())
    (tmp_path / "vgg.pt2").write_bytes(tiny_program(images))
    replaced = {"coat": "circle"}
    walked = []
    for line in command_lines((DOCS / "tutorial.md").read_text(encoding="utf-8")):
        words = [replaced.get(word, word) for word in shlex.split(line, comments=True)]
        if words[1] == "up" or words[1:3] == ["model", "export"]:
            continue
        if words[1:3] == ["xnn", "train"]:
            words += ["--epochs", "4"]
        text = run_line(shlex.join(words), monkeypatch, capfd)
        walked.append(words)
        if words[1:3] == ["study", "invite"]:
            name_everything(client, words[3], words[4])
        if words[1] == "explain":
            assert "circle: the circle" in text or "inferred" in text
    assert len(walked) == 14
    assert (tmp_path / "report/index.html").exists()
    assert (tmp_path / "photo-explained.png").exists()


def walk(
    page: str, runner: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[str]:
    """Runs the commands of those blocks of a page that a test runs, block by block; what each put on the screen."""
    for block, test in zip(blocks(page), RUN_BY[page], strict=True):
        if test == runner:
            lines = command_lines(f"```sh\n{block}```")
            assert len(lines) == len(block.splitlines())
            yield "".join(run_line(line, monkeypatch, capfd) for line in lines)


def run_line(line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    code, text = run(shlex.split(line, comments=True), monkeypatch, capfd)
    assert code == 0, f"{line}\n{text}"
    return text


def name_everything(client: Client, study_name: str, annotator_name: str) -> None:
    """What Ada does on her page: one concept a category."""
    study = client.get_study(study_name)
    [ada] = [one for one in client.list_annotators(study.study_id) if one.display_name == annotator_name]
    for category in study.categories:
        naming = client.get_naming(study.study_id, ada.annotator_id, category)
        create = naming_pb2.CreateConcept(
            concept_id=f"all-{category}", name=f"the {category}", activation_ids=naming.pool
        )
        if naming.pool:
            client.act(naming, naming_pb2.Command(create=create))


@pytest.fixture
def vgg(client: Client, tmp_path: Path) -> list[Path]:
    """The model and the xNNs that the page calls "vgg", tiny, in place of VGG16's; and pictures."""
    images = write_image_folder(tmp_path / "IMAGES")
    preprocessing = {"channels": 3, "height": 224, "width": 224, "resize_shorter_side": 224}
    metadata = {"classes": list(CLASSES), "preprocessing": preprocessing}
    content = save(vgg_like(4, 224, 8, len(CLASSES)), torch.rand(2, 3, 224, 224), metadata)
    client.register_model("vgg", content).wait()
    client.import_dataset("shapes", str(images)).wait()
    client.train_xnn("vgg", "vgg", "shapes", settings=inference_pb2.XnnSettings(epochs=2)).wait()
    return sorted((images / "test").rglob("*.png"))


def test_scores_are_asked_for_as_the_page_says(
    client: Client, vgg: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(vgg[0].read_bytes())
    ours, tritons = blocks("serving.md", "python")
    found: dict[str, Any] = {"paths": vgg[:3]}
    exec(compile(ours, "serving.md", "exec"), found)
    assert [len(one.dnn_scores) for one in (*found["few"], *found["many"])] == [len(CLASSES)] * 4
    assert found["few"][0].xnn_scores
    address = "127.0.0.1:50051"
    assert address in tritons
    script = tritons.replace(address, client._transport._addresses.inference) + "\nprint(scores.shape)\n"
    # A process of its own: Triton's stubs and the services' are of the same names.
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "(8, 3)\n", ended.stderr


def test_annotators_are_invited_as_the_page_says(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    images = write_image_folder(tmp_path / "IMAGES")
    client.import_dataset("shapes", str(images)).wait()
    client.register_model("tiny", tiny_program(images)).wait()
    with short_fits():
        client.train_xnn("tiny", "tiny", "shapes", settings=inference_pb2.XnnSettings(epochs=4)).wait()
    study = client.create_study("first look", "tiny", "shapes", "tiny", CLASSES)
    client.compute_maps(study.study_id).wait()
    page = walk("howto/invite-annotators.md", _INVITED, monkeypatch, capfd)
    assert "Ada" in next(page)
    name_everything(client, "first look", "Ada")
    next(page)
    assert "the circle" in (tmp_path / "namings.csv").read_text(encoding="utf-8")


def test_a_model_of_ones_own_is_registered(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In place of one's own and of VGG16 a network with as many ReLUs, so that its layers are of the same names."""
    monkeypatch.chdir(tmp_path)
    images = write_image_folder(tmp_path / "IMAGES")
    deep = vgg_like(8, 32, 32, len(CLASSES))
    deep.insert(1, torch.nn.Sequential(*(torch.nn.ReLU() for _ in range(11))))
    (tmp_path / "mine.pt2").write_bytes(tiny_program(images))
    (tmp_path / "vgg.pt2").write_bytes(tiny_program(images, network=deep))
    checked, registered = walk("howto/own-model.md", _REGISTERED, monkeypatch, capfd)
    assert "mine" in checked
    assert "vgg" in registered
    assert [client.get_model(name).map_layer for name in ("mine", "vgg")] == ["relu_1", "relu_12"]


def test_a_data_set_of_ones_own_is_imported(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for shape, garment in (("circle", "coat"), ("cross", "shirt")):
        images = write_image_folder(tmp_path / garment, train=3, test=2)
        for part in ("train", "test"):
            shutil.move(images / part / shape, tmp_path / "IMAGES" / part / garment)
    folders.cub(tmp_path / "CUB_200_2011")
    assert len(list(walk("howto/own-dataset.md", _IMPORTED, monkeypatch, capfd))) == 3
    classes = {one.name: len(one.classes) for one in client.list_datasets()}
    assert classes == {"garments": 2, "birds": 2, "albatrosses": 2}
