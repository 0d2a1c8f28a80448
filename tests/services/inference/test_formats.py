"""Listings of data sets on disk, and what their readers say about malformed ones."""

import gzip
import os
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from services.inference.formats import CUB_200_2011, IDX, IMAGE_FOLDER, found_format, read_layout
from services.inference.layout import MalformedDataset, seeded_order
from tests.services.inference import folders


def read(folder, dataset_format="", seed=0):
    return read_layout(folder, dataset_format, seed)


def counts(layout):
    return Counter((item.part, item.class_name) for item in layout.items)


# Folders of images


def test_a_folder_of_parts_is_listed_as_it_is(tmp_path):
    layout = read(
        folders.image_folder(tmp_path, {"train/hat": 3, "train/bag": 2, "test/hat": 1, "test/bag": 1})
    )
    assert layout.classes == ("bag", "hat")
    assert counts(layout) == {
        ("train", "hat"): 3,
        ("train", "bag"): 2,
        ("test", "hat"): 1,
        ("test", "bag"): 1,
    }
    assert layout.items[0].path == "train/bag/000.png"
    assert layout.warnings == ()


def test_a_folder_without_parts_is_split_eighty_to_twenty_by_class(tmp_path):
    layout = read(folders.image_folder(tmp_path, {"hat": 10, "bag": 5}))
    assert counts(layout) == {
        ("train", "hat"): 8,
        ("test", "hat"): 2,
        ("train", "bag"): 4,
        ("test", "bag"): 1,
    }
    assert "split 80/20" in layout.warnings[0]


def test_the_split_hangs_on_the_seed_and_on_nothing_else(tmp_path):
    folder = folders.image_folder(tmp_path, {"hat": 20, "bag": 20})
    test_paths = [
        {item.path for item in read(folder, seed=s).items if item.part == "test"} for s in (1, 1, 2)
    ]
    assert test_paths[0] == test_paths[1] != test_paths[2]


def test_a_class_called_train_is_a_class(tmp_path):
    layout = read(folders.image_folder(tmp_path, {"train": 5, "plane": 5}))
    assert layout.classes == ("plane", "train")


def test_a_missing_test_folder_is_told(tmp_path):
    layout = read(folders.image_folder(tmp_path, {"train/hat": 1, "train/bag": 1}))
    assert "no folder 'test'" in layout.warnings[0]


def test_hidden_files_and_those_of_the_system_are_passed_over(tmp_path):
    folder = folders.image_folder(tmp_path, {"hat": 1, "bag": 1, ".git": 1, "__MACOSX": 1})
    (folder / "hat" / ".DS_Store").write_bytes(b"x")
    (folder / "hat" / "Thumbs.db").write_bytes(b"x")
    assert [item.path for item in read(folder).items] == ["bag/000.png", "hat/000.png"]


def test_pictures_in_subfolders_belong_to_the_class(tmp_path):
    layout = read(folders.image_folder(tmp_path, {"hat/red/old": 1, "bag": 1}))
    assert [(item.path, item.class_name) for item in layout.items] == [
        ("bag/000.png", "bag"),
        ("hat/red/old/000.png", "hat"),
    ]


def test_a_link_that_circles_back_ends(tmp_path):
    folder = folders.image_folder(tmp_path, {"hat": 1, "bag": 1})
    (folder / "hat" / "again").symlink_to(folder)
    assert [item.path for item in read(folder).items] == ["bag/000.png", "hat/000.png", "hat/again"]


def test_names_that_are_not_utf8_are_written_readably(tmp_path):
    folder = folders.image_folder(tmp_path, {"hat": 1, "bag": 1})
    (folder / "hat" / "000.png").rename(folder / "hat" / "caf\udce9.png")
    item = read(folder).items[1]
    assert item.path == "hat/caf\\xe9.png"
    assert Path(item.source).exists()


def test_the_seeded_order_of_one_file_does_not_hang_on_the_others(tmp_path):
    items = read(folders.image_folder(tmp_path, {"train/hat": 30, "train/bag": 1})).items
    whole = [item.path for item in seeded_order(items, 3, "limit")]
    part = [item.path for item in seeded_order(items[::2], 3, "limit")]
    assert part == [path for path in whole if path in set(part)]
    assert whole != sorted(whole)


def test_a_folder_of_something_else_is_refused_with_what_is_expected(tmp_path):
    (tmp_path / "thesis.doc").write_bytes(b"x")
    with pytest.raises(MalformedDataset, match=r"holds no data set: .*found thesis.doc"):
        read(tmp_path)


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(MalformedDataset, match=r"gone cannot be read: No such file or directory"):
        read(tmp_path / "gone")


def test_a_folder_that_may_not_be_listed_is_named(tmp_path, monkeypatch):
    folder = folders.image_folder(tmp_path, {"hat": 1, "bag": 1})
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "hat":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)  # the tests may run as root, whom nothing is denied
    with pytest.raises(MalformedDataset, match=r"hat cannot be read: Permission denied"):
        read(folder)


# Formats are found out


def test_formats_are_found_by_the_names_of_files(tmp_path):
    assert found_format(folders.cub(tmp_path / "birds")) == CUB_200_2011
    assert found_format(folders.idx(tmp_path / "digits", [0, 1], [1])) == IDX
    assert found_format(folders.image_folder(tmp_path / "garments", {"hat": 1})) == IMAGE_FOLDER


# CUB-200-2011


def test_cub_is_read_with_boxes_and_visible_parts(tmp_path):
    layout = read(folders.cub(tmp_path / "CUB_200_2011"))
    assert layout.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    assert counts(layout) == {
        ("train", "001.Black_footed_Albatross"): 2,
        ("test", "001.Black_footed_Albatross"): 1,
        ("train", "002.Laysan_Albatross"): 2,
        ("test", "002.Laysan_Albatross"): 1,
    }
    first = layout.items[0]
    assert first.path == "images/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.png"
    assert first.bounding_box == (1.0, 2.0, 3.5, 4.0)
    assert first.part_points == (("back", 1.5, 2.0), ("left eye", 1.0, 3.0))
    assert all(path.is_file() for _, path in layout.contents(layout.items))


def test_cub_without_boxes_and_parts_is_read_all_the_same(tmp_path):
    folder = folders.cub(tmp_path / "CUB_200_2011")
    (folder / "bounding_boxes.txt").unlink()
    (folder / "parts" / "part_locs.txt").unlink()
    item = read(folder).items[0]
    assert item.bounding_box is None
    assert item.part_points is None


@pytest.mark.parametrize(
    "name", ["classes.txt", "images.txt", "image_class_labels.txt", "train_test_split.txt", "parts/parts.txt"]
)
def test_a_file_missing_from_cub_is_named(tmp_path, name):
    folder = folders.cub(tmp_path)
    (folder / name).unlink()
    with pytest.raises(MalformedDataset, match=f"{name} is missing"):
        read(folder, CUB_200_2011)


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("images.txt", "7", "images.txt line 7: 2 fields expected, found '7'"),
        ("images.txt", "seven 001/x.png", "images.txt line 7: 'seven' is not a number"),
        ("images.txt", "6 002.Laysan_Albatross/x.png", "images.txt line 7: id 6 occurs a second time"),
        (
            "images.txt",
            "7 ../../etc/passwd",
            "the path of image 7, ../../etc/passwd, leaves the folder 'images'",
        ),
        ("images.txt", "7 /etc/passwd", "the path of image 7, /etc/passwd, leaves"),
        ("images.txt", "7 002.Laysan_Albatross/x.png", "image_class_labels.txt has no line for image 7"),
        ("image_class_labels.txt", "9 1", "image_class_labels.txt line 7: image 9 is not in images.txt"),
        ("train_test_split.txt", "9 1", "train_test_split.txt line 7: image 9 is not in images.txt"),
        ("bounding_boxes.txt", "6 1 2 x 4", "bounding_boxes.txt line 7: id 6 occurs a second time"),
        ("bounding_boxes.txt", "9 1 2 3 4", "bounding_boxes.txt line 7: image 9 is not in images.txt"),
        ("classes.txt", "3 002.Laysan_Albatross", "classes.txt names two classes alike"),
        ("parts/part_locs.txt", "1 9 1.0 1.0 1", "part_locs.txt line 19: part 9 is not in parts.txt"),
        ("parts/part_locs.txt", "1 1 nan 1.0 1", "part_locs.txt line 19: 'nan' is not a number"),
    ],
)
def test_a_wrong_line_of_cub_is_named_with_its_file(tmp_path, name, line, reason):
    folder = folders.cub(tmp_path)
    with (folder / name).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(MalformedDataset) as error:
        read(folder)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("image_class_labels.txt", "6 2", "6 5", "image 6 has class 5, not in classes.txt"),
        ("train_test_split.txt", "6 1", "6 2", "image 6 has 2; 1 is training, 0 is test"),
    ],
)
def test_a_wrong_value_of_cub_is_named_with_its_image(tmp_path, name, old, new, reason):
    folder = folders.cub(tmp_path)
    (folder / name).write_text((folder / name).read_text().replace(old, new))
    with pytest.raises(MalformedDataset, match=reason):
        read(folder)


def test_binary_in_place_of_a_text_file_is_told(tmp_path):
    folder = folders.cub(tmp_path)
    (folder / "images.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MalformedDataset, match=r"images.txt is not UTF-8 text"):
        read(folder)


# idx


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_gives_pixels_classes_and_parts(tmp_path, zipped):
    layout = read(folders.idx(tmp_path / "digits", [0, 1, 2, 1], [2, 0], zipped))
    assert layout.classes == ("0", "1", "2")
    contents = {item.path: (item.class_name, pixels) for item, pixels in layout.contents(layout.items)}
    assert list(contents) == [item.path for item in layout.items]
    name, pixels = contents["train/000003.png"]
    assert name == "1"
    assert pixels.shape == (5, 4, 1)
    assert np.all(pixels == 3)
    assert contents["test/000000.png"][0] == "2"


def test_idx_reads_only_what_is_asked_for(tmp_path):
    layout = read(folders.idx(tmp_path / "digits", [0, 1, 2, 1], [2, 0]))
    chosen = [item for item in layout.items if item.path in ("train/000002.png", "test/000001.png")]
    assert {(item.path, int(pixels[0, 0, 0])) for item, pixels in layout.contents(chosen)} == {
        ("train/000002.png", 2),
        ("test/000001.png", 1),
    }


@pytest.mark.parametrize("name", ["fashion-mnist", "FashionMNIST/raw"])
def test_fashion_mnist_has_its_own_class_names(tmp_path, name):
    assert read(folders.idx(tmp_path / name, [0, 9], [1])).classes[9] == "Ankle boot"


def test_classes_txt_names_the_classes_of_idx(tmp_path):
    folder = folders.idx(tmp_path / "fashion", [0, 1], [1])
    (folder / "classes.txt").write_text("zero\none\n")
    assert read(folder).classes == ("zero", "one")


def test_a_byte_order_mark_is_no_part_of_a_class_name(tmp_path):
    digits, birds = folders.idx(tmp_path / "digits", [0, 1], [1]), folders.cub(tmp_path / "birds")
    (digits / "classes.txt").write_text("zero\none\n", "utf-8-sig")
    for file in birds.glob("*.txt"):
        file.write_text(file.read_text(), "utf-8-sig")
    assert read(digits).classes == ("zero", "one")
    assert read(birds).classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")


def test_class_names_that_are_not_utf_8_are_told_with_their_file(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1])
    (folder / "classes.txt").write_text("Bluse\nHüte\n", "latin-1")
    with pytest.raises(MalformedDataset, match=r"classes\.txt is not UTF-8 text: .* at byte 7"):
        read(folder)


def test_too_few_names_for_idx_are_told(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 5], [1])
    (folder / "classes.txt").write_text("zero\none\n")
    with pytest.raises(MalformedDataset, match=r"has label 5, but .*classes.txt names 2 classes"):
        read(folder)


def test_idx_without_a_test_part_is_read_with_a_warning(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1])
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    assert read(folder).warnings == ("no t10k-images-idx3-ubyte",)


@pytest.mark.parametrize("zipped", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_each_idx_file_may_be_gzipped_alone(tmp_path, zipped):
    folder = folders.idx(tmp_path / "digits", [0, 1, 2, 1], [2, 0], zipped=False)
    folders.write_idx(folder / zipped, (folder / zipped).read_bytes(), zipped=True)
    (folder / zipped).unlink()
    assert [item.class_name for item in read(folder).items] == ["2", "0", "0", "1", "2", "1"]


def test_idx_without_labels_is_told(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1])
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(MalformedDataset, match=r"train-labels-idx1-ubyte.gz is missing"):
        read(folder)


def test_idx_without_a_training_part_is_told(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1])
    (folder / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(MalformedDataset, match="has no train-images-idx3-ubyte"):
        read(folder)


def test_no_two_file_names_are_shown_alike(tmp_path):
    names = [
        b"p\xff.png",
        rb"p\xff.png",
        rb"p\x5cxff.png",
        b"p\\\xff.png",
        rb"p\\xff.png",
        rb"p\x.png",
        "ü".encode(),
    ]
    for folder in (tmp_path / "hat", tmp_path / "bag"):
        folder.mkdir()
        for name in names:
            (folder / os.fsdecode(name)).write_bytes(b"")
    shown = sorted(item.path for item in read(tmp_path).items if item.class_name == "hat")
    assert len(set(shown)) == len(names)
    assert {r"hat/p\xff.png", r"hat/p\x5cxff.png", r"hat/p\x.png", "hat/ü"} < set(shown)


def test_the_unpacked_idx_file_is_read_where_its_archive_is_there_too(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1], zipped=False)
    for name in [path.name for path in folder.iterdir()]:
        folders.write_idx(folder / name, b"the archive", zipped=True)
    layout = read(folder)
    assert len(list(layout.contents(layout.items))) == 3


def test_two_test_parts_of_idx_are_told(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1])
    folders.write_idx(folder / "test-images-idx3-ubyte", b"x", zipped=False)
    with pytest.raises(MalformedDataset, match=r"t10k-images-idx3-ubyte.gz and test-images-idx3-ubyte: keep"):
        read(folder)


def test_a_wrong_magic_number_is_shown(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1], zipped=False)
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x0D03, 2, 5, 4))
    with pytest.raises(MalformedDataset, match=r"begins with 0x00000d03; .* with 0x00000803"):
        read(folder)


def test_counts_that_differ_are_shown(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1], zipped=False)
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x0801, 3) + bytes(3))
    with pytest.raises(MalformedDataset, match="declares 3 labels for the 2 pictures"):
        read(folder)


def test_truncated_labels_are_told(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1], zipped=False)
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x0801, 2) + bytes(1))
    with pytest.raises(MalformedDataset, match="ends after 1 of 2 labels: truncated"):
        read(folder)


def test_truncated_pictures_are_told(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1], zipped=False)
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    layout = read(folder)
    with pytest.raises(MalformedDataset, match="ends after 1 of 2 pictures: truncated"):
        list(layout.contents(layout.items))


@pytest.mark.parametrize("size", [5, 0])
def test_a_truncated_header_is_told(tmp_path, size):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1], zipped=False)
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0" * size)
    with pytest.raises(MalformedDataset, match="ends within its header: truncated"):
        read(folder)


def test_a_truncated_gzip_file_is_told(tmp_path):
    folder = folders.idx(tmp_path / "digits", list(range(200)), [1])
    file = folder / "train-images-idx3-ubyte.gz"
    noise = np.random.default_rng(0).integers(0, 256, 200 * 20, np.uint8).tobytes()
    file.write_bytes(gzip.compress(struct.pack(">IIII", 0x0803, 200, 5, 4) + noise)[:-1000])
    layout = read(folder)
    with pytest.raises(MalformedDataset, match="is truncated: its gzip data end early"):
        list(layout.contents(layout.items))


def test_a_file_that_is_only_called_gz_is_told(tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1])
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"plain bytes")
    with pytest.raises(MalformedDataset, match="its gzip data are damaged"):
        read(folder)


@pytest.mark.parametrize("size", [(0, 4), (70_000, 70_000)])
def test_absurd_picture_sizes_are_told(tmp_path, size):
    folder = folders.idx(tmp_path / "digits", [0, 1], [1], zipped=False)
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x0803, 2, *size))
    with pytest.raises(MalformedDataset, match=f"declares pictures of {size[0]} x {size[1]} pixels"):
        read(folder)
