"""Explanation networks: losses by hand, the restart rule, and training on a small problem."""

from dataclasses import replace
from math import log1p, nan, sqrt

import pytest
import torch
from torch import Tensor

from onoma.science import xnn as xnn_module
from onoma.science.xnn import (
    MAX_ROUNDS,
    Fit,
    Xnn,
    XnnSettings,
    faithfulness_loss,
    from_tensors,
    mattering,
    pull_away_loss,
    reconstruction_loss,
    score,
    significant_counts,
    terms,
    to_tensors,
    train,
    widths,
    x_features,
)

SETTINGS = XnnSettings(epochs=30, batch_size=20)
SHORT = XnnSettings(epochs=2, batch_size=100)


@pytest.fixture(scope="module")
def problem() -> tuple[Tensor, Tensor, Tensor]:
    """400 images of 32 features that mix two rectified causes; score 5 h_0 - 3 h_1 + 2; positives score highest."""
    generator = torch.Generator().manual_seed(0)
    causes = torch.relu(torch.randn(400, 2, generator=generator))
    mixture = torch.rand(2, 32, generator=generator)
    features = causes @ mixture + 0.05 * torch.rand(400, 32, generator=generator)
    scores = causes @ torch.tensor([5.0, -3.0]) + 2
    return features, scores, scores > scores.quantile(0.8)


@pytest.fixture(scope="module")
def fit(problem: tuple[Tensor, Tensor, Tensor]) -> Fit:
    return train(*problem, SETTINGS, seed=2)


@pytest.fixture
def two_by_two() -> Xnn:
    """x = relu(z), w = (2, -1), b = 0.5."""
    return Xnn(((torch.eye(2), torch.zeros(2)),), torch.tensor([2.0, -1.0]), torch.tensor(0.5))


# what an xNN says


def test_a_score_is_the_sum_of_the_terms_and_the_bias(two_by_two: Xnn) -> None:
    """z = (3, 4): x = (3, 4), terms (6, -4), score 6 - 4 + 0.5. z = (-1, 1): x = (0, 1), score -0.5."""
    features = torch.tensor([[3.0, 4.0], [-1.0, 1.0]])
    assert x_features(two_by_two, features).tolist() == [[3.0, 4.0], [0.0, 1.0]]
    assert terms(two_by_two, features).tolist() == [[6.0, -4.0], [0.0, -1.0]]
    assert score(two_by_two, features).tolist() == [2.5, -0.5]


def test_significant_x_features_are_counted_an_image(two_by_two: Xnn) -> None:
    features = torch.tensor([[3.0, 4.0], [-1.0, 1.0]])
    assert significant_counts(two_by_two, features, 0.9).tolist() == [1, 0]


def test_tensors_and_back_give_the_same_xnn(fit: Fit) -> None:
    tensors = to_tensors(fit.xnn)
    assert sorted(tensors) == [
        *(f"encoder.{layer}.{what}" for layer in range(3) for what in ("bias", "weight")),
        "read_out.bias",
        "read_out.weight",
    ]
    features = torch.rand(3, 32)
    assert score(from_tensors(tensors), features).equal(score(fit.xnn, features))
    assert not any(tensor.requires_grad for tensor in tensors.values())


@pytest.mark.parametrize(
    "missing", ["encoder.0.weight", "encoder.1.bias", "encoder.1.weight", "read_out.weight", "read_out.bias"]
)
def test_a_missing_tensor_is_refused_by_name(fit: Fit, missing: str) -> None:
    left = {name: tensor for name, tensor in to_tensors(fit.xnn).items() if name != missing}
    with pytest.raises(ValueError, match="lacks the tensor"):
        from_tensors(left)


@pytest.mark.parametrize("name", ["encoder.0.weight", "encoder.1.bias", "read_out.weight", "read_out.bias"])
def test_layers_that_do_not_fit_together_are_refused(fit: Fit, name: str) -> None:
    tensors = to_tensors(fit.xnn)
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


@pytest.mark.parametrize(
    ("feature_count", "expected"), [(4096, (800, 100, 5)), (25088, (800, 100, 5)), (512, (200, 50, 5))]
)
def test_the_papers_widths_shrink_with_the_features(
    feature_count: int, expected: tuple[int, int, int]
) -> None:
    assert widths(feature_count, 5) == expected


# losses


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


# the restart rule


@pytest.mark.parametrize(
    ("mean_contributions", "expected"),
    [
        ([10.0, 3.0, 2.9, -8.0], 2),
        ([10.0, 0.0, 0.0], 1),
        ([1.0, 1.0, 1.0], 3),
        ([-1.0, -2.0], 0),
        ([0.0, 0.0], 0),
    ],
)
def test_x_features_matter_from_three_tenths_of_the_largest_mean_on(
    mean_contributions: list[float], expected: int
) -> None:
    assert mattering(torch.tensor(mean_contributions)) == expected


def leaning(monkeypatch: pytest.MonkeyPatch, rounds: int) -> list[XnnSettings]:
    """Makes the first rounds lean on one X-feature, and any fit faithful enough; gives each round's settings."""
    used: list[XnnSettings] = []
    train_round = xnn_module._train_round

    def recorded(features, scores, is_positive, settings, *rest):
        used.append(settings)
        return train_round(features, scores, is_positive, settings, *rest)

    monkeypatch.setattr(xnn_module, "_train_round", recorded)
    monkeypatch.setattr(xnn_module, "FAITHFUL_SHARE", float("inf"))
    monkeypatch.setattr(xnn_module, "mattering", lambda _: 1 if len(used) <= rounds else 2)
    return used


def test_a_fit_that_leans_on_one_x_feature_is_trained_again_with_other_weights(problem, monkeypatch) -> None:
    used = leaning(monkeypatch, rounds=2)
    found = train(*problem, SHORT, seed=0)
    assert (found.restart_count, found.accepted, found.mattering_count) == (2, True, 2)
    assert found.first_mattering_count == 1
    assert [s.reconstruction_weight for s in used] == pytest.approx(
        [SHORT.reconstruction_weight * 1.2**i for i in range(3)]
    )
    assert [s.pull_away_weight for s in used] == pytest.approx(
        [SHORT.pull_away_weight * 0.8**i for i in range(3)]
    )


def test_a_good_first_fit_is_not_trained_again(problem, monkeypatch) -> None:
    used = leaning(monkeypatch, rounds=0)
    assert train(*problem, SHORT, seed=0).restart_count == 0
    assert len(used) == 1


def test_after_the_last_round_the_most_faithful_fit_stays_unaccepted(problem, monkeypatch) -> None:
    leaning(monkeypatch, rounds=99)
    errors = iter([5.0, 4.0, 1.0, 2.0, 3.0, 6.0, 0.0])
    train_round = xnn_module._train_round
    monkeypatch.setattr(
        xnn_module, "_train_round", lambda *given: replace(train_round(*given), held_out_rmse=next(errors))
    )
    found = train(*problem, SHORT, seed=0)
    assert (found.restart_count, found.accepted, found.held_out_rmse) == (MAX_ROUNDS, False, 1.0)


@pytest.mark.parametrize(
    ("errors", "matter", "limit", "kept"),
    [
        ([1.3, 1.0], [2, 1], 9.0, (MAX_ROUNDS, False)),
        ([1.2, 1.0], [2, 1], 9.0, (1, True)),
        ([1.2, 1.0], [2, 2], 9.0, (1, True)),
        ([1.0, 1.4, 1.2], [1, 2, 2], 9.0, (2, True)),
        ([1.2, 1.0], [2, 2], 0.0, (MAX_ROUNDS, False)),
    ],
)
def test_where_no_fit_is_faithful_a_quarter_above_the_best_round_is(
    problem, monkeypatch, errors, matter, limit, kept
) -> None:
    monkeypatch.setattr(xnn_module, "FAITHFUL_SHARE", 0.0)
    monkeypatch.setattr(xnn_module, "FAITHFUL_LIMIT", limit)
    train_round = xnn_module._train_round
    rounds = iter(zip(errors + [9.0] * MAX_ROUNDS, matter + [1] * MAX_ROUNDS, strict=False))

    def given(*arguments):
        error, count = next(rounds)
        return replace(train_round(*arguments), held_out_rmse=error, mattering_count=count)

    monkeypatch.setattr(xnn_module, "_train_round", given)
    found = train(*problem, SHORT, seed=0)
    assert (found.restart_count, found.accepted) == kept


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [(0, 40, 40), (0, 1000, 50), (0, 5000, 100), (0, 10**6, 256), (20, 10**6, 20)],
)
def test_a_batch_has_50_to_256_images_unless_its_size_is_given(given, count, expected) -> None:
    assert xnn_module._batch_size(XnnSettings(batch_size=given), count) == expected


# the warm start


@pytest.mark.parametrize("bias", [-1e3, 0.0])
def test_dead_x_features_are_revived_and_living_ones_left_alone(bias: float) -> None:
    torch.manual_seed(0)
    inputs, layer = torch.rand(200, 8), torch.nn.Linear(8, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 8))
        layer.bias.copy_(torch.tensor([bias, 0.5, 0.0]))
        before = torch.relu(layer(inputs))
        xnn_module._revive_dead(layer, inputs)
        after = torch.relu(layer(inputs))
    living = (before > 0).float().mean(0) >= 0.01
    assert living[1:].all()
    torch.testing.assert_close(after[:, living], before[:, living])
    assert ((after > 0).float().mean(0) > 0.2).all()
    if bias:
        assert float(after[:, 0].std()) == pytest.approx(float(before[:, 1:].std(0).mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([3.0, 1.0, 1.0, -1.0, -1.0], [3.0, 1.0, 1.0, -1.0, -1.0]),
        ([2.0, -2.0, -2.0, -2.0, 0.0], [2.0, 2.0, -2.0, -2.0, 1.6]),
        ([-4.0], [4.0]),
        ([1.0, 2.0], [-1.5, 2.0]),
    ],
)
def test_read_out_weights_start_with_both_signs(weights: list[float], expected: list[float]) -> None:
    found = xnn_module._with_both_signs(torch.tensor(weights))
    torch.testing.assert_close(found, torch.tensor(expected))


# training


def test_a_trained_xnn_gives_the_networks_score(problem: tuple[Tensor, Tensor, Tensor], fit: Fit) -> None:
    """RMSE below 3 % of the range, on images seen and on those held out."""
    features, scores, _ = problem
    score_range = float(scores.max() - scores.min())
    rmse = float(faithfulness_loss(score(fit.xnn, features), scores).sqrt())
    assert rmse < 0.03 * score_range
    assert fit.held_out_rmse < 0.03 * score_range


def test_a_fit_reports_what_its_xnn_says(problem: tuple[Tensor, Tensor, Tensor], fit: Fit) -> None:
    features, _, is_positive = problem
    expected = terms(fit.xnn, features[is_positive]).mean(0)
    torch.testing.assert_close(fit.mean_contributions, expected)
    assert fit.mattering_count == mattering(expected)
    assert 0 <= fit.restart_count <= MAX_ROUNDS


def test_the_same_seed_gives_the_same_xnn(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    first, again, other = (to_tensors(train(*problem, SHORT, seed=seed).xnn) for seed in (3, 3, 4))
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["encoder.0.weight"].equal(other["encoder.0.weight"])


def test_training_leaves_the_global_random_state_alone(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    train(*problem, SHORT, seed=0)
    assert torch.get_rng_state().equal(before)


def test_training_leaves_its_inputs_alone(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    copies = [tensor.clone() for tensor in problem]
    train(*problem, SHORT, seed=0)
    assert all(given.equal(copy) for given, copy in zip(problem, copies, strict=True))


def test_sampled_negatives_are_so_many_a_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    is_positive = torch.zeros(400, dtype=torch.bool)
    is_positive[100:120] = True
    chosen = xnn_module._sample(is_positive, 3, torch.Generator().manual_seed(0))
    assert is_positive[chosen].sum() == 20
    assert len(chosen) == len(chosen.unique()) == 80


def test_a_score_that_never_changes_is_learnt(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    features, scores, is_positive = problem
    found = train(features, torch.full_like(scores, 7.0), is_positive, SHORT, seed=0)
    torch.testing.assert_close(score(found.xnn, features), torch.full((400,), 7.0), atol=0.1, rtol=0)


def test_features_that_are_all_zero_give_finite_weights(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    features, scores, is_positive = problem
    found = train(torch.zeros_like(features), scores, is_positive, SHORT, seed=0)
    assert all(tensor.isfinite().all() for tensor in to_tensors(found.xnn).values())


def test_a_handful_of_images_is_enough() -> None:
    features = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    found = train(features, features.sum(1), torch.tensor([True, True, False, False]), SHORT, seed=0)
    assert score(found.xnn, features).isfinite().all()


def test_progress_is_told_each_epoch_and_can_stop_the_training(
    problem: tuple[Tensor, Tensor, Tensor],
) -> None:
    class Stopped(Exception):
        pass

    calls = []

    def stop_at_two() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(*problem, SETTINGS, seed=0, progress=stop_at_two)
    assert len(calls) == 2


def test_stopping_leaves_the_global_random_state_alone(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    def stop() -> None:
        raise KeyError

    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        train(*problem, SHORT, seed=0, progress=stop)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_with_too_few_images_is_refused(problem: tuple[Tensor, Tensor, Tensor], count: int) -> None:
    features, scores, _ = problem
    is_positive = torch.arange(400) < count
    with pytest.raises(ValueError, match=f"{count} training images of the class; at least 2"):
        train(features, scores, is_positive, SHORT, seed=0)


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("value", [nan, float("inf")])
def test_damaged_features_and_scores_are_refused(
    problem: tuple[Tensor, Tensor, Tensor], where: int, value: float
) -> None:
    given = [tensor.clone() for tensor in problem]
    given[where].view(-1)[5] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        train(*given, SHORT, seed=0)
