"""The examples of tutorial and how-to pages are run, or are the code that they say they show."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from onoma.client import Addresses, Client
from onoma.science.registration import check
from onoma.v1 import naming_pb2
from services.up import local_settings, start_all
from tests.command_line import run
from tests.docs.test_docs import DOCS, ROOT, command_lines
from tests.synthetic import tiny_program, vgg_like, write_image_folder


def blocks(page: str, language: str) -> list[str]:
    """Code blocks of a page, without their indentation."""
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
        code, text = run(words, monkeypatch, capfd)
        assert code == 0, f"{line}\n{text}"
        walked.append(words)
        if words[1:3] == ["study", "invite"]:
            name_everything(client, words[3], words[4])
        if words[1] == "explain":
            assert "circle: the circle" in text or "inferred" in text
    assert len(walked) == 14
    assert (tmp_path / "report/index.html").exists()
    assert (tmp_path / "photo-explained.png").exists()


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
