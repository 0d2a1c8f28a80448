"""Streams of predictions through the client, against the services of the main job; pictures are synthetic."""

from collections.abc import Iterator

import pytest

from onoma.client import InvalidArgument
from tests.conftest import OpenStudy


@pytest.fixture
def image_ids(open_study: OpenStudy) -> list[str]:
    return list(open_study.client.list_explained_images(open_study.study.study_id, "cross").image_id)[:2]


def test_ids_and_contents_may_come_in_one_stream(open_study: OpenStudy, image_ids: list[str]) -> None:
    client = open_study.client
    content = client.get_image(image_ids[1]).content
    found = list(client.predict_stream("tiny", [image_ids[0], content, image_ids[1]], xnn_set="tiny"))
    wanted = client.predict("tiny", image_ids=[image_ids[0], image_ids[1], image_ids[1]], xnn_set="tiny")
    for prediction, other in zip(found, wanted, strict=True):
        assert list(prediction.xnn_scores) == pytest.approx(list(other.xnn_scores), abs=1e-3)


def test_what_the_images_raise_comes_after_the_scores_before_it(
    open_study: OpenStudy, image_ids: list[str]
) -> None:
    def images() -> Iterator[str]:
        yield image_ids[0]
        raise FileNotFoundError("the second picture")

    found = open_study.client.predict_stream("tiny", images())
    assert next(found).dnn_scores
    with pytest.raises(FileNotFoundError, match="the second picture"):
        next(found)


def test_a_broken_picture_is_named_by_its_number(open_study: OpenStudy, image_ids: list[str]) -> None:
    found = open_study.client.predict_stream("tiny", [image_ids[0], b"no picture"])
    assert next(found).dnn_scores
    with pytest.raises(InvalidArgument, match="image 1 of the stream: text, not a picture"):
        next(found)
