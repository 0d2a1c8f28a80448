"""Scores over a real server; pictures are synthetic."""

import threading

import grpc
import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors

from onoma.science import xnn as science
from onoma.science.pictures import decode
from onoma.science.program import find_attachment, load, with_features
from onoma.v1 import inference_pb2 as pb
from onoma.v1 import types_pb2
from services.runtime.objects import DirectoryStore
from tests.synthetic import CLASSES

DEADLINE_S = 60


def predict(inference, **fields):
    return inference.calls.Predict(pb.PredictRequest(**{"model": "tiny", **fields})).predictions


def refusal(call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def stored(inference, count=3):
    images = inference.images("shapes", part=types_pb2.DATASET_PART_TEST)
    return [image.image_id for image in images[:: len(images) // count]][:count]


def seen_by_torch(inference, program, image_ids):
    """Scores and features of stored pictures by torch itself."""
    store = DirectoryStore(inference.data_dir / "objects")
    pixels = np.stack([decode(store.get(image_id)).pixels for image_id in image_ids])
    loaded = load(program)
    with torch.inference_mode():
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        return with_features(loaded, find_attachment(loaded))(images)


def test_scores_of_stored_pictures_are_torchs_own(registered, program):
    image_ids = stored(registered)
    wanted, _ = seen_by_torch(registered, program, image_ids)
    found = predict(registered, image_ids=image_ids)
    np.testing.assert_allclose([row.dnn_scores for row in found], wanted, atol=1e-4)
    assert [row.predicted_class for row in found] == [CLASSES[i] for i in wanted.argmax(1)]
    assert not any(row.xnn_scores for row in found)


def test_a_picture_by_id_and_by_content_has_the_same_scores(registered):
    image_id = stored(registered, 1)[0]
    content = registered.calls.GetImage(pb.GetImageRequest(image_id=image_id)).content
    by_id, by_content = predict(registered, image_ids=[image_id], contents=[content])
    np.testing.assert_allclose(by_id.dnn_scores, by_content.dnn_scores, atol=1e-5)


def test_stored_pictures_come_before_those_sent(registered):
    first, second = stored(registered, 2)
    content = registered.calls.GetImage(pb.GetImageRequest(image_id=first)).content
    found = predict(registered, image_ids=[second], contents=[content])
    alone = predict(registered, image_ids=[second])
    np.testing.assert_allclose(found[0].dnn_scores, alone[0].dnn_scores, atol=1e-5)


def test_xnn_scores_stand_in_the_order_of_the_models_classes(trained, program):
    image_ids = stored(trained)
    _, features = seen_by_torch(trained, program, image_ids)
    store = DirectoryStore(trained.data_dir / "objects")
    xnns = {xnn.class_name: xnn.weights_key for xnn in trained.xnn_set().xnns}
    wanted = [
        science.score(science.from_tensors(load_tensors(store.get(xnns[name]))), features).tolist()
        for name in trained.model().classes
    ]
    found = predict(trained, image_ids=image_ids, xnn_set="tiny")
    np.testing.assert_allclose(np.array([row.xnn_scores for row in found]).T, wanted, atol=1e-3)


def test_a_class_without_an_xnn_scores_nan_in_its_place(registered):
    registered.trained("one", classes=["cross"])
    row = predict(registered, image_ids=stored(registered, 1), xnn_set="one")[0]
    assert [bool(np.isfinite(score)) for score in row.xnn_scores] == [name == "cross" for name in CLASSES]


@pytest.fixture
def setting(monkeypatch):
    """Sets ONOMA_* for the servers that start after it."""
    return lambda **values: [
        monkeypatch.setenv(f"ONOMA_{name.upper()}", str(values[name])) for name in values
    ]


@pytest.fixture
def pairs_in_a_short_queue(setting):
    setting(batch_images=2, queue_images=4)


def test_more_pictures_than_a_batch_are_all_scored(pairs_in_a_short_queue, registered):
    image_ids = stored(registered, 5)
    found = predict(registered, image_ids=image_ids)
    alone = [predict(registered, image_ids=[image_id])[0].dnn_scores for image_id in image_ids]
    np.testing.assert_allclose([row.dnn_scores for row in found], alone, atol=1e-5)


@pytest.mark.parametrize("count", [0, 257])
def test_none_and_too_many_pictures_are_refused(registered, count):
    code, details = refusal(lambda: predict(registered, image_ids=["0" * 64] * count))
    assert (code, details) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        f"{count} images in one call; 1 to 256 are taken",
    )


def test_a_broken_content_is_named_by_its_index(registered):
    image_id = stored(registered, 1)[0]
    content = registered.calls.GetImage(pb.GetImageRequest(image_id=image_id)).content
    code, details = refusal(
        lambda: predict(registered, image_ids=[image_id], contents=[content, content[:100]])
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("content 1 of the call: ")


def test_a_set_of_another_model_is_refused(trained, program):
    trained.registered(program, "other")
    code, details = refusal(lambda: predict(trained, model="other", image_ids=["0" * 64], xnn_set="tiny"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details == "set 'tiny' explains model 'tiny', not 'other'"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"model": "gone"}, "no model is named 'gone'"),
        ({"xnn_set": "gone"}, "no set of xNNs is named 'gone'"),
        ({}, "no picture has the id"),
    ],
)
def test_what_is_not_there_is_named(registered, fields, line):
    code, details = refusal(lambda: predict(registered, image_ids=["0" * 64], **fields))
    assert code == grpc.StatusCode.NOT_FOUND
    assert line in details


# Streams


def stream(inference, *messages, **first):
    """Predictions of a stream; `first` goes into its first message."""
    answers = inference.calls.PredictStream(
        iter([pb.PredictStreamRequest(**(first if not i else {}), **m) for i, m in enumerate(messages)]),
        timeout=DEADLINE_S,
    )
    return [answer.prediction for answer in answers]


def test_a_stream_is_answered_in_order_as_one_call_is(trained):
    image_ids = stored(trained, 8) * 20
    content = trained.calls.GetImage(pb.GetImageRequest(image_id=image_ids[0])).content
    messages = [{"content": content}, *({"image_id": image_id} for image_id in image_ids[1:])]
    found = stream(trained, *messages, model="tiny", xnn_set="tiny")
    wanted = predict(trained, image_ids=image_ids, xnn_set="tiny")
    np.testing.assert_allclose(
        [[*row.dnn_scores, *row.xnn_scores] for row in found],
        [[*row.dnn_scores, *row.xnn_scores] for row in wanted],
        rtol=1e-4,  # batches of other sizes are summed in another order
        atol=1e-4,
    )


def test_a_caller_may_wait_for_each_answer_before_the_next_image(registered):
    image_ids, answered = iter(stored(registered, 3)), threading.Semaphore(1)

    def messages():
        for image_id in image_ids:
            assert answered.acquire(timeout=DEADLINE_S)
            yield pb.PredictStreamRequest(model="tiny", image_id=image_id)

    count = 0
    for _ in registered.calls.PredictStream(messages(), timeout=DEADLINE_S):
        count += 1
        answered.release()
    assert count == 3


def test_a_stream_alone_never_fills_the_queue(pairs_in_a_short_queue, registered):
    (image_id,) = stored(registered, 1)
    assert len(stream(registered, *[{"image_id": image_id}] * 50, model="tiny")) == 50


@pytest.fixture
def one_stream(setting):
    setting(streams=1)


def test_streams_over_their_number_are_refused_and_one_that_ends_makes_room(one_stream, registered):
    (image_id,) = stored(registered, 1)
    go_on = threading.Event()

    def waiting():
        yield pb.PredictStreamRequest(model="tiny", image_id=image_id)
        go_on.wait(DEADLINE_S)

    answers = registered.calls.PredictStream(waiting(), timeout=DEADLINE_S)
    next(answers)
    code, details = refusal(lambda: stream(registered, {"image_id": image_id}, model="tiny"))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1 streams are being answered, as many as ONOMA_STREAMS allows" in details
    go_on.set()
    assert list(answers) == []
    assert len(stream(registered, {"image_id": image_id}, model="tiny")) == 1


def test_an_empty_stream_has_no_answers(registered):
    assert list(registered.calls.PredictStream(iter(()), timeout=DEADLINE_S)) == []


@pytest.mark.parametrize(
    ("message", "code", "line"),
    [
        ({"content": b"no picture"}, grpc.StatusCode.INVALID_ARGUMENT, "image 1 of the stream: "),
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "image 1 of the stream: a message has either"),
        ({"image_id": "0" * 64}, grpc.StatusCode.NOT_FOUND, "0" * 64),
    ],
)
def test_a_wrong_image_ends_a_stream_after_the_answers_before_it(registered, message, code, line):
    (image_id,) = stored(registered, 1)
    requests = [pb.PredictStreamRequest(model="tiny", image_id=image_id), pb.PredictStreamRequest(**message)]
    answers = registered.calls.PredictStream(iter(requests), timeout=DEADLINE_S)
    assert next(answers).prediction.dnn_scores
    with pytest.raises(grpc.RpcError) as error:
        next(answers)
    assert error.value.code() == code
    assert line in error.value.details()


def test_a_caller_that_leaves_ends_the_work_on_its_stream(registered):
    (image_id,) = stored(registered, 1)

    def endless():
        while True:
            yield pb.PredictStreamRequest(model="tiny", image_id=image_id)

    answers = registered.calls.PredictStream(endless(), timeout=DEADLINE_S)
    next(answers)
    answers.cancel()
    for thread in threading.enumerate():
        if thread.name == "reading-ahead":
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
