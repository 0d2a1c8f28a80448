"""Uploads, pages and pictures over a real server; pictures are synthetic."""

import hashlib
import io

import grpc
import numpy as np
import pytest
from PIL import Image as PillowImage
from sqlmodel import Session, create_engine

from onoma.science.pictures import decode
from onoma.v1 import inference_pb2 as pb
from onoma.v1 import types_pb2
from services.inference import tables
from services.runtime.objects import DirectoryStore
from tests.services.inference import folders


def refusal(call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def upload(inference, *messages):
    return inference.calls.UploadObject(iter(messages))


def chunk(data, sha256=""):
    return pb.UploadObjectRequest(chunk=data, sha256=sha256)


# Uploads


def test_an_upload_is_stored_under_its_hash(inference):
    data = b"weights" * 1000
    response = upload(inference, chunk(data[:3000]), chunk(data[3000:]))
    assert response.object_key == hashlib.sha256(data).hexdigest()
    assert response.size_bytes == len(data)
    assert DirectoryStore(inference.data_dir / "objects").get(response.object_key) == data


def test_the_same_upload_twice_is_one_object(inference):
    assert upload(inference, chunk(b"x")).object_key == upload(inference, chunk(b"x")).object_key


def test_an_upload_with_its_hash_is_checked(inference):
    right = hashlib.sha256(b"abc").hexdigest()
    assert upload(inference, chunk(b"a", right.upper()), chunk(b"bc")).object_key == right
    code, details = refusal(lambda: upload(inference, chunk(b"ab", right)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.endswith(f"not the {right} announced: send it again")


def test_an_upload_without_bytes_is_refused(inference):
    assert refusal(lambda: upload(inference)) == (grpc.StatusCode.INVALID_ARGUMENT, "the upload has no bytes")


def test_a_hash_in_a_later_message_is_refused(inference):
    code, details = refusal(lambda: upload(inference, chunk(b"a"), chunk(b"b", "0" * 64)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "message 2 of the upload carries a sha256" in details


def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(open_server, tmp_path, monkeypatch):
    monkeypatch.setenv("ONOMA_MAX_UPLOAD_BYTES", "10")
    inference = open_server(tmp_path / "onoma-data", tmp_path)
    code, details = refusal(lambda: upload(inference, chunk(b"123456"), chunk(b"78901")))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details == "the upload is over 10 bytes, the server's ONOMA_MAX_UPLOAD_BYTES: raise that"
    assert list(DirectoryStore(inference.data_dir / "objects").keys()) == []


# Lists


@pytest.fixture
def garments(inference, tmp_path):
    counts = {"train/hat": 5, "train/bag": 4, "test/hat": 3, "test/bag": 2}
    folder = folders.image_folder(tmp_path / "garments", counts)
    for number in range(3):
        (folder / "train" / "hat" / f"broken{number}.png").write_bytes(b"")
    inference.dataset(folder)
    return inference


def pages(call, request, field):
    """All items, page by page."""
    while True:
        response = call(request)
        yield list(getattr(response, field))
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


def test_pages_of_images_hold_each_once_in_a_stable_order(garments):
    request = pb.ListImagesRequest(dataset="garments", page_size=4)
    by_page = list(pages(garments.calls.ListImages, request, "images"))
    assert [len(page) for page in by_page] == [4, 4, 4, 2]
    assert [image for page in by_page for image in page] == garments.images()
    order = [
        (image.part, image.class_name, image.path)
        for image in garments.images(part=types_pb2.DATASET_PART_TRAIN)
    ]
    assert order == sorted(order)


def test_images_are_filtered_by_part_and_class(garments):
    images = garments.images(part=types_pb2.DATASET_PART_TEST, class_name="hat")
    assert [image.path for image in images] == ["test/hat/000.png", "test/hat/001.png", "test/hat/002.png"]


def test_an_unknown_class_is_told_with_the_known_ones(garments):
    assert refusal(lambda: garments.images(class_name="cap")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "class 'cap' is not in garments; its 2 classes are bag, hat",
    )


def test_pages_of_issues_hold_each_once(garments):
    request = pb.ListImportIssuesRequest(dataset="garments", page_size=2)
    by_page = list(pages(garments.calls.ListImportIssues, request, "issues"))
    assert [[issue.path[-5] for issue in page] for page in by_page] == [["0", "1"], ["2"]]


def test_pages_of_data_sets_are_by_name(garments, tmp_path):
    for name in ("a", "z"):
        garments.dataset(tmp_path / "garments", name)
    by_page = list(pages(garments.calls.ListDatasets, pb.ListDatasetsRequest(page_size=2), "datasets"))
    assert [[dataset.name for dataset in page] for page in by_page] == [["a", "garments"], ["z"]]


def test_a_page_token_does_not_outlive_an_import(garments, tmp_path):
    request = pb.ListImagesRequest(dataset="garments", page_size=4)
    request.page_token = garments.calls.ListImages(request).next_page_token
    garments.dataset(tmp_path / "garments")
    code, details = refusal(lambda: garments.calls.ListImages(request))
    assert code == grpc.StatusCode.ABORTED
    assert details.endswith("imported anew in the meantime: start without page_token")


@pytest.mark.parametrize("token", ["x", "!!!", "WzFd", "bnVsbA==", "W10=", "\u00e9"])
def test_a_made_up_page_token_is_refused(garments, token):
    for call in (
        lambda: garments.images(page_token=token),
        lambda: garments.calls.ListDatasets(pb.ListDatasetsRequest(page_token=token)),
    ):
        code, details = refusal(call)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert details == "page_token is not one that this list gave: start without one"


@pytest.mark.parametrize("size", [-1, 10_001])
def test_page_sizes_out_of_range_are_refused(garments, size):
    code, details = refusal(lambda: garments.images(page_size=size))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details == f"page_size {size}: use 1 to 10000, or 0 for 1000"


def test_an_unknown_data_set_is_not_found(garments):
    assert refusal(lambda: garments.images("hats")) == (
        grpc.StatusCode.NOT_FOUND,
        "no data set is named 'hats'; onoma dataset list shows those there are",
    )


# Pictures


def a_model(inference, name="net", **preprocessing):
    """Writes the row of a registered model, which is all that a picture's preparation reads."""
    engine = create_engine(f"sqlite:///{inference.data_dir / 'inference.db'}")
    row = tables.Model(
        name=name,
        model_hash="0" * 64,
        onnx_key="0" * 64,
        classes=["bag", "hat"],
        preprocessing={"channels": 3, "height": 4, "width": 4, **preprocessing},
        attachment_layer="relu",
        feature_count=8,
        map_layer="conv",
        map_height=14,
        map_width=14,
        mode="strict",
        strict_leak=0.0,
        onnx_error=0.0,
    )
    with Session(engine) as session:
        session.add(row)
        session.commit()
    engine.dispose()


def test_the_original_comes_back_byte_for_byte(garments, tmp_path):
    image = garments.images()[0]
    response = garments.calls.GetImage(pb.GetImageRequest(image_id=image.image_id))
    assert response.content == (tmp_path / "garments" / image.path).read_bytes()
    assert response.media_type == "image/png"


def test_the_models_view_is_upright_resized_and_cropped(inference, tmp_path):
    folder = folders.image_folder(tmp_path / "g", {"hat": 2, "bag": 2})
    lying = np.zeros((4, 8, 3), np.uint8)
    lying[:, 4:] = 200
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    file = io.BytesIO()
    PillowImage.fromarray(lying).save(file, "PNG", exif=exif)
    (folder / "hat" / "lying.png").write_bytes(file.getvalue())
    inference.dataset(folder)
    a_model(inference, resize_shorter_side=4)
    image = next(image for image in inference.images() if image.path == "hat/lying.png")
    assert (image.height, image.width) == (8, 4)
    response = inference.calls.GetImage(
        pb.GetImageRequest(image_id=image.image_id, view=pb.IMAGE_VIEW_MODEL_INPUT, model="net")
    )
    assert response.media_type == "image/png"
    assert decode(response.content).pixels[:, 0, 0].tolist() == [0, 0, 200, 200]


def test_a_grey_model_sees_grey(garments):
    a_model(garments, channels=1)
    image = garments.images()[0]
    response = garments.calls.GetImage(
        pb.GetImageRequest(image_id=image.image_id, view=pb.IMAGE_VIEW_MODEL_INPUT, model="net")
    )
    assert decode(response.content).pixels.shape == (4, 4, 1)


def test_several_pictures_come_in_the_order_asked_for(garments):
    a_model(garments)
    ids = [image.image_id for image in garments.images()][::-1]
    for view in (pb.IMAGE_VIEW_ORIGINAL, pb.IMAGE_VIEW_MODEL_INPUT):
        several = pb.GetImagesRequest(image_ids=ids, view=view, model="net")
        each = [pb.GetImageRequest(image_id=image_id, view=view, model="net") for image_id in ids]
        assert [(one.content, one.media_type) for one in garments.calls.GetImages(several)] == [
            (one.content, one.media_type) for one in map(garments.calls.GetImage, each)
        ]


def test_several_pictures_with_an_unknown_one_are_not_found(garments):
    ids = [garments.images()[0].image_id, "0" * 64]
    code, details = refusal(lambda: list(garments.calls.GetImages(pb.GetImagesRequest(image_ids=ids))))
    assert (code, "0" * 64 in details) == (grpc.StatusCode.NOT_FOUND, True)


@pytest.mark.parametrize("count", [0, 257])
def test_too_many_pictures_in_one_call_are_refused(garments, count):
    request = pb.GetImagesRequest(image_ids=["0" * 64] * count)
    code, details = refusal(lambda: list(garments.calls.GetImages(request)))
    assert (code, f"{count} images" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_the_view_of_an_unknown_model_is_not_found(garments):
    request = pb.GetImageRequest(
        image_id=garments.images()[0].image_id, view=pb.IMAGE_VIEW_MODEL_INPUT, model="net"
    )
    assert refusal(lambda: garments.calls.GetImage(request)) == (
        grpc.StatusCode.NOT_FOUND,
        "no model is named 'net'; onoma model list shows those there are",
    )


@pytest.mark.parametrize("image_id", ["", "0" * 64, "../../../etc/passwd", "x" * 10_000])
def test_a_picture_that_no_import_took_is_not_found(garments, image_id):
    code, _ = refusal(lambda: garments.calls.GetImage(pb.GetImageRequest(image_id=image_id)))
    assert code == grpc.StatusCode.NOT_FOUND


def test_objects_that_are_no_pictures_are_not_given_out_as_such(garments):
    key = upload(garments, chunk(b"weights")).object_key
    code, _ = refusal(lambda: garments.calls.GetImage(pb.GetImageRequest(image_id=key)))
    assert code == grpc.StatusCode.NOT_FOUND


def test_a_damaged_object_is_never_given_out(garments):
    image = garments.images()[0]
    stored = garments.data_dir / "objects" / image.image_id[:2] / image.image_id
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    code, details = refusal(lambda: garments.calls.GetImage(pb.GetImageRequest(image_id=image.image_id)))
    assert code == grpc.StatusCode.DATA_LOSS
    assert image.image_id in details
