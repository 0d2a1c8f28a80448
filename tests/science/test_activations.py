"""An xNN's significant activations with their maps, in one call."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from onoma.science.activations import Explained, explain, explain_classes
from onoma.science.excitation import Explainer, Mode, draw, encoder_mass, look, prepare
from onoma.science.nodes import shape_of
from onoma.science.program import find_attachment, find_map_layer
from onoma.science.significance import significant
from onoma.science.xnn import Xnn, score, terms, x_features
from tests.networks import SHAPE, MobileLike, ModernLike, images, program_of, vgg_like


@pytest.fixture(scope="module", params=["strict", "local"])
def explainer(request: pytest.FixtureRequest) -> Explainer:
    """The VGG-like network in strict mode, the MobileNet-like one in local mode."""
    mode: Mode = request.param
    program = program_of(vgg_like() if mode == "strict" else MobileLike(), SHAPE)
    attachment = find_attachment(program)
    return prepare(program, attachment, find_map_layer(program, attachment), mode)


def random_xnn(features: int) -> Xnn:
    """Two layers without biases, X-features of both signs."""
    torch.manual_seed(3)
    encoder = (
        (torch.randn(12, features) + 0.3, torch.zeros(12)),
        (torch.randn(5, 12) + 0.3, torch.zeros(5)),
    )
    return Xnn(encoder, torch.tensor([2.0, 1.0, -1.0, 1.5, 0.5]), torch.tensor(0.5))


@pytest.fixture(scope="module")
def xnn() -> Xnn:
    """Of the networks that `explainer` has."""
    return random_xnn(24)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return images(6, SHAPE)


def test_terms_scores_and_significance_are_those_of_the_xnn(
    explainer: Explainer, xnn: Xnn, pixels: Tensor
) -> None:
    seen = look(explainer, pixels)
    found = explain(explainer, xnn, 2, seen, 0.9)
    contributions = terms(xnn, seen.features)
    rows, chosen = significant(contributions, 0.9).nonzero(as_tuple=True)
    np.testing.assert_array_equal(found.images, rows)
    np.testing.assert_array_equal(found.x_features, chosen)
    np.testing.assert_allclose(found.contributions, contributions[rows, chosen])
    np.testing.assert_allclose(found.xnn_scores, score(xnn, seen.features), rtol=1e-5)
    np.testing.assert_array_equal(found.dnn_scores, seen.scores[:, 2])
    np.testing.assert_array_equal(found.predicted, seen.scores.argmax(1))


def test_shares_of_an_image_hold_what_was_asked_for(explainer: Explainer, xnn: Xnn, pixels: Tensor) -> None:
    found = explain(explainer, xnn, 0, look(explainer, pixels), 0.75)
    held = np.bincount(found.images, weights=found.shares, minlength=len(pixels))
    assert ((held >= 0.75 - 1e-6) | (held == 0)).all()


def test_every_map_sums_to_one(explainer: Explainer, xnn: Xnn, pixels: Tensor) -> None:
    found = explain(explainer, xnn, 0, look(explainer, pixels))
    assert len(found.maps) > len(pixels)
    np.testing.assert_allclose(found.maps.sum((1, 2)), found.map_sums, rtol=1e-5)
    np.testing.assert_allclose(found.map_sums, 1, atol=1e-3)
    assert found.maps.min() >= 0


def test_contrastive_maps_keep_what_excites_more_than_it_inhibits(
    explainer: Explainer, xnn: Xnn, pixels: Tensor
) -> None:
    seen = look(explainer, pixels)
    contrastive, plain = (explain(explainer, xnn, 0, seen, contrastive=kind) for kind in (True, False))
    np.testing.assert_array_equal(contrastive.x_features, plain.x_features)
    np.testing.assert_allclose(contrastive.map_sums, plain.map_sums, atol=1e-5)
    assert alikeness(contrastive) < alikeness(plain) - 0.1
    rows, chosen = torch.from_numpy(plain.images), torch.from_numpy(plain.x_features)
    against = encoder_mass(xnn.encoder, seen.features, rows, chosen, explainer.mode, inhibiting=True)
    difference = plain.maps - draw(explainer, seen, against, rows).numpy()
    assert (contrastive.maps[difference < -1e-6] == 0).all()
    np.testing.assert_allclose(
        contrastive.maps, plain.map_sums[:, None, None] * shares(np.maximum(difference, 0)), atol=1e-5
    )


def alikeness(found: Explained) -> float:
    """Mean correlation between the maps of an image."""
    values = []
    for image in np.unique(found.images):
        maps = found.maps[found.images == image].reshape(-1, found.maps[0].size)
        if len(maps) > 1:
            values.append(np.corrcoef(maps)[np.triu_indices(len(maps), 1)].mean())
    return float(np.mean(values))


def shares(maps: np.ndarray) -> np.ndarray:
    return maps / maps.sum((1, 2), keepdims=True)


def test_where_nothing_inhibits_a_contrastive_map_is_the_plain_one(
    explainer: Explainer, xnn: Xnn, pixels: Tensor
) -> None:
    *below, (weight, bias) = xnn.encoder
    unopposed = replace(xnn, encoder=(*below, (weight.abs(), bias)))
    seen = look(explainer, pixels)
    contrastive, plain = (explain(explainer, unopposed, 0, seen, contrastive=kind) for kind in (True, False))
    np.testing.assert_allclose(contrastive.maps, plain.maps, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "mode"),
    [(vgg_like, "strict"), (MobileLike, "strict"), (MobileLike, "local"), (ModernLike, "local")],
    ids=["plain", "depthwise, strict", "depthwise, local", "residuals and norms, local"],
)
@pytest.mark.parametrize("contrastive", [True, False])
def test_neither_batch_size_nor_order_changes_anything(
    network: Callable[[], nn.Module], mode: Mode, contrastive: bool
) -> None:
    """64 images, in batches of 1, 7, 16 and all at once, each time in another order."""
    program = program_of(network(), SHAPE)
    attachment = find_attachment(program)
    explainer = prepare(program, attachment, find_map_layer(program, attachment), mode)
    of_network, pixels = random_xnn(shape_of(explainer.attachment)[1]), images(64, SHAPE)

    def by_image(batch: int, order: Tensor) -> dict[str, np.ndarray]:
        """Every field; activations in order of image and X-feature."""
        parts = [
            explain(explainer, of_network, 1, look(explainer, pixels[chosen]), contrastive=contrastive)
            for chosen in order.split(batch)
        ]
        of_batches = [
            chosen.numpy()[part.images] for chosen, part in zip(order.split(batch), parts, strict=True)
        ]
        fields = {name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
        fields["images"] = np.concatenate(of_batches)
        of_images = {"dnn_scores", "xnn_scores", "predicted"}
        places = np.lexsort((fields["x_features"], fields["images"]))
        return {
            name: values[order.argsort().numpy() if name in of_images else places]
            for name, values in fields.items()
        }

    expected = by_image(64, torch.arange(64))
    assert len(expected["maps"]) > 64
    for batch in (1, 7, 16, 64):
        shuffled = torch.randperm(64, generator=torch.Generator().manual_seed(batch))
        for name, values in by_image(batch, shuffled).items():
            np.testing.assert_allclose(values, expected[name], atol=1e-5, rtol=1e-5, err_msg=name)


def test_where_little_is_left_of_a_contrastive_map_batch_size_changes_nothing() -> None:
    """Of wide random encoders P - Q is some thousandths of P, so that the map scales its rounding up as much."""
    torch.manual_seed(0)
    program = program_of(torchvision.models.resnet18(weights=None), (3, 64, 64))
    explainer = prepare(program, find_attachment(program), "relu_8", "strict")
    encoder = (
        (torch.randn(64, 512) / 512**0.5, torch.zeros(64)),
        (torch.randn(5, 64) / 8, torch.full((5,), 0.1)),
    )
    wide, pixels = Xnn(encoder, torch.ones(5), torch.zeros(())), images(48, (3, 64, 64))
    together = explain(explainer, wide, 0, look(explainer, pixels))
    alone = np.concatenate(
        [explain(explainer, wide, 0, look(explainer, one)).maps for one in pixels.split(1)]
    )
    np.testing.assert_allclose(together.maps, alone, atol=1e-5)


@pytest.mark.parametrize("contrastive", [True, False])
def test_classes_are_explained_together_as_one_at_a_time(
    explainer: Explainer, xnn: Xnn, pixels: Tensor, contrastive: bool
) -> None:
    """The second has no activation on any image, the third other X-features than the first."""
    seen = look(explainer, pixels)
    classes = [
        (0, xnn),
        (3, replace(xnn, read_out=-torch.ones(5))),
        (1, replace(xnn, read_out=xnn.read_out.flip(0))),
    ]
    together = explain_classes(explainer, classes, seen, contrastive=contrastive)
    assert [len(found.maps) > 0 for found in together] == [True, False, True]
    for (class_index, of_class), found in zip(classes, together, strict=True):
        alone = explain(explainer, of_class, class_index, seen, contrastive=contrastive)
        for name, expected in vars(alone).items():
            np.testing.assert_allclose(getattr(found, name), expected, atol=1e-6, rtol=0, err_msg=name)


def test_classes_share_one_pass_down(
    explainer: Explainer, xnn: Xnn, pixels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []

    def counting(*arguments: object) -> Tensor:
        passes.append(len(arguments[2]))
        return draw(*arguments)

    monkeypatch.setattr("onoma.science.activations.draw", counting)
    found = explain_classes(explainer, [(0, xnn), (1, xnn)], look(explainer, pixels), contrastive=False)
    assert passes == [sum(len(of_class.maps) for of_class in found)]


def test_without_a_positive_term_there_is_no_activation(
    explainer: Explainer, xnn: Xnn, pixels: Tensor
) -> None:
    negative = replace(xnn, read_out=-torch.ones(5))
    found = explain(explainer, negative, 0, look(explainer, pixels))
    assert found.maps.shape[0] == len(found.images) == 0
    assert found.maps.shape[1:] == explain(explainer, xnn, 0, look(explainer, pixels)).maps.shape[1:]
    assert len(found.xnn_scores) == len(pixels)


def test_an_xnn_of_another_layer_is_refused(explainer: Explainer, pixels: Tensor) -> None:
    other = Xnn(((torch.ones(5, 7), torch.zeros(5)),), torch.ones(5), torch.zeros(()))
    with pytest.raises(ValueError, match=r"the xNN reads 7 features; layer '\w+' has 24"):
        explain(explainer, other, 0, look(explainer, pixels))


@pytest.mark.parametrize("class_index", [-1, 4])
def test_a_class_that_the_network_does_not_have_is_refused(
    explainer: Explainer, xnn: Xnn, pixels: Tensor, class_index: int
) -> None:
    with pytest.raises(ValueError, match=f"class {class_index}: the network has 4 scores, 0 to 3"):
        explain_classes(explainer, [(0, xnn), (class_index, xnn)], look(explainer, pixels))


def test_to_explain_no_class_is_refused(explainer: Explainer, pixels: Tensor) -> None:
    with pytest.raises(ValueError, match="no class to explain"):
        explain_classes(explainer, [], look(explainer, pixels))


def test_a_score_that_is_not_finite_is_refused(explainer: Explainer, xnn: Xnn, pixels: Tensor) -> None:
    seen = look(explainer, pixels)
    damaged = replace(seen, scores=torch.full_like(seen.scores, torch.nan))
    with pytest.raises(ValueError, match="a score of the network is NaN or infinite"):
        explain(explainer, xnn, 0, damaged)


# the edges of what can be explained


def test_an_xnn_of_one_x_feature_explains_each_image_where_it_is_active(
    explainer: Explainer, pixels: Tensor
) -> None:
    seen = look(explainer, pixels)
    half = -seen.features.sum(1).median()
    single = Xnn(((torch.ones(1, 24), half[None]),), torch.ones(1), torch.tensor(0.0))
    active = x_features(single, seen.features)[:, 0] > 0
    assert 0 < active.sum() < len(pixels)
    found = explain(explainer, single, 0, seen)
    np.testing.assert_array_equal(found.images, active.nonzero()[:, 0])
    np.testing.assert_allclose(found.shares, 1)
    np.testing.assert_allclose(found.map_sums, 1, atol=1e-3)


def test_where_no_x_feature_is_active_there_is_no_activation(
    explainer: Explainer, xnn: Xnn, pixels: Tensor
) -> None:
    *below, (weight, _) = xnn.encoder
    inactive = replace(xnn, encoder=(*below, (weight, torch.full((5,), -1e6))))
    found = explain(explainer, inactive, 0, look(explainer, pixels))
    assert len(found.maps) == 0
    np.testing.assert_array_equal(found.xnn_scores, [0.5] * len(pixels))


def test_an_image_of_zeros_is_explained_by_finite_maps(explainer: Explainer, xnn: Xnn) -> None:
    found = explain(explainer, xnn, 0, look(explainer, torch.zeros(1, *SHAPE)))
    assert np.isfinite(found.maps).all()
    assert found.maps.min() >= 0
    assert found.map_sums.max() <= 1.001


def test_images_and_features_of_double_precision_give_the_same_explanation(
    explainer: Explainer, xnn: Xnn, pixels: Tensor
) -> None:
    single = explain(explainer, xnn, 0, look(explainer, pixels))
    seen = look(explainer, pixels.double())
    double = explain(explainer, xnn, 0, replace(seen, features=seen.features.double()))
    for name, expected in vars(single).items():
        found = getattr(double, name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_feature_that_is_not_finite_is_refused(
    explainer: Explainer, xnn: Xnn, pixels: Tensor, value: float
) -> None:
    seen = look(explainer, pixels)
    features = seen.features.clone()
    features[2, 3] = value
    with pytest.raises(ValueError, match="a term is NaN or infinite"):
        explain(explainer, xnn, 0, replace(seen, features=features))


def test_a_weight_of_the_xnn_that_is_not_finite_is_refused(
    explainer: Explainer, xnn: Xnn, pixels: Tensor
) -> None:
    with pytest.raises(ValueError, match="a term is NaN or infinite"):
        explain(explainer, replace(xnn, read_out=torch.full((5,), torch.nan)), 0, look(explainer, pixels))


def test_an_activation_that_is_not_finite_empties_the_maps_of_its_image_alone(
    explainer: Explainer, xnn: Xnn, pixels: Tensor
) -> None:
    seen = look(explainer, pixels)
    intact = explain(explainer, xnn, 0, seen)
    row = torch.tensor([2])
    values = {
        node: value.index_fill(0, row, torch.inf) if isinstance(value, Tensor) else value
        for node, value in seen.values.items()
    }
    damaged = explain(explainer, xnn, 0, replace(seen, values=values))
    hit = intact.images == 2
    assert hit.any()
    assert (damaged.maps[hit] == 0).all()
    assert (damaged.map_sums[hit] == 0).all()
    np.testing.assert_allclose(damaged.maps[~hit], intact.maps[~hit], atol=1e-6)
