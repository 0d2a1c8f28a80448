"""Explanation networks: what they say, and how they are stored."""

from dataclasses import replace
from math import nan

import pytest
import torch

from onoma.science.xnn import (
    Xnn,
    from_tensors,
    score,
    significant_counts,
    terms,
    to_tensors,
    x_features,
)


@pytest.fixture(scope="module")
def xnn() -> Xnn:
    """Random weights: 32 features, three layers, 3 X-features."""
    torch.manual_seed(0)
    encoder = tuple((torch.randn(b, a), torch.randn(b)) for a, b in ((32, 12), (12, 6), (6, 3)))
    return Xnn(encoder, torch.randn(3), torch.randn(()))


@pytest.fixture
def two_by_two() -> Xnn:
    """x = relu(z), w = (2, -1), b = 0.5."""
    return Xnn(((torch.eye(2), torch.zeros(2)),), torch.tensor([2.0, -1.0]), torch.tensor(0.5))


def test_a_score_is_the_sum_of_the_terms_and_the_bias(two_by_two: Xnn) -> None:
    """z = (3, 4): x = (3, 4), terms (6, -4), score 6 - 4 + 0.5. z = (-1, 1): x = (0, 1), score -0.5."""
    features = torch.tensor([[3.0, 4.0], [-1.0, 1.0]])
    assert x_features(two_by_two, features).tolist() == [[3.0, 4.0], [0.0, 1.0]]
    assert terms(two_by_two, features).tolist() == [[6.0, -4.0], [0.0, -1.0]]
    assert score(two_by_two, features).tolist() == [2.5, -0.5]


def test_significant_x_features_are_counted_an_image(two_by_two: Xnn) -> None:
    features = torch.tensor([[3.0, 4.0], [-1.0, 1.0]])
    assert significant_counts(two_by_two, features, 0.9).tolist() == [1, 0]


def test_tensors_and_back_give_the_same_xnn(xnn: Xnn) -> None:
    tensors = to_tensors(xnn)
    assert sorted(tensors) == [
        *(f"encoder.{layer}.{what}" for layer in range(3) for what in ("bias", "weight")),
        "read_out.bias",
        "read_out.weight",
    ]
    features = torch.rand(3, 32)
    assert score(from_tensors(tensors), features).equal(score(xnn, features))
    assert not any(tensor.requires_grad for tensor in tensors.values())


@pytest.mark.parametrize(
    "missing", ["encoder.0.weight", "encoder.1.bias", "encoder.1.weight", "read_out.weight", "read_out.bias"]
)
def test_a_missing_tensor_is_refused_by_name(xnn: Xnn, missing: str) -> None:
    left = {name: tensor for name, tensor in to_tensors(xnn).items() if name != missing}
    with pytest.raises(ValueError, match="lacks the tensor"):
        from_tensors(left)


@pytest.mark.parametrize("name", ["encoder.0.weight", "encoder.1.bias", "read_out.weight", "read_out.bias"])
def test_layers_that_do_not_fit_together_are_refused(xnn: Xnn, name: str) -> None:
    tensors = to_tensors(xnn)
    with pytest.raises(ValueError, match="shapes do not fit together"):
        from_tensors(tensors | {name: torch.zeros(*tensors[name].shape, 2)})


def test_an_xnn_without_an_encoder_is_refused(two_by_two: Xnn) -> None:
    read_out = {name: t for name, t in to_tensors(two_by_two).items() if name.startswith("read_out")}
    with pytest.raises(ValueError, match="no encoder"):
        from_tensors(read_out)


def test_a_damaged_weight_is_refused(two_by_two: Xnn) -> None:
    tensors = to_tensors(replace(two_by_two, bias=torch.tensor(nan)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        from_tensors(tensors)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_float_type_score_as_float32(xnn: Xnn, dtype: torch.dtype) -> None:
    found = from_tensors({name: tensor.to(dtype) for name, tensor in to_tensors(xnn).items()})
    features = torch.rand(3, 32)
    assert score(found, features).dtype == torch.float32
    if dtype == torch.float64:
        assert score(found, features).equal(score(xnn, features))


def test_weights_that_are_no_floats_are_refused_by_name_and_type(two_by_two: Xnn) -> None:
    tensors = to_tensors(two_by_two)
    whole = tensors | {"read_out.weight": tensors["read_out.weight"].long()}
    with pytest.raises(ValueError, match=r"read_out.weight as int64; weights are floats \(float32\)"):
        from_tensors(whole)


def test_a_weight_too_large_for_float32_is_refused(two_by_two: Xnn) -> None:
    large = to_tensors(two_by_two) | {"read_out.bias": torch.tensor(1e300, dtype=torch.float64)}
    with pytest.raises(ValueError, match="NaN or infinite"):
        from_tensors(large)
