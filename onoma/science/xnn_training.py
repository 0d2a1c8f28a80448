"""Training of one class's xNN: fitted again with other weights while it leans on a single X-feature.

[P] Hamidi-Haines et al. 2018, section 3.2; [X] Qi, Khorram, Li, arXiv 1709.05360; [ours] said where it is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onoma.science.xnn import Xnn, terms
from onoma.science.xnn_fitting import Examples, XnnSettings, fit, head_widths, widths

MATTERING_SHARE = 0.3  # an X-feature matters from this share of the largest mean contribution on
FAITHFUL_SHARE = 0.01  # of the score's range: what a faithful fit may err on held-out images [ours]
FAITHFUL_FACTOR = 1.25  # or, of the smallest error of all rounds, where none comes under that share [ours];
FAITHFUL_LIMIT = 0.05  # but at most this share of the range
MAX_ROUNDS = 5  # times that a fit which leans on one X-feature is trained again


@dataclass(frozen=True)
class Fit:
    """What training one class gave.

    Attributes:
        xnn: in score units.
        mean_contributions: (K,) mean of w_i x_i over the class's images.
        mattering_count: X-features whose mean contribution is positive and at least 0.3 of the largest.
        first_mattering_count: the same after the first round, before the restart rule.
        restart_count: rounds beyond the first.
        accepted: at least two X-features matter, and the fit is faithful.
        held_out_rmse: on the images kept from training, in score units.
    """

    xnn: Xnn
    mean_contributions: Tensor
    mattering_count: int
    first_mattering_count: int
    restart_count: int
    accepted: bool
    held_out_rmse: float


def mattering(mean_contributions: Tensor) -> int:
    """X-features with positive mean contribution, at least 0.3 of the largest (science.md, section 1)."""
    largest = float(mean_contributions.max())
    if largest <= 0:
        return 0
    return int((mean_contributions >= MATTERING_SHARE * largest).sum())


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
    """Trains one class's xNN; again with other weights while it leans on a single X-feature.

    A fit is accepted if at least two X-features matter [X] and it is faithful: its error on held-out images is at most
    1 % of the score's range, or, from the second round on, a quarter above the smallest of all rounds if that is at
    most 5 % [ours]. While there is none, a_rec *= 1.2, a_pt *= 0.8, and it is trained again, at most 5 times; then
    the most faithful stays.

    Args:
        features: (n, D) not negative; computed with in float32. A file may hold them: they are never copied whole.
        scores: (n,) the network's score of the class.
        is_positive: (n,) bool, images of the class.
        seed: the same seed gives the same xNN on the same device.
        progress: called after each epoch; may raise to stop.
        device: where to compute; where the features are if not given.
        on_trunk: the features are a shared trunk's codes: the xNN has the layers above it only (`trunk.on`).
    Raises:
        ValueError: fewer than 2 images are of the class, or a feature or score is not finite.
    """
    if int(is_positive.sum()) < 2:
        raise ValueError(f"{int(is_positive.sum())} training images of the class; at least 2 are needed")
    rows = _sample(is_positive, settings.negatives_per_positive, torch.Generator().manual_seed(seed))
    examples = Examples(features, rows, scores, device or features.device)
    if not (examples.encoded(lambda z: z.isfinite().all()[None]).all() and scores.isfinite().all()):
        raise ValueError("a feature or score is NaN or infinite")
    layers = head_widths if on_trunk else widths
    sizes = (features.shape[1], *layers(features.shape[1], settings.x_feature_count))
    positives = replace(examples, rows=rows[is_positive[rows]])
    score_range = float(scores[rows].max() - scores[rows].min())
    rounds: list[Fit] = []
    for round_index in range(MAX_ROUNDS + 1):
        rounds.append(_fit_once(examples, positives, sizes, settings, seed + 7919 * round_index, progress))
        accepted = _accepted(rounds, score_range)
        if accepted:
            break
        settings = replace(
            settings,
            reconstruction_weight=settings.reconstruction_weight * 1.2,
            pull_away_weight=settings.pull_away_weight * 0.8,
        )
    return replace(
        min(accepted or rounds, key=lambda fit: fit.held_out_rmse),
        first_mattering_count=rounds[0].mattering_count,
        restart_count=len(rounds) - 1,
        accepted=bool(accepted),
    )


def _fit_once(
    examples: Examples,
    positives: Examples,
    sizes: Sequence[int],
    settings: XnnSettings,
    seed: int,
    progress: Callable[[], None],
) -> Fit:
    xnn, rmse = fit(examples, sizes, settings, seed, progress)
    contributions = positives.encoded(lambda z: terms(xnn, z)).mean(0)
    count = mattering(contributions)
    return Fit(xnn, contributions, count, count, restart_count=0, accepted=False, held_out_rmse=rmse)


def _accepted(rounds: Sequence[Fit], score_range: float) -> list[Fit]:
    """The rounds so far that are faithful and lean on more than one X-feature."""
    most = FAITHFUL_SHARE * score_range
    if len(rounds) > 1:
        quarter_above = FAITHFUL_FACTOR * min(fit.held_out_rmse for fit in rounds)
        most = max(most, min(quarter_above, FAITHFUL_LIMIT * score_range))
    return [
        fit
        for fit in rounds
        if fit.held_out_rmse <= most and fit.mattering_count >= min(2, len(fit.mean_contributions))
    ]


def _sample(is_positive: Tensor, negatives_per_positive: int, generator: torch.Generator) -> Tensor:
    """Indices to train on: all positives, and so many negatives a positive (0: all), in their order."""
    positives, negatives = is_positive.nonzero()[:, 0], (~is_positive).nonzero()[:, 0]
    if negatives_per_positive:
        order = torch.randperm(len(negatives), generator=generator)
        negatives = negatives[order[: negatives_per_positive * len(positives)]]
    return torch.cat([positives, negatives]).sort().values
