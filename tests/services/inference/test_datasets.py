"""Imports of data sets over a real server; pictures are synthetic unless a test says otherwise."""

import os
from pathlib import Path

import grpc
import numpy as np
import pytest

from onoma.science.pictures import encode_png
from onoma.v1 import inference_pb2 as pb
from onoma.v1 import jobs_pb2, types_pb2
from services.runtime.decoding import Decoders
from services.runtime.objects import DirectoryStore
from tests.services.inference import folders

PHOTOGRAPHS = Path("/work/shared/data/clothing")
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

TRAIN, TEST = types_pb2.DATASET_PART_TRAIN, types_pb2.DATASET_PART_TEST


def garments(tmp_path):
    return folders.image_folder(
        tmp_path / "garments", {"train/hat": 4, "train/bag": 3, "test/hat": 2, "test/bag": 1}
    )


def refusal(call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


# What an import gives


def test_an_image_folder_becomes_a_data_set(inference, tmp_path):
    dataset = inference.dataset(garments(tmp_path))
    assert list(dataset.classes) == ["bag", "hat"]
    assert list(dataset.train_counts) == [3, 4]
    assert list(dataset.test_counts) == [1, 2]
    assert (dataset.skipped_count, dataset.converted_count) == (0, 0)
    assert len(dataset.content_hash) == 64


def test_the_servers_own_data_below_the_folder_is_left_out_and_stays_locked(inference, tmp_path):
    """A process that opens and closes a SQLite database loses the locks that its connections hold on it."""
    folders.image_folder(tmp_path, {"hat": 4, "bag": 3})
    assert inference.data_dir.parent == tmp_path
    (tmp_path / "hat" / "linked.png").symlink_to(inference.data_dir / "inference.db")
    before = locked(inference.data_dir)
    dataset = inference.dataset(tmp_path)
    assert list(dataset.classes) == ["bag", "hat"]
    assert inference.issues() == {"hat/linked.png": ("skipped", "a link into this server's own data")}
    assert before
    assert locked(inference.data_dir) == before


def test_a_folder_of_nothing_but_the_servers_own_data_is_refused(inference):
    folders.image_folder(inference.data_dir / "mine", {"hat": 4, "bag": 3})
    job = inference.imported(inference.data_dir / "mine")
    assert job.state == jobs_pb2.JOB_STATE_FAILED
    assert f"lies in {inference.data_dir}" in job.error
    assert "move the pictures elsewhere" in job.error


def locked(folder):
    """Files of a folder on which this process holds POSIX locks."""
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    inodes = {
        words[5].rpartition(":")[2] for words in held if words[1] == "POSIX" and words[4] == str(os.getpid())
    }
    return {path.name for path in folder.iterdir() if str(path.stat().st_ino) in inodes}


def test_images_keep_path_class_part_and_size(inference, tmp_path):
    inference.dataset(garments(tmp_path))
    image = inference.images(part=TRAIN, class_name="hat")[0]
    assert (image.path, image.class_name, image.part) == ("train/hat/000.png", "hat", TRAIN)
    assert (image.height, image.width) == (8, 6)


def test_cub_keeps_boxes_and_parts(inference, tmp_path):
    dataset = inference.dataset(folders.cub(tmp_path / "CUB_200_2011"), "birds")
    assert list(dataset.classes) == ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    image = inference.images("birds", part=TEST)[0]
    assert image.path == "images/001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.png"
    assert list(image.bounding_box) == [2.0, 2.0, 3.5, 4.0]
    assert [(point.name, point.x, point.y) for point in image.part_points] == [
        ("back", 1.5, 2.0),
        ("left eye", 2.0, 3.0),
    ]


def test_idx_pictures_are_stored_as_png_with_the_same_pixels(inference, tmp_path):
    inference.dataset(folders.idx(tmp_path / "digits", [0, 1, 1], [0, 1]), "digits")
    image = inference.images("digits", part=TRAIN)[-1]
    assert (image.path, image.class_name) == ("train/000002.png", "1")
    content = inference.calls.GetImage(pb.GetImageRequest(image_id=image.image_id)).content
    assert content == encode_png(np.full((5, 4, 1), 2, np.uint8), compress_level=0)


def test_classes_that_are_asked_for_are_taken_alone(inference, tmp_path):
    folder = folders.image_folder(tmp_path / "g", {f"{p}/{c}": 2 for p in ("train", "test") for c in "abc"})
    dataset = inference.dataset(folder, classes=["c", "a"])
    assert list(dataset.classes) == ["a", "c"]
    assert {image.class_name for image in inference.images()} == {"a", "c"}


def test_limits_take_the_first_of_a_seeded_order(inference, tmp_path):
    folder = folders.image_folder(tmp_path / "g", {"train/a": 9, "train/b": 9, "test/a": 9, "test/b": 2})
    limits = {"max_train_images_per_class": 4, "max_test_images_per_class": 3}
    dataset = inference.dataset(folder, "one", seed=1, **limits)
    inference.dataset(folder, "same", seed=1, **limits)
    inference.dataset(folder, "other", seed=2, **limits)
    assert list(dataset.train_counts) == [4, 4]
    assert list(dataset.test_counts) == [3, 2]
    paths = {name: [image.path for image in inference.images(name)] for name in ("one", "same", "other")}
    assert paths["one"] == paths["same"] != paths["other"]


def test_a_higher_limit_only_adds_images(inference, tmp_path):
    folder = folders.image_folder(tmp_path / "g", {"train/a": 9, "train/b": 9, "test/a": 1, "test/b": 1})
    inference.dataset(folder, "few", max_train_images_per_class=3)
    inference.dataset(folder, "more", max_train_images_per_class=5)
    few, more = ({image.path for image in inference.images(name)} for name in ("few", "more"))
    assert few < more


# Pictures that are not plain


def test_broken_files_are_listed_and_the_rest_goes_on(inference, tmp_path):
    folder = garments(tmp_path)
    hats = folder / "train" / "hat"
    (hats / "empty.png").write_bytes(b"")
    (hats / "half.png").write_bytes(folders.png(900, 60, 60)[:2000])
    (hats / "notes.jpg").write_bytes(b"these are my notes\n")
    dataset = inference.dataset(folder)
    assert list(dataset.train_counts) == [3, 4]
    assert dataset.skipped_count == 3
    issues = inference.issues()
    assert issues["train/hat/empty.png"] == ("skipped", "empty file")
    assert issues["train/hat/half.png"][1].startswith("damaged or truncated: ")
    assert issues["train/hat/notes.jpg"][1].startswith("text, not a picture")


def test_a_wrongly_named_picture_is_taken_with_a_note(inference, tmp_path):
    folder = garments(tmp_path)
    (folder / "train" / "hat" / "000.png").rename(folder / "train" / "hat" / "000.jpg")
    dataset = inference.dataset(folder)
    assert list(dataset.train_counts) == [3, 4]
    assert dataset.converted_count == 1
    assert inference.issues() == {
        "train/hat/000.jpg": ("converted", "named .jpg, read as the PNG that it is")
    }


def test_a_bomb_is_skipped_by_the_servers_limit(open_server, tmp_path, monkeypatch):
    monkeypatch.setenv("ONOMA_MAX_IMAGE_PIXELS", "48")
    folder = garments(tmp_path)
    (folder / "train" / "hat" / "bomb.png").write_bytes(folders.png(1, height=7, width=7))
    inference = open_server(tmp_path / "onoma-data", tmp_path)
    inference.dataset(folder)
    assert inference.issues() == {"train/hat/bomb.png": ("skipped", "declares 49 pixels (7 x 7), limit 48")}


def test_a_link_out_of_the_import_roots_is_skipped(open_server, tmp_path):
    inference = open_server(tmp_path / "onoma-data", tmp_path / "open")
    folder = garments(tmp_path / "open")
    (tmp_path / "secret.png").write_bytes(folders.png(77))
    (folder / "train" / "hat" / "secret.png").symlink_to(tmp_path / "secret.png")
    inference.dataset(folder)
    assert inference.issues() == {
        "train/hat/secret.png": ("skipped", "a link that leaves the server's import roots")
    }


def test_links_to_folders_and_pipes_are_skipped_without_waiting(inference, tmp_path):
    folder = garments(tmp_path)
    (folder / "train" / "hat" / "bags").symlink_to(folder / "train" / "bag")
    os.mkfifo(folder / "train" / "hat" / "pipe.png")
    inference.dataset(folder)
    issues = inference.issues()
    assert issues["train/hat/bags"][1].startswith("a link to a folder")
    assert issues["train/hat/pipe.png"] == ("skipped", "a pipe, socket or device, not a file")


def test_a_file_that_vanishes_or_may_not_be_read_is_skipped(inference, tmp_path):
    folder = garments(tmp_path)
    (folder / "train" / "hat" / "gone.png").symlink_to(folder / "nowhere.png")
    inference.dataset(folder)
    assert inference.issues() == {
        "train/hat/gone.png": ("skipped", "cannot be read: No such file or directory")
    }


# The same picture more than once


def test_one_picture_in_two_classes_and_parts_is_kept_everywhere_and_told(inference, tmp_path):
    folder = garments(tmp_path)
    same = folders.png(500)
    for name in ("train/hat/x.png", "train/hat/y.png", "train/bag/x.png", "test/bag/x.png"):
        (folder / name).write_bytes(same)
    job = inference.imported(folder)
    kept = [image.path for image in inference.images() if image.path.endswith(("x.png", "y.png"))]
    assert sorted(kept) == ["test/bag/x.png", "train/bag/x.png", "train/hat/x.png", "train/hat/y.png"]
    assert list(job.warnings) == [
        "1 picture is in more than one class (test/bag/x.png for one); all are kept",
        "1 picture is in the training and in the test part (test/bag/x.png for one); all are kept",
    ]


def test_copies_within_a_class_are_kept_and_told(inference, tmp_path):
    folder = garments(tmp_path)
    for number in (0, 1):
        original = folder / "train" / "hat" / f"00{number}.png"
        original.with_name(f"copy{number}.png").write_bytes(original.read_bytes())
    job = inference.imported(folder)
    assert list(job.warnings) == [
        "2 pictures are twice or more in one class and part (train/hat/000.png for one); all are kept"
    ]


# Folders that will not do


@pytest.mark.parametrize("counts", [{"hat": 3}, {"train/hat": 3, "test/hat": 1}])
def test_a_folder_of_one_class_is_refused_by_name(inference, tmp_path, counts):
    folder = folders.image_folder(tmp_path / "g", counts)
    job = inference.imported(folder)
    assert job.state == jobs_pb2.JOB_STATE_FAILED
    assert job.error == f"folder {folder} has one class (hat); a classifier needs at least 2"


def test_thin_classes_are_named(inference, tmp_path):
    folder = folders.image_folder(
        tmp_path / "g", {"train/hat": 1, "train/bag": 3, "test/bag": 1, "test/cap": 1}
    )
    job = inference.imported(folder)
    assert list(job.warnings) == [
        "class 'cap' has no training images; its xNN needs at least 2",
        "class 'hat' has 1 training image; its xNN needs at least 2",
        "class 'hat' has no test images: its xNN cannot be measured",
    ]


def test_a_data_set_without_test_images_is_told_once(inference, tmp_path):
    folder = folders.image_folder(tmp_path / "g", {"train/hat": 2, "train/bag": 2})
    job = inference.imported(folder)
    assert list(job.warnings) == [
        f"{folder}: no folder 'test' beside 'train'",
        "no class has test images: xNNs can be trained but not measured",
    ]


def test_an_unknown_class_is_told_with_the_known_ones(inference, tmp_path):
    folder = garments(tmp_path)
    job = inference.imported(folder, classes=["hats"])
    assert job.error == f"class 'hats' is not in {folder}; its 2 classes are bag, hat"


def test_a_folder_without_one_good_picture_is_refused_with_the_first_reason(inference, tmp_path):
    folder = folders.image_folder(tmp_path / "g", {"hat": 0, "bag": 0})
    (folder / "hat" / "a.png").write_bytes(b"")
    job = inference.imported(folder)
    assert job.error == (
        f"{folder}: not one of 1 files is a picture that can be taken; the first, hat/a.png: empty file"
    )


def test_a_truncated_idx_file_fails_the_import_and_leaves_the_data_set_as_it_was(inference, tmp_path):
    folder = folders.idx(tmp_path / "digits", [0, 1, 1], [0, 1], zipped=False)
    before = inference.dataset(folder, "digits")
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    job = inference.imported(folder, "digits")
    assert job.error == f"{images} ends after 2 of 3 pictures: truncated"
    assert inference.calls.GetDataset(pb.GetDatasetRequest(name="digits")).dataset == before
    assert len(inference.images("digits")) == 5


# Requests that will not do


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 65, "hat\n", "=cmd()", "<script>", "\u202ehat"])
def test_names_that_are_not_names_are_refused(inference, tmp_path, name):
    code, details = refusal(lambda: inference.start_import(garments(tmp_path), name))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "use 1 to 64 letters, digits, '.', '_' and '-'" in details


def test_a_server_without_import_roots_imports_nothing(open_server, tmp_path):
    inference = open_server(tmp_path / "onoma-data", None)
    code, details = refusal(lambda: inference.start_import(garments(tmp_path)))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "ONOMA_IMPORT_ROOTS" in details


def test_only_folders_inside_the_import_roots_are_taken(open_server, tmp_path):
    inference = open_server(tmp_path / "onoma-data", tmp_path / "open")
    outside = garments(tmp_path)
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "link").symlink_to(outside)
    for path in (outside, tmp_path / "open" / ".." / "garments", tmp_path / "open" / "link"):
        code, details = refusal(lambda path=path: inference.start_import(path))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert "is outside the folders that this server imports from" in details


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (path, "give an absolute path")
        for path in (
            "garments",
            "",
            "/\0",
            "../garments",
            "file:///etc",
            "http://169.254.169.254/latest/meta-data",
            "s3://bucket/pictures",
            "\\\\server\\share",
            "C:\\pictures",
        )
    ]
    + [("//server/share", "is outside the folders"), ("/etc/passwd", "is outside the folders")],
)
def test_a_path_or_address_of_elsewhere_is_refused(inference, path, reason):
    code, details = refusal(lambda: inference.start_import(path))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details


def test_a_path_that_is_no_folder_is_refused(inference, tmp_path):
    code, details = refusal(lambda: inference.start_import(tmp_path / "nowhere"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details == f"{tmp_path / 'nowhere'} is not a folder on the server"


def test_a_negative_limit_and_an_unknown_format_are_refused(inference, tmp_path):
    folder = garments(tmp_path)
    assert refusal(lambda: inference.start_import(folder, max_train_images_per_class=-1)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "max_train_images_per_class -1: use 0 for all, or more",
    )
    assert refusal(lambda: inference.start_import(folder, format=9)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "format 9 is none of DATASET_FORMAT_IMAGE_FOLDER, DATASET_FORMAT_CUB_200_2011, DATASET_FORMAT_IDX",
    )


# Importing again


def test_the_same_request_id_is_one_import(inference, tmp_path):
    folder = garments(tmp_path)
    first = inference.start_import(folder, request_id="r1")
    second = inference.start_import(folder, request_id="r1")
    assert first.job_id == second.job_id


def test_importing_again_changes_nothing_where_nothing_changed(inference, tmp_path):
    folder = garments(tmp_path)
    first = inference.dataset(folder)
    assert inference.dataset(folder) == first
    assert len(inference.images()) == 10


def test_importing_again_follows_the_folder(inference, tmp_path):
    folder = garments(tmp_path)
    before = inference.dataset(folder)
    (folder / "train" / "hat" / "000.png").unlink()
    (folder / "train" / "hat" / "001.png").write_bytes(folders.png(700))
    (folder / "train" / "bag" / "new.png").write_bytes(folders.png(701))
    after = inference.dataset(folder)
    assert list(after.train_counts) == [4, 3]
    assert after.content_hash != before.content_hash


def test_the_content_hash_does_not_hang_on_the_data_sets_name(inference, tmp_path):
    folder = garments(tmp_path)
    assert inference.dataset(folder, "a").content_hash == inference.dataset(folder, "b").content_hash


def test_known_pictures_are_not_decoded_again(inference, tmp_path, monkeypatch):
    folder = garments(tmp_path)
    inference.dataset(folder)
    decoded = []
    monkeypatch.setattr(Decoders, "check", lambda _, data: decoded.append(data))
    assert inference.dataset(folder, "again").train_counts == [3, 4]
    assert decoded == []


def test_a_lost_object_is_brought_back_by_importing_again(inference, tmp_path):
    folder = garments(tmp_path)
    inference.dataset(folder)
    image = inference.images()[0]
    store = DirectoryStore(inference.data_dir / "objects")
    store.delete(image.image_id)
    inference.dataset(folder)
    assert store.get(image.image_id) == (folder / image.path).read_bytes()


# Real data, where the machine has it


@pytest.mark.skipif(
    not PHOTOGRAPHS.is_dir(), reason=f"the photographs of {PHOTOGRAPHS} are not on this machine"
)
def test_real_photographs_are_imported_whole(open_server, tmp_path):
    inference = open_server(tmp_path / "photographs", PHOTOGRAPHS)
    dataset = inference.dataset(PHOTOGRAPHS, max_train_images_per_class=3)
    assert len(dataset.classes) == 10
    assert list(dataset.train_counts) == [3] * 10
    assert sum(dataset.test_counts) == 341
    assert dataset.skipped_count == 0


@pytest.mark.skipif(
    not FASHION_MNIST.is_dir(),
    reason=f"Debian's package dataset-fashion-mnist ({FASHION_MNIST}) is not installed",
)
def test_fashion_mnist_is_imported_with_its_class_names(open_server, tmp_path):
    inference = open_server(tmp_path / "fashion", FASHION_MNIST)
    dataset = inference.dataset(FASHION_MNIST, max_train_images_per_class=5, max_test_images_per_class=2)
    assert dataset.classes[0] == "T-shirt/top"
    assert list(dataset.train_counts) == [5] * 10
    assert list(dataset.test_counts) == [2] * 10
