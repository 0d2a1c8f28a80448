"""ONOMA_MAPS_PRECISION: what maps are computed in."""

import numpy as np
import pytest

from onoma.client.columns import map_arrays
from onoma.science.excitation import RULES_REVISION
from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import jobs_pb2
from services.attribution.explainers import Explainers
from services.attribution.settings import AttributionSettings
from services.runtime.settings import read_settings
from tests.services.attribution.conftest import DEADLINE_S
from tests.services.attribution.stand_ins import png
from tests.synthetic import draw


@pytest.fixture
def plain_maps(open_server, monkeypatch):
    """Plain maps of one picture from a server with a precision, (m, h, w)."""
    content = png(draw("circle", np.random.default_rng(5)))
    request = pb.AttributeRequest(
        model="net", xnn_set="xnns", categories=["circle"], content=content, contrastive=False
    )

    def drawing(precision):
        monkeypatch.setenv("ONOMA_MAPS_PRECISION", precision)
        return np.stack(map_arrays(open_server().calls.Attribute(request, timeout=DEADLINE_S).maps))

    return drawing


def test_bf16_maps_are_close_to_those_of_float32_and_not_the_same(plain_maps):
    exact, rounded = plain_maps("float32"), plain_maps("bf16")
    difference = np.abs(rounded - exact).max((1, 2)) / exact.max((1, 2))
    assert (difference > 1e-5).any()
    assert (difference < 0.02).all()


def test_tf32_without_a_gpu_is_refused(store, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="ONOMA_MAPS_PRECISION=tf32 needs a GPU"):
        Explainers(store, "tf32")


def test_an_unknown_precision_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("ONOMA_MAPS_PRECISION", "fp8")
    with pytest.raises(
        ValueError, match=r"ONOMA_MAPS_PRECISION=fp8: input should be 'float32', 'tf32' or 'bf16'"
    ):
        read_settings(AttributionSettings)


def test_a_study_keeps_the_precision_of_its_first_maps(open_server, monkeypatch):
    monkeypatch.setenv("ONOMA_MAPS_PRECISION", "bf16")
    first = open_server()
    first.result()
    assert first.provenance().parameters_json == f'{{"precision": "bf16", "rules": {RULES_REVISION}}}'
    monkeypatch.setenv("ONOMA_MAPS_PRECISION", "float32")
    again = open_server().computed()
    assert again.state == jobs_pb2.JOB_STATE_FAILED
    assert "has maps of another precision or revision of the rules than there is now" in again.error


def test_a_study_is_not_drawn_further_by_other_rules(open_server, monkeypatch):
    open_server().result()
    monkeypatch.setattr("services.attribution.runs.RULES_REVISION", RULES_REVISION + 1)
    again = open_server().computed()
    assert again.state == jobs_pb2.JOB_STATE_FAILED
    assert "another precision or revision of the rules" in again.error
