"""One fit of an xNN: autoencoders layer by layer, the read-out by least squares, then all losses together.

[P] Hamidi-Haines et al. 2018, section 3.2; [X] Qi, Khorram, Li, arXiv 1709.05360; [ours] said where it is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from onoma.science.xnn import Xnn, score

Precision = Literal["float32", "bf16"]

FULL_WIDTHS = (800, 100)
DROPOUT = 0.02
WEIGHT_DECAY = 1e-4
LEARNING_RATE = 1e-3
BIAS_LEARNING_RATE = 1e-2  # where only positive terms are left the bias has to reach the lowest score [ours]
PATIENCE = 3  # epochs of the last third without a smaller held-out error, after which the fit ends [ours]
_FAITHFUL_EPOCHS = 3  # at first faithfulness alone; then the other terms come in over as many epochs
_REFINED_SHARE = 2 / 3  # of the epochs; after it the other terms count a tenth, and the fit is refined [ours]
_WARM_STEPS = 150
_DEAD_SHARE = 0.01  # of the images; an X-feature that fires on fewer after the warm start is revived [ours]
_STEP_DECAY = ((0.5, 1.0), (0.75, 0.3), (0.9, 0.1), (1.0, 0.03))  # up to this share of the steps, this factor
_HELD_OUT = 0.1  # share of the images that rounds are compared on
_LEAST_STEPS = 50  # of an epoch: few images are gone through several times [ours]
_LEAST_BATCH, _LARGEST_BATCH = 50, 256
_WANTED_STEPS = 150  # of an epoch, within those bounds of a batch: fewer cost faithfulness [ours]
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
            faithfulness (science.md, section 1).
        pull_away_weight: a_pt, likewise; 0.5 where the paper has 5, since it pays for X-features that die.
        reconstruction_q: q inside the logarithm.
        reconstructed_units: units of the attachment drawn anew for each step, to reconstruct those alone; 0 or as many
            as there are takes all, as the paper does. Lr is a mean over units, so the draw changes no expectation.
        negatives_per_positive: images of other classes sampled for each of the class's own; 0 takes all.
        significant_share: for the restart rule's report and Table 1.
        shared_trunk: one first layer for all classes, trained once and frozen: much faster, and not the paper's xNN.
        precision: of the products in training; "bf16" for devices that are faster at it. What is reported of an xNN is
            computed in float32 either way.
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


@dataclass(frozen=True, eq=False)
class Examples:
    """What a network is fitted to: rows of features that may lie in a file or on another device.

    Attributes:
        features: (n, D) of any float dtype, not negative; computed with in float32, never copied as a whole.
        rows: (m,) int64, those to use.
        scores: (n,) or (n, classes), likewise.
        device: where the fit computes.
    """

    features: Tensor
    rows: Tensor
    scores: Tensor
    device: torch.device

    def take(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Features (b, D) and scores (b,) of some of the rows, on the fit's device."""
        index = self.rows[chosen.to(self.rows.device)]
        features, scores = self.features[index], self.scores[index]
        return features.to(self.device, torch.float32), scores.to(self.device, torch.float32)

    def all_scores(self) -> Tensor:
        """Scores (m,) of all rows, on the fit's device."""
        return self.scores[self.rows].to(self.device, torch.float32)

    def part(self, chosen: Tensor) -> Examples:
        """Some of the rows."""
        return replace(self, rows=self.rows[chosen.to(self.rows.device)])

    def encoded(self, layer: Callable[[Tensor], Tensor]) -> Tensor:
        """What a layer makes of all rows, (m, ...), block by block."""
        with torch.no_grad():
            starts = range(0, len(self.rows), _BLOCK)
            blocks = (torch.arange(start, min(start + _BLOCK, len(self.rows))) for start in starts)
            return torch.cat([layer(self.take(block)[0]) for block in blocks])


def widths(feature_count: int, x_feature_count: int) -> tuple[int, int, int]:
    """Widths of the encoder's layers: 800, 100, K, smaller where the features are few [ours].

    512 features give 200, 50, K.
    """
    first = min(FULL_WIDTHS[0], max(8, round(feature_count / 2.56)))
    return first, *head_widths(first, x_feature_count)


def head_widths(first: int, x_feature_count: int) -> tuple[int, int]:
    """Widths of the encoder's layers above the first: 100, K, smaller where that one is narrow [ours]."""
    return min(FULL_WIDTHS[1], max(2 * x_feature_count, first // 4)), x_feature_count


def faithfulness_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Lp = mean_i (y_hat_i - y_i)^2 [P 3.2]; (n,), (n,) to ()."""
    return (predicted - wanted).square().mean()


def reconstruction_loss(reconstructed: Tensor, features: Tensor, q: float) -> Tensor:
    """Lr = (1/D) sum_d log(1 + q m_d), m_d = (1/n) sum_i (r_id - z_id)^2 [X]; (n, D), (n, D) to ().

    The logarithm is of each unit's batch mean, so some units may be given up altogether.
    """
    return torch.log1p(q * (reconstructed - features).square().mean(0)).mean()


def pull_away_loss(contributions: Tensor) -> Tensor:
    """Lo = sum_{i != j} cos(V_:i, V_:j)^2 / (K (K - 1)) over pairs of X-features [X]; V (n, K) to ().

    0 for K = 1.
    """
    count = contributions.shape[1]
    if count < 2:
        return contributions.new_zeros(())
    columns = contributions / contributions.norm(dim=0).clamp(min=1e-8)
    cosines = (columns.T @ columns).square()
    loss: Tensor = (cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1))
    return loss


def fit(
    examples: Examples, sizes: Sequence[int], settings: XnnSettings, seed: int, progress: Callable[[], None]
) -> tuple[Xnn, float]:
    """Fits an xNN once.

    Args:
        sizes: of the encoder: (D, ..., K), two layers or more.
        progress: called after each epoch; may raise to stop.
    Returns:
        The xNN, and its root mean squared error in score units on a tenth of the images, which it was not fitted to (on
        those that it was where there are fewer than 100).
    """
    generator = torch.Generator(examples.device).manual_seed(seed)
    order = torch.randperm(len(examples.rows), generator=generator, device=examples.device)
    held_out_count = int(_HELD_OUT * len(order)) if len(order) >= 100 else 0
    kept = examples.part(order[held_out_count:])
    held_out = examples.part(order[:held_out_count]) if held_out_count else kept
    settings = replace(settings, batch_size=_batch_size(settings, len(kept.rows)))
    network = _Network(sizes, _units(kept), generator)
    _warm_start(network, kept, settings, generator)
    return _train_jointly(network, kept, held_out, settings, generator, progress)


@dataclass(frozen=True, eq=False)
class _Units:
    """What makes features and scores of size 1: the features' standard deviation, the scores' mean and their own."""

    scale: Tensor
    mean: Tensor
    spread: Tensor


class _Network(nn.Module):
    """Encoder, decoder and read-out while they are trained, on scaled features and standardised scores."""

    def __init__(self, sizes: Sequence[int], units: _Units, generator: torch.Generator) -> None:
        super().__init__()
        self.units = units
        self.generator = generator
        pairs = list(pairwise(sizes))
        self.encoder = nn.ModuleList(linear(a, b, generator) for a, b in pairs)
        self.decoder = nn.ModuleList(linear(b, a, generator) for a, b in reversed(pairs))
        self.read_out = nn.Parameter(torch.zeros(sizes[-1], device=generator.device))
        self.bias = nn.Parameter(torch.zeros((), device=generator.device))

    def encode(self, features: Tensor) -> Tensor:
        values = features
        for index, layer in enumerate(self.encoder):
            values = torch.relu(layer(values))
            if index == 0:
                values = _dropout(values, self.generator)
        return values

    def decode(self, codes: Tensor, units: Tensor | slice) -> Tensor:
        """Reconstruction of some units, (n, units)."""
        *upper, last = self.decoder
        values = codes
        for layer in upper:
            values = torch.relu(layer(values))
        return outputs(last, values, units)

    def xnn(self) -> Xnn:
        """The encoder and read-out, on features and scores as they are."""
        (first_weight, first_bias), *layers = [
            (layer.weight.detach().clone(), layer.bias.detach().clone())  # type: ignore[operator]
            for layer in self.encoder
        ]
        return Xnn(
            encoder=((first_weight / self.units.scale, first_bias), *layers),
            read_out=self.read_out.detach() * self.units.spread,
            bias=self.bias.detach() * self.units.spread + self.units.mean,
        )


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A fully-connected layer as torch makes it, of the generator's random numbers and on its device."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, device=generator.device)  # type: ignore[no-untyped-call]
    bound = inputs**-0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer  # type: ignore[no-any-return]


def outputs(layer: nn.Module, values: Tensor, units: Tensor | slice) -> Tensor:
    """Some of a layer's outputs after ReLU, (n, units); the others are not computed."""
    assert isinstance(layer, nn.Linear)
    return torch.relu(nn.functional.linear(values, layer.weight[units], layer.bias[units]))


def drawn_units(count: int, wanted: int, generator: torch.Generator) -> Tensor | slice:
    """So many of the units at random; all of them where they are no more, or 0 are wanted."""
    if not 0 < wanted < count:
        return slice(None)
    return torch.randperm(count, generator=generator, device=generator.device)[:wanted]


def _dropout(values: Tensor, generator: torch.Generator) -> Tensor:
    """Dropout with random numbers of the fit's own, so that fits can run beside each other."""
    kept = torch.rand(values.shape, generator=generator, device=values.device) >= DROPOUT
    return values * kept / (1 - DROPOUT)


def _units(examples: Examples) -> _Units:
    """Of rows in random order."""
    some, _ = examples.take(torch.arange(min(_BLOCK, len(examples.rows))))
    scores = examples.all_scores()
    return _Units(some.std().clamp(min=1e-6), scores.mean(), scores.std().clamp(min=1e-6))


def _warm_start(
    network: _Network, examples: Examples, settings: XnnSettings, generator: torch.Generator
) -> None:
    """Greedy layer-wise autoencoders, dead X-features revived, then the read-out by least squares on the codes."""
    values: Tensor | None = None
    for encoder, decoder in zip(network.encoder, reversed(network.decoder), strict=True):
        below = values
        optimizer = torch.optim.Adam(
            [*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE, fused=True
        )
        for _ in range(_WARM_STEPS):
            chosen = torch.randint(
                len(examples.rows), (settings.batch_size,), generator=generator, device=examples.device
            )
            batch = examples.take(chosen)[0] / network.units.scale if below is None else below[chosen]
            units = drawn_units(batch.shape[1], settings.reconstructed_units, generator)
            with products_of(settings, examples.device):
                reconstructed = outputs(decoder, torch.relu(encoder(batch)), units)
            loss = faithfulness_loss(reconstructed.float(), batch[:, units])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            if below is None:
                values = examples.encoded(lambda z, layer=encoder: torch.relu(layer(z / network.units.scale)))  # type: ignore[misc]
            else:
                values = torch.relu(encoder(below))
    assert below is not None, "an encoder has two layers or more"
    scores = examples.all_scores()
    targets = (scores - network.units.mean) / network.units.spread
    with torch.no_grad():
        _revive_dead(network.encoder[-1], below)
        codes = torch.relu(network.encoder[-1](below))
        network.read_out.copy_(_with_both_signs(_least_squares(codes, targets)))
        network.bias.copy_((targets - codes @ network.read_out).mean())


def _revive_dead(layer: nn.Module, inputs: Tensor) -> None:
    """Gives the units that fire on fewer than 1 % of the images a bias that lets half of them through [ours].

    They also get the spread that the living units have; a unit that never fires is never trained.
    """
    assert isinstance(layer, nn.Linear)
    values = layer(inputs)
    dead = (values > 0).float().mean(0) < _DEAD_SHARE
    layer.bias[dead] -= values.median(0).values[dead]
    spread = torch.relu(layer(inputs)).std(0).clamp(min=1e-6)
    if not dead.all():
        factor = spread[~dead].mean() / spread[dead]
        layer.weight[dead] *= factor[:, None]
        layer.bias[dead] *= factor


def _least_squares(codes: Tensor, targets: Tensor) -> Tensor:
    """Weights (K,) of the linear fit, with a constant, from codes (n, K) to targets (n,)."""
    design = torch.cat([codes, torch.ones_like(codes[:, :1])], dim=1).double()
    ridge = 1e-6 * len(design) * torch.eye(design.shape[1], dtype=design.dtype, device=design.device)
    solution: Tensor = torch.linalg.solve(design.T @ design + ridge, design.T @ targets.double())
    return solution[:-1].to(codes.dtype)


def _with_both_signs(weights: Tensor) -> Tensor:
    """Makes the larger half of the weights (K,) positive and the others negative, none of them next to 0 [ours].

    An X-feature whose weight starts negative or at 0 hardly ever becomes evidence for the class.
    """
    sign = -torch.ones_like(weights)
    sign[weights.argsort(descending=True)[: (len(weights) + 1) // 2]] = 1
    typical = weights.abs().mean()
    return torch.where(weights * sign > 0.1 * typical, weights, sign * weights.abs().clamp(min=typical))


def _train_jointly(
    network: _Network,
    examples: Examples,
    held_out: Examples,
    settings: XnnSettings,
    generator: torch.Generator,
    progress: Callable[[], None],
) -> tuple[Xnn, float]:
    """Minimises L / spread^2: the targets are standardised, so the other terms are weighed down as Lp is.

    Returns:
        The xNN of that epoch of the last third whose error on the held-out images is smallest, and the error.
    """
    others = [parameter for parameter in network.parameters() if parameter is not network.bias]
    optimizer = torch.optim.Adam(
        [
            {"params": others, "weight_decay": WEIGHT_DECAY},
            {"params": [network.bias], "lr": BIAS_LEARNING_RATE},
        ],
        lr=LEARNING_RATE,
        fused=True,
    )
    batch_size, units = settings.batch_size, network.units
    steps_an_epoch = max(len(examples.rows) // batch_size, _LEAST_STEPS)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _decay(step / (settings.epochs * steps_an_epoch))
    )
    best: tuple[Xnn, float] | None = None
    since_best = 0
    for epoch in range(settings.epochs):
        ramp = _auxiliary_share(epoch, settings.epochs) / float(units.spread) ** 2
        order = _order(len(examples.rows), steps_an_epoch * batch_size, generator)
        for chosen in order.reshape(steps_an_epoch, batch_size):
            features, scores = examples.take(chosen)
            inputs, targets = features / units.scale, (scores - units.mean) / units.spread
            with products_of(settings, examples.device):
                codes = network.encode(inputs)
            contributions = codes.float() * network.read_out
            loss = faithfulness_loss(contributions.sum(1) + network.bias, targets)
            if ramp:
                drawn = drawn_units(inputs.shape[1], settings.reconstructed_units, generator)
                with products_of(settings, examples.device):
                    reconstructed = network.decode(codes, drawn)
                loss = loss + ramp * (
                    settings.reconstruction_weight
                    * reconstruction_loss(reconstructed.float(), inputs[:, drawn], settings.reconstruction_q)
                    + settings.pull_away_weight * pull_away_loss(contributions)
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        if _is_refined(epoch, settings.epochs) or epoch == settings.epochs - 1:
            found = network.xnn()
            error = error_of(found, held_out)
            since_best = 0 if best is None or error < best[1] else since_best + 1
            best = best if since_best and best else (found, error)
        progress()
        if since_best == PATIENCE:
            break
    assert best is not None, "the last epoch is measured"
    return best


def products_of(settings: XnnSettings, device: torch.device) -> torch.autocast:
    """Where matrix products have the precision that the settings ask for."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")


def error_of(xnn: Xnn, examples: Examples) -> float:
    """Root mean squared error of an xNN, in score units."""
    predicted = examples.encoded(partial(score, xnn))
    return float(faithfulness_loss(predicted.double(), examples.all_scores()).sqrt())


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
