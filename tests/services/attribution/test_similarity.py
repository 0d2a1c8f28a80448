"""Activations by likeness: the cosine of the features under their maps."""

import grpc
import numpy as np
import torch

from onoma.science.activations import explain
from onoma.v1 import attribution_pb2 as pb
from services.attribution.explainers import Explainers, look_at, picture_seen
from services.attribution.plans import fetch_network
from services.runtime.preprocessing import preprocessing_of
from tests.services.attribution.conftest import STUDY_ID, refusal

Code = grpc.StatusCode


def sort(attribution, ids, category="circle"):
    request = pb.SortBySimilarityRequest(study_id=STUDY_ID, category=category, activation_ids=ids)
    return attribution.calls.SortBySimilarity(request, timeout=60)


def test_pooled_features_are_the_map_layers_under_each_map(store, world, peers):
    network = fetch_network(peers, "net", "xnns")
    explainers = Explainers(store)
    explainer = explainers.model(network.model)
    preprocessing = preprocessing_of(network.model.preprocessing)
    pictures = [picture_seen(store.get(key), preprocessing) for _, key in world.images["circle"][:3]]
    seen = look_at(explainer, pictures, preprocessing)
    explained = explain(explainer, explainers.xnn(network, "circle"), 0, seen)
    cells = seen.values[explainer.map_layer]
    for image, drawn, pooled in zip(explained.images, explained.maps, explained.pooled, strict=True):
        expected = (cells[image] * torch.from_numpy(drawn)).sum((1, 2)).numpy()
        np.testing.assert_allclose(pooled, expected / np.linalg.norm(expected), atol=1e-5)


def test_the_one_asked_about_comes_first_and_likeness_falls(attribution, world):
    world.study.settings.suggestions = True
    attribution.result()
    ids = list(attribution.activations("circle").activation_id)
    for asked in ids[:3]:
        answer = sort(attribution, [asked])
        assert sorted(answer.activation_ids) == sorted(ids)
        assert answer.similarity[list(answer.activation_ids).index(asked)] > 0.999
        assert list(answer.similarity) == sorted(answer.similarity, reverse=True)
        assert all(-1 <= cosine <= 1 for cosine in answer.similarity)
    assert sort(attribution, ids) == sort(attribution, ids[::-1])


def test_bad_requests_are_refused(attribution, world):
    world.study.settings.suggestions = True
    attribution.result()
    other = attribution.activations("cross").activation_id[0]
    assert refusal(lambda: sort(attribution, []))[0] == Code.INVALID_ARGUMENT
    assert refusal(lambda: sort(attribution, ["x"] * 10_001))[0] == Code.INVALID_ARGUMENT
    assert refusal(lambda: sort(attribution, [other]))[0] == Code.NOT_FOUND
    assert refusal(lambda: sort(attribution, [other], "hat"))[0] == Code.NOT_FOUND


def test_a_study_without_suggestions_shows_no_similarity(attribution, world):
    attribution.result()
    ids = attribution.activations("circle").activation_id
    code, message = refusal(lambda: sort(attribution, ids[:1]))
    assert code == Code.FAILED_PRECONDITION
    assert "suggestions" in message
