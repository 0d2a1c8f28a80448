"""One fit of the xNNs of a group of classes: autoencoders layer by layer, read-outs by least squares, then all losses.

A group reads its images together; what becomes of a class does not depend on the others, but for rounding.

[P] Hamidi-Haines et al. 2018, section 3.2; [X] Qi, Khorram, Li, arXiv 1709.05360; [ours] said where it is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from onoma.science.matmul_precision import matmul_precision
from onoma.science.xnn import Xnn
from onoma.science.xnn_losses import faithfulness_loss, pull_away_loss, reconstruction_loss
from onoma.science.xnn_network import Layers, Networks, Units, drawn_units

Precision = Literal["float32", "tf32", "bf16"]
Pairs = Literal["features", "images"]

FULL_WIDTHS = (800, 100)
WEIGHT_DECAY = 1e-4
LEARNING_RATE = 1e-3
BIAS_LEARNING_RATE = 1e-2  # where only positive terms are left the bias has to reach the lowest score [ours]
PATIENCE = 3  # epochs of the last third without a smaller held-out error, after which the fit ends [ours]
_FAITHFUL_EPOCHS = 3  # at first faithfulness alone; then the other terms come in over as many epochs
_REFINED_SHARE = 2 / 3  # of the epochs; after it the other terms count a tenth, and the fit is refined [ours]
_WARM_STEPS = 150
_STEP_DECAY = ((0.5, 1.0), (0.75, 0.3), (0.9, 0.1), (1.0, 0.03))  # up to this share of the steps, this factor
HELD_OUT_FROM = 100  # images; of fewer none is held out, for each is needed to train on [ours]
_HELD_OUT = 0.1  # share of the images that rounds are compared on
_LEAST_STEPS = 50  # of an epoch: few images are gone through several times [ours]
_LEAST_BATCH, _LARGEST_BATCH = 50, 256
_WANTED_STEPS = 150  # of an epoch, within those bounds of a batch: fewer cost faithfulness [ours]
_COMMON_SEED = (
    104_729  # sets what the classes have in common apart from the weights of a class of the same seed
)
_SMALLEST = 1e-6  # spread that features or scores are divided by
_BLOCK = 4096  # images that are read at once where all of them are


@dataclass(frozen=True)
class XnnSettings:
    """How an xNN is trained.

    Attributes:
        x_feature_count: K.
        epochs: of joint training, of 50 steps or more; in the last third it ends early once the held-out error has not
            become smaller for 3 epochs.
        batch_size: images a step; 0 takes a 150th of the images, but 50 (the paper's) to 256: larger ones are faster
            and change the objective slightly.
        reconstruction_weight: a_rec, where Lp is in squared score units; 1 where the paper has 15, which costs
            faithfulness (docs/xnns.md).
        pull_away_weight: a_pt, likewise; 0.5 where the paper has 5, since it pays for X-features that die.
        reconstruction_q: q inside the logarithm, of features divided by their standard deviation [ours].
        reconstructed_units: units of the attachment drawn anew for each step, to reconstruct those alone; 0 or as many
            as there are takes all, as the paper does. Lr is a mean over units, so the draw changes no expectation.
        negatives_per_positive: images of other classes sampled for each of the class's own; 0 takes all.
        significant_share: for the restart rule's report and Table 1.
        shared_trunk: one first layer for all classes, trained once and frozen: much faster, and not the paper's xNN.
        precision: of the products in training: "tf32" (GPUs only) and "bf16" for devices that are faster at it. What is
            reported of an xNN is computed in float32 either way.
        pull_away_pairs: of what the pull-away loss takes cosines: X-features over images, or images over X-features.
    Raises:
        ValueError: one is out of range.
    """

    x_feature_count: int = 5
    epochs: int = 12
    batch_size: int = 0
    reconstruction_weight: float = 1.0
    pull_away_weight: float = 0.5
    reconstruction_q: float = 100.0
    reconstructed_units: int = 512
    negatives_per_positive: int = 0
    significant_share: float = 0.9
    shared_trunk: bool = False
    precision: Precision = "float32"
    pull_away_pairs: Pairs = "features"

    def __post_init__(self) -> None:
        for name, low, high in (("x_feature_count", 1, 64), ("epochs", 1, 1000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it must be {low} to {high}")
        if self.batch_size and not 2 <= self.batch_size <= 65536:
            raise ValueError(f"batch_size is {self.batch_size}; it must be 2 to 65536, or 0 to choose it")
        if self.reconstructed_units < 0:
            raise ValueError(f"reconstructed_units is {self.reconstructed_units}; it must be 0 (all) or more")
        for name in (
            "reconstruction_weight",
            "pull_away_weight",
            "reconstruction_q",
            "negatives_per_positive",
        ):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}; it must be finite and not negative")
        if not 0 < self.significant_share <= 1:
            raise ValueError(f"significant_share is {self.significant_share}; it must be in (0, 1]")
        for name, known in (("precision", get_args(Precision)), ("pull_away_pairs", get_args(Pairs))):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(known)}")


@dataclass(frozen=True, eq=False)
class Examples:
    """What networks are fitted to: rows of features that may lie in a file or on another device.

    Attributes:
        features: (n, D) of any float dtype, not negative; computed with in float32, never copied as a whole.
        rows: (m,) int64 on the features' device, those to use.
        scores: (n, C) likewise, a column for each network.
        device: where the fit computes.
    """

    features: Tensor
    rows: Tensor
    scores: Tensor
    device: torch.device

    def take(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Features (b, D) and scores (b, C) of some of the rows, on the fit's device."""
        index = self.rows[chosen.to(self.rows.device)]
        features, scores = self.features[index], self.scores[index]
        return features.to(self.device, torch.float32), scores.to(self.device, torch.float32)

    def all_scores(self) -> Tensor:
        """Scores (m, C) of all rows, on the fit's device."""
        return self.scores[self.rows].to(self.device, torch.float32)

    def part(self, chosen: Tensor) -> Examples:
        """Some of the rows."""
        return replace(self, rows=self.rows[chosen.to(self.rows.device)])

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows as `take` gives them, some thousand at a time."""
        for start in range(0, len(self.rows), _BLOCK):
            yield self.take(torch.arange(start, min(start + _BLOCK, len(self.rows))))


def widths(feature_count: int, x_feature_count: int) -> tuple[int, int, int]:
    """Widths of the encoder's layers: 800, 100, K, smaller where the features are few [ours].

    512 features give 200, 50, K.
    """
    first = min(FULL_WIDTHS[0], max(8, round(feature_count / 2.56)))
    return first, *head_widths(first, x_feature_count)


def head_widths(first: int, x_feature_count: int) -> tuple[int, int]:
    """Widths of the encoder's layers above the first: 100, K, smaller where that one is narrow [ours]."""
    return min(FULL_WIDTHS[1], max(2 * x_feature_count, first // 4)), x_feature_count


def held_out_count(count: int) -> int:
    """How many of so many images are held out of a fit, to measure it on."""
    return int(_HELD_OUT * count) if count >= HELD_OUT_FROM else 0


def fit(
    examples: Examples,
    sizes: Sequence[int],
    settings: XnnSettings,
    seed: int,
    class_seeds: Sequence[int],
    progress: Callable[[], None],
) -> list[tuple[Xnn, float]]:
    """Fits the xNNs of C classes once, together.

    Args:
        sizes: of the encoder: (D, ..., K), two layers or more.
        seed: of what the classes have in common: images held out, batches, dropout, units drawn.
        class_seeds: of each class's first weights.
        progress: called after each epoch; may raise to stop.
    Returns:
        Each xNN, and its root mean squared error in score units on a tenth of the images, which it was not fitted to
        (on those that it was where none is held out).
    """
    generator = torch.Generator(examples.device).manual_seed(seed + _COMMON_SEED)
    order = torch.randperm(len(examples.rows), generator=generator, device=examples.device)
    measured = held_out_count(len(order))
    kept = examples.part(order[measured:])
    held_out = examples.part(order[:measured]) if measured else kept
    settings = replace(settings, batch_size=_batch_size(settings, len(kept.rows)))
    of_classes = [torch.Generator(examples.device).manual_seed(of_class) for of_class in class_seeds]
    networks = Networks(sizes, _units(kept), of_classes)
    _warm_start(networks, kept, settings, generator)
    return _train_jointly(networks, kept, held_out, settings, generator, progress)


def _units(examples: Examples) -> Units:
    """Of rows in random order."""
    some, _ = examples.take(torch.arange(min(_BLOCK, len(examples.rows))))
    scores = examples.all_scores()
    return Units(scale_of(some), scores.mean(0), scores.std(0).clamp(min=_SMALLEST))


def scale_of(features: Tensor) -> Tensor:
    """What features are divided by: their standard deviation; where they are all but one number, that number."""
    spread = features.std()
    return (spread if spread >= _SMALLEST else features.abs().max()).clamp(min=_SMALLEST)


def _warm_start(
    networks: Networks, examples: Examples, settings: XnnSettings, generator: torch.Generator
) -> None:
    """Greedy layer-wise autoencoders, dead X-features revived, then the read-outs by least squares on the codes."""
    below: Tensor | None = None  # (C, m, H) codes of the layer below; none below the first
    scale = networks.units.scale
    for index, (encoder, decoder) in enumerate(
        zip(networks.encoder, reversed(networks.decoder), strict=True)
    ):
        assert isinstance(decoder, Layers)
        optimizer = torch.optim.Adam(
            [*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE, fused=True
        )
        with matmul_precision(settings.precision, examples.device):
            for _ in range(_WARM_STEPS):
                chosen = torch.randint(
                    len(examples.rows), (settings.batch_size,), generator=generator, device=examples.device
                )
                batch = examples.take(chosen)[0] / scale if below is None else below[:, chosen]
                units = drawn_units(batch.shape[-1], settings.reconstructed_units, generator)
                with products_of(settings, examples.device):
                    reconstructed = torch.relu(decoder.some(torch.relu(encoder(batch)), units))
                loss = (reconstructed.float() - batch[..., units]).square().mean((1, 2))
                _step(optimizer, loss)
        if index == len(networks.encoder) - 1:
            break  # the last layer's codes are those that the read-out starts from
        with matmul_precision("float32", examples.device), torch.no_grad():
            if below is None:
                codes = [torch.relu(encoder(features / scale)) for features, _ in examples.blocks()]
                below = torch.cat(codes, dim=1)
            else:
                below = torch.relu(encoder(below))
    assert below is not None, "an encoder has two layers or more"
    targets = (examples.all_scores() - networks.units.mean) / networks.units.spread
    networks.start_read_out(below, targets.T)


def _train_jointly(
    networks: Networks,
    examples: Examples,
    held_out: Examples,
    settings: XnnSettings,
    generator: torch.Generator,
    progress: Callable[[], None],
) -> list[tuple[Xnn, float]]:
    """Minimises L / spread^2: the targets are standardised, so the other terms are weighed down as Lp is.

    Returns:
        Each class's xNN of that epoch of the last third whose error on the held-out images is smallest, and the error.
    """
    others = [parameter for parameter in networks.parameters() if parameter is not networks.bias]
    optimizer = torch.optim.Adam(
        [
            {"params": others, "weight_decay": WEIGHT_DECAY},
            {"params": [networks.bias], "lr": BIAS_LEARNING_RATE},
        ],
        lr=LEARNING_RATE,
        fused=True,
    )
    batch_size, units = settings.batch_size, networks.units
    steps_an_epoch = max(len(examples.rows) // batch_size, _LEAST_STEPS)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _decay(step / (settings.epochs * steps_an_epoch))
    )
    best: list[tuple[Xnn, float] | None] = [None] * len(networks.bias)
    since_best = [0] * len(best)
    for epoch in range(settings.epochs):
        share = _auxiliary_share(epoch, settings.epochs)
        order = _order(len(examples.rows), steps_an_epoch * batch_size, generator)
        with matmul_precision(settings.precision, examples.device):
            for chosen in order.reshape(steps_an_epoch, batch_size):
                features, scores = examples.take(chosen)
                inputs, targets = features / units.scale, ((scores - units.mean) / units.spread).T
                with products_of(settings, examples.device):
                    codes = networks.encode(inputs, dropout=generator)
                contributions = codes.float() * networks.read_out[:, None]
                loss = faithfulness_loss(contributions.sum(-1) + networks.bias[:, None], targets)
                if share:
                    drawn = drawn_units(inputs.shape[1], settings.reconstructed_units, generator)
                    with products_of(settings, examples.device):
                        reconstructed = networks.decode(codes, drawn).float()
                    loss = loss + share / units.spread**2 * (
                        settings.reconstruction_weight
                        * reconstruction_loss(reconstructed, inputs[:, drawn], settings.reconstruction_q)
                        + settings.pull_away_weight * _pull_away(contributions, settings)
                    )
                _step(optimizer, loss)
                schedule.step()
        if _is_refined(epoch, settings.epochs) or epoch == settings.epochs - 1:
            for index, error in enumerate(errors_of(networks, held_out)):
                if since_best[index] == PATIENCE:
                    continue  # alone it would have ended
                known = best[index]
                is_best = known is None or error < known[1]
                since_best[index] = 0 if is_best else since_best[index] + 1
                if is_best:
                    best[index] = networks.xnn(index), error
        progress()
        if all(since == PATIENCE for since in since_best):
            break
    found = [of_class for of_class in best if of_class is not None]
    assert len(found) == len(best), "the last epoch is measured"
    return found


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the losses (C,) of classes that share no parameter."""
    optimizer.zero_grad()
    loss.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _pull_away(contributions: Tensor, settings: XnnSettings) -> Tensor:
    return pull_away_loss(contributions if settings.pull_away_pairs == "features" else contributions.mT)


def products_of(settings: XnnSettings, device: torch.device) -> torch.autocast:
    """Where matrix products are in bfloat16 if the settings ask for it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")


def errors_of(networks: Networks, examples: Examples) -> list[float]:
    """Root mean squared error of each class's xNN, in score units."""
    with matmul_precision("float32", examples.device), torch.no_grad():
        squares = [
            (networks.scores(features) - scores.T).double().square().sum(1)
            for features, scores in examples.blocks()
        ]
    return (torch.stack(squares).sum(0) / len(examples.rows)).sqrt().tolist()


def _batch_size(settings: XnnSettings, count: int) -> int:
    return min(count, settings.batch_size or max(_LEAST_BATCH, min(_LARGEST_BATCH, count // _WANTED_STEPS)))


def _order(count: int, wanted: int, generator: torch.Generator) -> Tensor:
    """So many indices below `count`: each once in random order, then again."""
    rounds = range(-(-wanted // count))
    orders = [torch.randperm(count, generator=generator, device=generator.device) for _ in rounds]
    return torch.cat(orders)[:wanted]


def _is_refined(epoch: int, epochs: int) -> bool:
    return epoch >= _REFINED_SHARE * epochs


def _auxiliary_share(epoch: int, epochs: int) -> float:
    rising = min(1.0, max(0, epoch + 1 - _FAITHFUL_EPOCHS) / _FAITHFUL_EPOCHS)
    return 0.1 * rising if _is_refined(epoch, epochs) else rising


def _decay(share_done: float) -> float:
    return next((factor for until, factor in _STEP_DECAY if share_done < until), _STEP_DECAY[-1][1])
