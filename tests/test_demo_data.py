"""Where the demo finds Fashion-MNIST, and what it calls photographs of your own."""

from pathlib import Path

import pytest
from torchvision.datasets import FashionMNIST

from onoma.demo import fashion
from onoma.demo.road import name_of
from services.inference.registry import check_name


def test_files_that_are_there_are_taken_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's files hold what the originals hold, in gzip files of other bytes: no hash of those fits."""
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", tmp_path / "not installed")
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    cache = tmp_path / "cache"
    cache.mkdir()
    for name, _ in FashionMNIST.resources:
        (cache / name).write_bytes(b"packed otherwise")
    assert fashion.find_data(cache) == cache
    next(cache.iterdir()).unlink()
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        fashion.find_data(cache)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("garments_2.0", "garments_2.0"),
        ("My Photos", "My-Photos"),
        ("(été) à la mer", "t-la-mer"),
        ("写真", "photographs"),
        ("...", "photographs"),
        ("x" * 100, "x" * 64),
    ],
)
def test_photographs_of_any_folder_get_a_name_that_servers_take(
    tmp_path: Path, folder: str, name: str
) -> None:
    assert name_of(tmp_path / folder) == check_name(name, "data set")
