"""What is looked at of a zip before it is read: the list of entries that zipfile itself would read, or nothing."""

import io
import zipfile

import pytest

from onoma.zip_checks import directory_of


def zip64(*, points_to: int, size_bytes: int, place: int = 200) -> io.BytesIO:
    """The end of a zip over 4 GiB, whose list of entries has so many bytes, and which says where that is told."""
    end64 = b"PK\6\6" + bytes(36) + size_bytes.to_bytes(8, "little") + bytes(8)
    locator = b"PK\6\7" + bytes(4) + points_to.to_bytes(8, "little") + bytes(4)
    return io.BytesIO(bytes(place) + end64 + locator + b"PK\5\6" + b"\xff" * 16 + b"\0\0")


@pytest.mark.parametrize("comment", [b"", b"made by hand"])
def test_the_list_of_entries_is_measured(comment: bytes) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("name", b"content")
        archive.comment = comment
    directory = directory_of(file)
    assert directory is not None
    assert (directory.size_bytes, directory.is_zip64) == (46 + len("name"), False)


def test_the_list_of_a_zip_over_4_gib_is_measured() -> None:
    directory = directory_of(zip64(points_to=200, size_bytes=1 << 40))
    assert directory is not None
    assert (directory.size_bytes, directory.is_zip64) == (1 << 40, True)


def test_a_small_list_elsewhere_does_not_hide_a_huge_one_that_zipfile_would_read() -> None:
    assert directory_of(zip64(points_to=0, size_bytes=1 << 40)) is None


def test_a_zip_with_something_behind_it_is_none() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("name", b"content")
    assert directory_of(io.BytesIO(file.getvalue() + b"more")) is None
