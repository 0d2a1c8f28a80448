"""The road of networks with attention: registered, trained upon and drawn, from pixels and from kept activations."""

from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from onoma.client import Client
from onoma.v1 import inference_pb2, types_pb2
from tests.conftest import OpenStudy
from tests.networks import swin_like, vit_like
from tests.short_fits import short_fits
from tests.synthetic import CLASSES, tiny_program


def maps_of(client: Client, name: str, kept: types_pb2.DatasetPart) -> tuple[list[str], np.ndarray]:
    """What each of a new study's activations is of, and its map."""
    short = inference_pb2.XnnSettings(epochs=2, batch_size=24)
    with short_fits():
        client.train_xnn(name, name, "shapes", settings=short, keep_cells_of=kept).wait()
    study = client.create_study(f"{name} {kept}", name, "shapes", name, [CLASSES[0]]).study_id
    client.compute_maps(study).wait()
    columns = client.list_activations(study)
    np.testing.assert_allclose(columns.map_sum, 1, atol=0.05)  # strict mode, which may lose so much
    found = [
        np.frombuffer(batch.values, "<f2").astype(np.float32).reshape(-1, batch.height, batch.width)
        * np.array(batch.scale)[:, None, None]
        for batch in client.get_maps(study, list(columns.activation_id))
    ]
    of = [f"{image} {x}" for image, x in zip(columns.image_id, columns.x_feature, strict=True)]
    return of, np.concatenate(found)


@pytest.mark.parametrize("network", [vit_like, pytest.param(swin_like, marks=pytest.mark.slow)])
def test_a_transformers_maps_are_drawn_from_pixels_and_from_kept_activations(
    network: Callable[[], nn.Module], open_study: OpenStudy
) -> None:
    client, name = open_study.client, network.__name__
    program = tiny_program(open_study.images, network=network(classes=len(CLASSES)))
    client.register_model(name, program).wait()
    model = client.get_model(name)
    assert (model.map_height, model.map_width) == (8, 8)
    of, maps = maps_of(client, name, types_pb2.DATASET_PART_UNSPECIFIED)
    assert maps.shape == (len(of), 8, 8)
    of_kept, of_kept_maps = maps_of(client, name, types_pb2.DATASET_PART_TEST)
    assert of_kept == of
    np.testing.assert_allclose(of_kept_maps, maps, atol=2e-3)
