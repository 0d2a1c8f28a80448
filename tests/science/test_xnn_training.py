"""Explanation networks: the restart rule, and training on a small problem, alone and in groups."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import nan
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onoma.science import xnn_fitting, xnn_training
from onoma.science.xnn import score, terms, to_tensors
from onoma.science.xnn_fitting import Examples, XnnSettings, widths
from onoma.science.xnn_losses import faithfulness_loss
from onoma.science.xnn_network import Layers, Networks, drawn_units, revive_dead, with_both_signs
from onoma.science.xnn_plan import beside
from onoma.science.xnn_training import MAX_ROUNDS, Fit, Round, is_checked, mattering, train, train_group
from tests.short_fits import short_fits

SETTINGS = XnnSettings(epochs=30, batch_size=20)
SEEDS = range(3)
SHORT = XnnSettings(epochs=2, batch_size=100)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("x_feature_count", 0, "x_feature_count is 0; it must be 1 to 64"),
        ("epochs", 0, "epochs is 0; it must be 1 to 1000"),
        ("batch_size", 1, "batch_size is 1"),
        ("pull_away_weight", nan, "pull_away_weight is nan; it must be finite"),
        ("significant_share", 0.0, "must be in"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SETTINGS, **{name: value})


@pytest.fixture(scope="module")
def problem() -> tuple[Tensor, Tensor, Tensor]:
    """400 images of 32 features that mix two rectified causes; score 5 h_0 - 3 h_1 + 2; positives score highest."""
    generator = torch.Generator().manual_seed(0)
    causes = torch.relu(torch.randn(400, 2, generator=generator))
    mixture = torch.rand(2, 32, generator=generator)
    features = causes @ mixture + 0.05 * torch.rand(400, 32, generator=generator)
    scores = causes @ torch.tensor([5.0, -3.0]) + 2
    return features, scores, scores > scores.quantile(0.8)


def test_arrays_of_other_lengths_are_refused_with_their_shapes(
    problem: tuple[Tensor, Tensor, Tensor],
) -> None:
    features, scores, is_positive = problem
    with pytest.raises(ValueError, match=r"shapes \(400, 32\), \(399, 1\), \(400, 1\), with C = 1"):
        train(features, scores[1:], is_positive, SHORT, 0)
    with pytest.raises(ValueError, match=r"is_positive is of torch.int64; it must be bool"):
        train(features, scores, is_positive.long(), SHORT, 0)
    with pytest.raises(ValueError, match="pull_away_pairs is 'feature'; it must be one of features, images"):
        replace(SHORT, pull_away_pairs="feature")


def of_seeds(
    problem: tuple[Tensor, Tensor, Tensor], settings: XnnSettings, keep: Callable[[int, Round], None]
) -> list[Fit]:
    """Fits of the seeds 0 to 2, and each one's first round."""
    features, scores, is_positive = problem

    def trained(seed: int) -> Fit:
        def kept(number: int, found: Mapping[int, Round]) -> None:
            if not number:
                keep(seed, found[0])

        of_class = scores[:, None], is_positive[:, None]
        (found,) = train_group(features, *of_class, settings, seed, [seed], keep=kept)
        return found

    return beside(trained, SEEDS, 2, features.device)


@pytest.fixture(scope="module")
def first_rounds() -> dict[int, Round]:
    """By seed, filled in by `fits`."""
    return {}


@pytest.fixture(scope="module")
def fits(problem: tuple[Tensor, Tensor, Tensor], first_rounds: dict[int, Round]) -> list[Fit]:
    return of_seeds(problem, SETTINGS, first_rounds.__setitem__)


@pytest.fixture
def soon_over() -> Iterator[None]:
    """Where it does not matter how good the xNNs are."""
    with short_fits():
        yield


@pytest.mark.parametrize(
    ("feature_count", "expected"), [(4096, (800, 100, 5)), (25088, (800, 100, 5)), (512, (200, 50, 5))]
)
def test_the_papers_widths_shrink_with_the_features(
    feature_count: int, expected: tuple[int, int, int]
) -> None:
    assert widths(feature_count, 5) == expected


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
    fit_round = xnn_training._fit_round

    def recorded(examples, positives, sizes, settings, *rest):
        used.append(settings)
        fits = fit_round(examples, positives, sizes, settings, *rest)
        return [replace(found, held_out_rmse=0.0) for found in fits]

    monkeypatch.setattr(xnn_training, "_fit_round", recorded)
    monkeypatch.setattr(xnn_training, "FAITHFUL_SHARE", float("inf"))
    monkeypatch.setattr(xnn_training, "mattering", lambda _: 1 if len(used) <= rounds else 2)
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


def test_x_features_that_are_all_but_dead_are_not_leaned_on(problem, monkeypatch) -> None:
    """Contributions (1e-3, 8e-4, -5): two matter beside each other, and neither says as much as the fit errs."""
    fit_round = xnn_training._fit_round
    faint = torch.tensor([1e-3, 8e-4, -5.0, -17.8, 0.0])
    clear = torch.tensor([3.0, 2.0, -5.0, -17.8, 0.0])
    rounds = iter([faint, clear])

    def given(*arguments):
        mean = next(rounds)
        return [
            replace(found, mean_contributions=mean, mattering_count=mattering(mean), held_out_rmse=0.1)
            for found in fit_round(*arguments)
        ]

    monkeypatch.setattr(xnn_training, "_fit_round", given)
    monkeypatch.setattr(xnn_training, "FAITHFUL_SHARE", float("inf"))
    found = train(*problem, SHORT, seed=0)
    assert (found.restart_count, found.accepted, found.first_mattering_count) == (1, True, 2)


def test_a_good_first_fit_is_not_trained_again(problem, monkeypatch) -> None:
    used = leaning(monkeypatch, rounds=0)
    assert train(*problem, SHORT, seed=0).restart_count == 0
    assert len(used) == 1


def test_after_the_last_round_the_most_faithful_fit_stays_unaccepted(problem, monkeypatch) -> None:
    leaning(monkeypatch, rounds=99)
    errors = iter([5.0, 4.0, 1.0, 2.0, 3.0, 6.0, 0.0])
    fit_round = xnn_training._fit_round

    def given(*arguments):
        return [replace(found, held_out_rmse=next(errors)) for found in fit_round(*arguments)]

    monkeypatch.setattr(xnn_training, "_fit_round", given)
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
    monkeypatch.setattr(xnn_training, "FAITHFUL_SHARE", 0.0)
    monkeypatch.setattr(xnn_training, "FAITHFUL_LIMIT", limit)
    fit_round = xnn_training._fit_round
    rounds = iter(zip(errors + [9.0] * MAX_ROUNDS, matter + [1] * MAX_ROUNDS, strict=False))

    def given(*arguments):
        error, count = next(rounds)
        clear = torch.full((5,), 10.0)
        return [
            replace(found, held_out_rmse=error, mattering_count=count, mean_contributions=clear)
            for found in fit_round(*arguments)
        ]

    monkeypatch.setattr(xnn_training, "_fit_round", given)
    found = train(*problem, SHORT, seed=0)
    assert (found.restart_count, found.accepted) == kept


@pytest.mark.parametrize(("count", "accepted"), [(99, False), (100, True)])
def test_a_fit_that_no_held_out_image_has_checked_is_not_accepted(
    problem, monkeypatch, count, accepted
) -> None:
    """And not fitted again either, which would change nothing."""
    used = leaning(monkeypatch, rounds=0)
    features, scores, is_positive = problem
    assert train(features[:count], scores[:count], is_positive[:count], SHORT, seed=0).accepted is accepted
    assert len(used) == 1


@pytest.mark.parametrize(
    ("positives", "negatives", "a_positive", "checked"),
    [(2, 98, 0, True), (2, 97, 0, False), (20, 1000, 4, True), (19, 1000, 4, False), (20, 79, 4, False)],
)
def test_a_class_is_checked_if_it_is_trained_on_a_hundred_images(
    positives, negatives, a_positive, checked
) -> None:
    """Counted as they are drawn."""
    settings = XnnSettings(negatives_per_positive=a_positive)
    assert is_checked(positives, negatives, settings) is checked
    drawn = xnn_training._sample(
        torch.arange(positives + negatives) < positives, a_positive, torch.Generator()
    )
    assert bool(xnn_fitting.held_out_count(len(drawn))) is checked


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [(0, 40, 40), (0, 1000, 50), (0, 15000, 100), (0, 10**6, 256), (20, 10**6, 20)],
)
def test_a_batch_has_50_to_256_images_unless_its_size_is_given(given, count, expected) -> None:
    assert xnn_fitting._batch_size(XnnSettings(batch_size=given), count) == expected


# the warm start


@pytest.mark.parametrize("bias", [-1e3, 0.0])
def test_dead_x_features_are_revived_and_living_ones_left_alone(bias: float) -> None:
    torch.manual_seed(0)
    inputs, layer = torch.rand(1, 200, 8), Layers(8, 3, [torch.Generator()])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -1.0]).repeat(4) * torch.tensor([[1.0], [2.0], [0.5]]))
        layer.bias.copy_(torch.tensor([[bias, 0.5, 0.0]]))
        before = torch.relu(layer(inputs))[0]
        revive_dead(layer, inputs)
        after = torch.relu(layer(inputs))[0]
    living = (before > 0).float().mean(0) >= 0.01
    assert living.tolist() == [not bias, True, True]
    torch.testing.assert_close(after[:, living], before[:, living])
    if bias:
        assert float((after[:, 0] > 0).float().mean()) == pytest.approx(0.5, abs=0.02)
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
    found = with_both_signs(torch.tensor(weights))
    torch.testing.assert_close(found, torch.tensor(expected))


# training


def test_trained_xnns_give_the_networks_score(
    problem: tuple[Tensor, Tensor, Tensor], fits: list[Fit]
) -> None:
    """Of three seeds two are accepted, and the median RMSE is below 3 % of the range, on images seen and held out."""
    features, scores, _ = problem
    score_range = float(scores.max() - scores.min())
    errors = [float(faithfulness_loss(score(fit.xnn, features), scores).sqrt()) for fit in fits]
    assert sum(fit.accepted for fit in fits) >= 2
    assert median(errors) < 0.03 * score_range
    assert median(fit.held_out_rmse for fit in fits) < 0.03 * score_range


def test_a_fit_reports_what_its_xnn_says(problem: tuple[Tensor, Tensor, Tensor], fits: list[Fit]) -> None:
    features, _, is_positive = problem
    for fit in fits:
        expected = terms(fit.xnn, features[is_positive]).mean(0)
        torch.testing.assert_close(fit.mean_contributions, expected)
        assert fit.mattering_count == mattering(expected)
        assert 0 <= fit.restart_count <= MAX_ROUNDS


@pytest.mark.usefixtures("soon_over")
def test_the_same_seed_gives_the_same_xnn(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    first, again, other = (to_tensors(train(*problem, SHORT, seed=seed).xnn) for seed in (3, 3, 4))
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["encoder.0.weight"].equal(other["encoder.0.weight"])


@pytest.mark.usefixtures("soon_over")
def test_training_leaves_the_global_random_state_alone(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    train(*problem, SHORT, seed=0)
    assert torch.get_rng_state().equal(before)


@pytest.mark.usefixtures("soon_over")
def test_training_leaves_its_inputs_alone(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    copies = [tensor.clone() for tensor in problem]
    train(*problem, SHORT, seed=0)
    assert all(given.equal(copy) for given, copy in zip(problem, copies, strict=True))


def test_sampled_negatives_are_so_many_a_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    is_positive = torch.zeros(400, dtype=torch.bool)
    is_positive[100:120] = True
    chosen = xnn_training._sample(is_positive, 3, torch.Generator().manual_seed(0))
    assert is_positive[chosen].sum() == 20
    assert len(chosen) == len(chosen.unique()) == 80


def test_a_score_that_never_changes_is_learnt(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    features, scores, is_positive = problem
    found = train(features, torch.full_like(scores, 7.0), is_positive, SHORT, seed=0)
    torch.testing.assert_close(score(found.xnn, features), torch.full((400,), 7.0), atol=0.1, rtol=0)


@pytest.mark.usefixtures("soon_over")
def test_features_that_are_all_zero_give_finite_weights(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    features, scores, is_positive = problem
    found = train(torch.zeros_like(features), scores, is_positive, SHORT, seed=0)
    assert all(tensor.isfinite().all() for tensor in to_tensors(found.xnn).values())


@pytest.mark.usefixtures("soon_over")
def test_features_that_are_all_one_number_give_finite_weights(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    features, scores, is_positive = problem
    fit = train(torch.full_like(features, 3.0), scores, is_positive, SHORT, 0)
    assert not fit.accepted
    assert all(weights.isfinite().all() for weights in to_tensors(fit.xnn).values())


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


@pytest.mark.usefixtures("soon_over")
def test_features_of_double_precision_give_the_same_xnn(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    features, scores, is_positive = problem
    single = to_tensors(train(features, scores, is_positive, SHORT, seed=0).xnn)
    double = to_tensors(train(features.double(), scores.double(), is_positive, SHORT, seed=0).xnn)
    assert all(single[name].equal(double[name]) for name in single)


@pytest.mark.usefixtures("soon_over")
def test_features_are_read_from_a_file_and_left_there(
    problem: tuple[Tensor, Tensor, Tensor], tmp_path: Path
) -> None:
    features, scores, is_positive = problem
    mapped = np.memmap(tmp_path / "features", np.float32, "w+", shape=features.shape)
    mapped[:] = features.numpy()
    found = to_tensors(train(torch.from_numpy(mapped), scores, is_positive, SHORT, seed=0).xnn)
    expected = to_tensors(train(features, scores, is_positive, SHORT, seed=0).xnn)
    assert all(found[name].equal(expected[name]) for name in expected)


@pytest.mark.usefixtures("soon_over")
def test_classes_trained_beside_each_other_are_what_they_are_alone(
    problem: tuple[Tensor, Tensor, Tensor],
) -> None:
    def trained(seed: int) -> dict[str, Tensor]:
        return to_tensors(train(*problem, SHORT, seed).xnn)

    with ThreadPoolExecutor(3) as pool:
        beside = list(pool.map(trained, range(3)))
    for seed, found in enumerate(beside):
        alone = trained(seed)
        assert all(found[name].equal(alone[name]) for name in alone)


@pytest.mark.usefixtures("soon_over")
def test_an_xnn_can_have_one_x_feature(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    found = train(*problem, replace(SHORT, x_feature_count=1), seed=0)
    assert found.mean_contributions.shape == (1,)
    assert score(found.xnn, problem[0]).isfinite().all()


def test_xnns_trained_in_reduced_precision_are_as_faithful(
    problem: tuple[Tensor, Tensor, Tensor],
    fits: list[Fit],
    first_rounds: dict[int, Round],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """First rounds of three seeds, seed by seed: the median error rises by less than 1 % of the range, if at all."""
    monkeypatch.setattr(xnn_training, "MAX_ROUNDS", 0)
    reduced: dict[int, Round] = {}
    of_seeds(problem, replace(SETTINGS, precision="bf16"), reduced.__setitem__)
    rises = [reduced[seed].held_out_rmse - first_rounds[seed].held_out_rmse for seed in SEEDS]
    assert median(rises) < 0.01 * float(problem[1].max() - problem[1].min())
    for seed in SEEDS:
        assert not reduced[seed].xnn.read_out.equal(first_rounds[seed].xnn.read_out)
        assert reduced[seed].xnn.read_out.dtype == torch.float32


@pytest.mark.parametrize(("wanted", "count"), [(8, 8), (0, 32), (32, 32), (99, 32)])
def test_so_many_units_are_reconstructed(wanted: int, count: int) -> None:
    units = drawn_units(32, wanted, torch.Generator().manual_seed(0))
    assert len(torch.arange(32)[units].unique()) == count


def test_a_fit_ends_early_and_keeps_its_best_epoch(
    problem: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """18 epochs, of which the last 6 are measured: the second of them is best, and three more are no better."""
    errors, epochs, kept = iter([0.3, 0.1, 0.2, 0.2, 0.2, 0.2]), [], []

    def measured(networks: Networks, held_out: Examples) -> list[float]:
        kept.append(networks.xnn(0))
        return [next(errors)]

    monkeypatch.setattr(xnn_fitting, "errors_of", measured)
    monkeypatch.setattr(xnn_training, "MAX_ROUNDS", 0)
    settings = replace(SHORT, epochs=18)
    found = train(*problem, settings, seed=0, progress=lambda: epochs.append(1))
    assert (len(epochs), found.held_out_rmse) == (17, 0.1)
    assert found.xnn.read_out.equal(kept[1].read_out)


# groups of classes


@pytest.fixture(scope="module")
def three(problem: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The same features with the scores of three classes: (400, 32), (400, 3), (400, 3)."""
    features, first, _ = problem
    scores = torch.stack([first, features[:, 3] * 4 - features[:, 7], 1 - features[:, 0]], dim=1)
    return features, scores, scores > scores.quantile(0.8, dim=0)


def alone(three: tuple[Tensor, Tensor, Tensor], index: int, settings: XnnSettings, **kept: Any) -> Fit:
    features, scores, is_positive = three
    of_class = scores[:, [index]], is_positive[:, [index]]
    (found,) = train_group(features, *of_class, settings, 1, [10 + index], **kept)
    return found


def assert_same_score(found: Fit, wanted: Fit, features: Tensor) -> None:
    """Within a ten-thousandth of the score's range."""
    expected = score(wanted.xnn, features)
    worst = float((score(found.xnn, features) - expected).abs().max())
    assert worst < 1e-4 * float(expected.max() - expected.min())


@pytest.mark.parametrize("pairs", ["features", pytest.param("images", marks=pytest.mark.slow)])
def test_a_group_gives_each_class_the_xnn_that_it_has_alone(three, monkeypatch, pairs) -> None:
    """Through restarts too, in which only some of the classes are fitted again."""
    monkeypatch.setattr(xnn_training, "MAX_ROUNDS", 2)
    settings = replace(SHORT, epochs=6, reconstructed_units=16, pull_away_pairs=pairs)
    together = train_group(*three, settings, 1, [10, 11, 12])
    singles = [alone(three, index, settings) for index in range(3)]
    assert [fit.restart_count for fit in together] == [fit.restart_count for fit in singles]
    assert len({fit.restart_count for fit in together}) > 1, "all classes have the same rounds"
    for found, wanted in zip(together, singles, strict=True):
        assert_same_score(found, wanted, three[0])
        assert (found.accepted, found.mattering_count) == (wanted.accepted, wanted.mattering_count)


def test_a_class_that_ended_early_is_left_as_it_was_while_its_group_goes_on(three, monkeypatch) -> None:
    """The first class's error only rises: it ends after four measurements, and a smaller fifth counts for nothing."""
    errors = iter([[0.1, 0.9], [0.2, 0.8], [0.2, 0.7], [0.2, 0.6], [0.01, 0.5], [0.01, 0.4]])
    monkeypatch.setattr(xnn_fitting, "errors_of", lambda networks, held_out: next(errors))
    monkeypatch.setattr(xnn_training, "MAX_ROUNDS", 0)
    features, scores, is_positive = three
    given = features, scores[:, :2], is_positive[:, :2], replace(SHORT, epochs=18)
    assert [fit.held_out_rmse for fit in train_group(*given, 1, [10, 11])] == [0.1, 0.4]


@pytest.mark.usefixtures("soon_over")
def test_rounds_that_were_kept_are_not_fitted_again_and_change_nothing(three, monkeypatch) -> None:
    """Killed after each of the rounds in turn, and gone on with."""
    monkeypatch.setattr(xnn_training, "FAITHFUL_SHARE", 0.0)
    monkeypatch.setattr(xnn_training, "FAITHFUL_LIMIT", 0.0)
    monkeypatch.setattr(xnn_training, "MAX_ROUNDS", 2)
    rounds: list[Round] = []
    whole = alone(three, 0, SHORT, keep=lambda number, found: rounds.append(found[0]))
    assert len(rounds) == 3
    for until in range(1, 4):
        again: list[int] = []
        resumed = alone(
            three,
            0,
            SHORT,
            kept=[rounds[:until]],
            keep=lambda number, found, again=again: again.append(number),
        )
        assert again == list(range(until, 3))
        assert resumed.xnn.read_out.equal(whole.xnn.read_out)
        assert (resumed.restart_count, resumed.held_out_rmse) == (2, whole.held_out_rmse)


def test_classes_with_samples_of_their_own_are_not_trained_together(three) -> None:
    settings = replace(SHORT, negatives_per_positive=3)
    with pytest.raises(ValueError, match="3 classes share no images where negatives_per_positive is 3"):
        train_group(*three, settings, 1, [10, 11, 12])


def test_pull_away_over_image_pairs_is_another_objective(problem, monkeypatch) -> None:
    monkeypatch.setattr(xnn_training, "MAX_ROUNDS", 0)
    settings = replace(SHORT, epochs=6)
    features, images = (
        train(*problem, replace(settings, pull_away_pairs=pairs), seed=0) for pairs in ("features", "images")
    )
    assert not features.xnn.read_out.equal(images.xnn.read_out)


# TF32


def test_tf32_is_refused_without_a_gpu(problem) -> None:
    with pytest.raises(ValueError, match=r"precision tf32 is that of an NVIDIA GPU.*take float32 or bf16"):
        train(*problem, replace(SHORT, precision="tf32"), seed=0)
