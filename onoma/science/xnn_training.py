"""Training of classes' xNNs: fitted again with other weights while they lean on a single X-feature.

[P] Hamidi-Haines et al. 2018, section 3.2; [X] Qi, Khorram, Li, arXiv 1709.05360; [ours] said where it is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onoma.science.matmul_precision import matmul_precision
from onoma.science.xnn import Xnn, terms
from onoma.science.xnn_fitting import Examples, XnnSettings, fit, head_widths, held_out_count, widths

MATTERING_SHARE = 0.3  # an X-feature matters from this share of the largest mean contribution on
FAITHFUL_SHARE = 0.01  # of the score's range: what a faithful fit may err on held-out images [ours]
FAITHFUL_FACTOR = 1.25  # or, of the smallest error of all rounds, where none comes under that share [ours];
FAITHFUL_LIMIT = 0.05  # but at most this share of the range
MAX_ROUNDS = 5  # times that a fit which leans on one X-feature is trained again
TF32_REFUSED = "precision tf32 is that of an NVIDIA GPU, and there is none here; take float32 or bf16"
_ROUND_SEED = 7919  # a round's seeds are so far from those of the round before


@dataclass(frozen=True)
class Round:
    """What one fit of a class gave.

    Attributes:
        xnn: in score units.
        mean_contributions: (K,) mean of w_i x_i over the class's images.
        mattering_count: X-features whose mean contribution is positive and at least 0.3 of the largest.
        held_out_rmse: on the images kept from training, in score units; on all where none is (`is_checked`).
    """

    xnn: Xnn
    mean_contributions: Tensor
    mattering_count: int
    held_out_rmse: float


@dataclass(frozen=True)
class Fit:
    """What training one class gave: the round that is kept, and how it came to it.

    Attributes:
        xnn, mean_contributions, mattering_count, held_out_rmse: of that round.
        first_mattering_count: X-features that mattered after the first round, before the restart rule.
        restart_count: rounds beyond the first.
        accepted: at least two X-features matter, with more than the fit's error, and the fit is faithful on images that
            were held out.
    """

    xnn: Xnn
    mean_contributions: Tensor
    mattering_count: int
    first_mattering_count: int
    restart_count: int
    accepted: bool
    held_out_rmse: float


def mattering(mean_contributions: Tensor) -> int:
    """X-features with positive mean contribution, at least 0.3 of the largest [ours]."""
    largest = float(mean_contributions.max())
    if largest <= 0:
        return 0
    return int((mean_contributions >= MATTERING_SHARE * largest).sum())


def is_checked(positive_count: int, negative_count: int, settings: XnnSettings) -> bool:
    """Whether fits of a class with so many images of its own and of others are measured on held-out ones."""
    most = settings.negatives_per_positive * positive_count
    return held_out_count(positive_count + (min(negative_count, most) if most else negative_count)) > 0


def train(
    features: Tensor,
    scores: Tensor,
    is_positive: Tensor,
    settings: XnnSettings,
    seed: int,
    progress: Callable[[], None] = lambda: None,
    *,
    device: torch.device | None = None,
    on_trunk: bool = False,
) -> Fit:
    """Trains one class's xNN; `train_group` for a single class.

    Args:
        scores: (n,) the network's score of the class.
        is_positive: (n,) bool, images of the class.
    """
    columns = scores[:, None], is_positive[:, None]
    (fit,) = train_group(
        features, *columns, settings, seed, [seed], progress, device=device, on_trunk=on_trunk
    )
    return fit


def train_group(
    features: Tensor,
    scores: Tensor,
    is_positive: Tensor,
    settings: XnnSettings,
    seed: int,
    class_seeds: Sequence[int],
    progress: Callable[[], None] = lambda: None,
    *,
    device: torch.device | None = None,
    on_trunk: bool = False,
    kept: Sequence[Sequence[Round]] = (),
    keep: Callable[[int, Mapping[int, Round]], None] | None = None,
) -> list[Fit]:
    """Trains the xNNs of C classes together; those that lean on a single X-feature again with other weights.

    A fit is accepted if at least two X-features matter [X], one of them with a larger mean contribution than the
    fit's error [ours], and it is faithful: that error, on held-out images, is at most 1 % of the score's range, or,
    from the second round on, a quarter above the smallest of all rounds if that is at most 5 % [ours]. While there
    is none, a_rec *= 1.2, a_pt *= 0.8, and it is trained again, at most 5 times; then the most faithful stays. Where
    images are too few to hold some out, rounds end by the error on all of them, and none is accepted [ours]. A class's
    xNN is the same in any group, but for rounding.

    Args:
        features: (n, D) not negative; computed with in float32. A file may hold them: they are never copied whole.
        scores: (n, C) the network's scores of the classes.
        is_positive: (n, C) bool, images of each class.
        seed: of what the classes have in common; the same seeds give the same xNNs on the same device.
        class_seeds: C, of each class's first weights and of its sample of negatives.
        progress: called after each epoch of the group; may raise to stop.
        device: where to compute; where the features are if not given.
        on_trunk: the features are a shared trunk's codes: the xNNs have the layers above it only (`trunk.under`).
        kept: for each class the rounds that an earlier call kept, in order: they are not fitted again.
        keep: called with the number of each round that is done and the rounds by position of their class.
    Raises:
        ValueError: the arrays are not of as many images and classes, `is_positive` is not bool, fewer than 2 images are
            of a class, a feature or score is not finite, the precision is a GPU's and the device is none, or classes
            are to be trained together on samples of their own.
    """
    device = device or features.device
    _check_arguments(features, scores, is_positive, settings, len(class_seeds), device)
    sample = torch.Generator().manual_seed(class_seeds[0])
    rows = _sample(is_positive[:, 0].cpu(), settings.negatives_per_positive, sample).to(features.device)
    scores, is_positive = scores.to(features.device), is_positive.to(features.device)
    examples = Examples(features, rows, scores, device)
    if not (scores.isfinite().all() and all(block.isfinite().all() for block, _ in examples.blocks())):
        raise ValueError("a feature or score is NaN or infinite")
    layers = head_widths if on_trunk else widths
    sizes = (features.shape[1], *layers(features.shape[1], settings.x_feature_count))
    used = scores[rows]
    ranges = (used.amax(0) - used.amin(0)).tolist()
    rounds = [list(of_class) for of_class in kept] or [[] for _ in class_seeds]
    for number in range(MAX_ROUNDS + 1):
        left = [
            index
            for index, of_class in enumerate(rounds)
            if len(of_class) == number and not _accepted(of_class, ranges[index])
        ]
        if left:
            group = replace(examples, scores=scores[:, left])
            positives = is_positive[:, left]
            seeds = [class_seeds[index] + _ROUND_SEED * number for index in left]
            fits = _fit_round(group, positives, sizes, settings, seed + _ROUND_SEED * number, seeds, progress)
            found = dict(zip(left, fits, strict=True))
            for index, of_class in found.items():
                rounds[index].append(of_class)
            if keep:
                keep(number, found)
        settings = replace(
            settings,
            reconstruction_weight=settings.reconstruction_weight * 1.2,
            pull_away_weight=settings.pull_away_weight * 0.8,
        )
    is_held_out = held_out_count(len(rows)) > 0
    return [
        _best(of_class, score_range, is_held_out)
        for of_class, score_range in zip(rounds, ranges, strict=True)
    ]


def _check_arguments(
    features: Tensor,
    scores: Tensor,
    is_positive: Tensor,
    settings: XnnSettings,
    class_count: int,
    device: torch.device,
) -> None:
    """Raises what `train_group` says of them, but for values that are not finite."""
    if settings.precision == "tf32" and device.type != "cuda":
        raise ValueError(TF32_REFUSED)
    expected = (len(features), class_count)
    if features.dim() != 2 or not tuple(scores.shape) == tuple(is_positive.shape) == expected:
        shapes = ", ".join(str(tuple(array.shape)) for array in (features, scores, is_positive))
        raise ValueError(
            f"features (n, D), scores (n, C) and is_positive (n, C) have the shapes {shapes}, with C = "
            f"{class_count} class_seeds"
        )
    if is_positive.dtype != torch.bool:
        raise ValueError(f"is_positive is of {is_positive.dtype}; it must be bool")
    for count in is_positive.sum(0).tolist():
        if count < 2:
            raise ValueError(f"{count} training images of the class; at least 2 are needed")
    if settings.negatives_per_positive and class_count > 1:
        raise ValueError(
            f"{class_count} classes share no images where negatives_per_positive is "
            f"{settings.negatives_per_positive}; train them one by one, or give 0"
        )


def _fit_round(
    examples: Examples,
    is_positive: Tensor,
    sizes: Sequence[int],
    settings: XnnSettings,
    seed: int,
    class_seeds: Sequence[int],
    progress: Callable[[], None],
) -> list[Round]:
    """Fits each class once and sees what its xNN says on the class's own images."""
    rounds = []
    fits = fit(examples, sizes, settings, seed, class_seeds, progress)
    for index, (xnn, rmse) in enumerate(fits):
        own = replace(examples, rows=examples.rows[is_positive[examples.rows, index]])
        with matmul_precision("float32", examples.device):
            contributions = torch.cat([terms(xnn, features) for features, _ in own.blocks()]).mean(0)
        rounds.append(Round(xnn, contributions, mattering(contributions), rmse))
    return rounds


def _best(rounds: Sequence[Round], score_range: float, is_held_out: bool) -> Fit:
    good = _accepted(rounds, score_range)
    best = min(good or rounds, key=lambda found: found.held_out_rmse)
    return Fit(
        best.xnn,
        best.mean_contributions,
        best.mattering_count,
        first_mattering_count=rounds[0].mattering_count,
        restart_count=len(rounds) - 1,
        accepted=bool(good) and is_held_out,
        held_out_rmse=best.held_out_rmse,
    )


def _accepted(rounds: Sequence[Round], score_range: float) -> list[Round]:
    """The rounds so far that are faithful and lean on X-features, more than one of them."""
    most = FAITHFUL_SHARE * score_range
    if len(rounds) > 1:
        quarter_above = FAITHFUL_FACTOR * min(found.held_out_rmse for found in rounds)
        most = max(most, min(quarter_above, FAITHFUL_LIMIT * score_range))
    return [found for found in rounds if found.held_out_rmse <= most and _leans_on_several(found)]


def _leans_on_several(found: Round) -> bool:
    """Whether two X-features matter, or the one of K = 1, and one of them speaks louder than the fit errs [ours].

    Two that are all but dead matter beside each other; the class's score is then what the bias and negative terms say.
    """
    needed = min(2, len(found.mean_contributions))
    return found.mattering_count >= needed and float(found.mean_contributions.max()) > found.held_out_rmse


def _sample(is_positive: Tensor, negatives_per_positive: int, generator: torch.Generator) -> Tensor:
    """Indices to train on: all positives, and so many negatives a positive (0: all), in their order."""
    positives, negatives = is_positive.nonzero()[:, 0], (~is_positive).nonzero()[:, 0]
    if negatives_per_positive:
        order = torch.randperm(len(negatives), generator=generator)
        negatives = negatives[order[: negatives_per_positive * len(positives)]]
    return torch.cat([positives, negatives]).sort().values
