"""The losses of xNN training, by hand."""

from math import log1p, sqrt

import pytest
import torch

from onoma.science.xnn_losses import faithfulness_loss, pull_away_loss, reconstruction_loss
from onoma.science.xnn_network import drawn_units


def test_faithfulness_is_the_mean_squared_error() -> None:
    """Errors 1 and -3: (1 + 9) / 2."""
    assert float(faithfulness_loss(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 4.0]))) == 5.0


def test_reconstruction_is_the_logarithm_of_each_units_mean_error() -> None:
    """Errors of unit 0: 1, 1, so m = 1; of unit 1: 0, 2, so m = 2. (log(1 + 3) + log(1 + 6)) / 2 at q = 3."""
    features = torch.zeros(2, 2)
    reconstructed = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
    loss = float(reconstruction_loss(reconstructed, features, 3.0))
    assert loss == pytest.approx((log1p(3) + log1p(6)) / 2)


def test_giving_up_one_unit_costs_less_than_spreading_its_error() -> None:
    given_up, spread = torch.tensor([[2.0, 0.0]]), torch.tensor([[sqrt(2), sqrt(2)]])
    features = torch.zeros(1, 2)
    assert reconstruction_loss(given_up, features, 100) < reconstruction_loss(spread, features, 100)


def test_pull_away_follows_the_worked_example() -> None:
    """Columns (1, 0), (1, 1), (0, 1): squared cosines 1/2, 0, 1/2, each pair twice, over 3 * 2: 1/3."""
    contributions = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    assert float(pull_away_loss(contributions)) == pytest.approx(1 / 3)


def test_pull_away_is_0_for_orthogonal_and_1_for_parallel_x_features() -> None:
    column = torch.tensor([1.0, 2.0, 3.0])
    parallel = torch.stack([column, -2 * column, 0.1 * column], dim=1)
    assert float(pull_away_loss(torch.eye(3))) == 0
    assert float(pull_away_loss(parallel)) == pytest.approx(1)


def test_pull_away_of_a_single_x_feature_is_0() -> None:
    assert float(pull_away_loss(torch.rand(4, 1))) == 0


def test_pull_away_is_defined_where_an_x_feature_is_dead() -> None:
    contributions = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    loss = pull_away_loss(contributions)
    loss.backward()
    assert float(loss.detach()) == 0
    assert contributions.grad is not None
    assert contributions.grad.isfinite().all()


def test_pull_away_over_image_pairs_is_that_of_the_transpose() -> None:
    """Rows (1, 1, 0), (0, 1, 1): squared cosine 1/4, twice, over 2 * 1."""
    contributions = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    assert float(pull_away_loss(contributions.mT)) == pytest.approx(1 / 4)


def test_losses_of_stacked_classes_are_each_classs_own() -> None:
    generator = torch.Generator().manual_seed(0)
    stacked, features = torch.rand(3, 10, 4, generator=generator), torch.rand(10, 4, generator=generator)
    torch.testing.assert_close(pull_away_loss(stacked), torch.stack([pull_away_loss(v) for v in stacked]))
    torch.testing.assert_close(
        reconstruction_loss(stacked, features, 100),
        torch.stack([reconstruction_loss(v, features, 100) for v in stacked]),
    )
    torch.testing.assert_close(
        faithfulness_loss(stacked[..., 0], features[:, 0]),
        torch.stack([faithfulness_loss(v[:, 0], features[:, 0]) for v in stacked]),
    )


def test_the_loss_over_drawn_units_is_that_over_all_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    reconstructed, features = torch.rand(10, 32, generator=generator), torch.rand(10, 32, generator=generator)
    drawn = [drawn_units(32, 8, generator) for _ in range(4000)]
    found = torch.stack([reconstruction_loss(reconstructed[:, u], features[:, u], 100) for u in drawn]).mean()
    torch.testing.assert_close(found, reconstruction_loss(reconstructed, features, 100), rtol=2e-3, atol=0)
