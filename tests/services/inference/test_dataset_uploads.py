"""Data sets over the wire, and objects that come back over it."""

import time
from math import inf, nan

import grpc
import numpy as np
import pytest
from sqlmodel import Session, col, func, select

from onoma.v1 import inference_pb2 as pb
from onoma.v1 import types_pb2
from services.inference import dataset_uploads, import_rows
from services.inference.tables import DatasetImage
from services.runtime.database import open_database
from services.runtime.errors import Unavailable
from services.runtime.settings import RuntimeSettings
from tests.services.inference import folders
from tests.services.inference.conftest import DEADLINE_S
from tests.services.inference.test_datasets import garments, refusal

Code = grpc.StatusCode
CLASSES = ["bag", "hat"]


def message(path="test/hat/0.png", class_name="hat", part=types_pb2.DATASET_PART_TEST, **fields):
    """An image of an upload; its first message where `name` and `classes` are given."""
    fields = {"content": folders.png(len(path)), **fields}
    return pb.UploadDatasetRequest(path=path, class_name=class_name, part=part, **fields)


def first(**fields):
    return message(**{"name": "sent", "classes": CLASSES, **fields})


def point(x, y):
    return pb.PartPoint(name="beak", x=x, y=y)


def upload(inference, *messages):
    return inference.calls.UploadDataset(iter(messages), timeout=DEADLINE_S).dataset


def as_messages(inference, name, source, **changes):
    """Every image of a data set, as an upload."""
    dataset = inference.calls.GetDataset(pb.GetDatasetRequest(name=source)).dataset
    header = {"name": name, "classes": list(dataset.classes)}
    for image in inference.images(source):
        content = inference.calls.GetImage(pb.GetImageRequest(image_id=image.image_id)).content
        yield pb.UploadDatasetRequest(
            path=image.path,
            class_name=image.class_name,
            part=image.part,
            bounding_box=image.bounding_box,
            part_points=image.part_points,
            **({"content": content} | changes),
            **header,
        )
        header = {}


def test_a_data_set_that_is_sent_is_the_one_that_was_imported(inference, tmp_path):
    imported = inference.dataset(folders.cub(tmp_path / "CUB_200_2011"), "birds")
    sent = upload(inference, *as_messages(inference, "sent", "birds"))
    assert sent.content_hash == imported.content_hash
    assert inference.images("sent") == inference.images("birds")
    assert any(image.bounding_box and image.part_points for image in inference.images("sent"))


def test_sent_again_it_is_replaced_whole(inference):
    upload(inference, first(), message("test/hat/1.png"))
    upload(inference, first(path="test/bag/0.png", class_name="bag"))
    assert [image.path for image in inference.images("sent")] == ["test/bag/0.png"]


def test_a_large_file_is_uploaded_before_and_named(inference):
    data = folders.png(5)
    key = inference.uploaded(data)
    upload(inference, first(content=b"", image_id=key))
    [image] = inference.images("sent")
    assert image.image_id == key
    assert refusal(lambda: upload(inference, first(content=b"", image_id="0" * 64)))[0] == Code.NOT_FOUND


def test_a_broken_picture_is_listed_and_the_rest_goes_on(inference):
    dataset = upload(inference, first(), message("test/hat/1.png", content=b"no picture"))
    assert (list(dataset.test_counts), dataset.skipped_count) == ([0, 1], 1)
    assert list(inference.issues("sent")) == ["test/hat/1.png"]


def test_a_broken_picture_ends_an_upload_of_all_or_nothing(inference, monkeypatch):
    monkeypatch.setattr(dataset_uploads, "BATCH_SIZE", 1)
    upload(inference, first(path="before.png"))
    broken = message("test/hat/1.png", content=b"no picture")
    code, details = refusal(lambda: upload(inference, first(all_or_nothing=True), broken))
    assert code == Code.FAILED_PRECONDITION
    assert "nothing of the upload of 'sent' was stored, as test/hat/1.png cannot be taken: " in details
    assert [image.path for image in inference.images("sent")] == ["before.png"]
    assert list(upload(inference, first(all_or_nothing=True)).test_counts) == [0, 1]


def test_more_than_a_transaction_takes(inference, monkeypatch):
    monkeypatch.setattr(dataset_uploads, "BATCH_SIZE", 3)
    monkeypatch.setattr(dataset_uploads, "_BYTES_AT_ONCE", 300)
    paths = [f"test/hat/{i:02}.png" for i in range(10)]
    dataset = upload(inference, first(path=paths[0]), *map(message, paths[1:]))
    assert list(dataset.test_counts) == [0, 10]
    assert [image.path for image in inference.images("sent")] == paths


@pytest.mark.parametrize(
    ("messages", "code", "words"),
    [
        ([], Code.INVALID_ARGUMENT, "data set name ''"),
        ([first(name="a b")], Code.INVALID_ARGUMENT, "data set name 'a b'"),
        ([first(classes=["hat"])], Code.INVALID_ARGUMENT, "names 1 classes; a classifier needs at least 2"),
        ([first(classes=["hat", "hat"])], Code.INVALID_ARGUMENT, "class 'hat' is named twice"),
        ([first(classes=["hat", " "])], Code.INVALID_ARGUMENT, "a class name is empty"),
        ([first(class_name="shoe")], Code.INVALID_ARGUMENT, "class 'shoe' is not in the classes of the first"),
        ([first(path="")], Code.INVALID_ARGUMENT, "path ''"),
        ([first(path="a\nb")], Code.INVALID_ARGUMENT, "give 1 to 1024 characters that can be printed"),
        ([first(), message()], Code.INVALID_ARGUMENT, "path 'test/hat/0.png' came twice"),
        ([first(part=0)], Code.INVALID_ARGUMENT, "has no part; say train or test"),
        ([first(bounding_box=[1, 2])], Code.INVALID_ARGUMENT, "a bounding box of 2 numbers"),
        ([first(bounding_box=[1, 2, nan, 4])], Code.INVALID_ARGUMENT, "bounding box (1.0, 2.0, nan, 4.0)"),
        ([first(bounding_box=[-inf, 2, 3, 4])], Code.INVALID_ARGUMENT, "its numbers must be finite"),
        ([first(part_points=[point(1, inf)])], Code.INVALID_ARGUMENT, "has part 'beak' at (1.0, inf)"),
        ([first(part_points=[point(1, 2), point(nan, 2)])], Code.INVALID_ARGUMENT, "at (nan, 2.0)"),
        ([first(content=b"x")], Code.FAILED_PRECONDITION, "held no picture that can be taken; the first"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_the_data_set_as_it_was(inference, messages, code, words):
    upload(inference, first(path="before.png"))
    found, details = refusal(lambda: upload(inference, *messages))
    assert found == code
    assert words in details
    assert [image.path for image in inference.images("sent")] == ["before.png"]


def test_an_upload_that_breaks_off_leaves_nothing(inference, monkeypatch):
    monkeypatch.setattr(dataset_uploads, "BATCH_SIZE", 1)

    def broken_off():
        yield first()
        yield message("test/hat/1.png")
        raise ConnectionError

    assert refusal(lambda: inference.calls.UploadDataset(broken_off(), timeout=DEADLINE_S))[0] == Code.UNKNOWN
    assert refusal(lambda: inference.images("sent"))[0] == Code.NOT_FOUND
    engine = open_database(RuntimeSettings(data_dir=inference.data_dir), "inference")
    with Session(engine) as opened:
        rows = select(func.count()).select_from(DatasetImage).where(col(DatasetImage.dataset) == "sent")
        for _ in range(1000):  # the server hears of it a moment later
            if not (left := opened.exec(rows).one()):
                break
            opened.rollback()
            time.sleep(0.05)
    engine.dispose()
    assert left == 0


def test_an_upload_whose_answer_is_lost_once_it_is_published_keeps_its_pictures(inference, monkeypatch):
    publish = import_rows.publish

    def published_unheard(*arguments):
        publish(*arguments)
        raise Unavailable("the connection broke")

    monkeypatch.setattr(import_rows, "publish", published_unheard)
    assert refusal(lambda: upload(inference, first()))[0] == Code.UNAVAILABLE
    assert [image.path for image in inference.images("sent")] == ["test/hat/0.png"]


def test_an_object_comes_back_in_pieces(inference):
    data = np.random.default_rng(0).bytes((2 << 20) + 5)
    key = inference.uploaded(data)
    pieces = [one.chunk for one in inference.calls.GetObject(pb.GetObjectRequest(object_key=key))]
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) == 1 << 20


@pytest.mark.parametrize("key", ["", "0" * 64, "../../etc/passwd", "x\0"])
def test_no_object_has_a_key_that_is_none(inference, key):
    request = pb.GetObjectRequest(object_key=key)
    code, _ = refusal(lambda: list(inference.calls.GetObject(request)))
    assert code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT)


def test_a_folder_of_garments_survives_the_wire(inference, tmp_path):
    imported = inference.dataset(garments(tmp_path))
    sent = upload(inference, *as_messages(inference, "sent", "garments"))
    assert (sent.content_hash, list(sent.train_counts)) == (
        imported.content_hash,
        list(imported.train_counts),
    )
