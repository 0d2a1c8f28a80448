"""One picture explained on request."""

import hashlib

import grpc
import numpy as np
import pytest

from onoma.client.columns import map_arrays
from onoma.science import activations
from onoma.v1 import attribution_pb2 as pb
from tests.services.attribution.conftest import DEADLINE_S, refusal
from tests.services.attribution.stand_ins import ALL_CLASSES, png
from tests.synthetic import draw

Code = grpc.StatusCode


@pytest.fixture
def attribute(attribution):
    def calling(content, *categories, **fields):
        request = pb.AttributeRequest(
            **{"model": "net", "xnn_set": "xnns", "categories": categories, "content": content} | fields
        )
        return attribution.calls.Attribute(request, timeout=DEADLINE_S)

    return calling


def test_a_picture_of_the_study_gets_the_maps_it_has_there(attribution, attribute, world, store):
    attribution.result()
    _, image_id = world.images["cross"][0]
    live = attribute(store.get(image_id), "cross")
    columns = attribution.activations("cross")
    stored = {
        columns.x_feature[i]: columns.activation_id[i]
        for i in range(len(columns.activation_id))
        if columns.image_id[i] == image_id
    }
    maps = attribution.maps(list(stored.values()))
    assert set(live.activations.x_feature) == set(stored)
    for x_feature, array in zip(live.activations.x_feature, map_arrays(live.maps), strict=True):
        np.testing.assert_allclose(array, maps[stored[x_feature]], atol=1e-4)


def test_activations_come_in_order_of_contribution(attribute):
    content = png(draw("circle", np.random.default_rng(5)))
    found = attribute(content, "circle")
    assert list(found.activations.activation_id) == [str(i) for i in range(len(found.activations.x))]
    assert list(found.activations.contribution) == sorted(found.activations.contribution, reverse=True)
    assert found.image.image_id == [hashlib.sha256(content).hexdigest()]
    assert found.image.significant_count == [len(found.activations.x)]


def test_several_classes_are_explained_in_one_pass_each_as_alone(attribute, monkeypatch):
    content = png(draw("circle", np.random.default_rng(5)))
    wanted = ["square", "circle"]
    alone = [attribute(content, category) for category in wanted]
    passes = []
    draw_maps = activations.draw

    def counting(*arguments):
        passes.append(arguments)
        return draw_maps(*arguments)

    monkeypatch.setattr(activations, "draw", counting)
    together = attribute(content, *wanted)
    assert len(passes) == 1
    assert together.image.category == wanted
    assert list(together.activations.category) == [c for one in alone for c in one.activations.category]
    assert list(together.activations.x_feature) == [x for one in alone for x in one.activations.x_feature]
    assert list(together.maps.activation_id) == [str(i) for i in range(len(together.activations.x))]
    maps = [array for one in alone for array in map_arrays(one.maps)]
    np.testing.assert_allclose(map_arrays(together.maps), maps, atol=1e-4)


def test_a_live_answer_says_what_made_it_as_the_study_does(attribution, attribute):
    attribution.result()
    of_study = attribution.provenance()
    live = attribute(png(draw("circle", np.random.default_rng(5))), *ALL_CLASSES[:1]).provenance
    assert (live.method, live.model_hash, live.mode, live.parameters_json) == (
        of_study.method,
        of_study.model_hash,
        of_study.mode,
        of_study.parameters_json,
    )
    assert (live.xnn_set, live.map_layer, live.onoma_version) == (
        of_study.xnn_set,
        of_study.map_layer,
        of_study.onoma_version,
    )
    assert live.contrastive
    assert live.significant_share == 0.9
    assert not live.dataset


def test_significant_x_features_hold_the_share_that_is_asked_for(attribute):
    content = png(draw("circle", np.random.default_rng(5)))
    whole, few = (attribute(content, "circle", significant_share=share) for share in (1.0, 0.01))
    assert len(whole.activations.x) > len(few.activations.x) == 1
    assert (whole.provenance.significant_share, few.provenance.significant_share) == (1.0, 0.01)
    assert sum(whole.activations.share) == pytest.approx(1)
    assert few.activations.x_feature[0] == whole.activations.x_feature[0]


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(attribute, share):
    content = png(draw("circle", np.random.default_rng(5)))
    code, said = refusal(lambda: attribute(content, "circle", significant_share=share))
    assert (code, said) == (
        Code.INVALID_ARGUMENT,
        f"significant_share {share}: use a share over 0, at most 1",
    )


@pytest.mark.parametrize(
    ("categories", "said"),
    [
        (["circle", "circle"], "class 'circle' is asked for twice; once is enough"),
        (["circle", "hat"], "model 'net' has no class 'hat'"),
    ],
)
def test_classes_that_cannot_be_meant_are_refused(attribute, categories, said):
    content = png(draw("square", np.random.default_rng(5)))
    assert refusal(lambda: attribute(content, *categories)) == (Code.INVALID_ARGUMENT, said)


def test_the_networks_own_answer_is_explained_when_no_class_is_said(attribute):
    found = attribute(png(draw("square", np.random.default_rng(5))))
    assert found.image.category == found.image.predicted_class
    assert set(found.activations.category) == set(found.image.predicted_class)
    assert found.image.predicted_class[0] in ALL_CLASSES


def test_what_is_no_picture_is_refused(attribute):
    code, message = refusal(lambda: attribute(b"%PDF-1.7"))
    assert code == Code.INVALID_ARGUMENT
    assert message.startswith("the picture cannot be read: a PDF document, not a picture")


def test_an_unknown_class_is_refused(attribute):
    content = png(draw("square", np.random.default_rng(5)))
    assert refusal(lambda: attribute(content, "hat")) == (
        Code.INVALID_ARGUMENT,
        "model 'net' has no class 'hat'",
    )


def test_a_class_without_an_xnn_is_refused(attribute, world):
    del world.xnn_set.xnns[1:]
    code, message = refusal(lambda: attribute(png(draw("square", np.random.default_rng(5))), "square"))
    assert code == Code.FAILED_PRECONDITION
    assert message.startswith("set 'xnns' has no xNN of class 'square'")


def test_an_unknown_model_is_refused(attribute):
    content = png(draw("square", np.random.default_rng(5)))
    assert refusal(lambda: attribute(content, model="other")) == (
        Code.NOT_FOUND,
        "there is no model 'other'",
    )
