"""Sets of xNNs that were trained elsewhere."""

import math

import grpc
import pytest
import torch
from safetensors.torch import save as save_tensors
from sqlalchemy.pool import NullPool
from sqlmodel import Session, create_engine

from onoma.science.xnn import Xnn, to_tensors
from onoma.v1 import inference_pb2 as pb
from services.inference import tables
from tests.services.inference.conftest import DEADLINE_S
from tests.services.inference.test_datasets import refusal

Code = grpc.StatusCode


def take(inference, xnn_set):
    request = pb.ImportXnnSetRequest(xnn_set=xnn_set)
    return inference.calls.ImportXnnSet(request, timeout=DEADLINE_S).xnn_set


def copied(inference, name="copy"):
    xnn_set = inference.xnn_set()
    xnn_set.name = name
    return xnn_set


def test_figures_and_weights_are_those_that_came(trained):
    given = copied(trained)
    assert take(trained, given) == given
    assert trained.xnn_set("copy") == given
    assert given.xnns[0].rmse > 0
    assert given.xnns[0].mean_contributions


def test_it_scores_as_the_one_it_was_taken_from(trained):
    take(trained, copied(trained))
    image_ids = [image.image_id for image in trained.images("shapes")[:3]]

    def scores(xnn_set):
        request = pb.PredictRequest(model="tiny", xnn_set=xnn_set, image_ids=image_ids)
        return trained.calls.Predict(request, timeout=DEADLINE_S)

    assert scores("copy") == scores("tiny")


def test_the_same_set_again_changes_nothing_and_another_is_refused(trained):
    given = copied(trained)
    take(trained, given)
    assert take(trained, given) == given
    given.xnns[0].rmse += 1
    code, details = refusal(lambda: take(trained, given))
    assert code == Code.ALREADY_EXISTS
    assert "another set of xNNs is named 'copy'" in details


def test_a_set_that_came_before_a_setting_was_there_is_the_same_again(trained):
    given = copied(trained)
    take(trained, given)
    engine = create_engine(f"sqlite:///{trained.data_dir / 'inference.db'}", poolclass=NullPool)
    with Session(engine) as opened:
        row = opened.get_one(tables.XnnSet, "copy")
        row.settings = {name: value for name, value in row.settings.items() if name != "pull_away_pairs"}
        opened.commit()
    assert take(trained, given) == given


def test_it_is_not_trained_over_and_says_why_it_has_no_scores(trained):
    given = copied(trained)
    take(trained, given)
    request = pb.TrainXnnRequest(name="copy", model="tiny", dataset="shapes", settings=given.settings)
    code, details = refusal(lambda: trained.calls.TrainXnn(request, timeout=DEADLINE_S))
    assert code == Code.FAILED_PRECONDITION
    assert "was trained elsewhere" in details
    scores = pb.ListXnnScoresRequest(name="copy", class_name="circle")
    code, details = refusal(lambda: list(trained.calls.ListXnnScores(scores, timeout=DEADLINE_S)))
    assert code == Code.FAILED_PRECONDITION
    assert "onoma xnn show copy" in details


def test_a_set_trained_in_tf32_is_taken_where_there_is_no_gpu(trained):
    given = copied(trained)
    given.settings.precision = pb.PRECISION_TF32
    assert take(trained, given) == given


def narrow_xnn(inference):
    layer = (torch.zeros(2, 3), torch.zeros(2))
    return inference.uploaded(save_tensors(to_tensors(Xnn((layer,), torch.zeros(2), torch.tensor(0.0)))))


def _of_no_class(inference, given):
    given.xnns[0].class_name = "shoe"


def _of_one_class_twice(inference, given):
    given.xnns[1].class_name = given.xnns[0].class_name


def _of_none(inference, given):
    del given.xnns[:]


def _not_a_number(inference, given):
    given.xnns[0].mean_contributions[0] = math.nan


def _not_uploaded(inference, given):
    given.xnns[0].weights_key = "0" * 64


def _no_xnn(inference, given):
    given.xnns[0].weights_key = inference.uploaded(b"no safetensors file")


def _of_another_layer(inference, given):
    given.xnns[0].weights_key = narrow_xnn(inference)


def _of_no_model(inference, given):
    given.model = "none"


def _of_no_dataset(inference, given):
    given.dataset = "none"


def _of_a_setting_that_cannot_be(inference, given):
    given.settings.x_feature_count = 1000


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (_of_no_class, Code.INVALID_ARGUMENT, "class 'shoe' is not in model 'tiny'"),
        (_of_one_class_twice, Code.INVALID_ARGUMENT, "two xNNs of one class"),
        (_of_none, Code.INVALID_ARGUMENT, "has no xNNs; send one a class"),
        (_not_a_number, Code.INVALID_ARGUMENT, "figure mean_contributions of class 'circle' is NaN"),
        (_not_uploaded, Code.FAILED_PRECONDITION, "upload the xNN of class 'circle' first"),
        (_no_xnn, Code.INVALID_ARGUMENT, "the weights of class 'circle' are no xNN"),
        (_of_another_layer, Code.INVALID_ARGUMENT, "reads 3 units; layer"),
        (_of_no_model, Code.NOT_FOUND, "no model is named 'none'"),
        (_of_no_dataset, Code.NOT_FOUND, "no data set is named 'none'"),
        (_of_a_setting_that_cannot_be, Code.INVALID_ARGUMENT, "x_feature_count is 1000"),
    ],
)
def test_what_is_refused_leaves_no_set(trained, spoil, code, words):
    given = copied(trained)
    spoil(trained, given)
    found, details = refusal(lambda: take(trained, given))
    assert (found, words in details) == (code, True), details
    assert refusal(lambda: trained.xnn_set("copy"))[0] == Code.NOT_FOUND
