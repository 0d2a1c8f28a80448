"""A first layer shared by all classes' xNNs."""

import pytest
import torch
from torch import Tensor

from onoma.science import xnn_trunk
from onoma.science.xnn import score, to_tensors, x_features
from onoma.science.xnn_fitting import XnnSettings, scale_of
from onoma.science.xnn_training import train
from onoma.science.xnn_trunk import codes_of, train_trunk

SETTINGS = XnnSettings(epochs=30, batch_size=20, shared_trunk=True)


@pytest.fixture(scope="module")
def problem() -> tuple[Tensor, Tensor]:
    """400 images of 64 features that mix three rectified causes; four scores, linear in the causes."""
    generator = torch.Generator().manual_seed(0)
    causes = torch.relu(torch.randn(400, 3, generator=generator))
    features = causes @ torch.rand(3, 64, generator=generator) + 0.05 * torch.rand(
        400, 64, generator=generator
    )
    return features, causes @ torch.randn(3, 4, generator=generator) * 5 + 1


def test_an_xnn_on_the_trunk_reads_the_networks_features_and_gives_its_score(
    problem: tuple[Tensor, Tensor],
) -> None:
    features, scores = problem
    trunk = train_trunk(features, scores, SETTINGS, seed=0)
    codes = codes_of(trunk, features)
    torch.testing.assert_close(codes, trunk.codes(features))
    fit = train(codes, scores[:, 1], scores[:, 1] > 3, SETTINGS, seed=1, on_trunk=True)
    whole = trunk.under(fit.xnn)
    torch.testing.assert_close(x_features(whole, features), x_features(fit.xnn, codes))
    assert [tuple(weight.shape) for weight, _ in whole.encoder] == [(25, 64), (10, 25), (5, 10)]
    rmse = float((score(whole, features) - scores[:, 1]).square().mean().sqrt())
    assert rmse < 0.05 * float(scores[:, 1].max() - scores[:, 1].min())


def test_the_same_seed_gives_the_same_trunk(problem: tuple[Tensor, Tensor]) -> None:
    short = XnnSettings(epochs=1, shared_trunk=True)
    first, again, other = (train_trunk(*problem, short, seed) for seed in (0, 0, 1))
    assert first.weight.equal(again.weight)
    assert not first.weight.equal(other.weight)


def test_a_trunk_takes_its_scale_from_images_of_all_classes(
    problem: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features come class by class; the first class here has none."""
    features, scores = problem
    features = torch.cat([torch.zeros(300, 64), features])
    scales: list[float] = []

    def noted(some: Tensor) -> Tensor:
        scales.append(float(scale_of(some)))
        return scale_of(some)

    monkeypatch.setattr(xnn_trunk, "scale_of", noted)
    train_trunk(features, torch.cat([scores[:300], scores]), XnnSettings(epochs=1, shared_trunk=True), seed=0)
    assert scales == [pytest.approx(float(features.std()), rel=0.2)]


def test_classes_share_the_first_layer_bit_by_bit(problem: tuple[Tensor, Tensor]) -> None:
    features, scores = problem
    short = XnnSettings(epochs=1, batch_size=100, shared_trunk=True)
    trunk = train_trunk(features, scores, short, seed=0)
    codes = codes_of(trunk, features)
    xnns = [
        trunk.under(train(codes, scores[:, c], scores[:, c] > 3, short, seed=c, on_trunk=True).xnn)
        for c in (0, 1)
    ]
    first, second = map(to_tensors, xnns)
    assert first["encoder.0.weight"].equal(second["encoder.0.weight"])
    assert not first["encoder.1.weight"].equal(second["encoder.1.weight"])
