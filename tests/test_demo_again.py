"""A second run of the demo on photographs: reuses what it can, and says where other photographs stand in the way."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onoma.client import Addresses, Client
from onoma.demo import photographs, road
from onoma.demo.road import listing_of
from services.up import local_settings, start_all
from tests.short_fits import short_fits
from tests.synthetic import tiny_program, write_image_folder


@dataclass
class Demo:
    """`onoma demo --quick --data DIR` with a tiny network in place of EfficientNet, and without a report.

    Attributes:
        folder: of `--folder`.
        trained: the folders that networks were trained on.
    """

    folder: Path
    trained: list[Path] = field(default_factory=list)

    def run(self, data: Path) -> None:
        def train(folder: Path, *_: object, **__: object) -> bytes:
            self.trained.append(folder)
            return tiny_program(folder, steps=5)

        with pytest.MonkeyPatch.context() as patch, short_fits():
            patch.setattr(photographs, "train_network", train)
            patch.setattr(road, "write_study_report", lambda *_: self.folder)
            road.run(self.folder, photographs=data, port=0, serve=None)

    def made(self) -> tuple[int, list[int], list[int]]:
        """Studies, and pictures of each class in the training and the test part."""
        running = start_all(local_settings(self.folder / "data", free_ports=True), http_port=None)
        try:
            with Client(Addresses(**running.addresses)) as client:
                dataset = client.get_dataset("shapes")
                counts = list(dataset.train_counts), list(dataset.test_counts)
                return len(list(client.list_studies())), *counts
        finally:
            running.stop()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image_folder(tmp_path_factory.mktemp("images") / "shapes", train=6, test=3)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Demo:
    """A demo that ran once to its end; whatever is tried on it leaves it as it is."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    demo.run(images)
    return demo


@pytest.fixture
def one_more(images: Path) -> Iterator[Path]:
    """A picture beside those that the demo ran on."""
    new = images / "test/circle/new.png"
    shutil.copy(images / "test/cross/cross_000.png", new)
    yield new
    new.unlink(missing_ok=True)


def test_a_listing_tells_of_files_that_came_went_or_changed(tmp_path: Path) -> None:
    picture = tmp_path / "test/circle/below/one.png"
    picture.parent.mkdir(parents=True)
    seen = [listing_of(tmp_path)]
    for change in (
        lambda: picture.write_bytes(b"1"),
        lambda: picture.write_bytes(b"11"),
        lambda: os.utime(picture, (1, 1)),
        lambda: picture.rename(picture.with_name("two.png")),
    ):
        change()
        seen.append(listing_of(tmp_path))
    assert len(set(seen)) == 5
    assert listing_of(tmp_path) == seen[-1]


def test_with_the_same_pictures_everything_is_there_already(done: Demo, images: Path) -> None:
    done.run(images)
    for path in images.rglob("*.png"):
        os.utime(path, (1, 1))  # as where they were copied anew
    done.run(images)
    assert done.trained == [images]
    assert done.made() == (1, [6, 6, 6], [3, 3, 3])


def test_pictures_added_after_the_training_are_refused_with_the_way_out(
    done: Demo, images: Path, one_more: Path
) -> None:
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"other photographs of the name 'shapes'.*--folder.*DEMO_FOLDER"
        ):
            done.run(images)
    one_more.unlink()
    done.run(images)
    assert done.made() == (1, [6, 6, 6], [3, 3, 3])


def test_another_folder_of_the_same_name_is_refused_with_the_way_out(done: Demo, tmp_path: Path) -> None:
    other = write_image_folder(tmp_path / "elsewhere/shapes", train=6, test=3, seed=1)
    with pytest.raises(
        ValueError, match=r"other photographs .* than are in .*elsewhere/shapes now.*--folder"
    ):
        done.run(other)


def test_pictures_added_before_the_training_are_taken(
    images: Path, one_more: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those of before once more, although their import was done already."""

    class Ended(Exception):
        pass

    def end(*_: object) -> None:
        raise Ended

    monkeypatch.setattr(road, "_program", end)
    demo = Demo(tmp_path / "demo")
    counts = []
    for change in (lambda: None, lambda: one_more.rename(tmp_path / "new.png")):
        change()
        with pytest.raises(Ended):
            demo.run(images)
        counts.append(demo.made()[2])
    (tmp_path / "new.png").rename(one_more)
    with pytest.raises(Ended):
        demo.run(images)
    assert [*counts, demo.made()[2]] == [[4, 3, 3], [3, 3, 3], [4, 3, 3]]
