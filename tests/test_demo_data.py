"""Where the demo finds Fashion-MNIST."""

from pathlib import Path

import pytest
from torchvision.datasets import FashionMNIST

from onoma.demo import fashion


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
