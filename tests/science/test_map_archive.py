"""Archives of maps made elsewhere: what is read of them, and what is refused by name."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from onoma.science import map_archive
from onoma.science.map_archive import RefusedArchive, map_batches, read_archive
from tests.archives_of_maps import entries, npy, packed, random_maps, script_of_the_docs, table

ROWS = [("a.png", "cat", 0, 2.0), ("a.png", "cat", 3, -0.5), ("b.png", "dog", 0, 1.0)]


def archive_file(content=None, **manifest):
    """A good archive with some entries in the place of its own."""
    return io.BytesIO(packed(entries(ROWS, random_maps(3), **manifest) | (content or {})))


def refusal_of(file):
    with pytest.raises(RefusedArchive) as caught:
        list(map_batches(file, read_archive(file)))
    return str(caught.value)


def test_an_archive_is_read_as_it_was_written():
    file = archive_file(model_hash="0f" * 32)
    archive = read_archive(file)
    assert (archive.manifest.method, archive.manifest.model) == ("Grad-CAM", "somebody's vgg16")
    assert (archive.manifest.layer, archive.manifest.model_hash) == ("features.29", "0f" * 32)
    assert json.loads(archive.manifest.parameters) == {"target": "logit", "smooth": 0.5}
    assert not archive.manifest.already_significant
    rows = archive.rows
    found = zip(rows.images, rows.categories, rows.units.tolist(), rows.weights.tolist(), strict=True)
    assert list(found) == ROWS
    assert archive.images is None
    np.testing.assert_array_equal(np.concatenate(list(map_batches(file, archive))), random_maps(3))


def test_the_script_of_the_docs_writes_an_archive(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(script_of_the_docs(), {})
    with Path("maps.zip").open("rb") as file:
        archive = read_archive(file)
        assert archive.manifest.method == "random numbers"
        assert [len(maps) for maps in map_batches(file, archive)] == [4]


def test_maps_come_in_batches_that_fit_memory(monkeypatch):
    monkeypatch.setattr(map_archive, "_BYTES_AT_ONCE", 2 * 5 * 7 * 4)
    file = archive_file({"maps.npy": npy(random_maps(3).astype(np.float16))})
    batches = list(map_batches(file, read_archive(file)))
    assert [len(maps) for maps in batches] == [2, 1]
    assert batches[0].dtype == np.float32


def test_images_say_what_is_known_of_them():
    columns = ("image", "category", "dnn_score", "predicted_class")
    file = archive_file(
        {"images.csv": table(columns, [("a.png", "cat", 7.5, "dog"), ("c.png", "cat", -1, "cat")])}
    )
    first, second = read_archive(file).images
    assert (first.image, first.dnn_score, first.xnn_score, first.predicted_class) == (
        "a.png",
        7.5,
        None,
        "dog",
    )
    assert (second.image, second.dnn_score) == ("c.png", -1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"maps.npy": npy(np.full((3, 5, 7), np.nan, np.float32))},
            "row 0 of activations.csv (image 'a.png'",
        ),
        ({"maps.npy": npy(np.full((3, 5, 7), np.inf, np.float32))}, "a value that is NaN or infinite"),
        ({"maps.npy": npy(-random_maps(3))}, "numpy.maximum(maps, 0)"),
        ({"maps.npy": npy(random_maps(3) * np.float32(1e31))}, "at most 1e+30 is taken: scale it down"),
        ({"maps.npy": npy(random_maps(3).astype(np.float64))}, "type float64; save maps.astype('float32')"),
        ({"maps.npy": npy(random_maps(3).astype(">f4"))}, "type >f4"),
        ({"maps.npy": npy(np.array([{}] * 3), allow_pickle=True)}, "pickled, which can run code"),
        ({"maps.npy": npy(random_maps(3)[0])}, "shape (5, 7); save (maps, rows, columns)"),
        ({"maps.npy": npy(np.zeros((3, 513, 7), np.float32))}, "1 to 512 rows and columns"),
        ({"maps.npy": npy(np.asfortranarray(random_maps(3)))}, "in Fortran order"),
        ({"maps.npy": npy(random_maps(4))}, "maps.npy holds 4 maps and activations.csv 3 rows"),
        ({"maps.npy": npy(random_maps(3))[:-4]}, "where its header asks for"),
        ({"maps.npy": npy(random_maps(3)) + b"more"}, "where its header asks for"),
        ({"maps.npy": b"PK no array"}, "no file that numpy.save wrote"),
        ({"activations.csv": b"image,category,unit\na,b,0\n"}, "its columns are image,category,unit,weight"),
        ({"activations.csv": b"image,category,unit,weight\n"}, "there is nothing to import"),
        (
            {"activations.csv": b"image,category,unit,weight\na,b,0\n"},
            "row 0 of activations.csv ('a,b,0') does not",
        ),
        ({"activations.csv": b"image,category,unit,weight\na,b,0,nan\n"}, "weight 'nan' is no finite number"),
        (
            {"activations.csv": b"image,category,unit,weight\na,b,0,1e39\n"},
            "weight '1e39' is no finite number",
        ),
        (
            {"activations.csv": b"image,category,unit,weight\na,b,-1,1\n"},
            "unit '-1' is no whole number from 0",
        ),
        (
            {"activations.csv": b"image,category,unit,weight\na,b,65536,1\n"},
            "unit '65536' is no whole number",
        ),
        ({"activations.csv": b"image,category,unit,weight\na,\xff,0,1\n"}, "no CSV file in UTF-8"),
        ({"images.csv": b"image,category,score\n"}, "dnn_score,xnn_score,predicted_class"),
        ({"images.csv": b"image,category,dnn_score\na,b,\n"}, "does not fill the 3 columns"),
        ({"manifest.json": b"{"}, "manifest.json is no JSON"),
        ({"manifest.json": b"[" * 60_000}, "manifest.json is no JSON"),
        ({"manifest.json": b'{"format": "onoma-maps", "version": NaN}'}, "NaN is no number that JSON has"),
        ({"manifest.json": b"[]"}, 'does not say "format": "onoma-maps"'),
        ({"manifest.json": b" " * 70_000}, "70000 bytes unpacked; at most 65536 are taken"),
        ({"notes.txt": b""}, "entry 'notes.txt' does not belong there"),
        ({"../maps.npy": b""}, "entry '../maps.npy' points out of the archive"),
        ({"/etc/passwd": b""}, "entry '/etc/passwd' points out of the archive"),
        ({"maps/maps.npy": b""}, "in no folder"),
    ],
)
def test_a_bad_entry_is_refused_with_the_way_out(content, words):
    assert words in refusal_of(archive_file(content))


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"format": "zip"}, 'does not say "format": "onoma-maps"'),
        ({"version": 2}, "is of version 2; this Onoma reads version 1"),
        ({"version": True}, "is of version True"),
        ({"method": None}, "does not say method"),
        ({"layer": ""}, "does not say layer"),
        ({"model": 7}, "model is 7, not of type str"),
        ({"method": "x" * 201}, "method is over 200 characters"),
        ({"method": "a\x00b"}, "one that cannot be printed"),
        ({"model_hash": "abc"}, "model_hash is not 64 hexadecimal digits"),
        ({"parameters": [1]}, "parameters is [1], not of type dict"),
        ({"already_signifcant": True}, "has the key 'already_signifcant'; the keys are format,"),
        (
            {"already_significant": True},
            "row 1 of activations.csv (image 'a.png', category 'cat'): weight -0.5",
        ),
    ],
)
def test_a_bad_manifest_is_refused_with_the_key(manifest, words):
    assert words in refusal_of(archive_file(**manifest))


@pytest.mark.parametrize("name", ["manifest.json", "activations.csv", "maps.npy"])
def test_a_missing_entry_is_named(name):
    content = entries(ROWS, random_maps(3))
    del content[name]
    assert f"the archive has no {name}" in refusal_of(io.BytesIO(packed(content)))


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\5\6" + b"\0" * 10, os.urandom(200_000)])
def test_what_is_no_zip_is_refused(data):
    assert "no zip archive" in refusal_of(io.BytesIO(data))


def test_a_damaged_zip_is_refused():
    content = packed(entries(ROWS, random_maps(3)), zipfile.ZIP_STORED)
    place = content.index(random_maps(3)[2].tobytes())
    damaged = content[:place] + bytes(4) + content[place + 4 :]
    assert "it is damaged (Bad CRC-32 for file 'maps.npy')" in refusal_of(io.BytesIO(damaged))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused():
    buffer = io.BytesIO(packed(entries(ROWS, random_maps(3))))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("maps.npy", npy(random_maps(3)))
    assert refusal_of(buffer) == "the archive holds two entries of one name"


def test_a_bomb_is_refused_by_its_declared_size_before_it_is_unpacked():
    file = archive_file({"maps.npy": bytes(3 << 20)})
    with pytest.raises(RefusedArchive, match="3145728 bytes unpacked; at most 1048576 are taken"):
        read_archive(file, max_bytes=1 << 20)


def test_a_zip_with_a_huge_list_of_entries_is_refused_before_it_is_read():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number}.txt", b"")
    assert "the zip lists far more than manifest.json" in refusal_of(buffer)


def test_too_many_rows_are_refused(monkeypatch):
    monkeypatch.setattr(map_archive, "MAX_MAPS", 2)
    assert "activations.csv has over 2 rows, the most a study takes" in refusal_of(archive_file())


def test_an_encrypted_or_oddly_compressed_entry_is_refused():
    bzip2 = io.BytesIO(packed(entries(ROWS, random_maps(3)), zipfile.ZIP_BZIP2))
    assert "compressed in an unusual way" in refusal_of(bzip2)
    content = bytearray(packed(entries(ROWS, random_maps(3))))
    content[content.index(b"PK\1\2") + 8] |= 1
    assert "entry 'manifest.json' is encrypted" in refusal_of(io.BytesIO(bytes(content)))
