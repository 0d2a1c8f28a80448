"""xNN: one small explanation network a class, that gives the network's score from a handful of X-features.

[P] Hamidi-Haines et al. 2018, section 3.2; [X] Qi, Khorram, Li, arXiv 1709.05360; [ours] said where it is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from onoma.science.significance import significant

FULL_WIDTHS = (800, 100)
DROPOUT = 0.02
WEIGHT_DECAY = 1e-4
LEARNING_RATE = 1e-3
BIAS_LEARNING_RATE = 1e-2  # where only positive terms are left the bias has to reach the lowest score [ours]
MATTERING_SHARE = 0.3  # an X-feature matters from this share of the largest mean contribution on
FAITHFUL_SHARE = 0.01  # of the score's range: what a faithful fit may err on held-out images [ours]
FAITHFUL_FACTOR = 1.25  # or, of the smallest error of all rounds, where none comes under that share [ours];
FAITHFUL_LIMIT = 0.05  # but at most this share of the range
MAX_ROUNDS = 5  # times that a fit which leans on one X-feature is trained again
_FAITHFUL_EPOCHS = 3  # at first faithfulness alone; then the other terms come in over as many epochs
_REFINED_SHARE = 2 / 3  # of the epochs; after it the other terms count a tenth, and the fit is refined [ours]
_WARM_STEPS = 150
_DEAD_SHARE = 0.01  # of the images; an X-feature that fires on fewer after the warm start is revived [ours]
_STEP_DECAY = ((0.5, 1.0), (0.75, 0.3), (0.9, 0.1), (1.0, 0.03))  # up to this share of the steps, this factor
_HELD_OUT = 0.1  # share of the images that rounds are compared on
_LEAST_STEPS = 50  # of an epoch: few images are gone through several times [ours]
_LEAST_BATCH, _LARGEST_BATCH = 50, 256


@dataclass(frozen=True)
class Xnn:
    """A trained explanation network: encoder and read-out; the decoder serves in training only.

    Attributes:
        encoder: (W (out, in), b (out,)) of each layer, float32; ReLU after every one.
        read_out: w (K,).
        bias: b (), added to w . x.
    """

    encoder: tuple[tuple[Tensor, Tensor], ...]
    read_out: Tensor
    bias: Tensor


@dataclass(frozen=True)
class XnnSettings:
    """How an xNN is trained.

    Attributes:
        x_feature_count: K.
        epochs: of joint training, of 50 steps or more.
        batch_size: images a step; 0 takes a fiftieth of the images, but 50 (the paper's) to 256, which is 2.6 times as
            fast and changes the objective slightly.
        reconstruction_weight: a_rec, where Lp is in squared score units; 1 where the paper has 15, which costs
            faithfulness (science.md, section 1).
        pull_away_weight: a_pt, likewise; 0.5 where the paper has 5, since it pays for X-features that die.
        reconstruction_q: q inside the logarithm.
        negatives_per_positive: images of other classes sampled for each of the class's own; 0 takes all.
        significant_share: for the restart rule's report and Table 1.
    """

    x_feature_count: int = 5
    epochs: int = 12
    batch_size: int = 0
    reconstruction_weight: float = 1.0
    pull_away_weight: float = 0.5
    reconstruction_q: float = 100.0
    negatives_per_positive: int = 0
    significant_share: float = 0.9


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


def x_features(xnn: Xnn, features: Tensor) -> Tensor:
    """X-features of n images: (n, D) activations of the attachment to (n, K), not negative [P 3.2]."""
    values = features
    for weight, bias in xnn.encoder:
        values = torch.relu(values @ weight.T + bias)
    return values


def terms(xnn: Xnn, features: Tensor) -> Tensor:
    """Contributions w_i x_i, (n, K), in score units [P 3.3]."""
    return x_features(xnn, features) * xnn.read_out


def score(xnn: Xnn, features: Tensor) -> Tensor:
    """Scores w . x + b, (n,)."""
    return terms(xnn, features).sum(-1) + xnn.bias


def to_tensors(xnn: Xnn) -> dict[str, Tensor]:
    """The xNN under the names it is stored by: encoder.I.weight, encoder.I.bias, read_out.weight, read_out.bias."""
    tensors = {"read_out.weight": xnn.read_out, "read_out.bias": xnn.bias}
    for index, (weight, bias) in enumerate(xnn.encoder):
        tensors |= {f"encoder.{index}.weight": weight, f"encoder.{index}.bias": bias}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def from_tensors(tensors: Mapping[str, Tensor]) -> Xnn:
    """The inverse of `to_tensors`.

    Raises:
        ValueError: a tensor is missing, not finite, or of a shape that does not fit the others.
    """
    try:
        layers = sum(name.startswith("encoder.") and name.endswith(".weight") for name in tensors)
        encoder = tuple((tensors[f"encoder.{i}.weight"], tensors[f"encoder.{i}.bias"]) for i in range(layers))
        xnn = Xnn(encoder, tensors["read_out.weight"], tensors["read_out.bias"])
    except KeyError as error:
        raise ValueError(f"the xNN's file lacks the tensor {error}") from error
    if not layers or not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("the xNN's file has no encoder, or a weight that is NaN or infinite")
    inputs = [weight.shape[1:] for weight, _ in encoder[1:]] + [xnn.read_out.shape]
    fits = all(weight.ndim == 2 and bias.shape == weight.shape[:1] for weight, bias in encoder)
    if (
        not fits
        or xnn.bias.ndim
        or any(bias.shape != wanted for (_, bias), wanted in zip(encoder, inputs, strict=True))
    ):
        raise ValueError("the xNN's file has layers whose shapes do not fit together")
    return xnn


def widths(feature_count: int, x_feature_count: int) -> tuple[int, int, int]:
    """Widths of the encoder's layers: 800, 100, K, smaller where the features are few [ours].

    512 features give 200, 50, K.
    """
    first = min(FULL_WIDTHS[0], max(8, round(feature_count / 2.56)))
    return first, min(FULL_WIDTHS[1], max(2 * x_feature_count, first // 4)), x_feature_count


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
) -> Fit:
    """Trains one class's xNN; again with other weights while it leans on a single X-feature.

    A fit is accepted if at least two X-features matter [X] and it is faithful: its error on held-out images is at most
    1 % of the score's range, or, from the second round on, a quarter above the smallest of all rounds if that is at
    most 5 % [ours]. While there is none, a_rec *= 1.2, a_pt *= 0.8, and it is trained again, at most 5 times; then
    the most faithful stays.

    Args:
        features: (n, D) float32, not negative.
        scores: (n,) the network's score of the class.
        is_positive: (n,) bool, images of the class.
        seed: the same seed gives the same xNN on the same device.
        progress: called after each epoch; may raise to stop.
    Raises:
        ValueError: fewer than 2 images are of the class, or a feature or score is not finite.
    """
    if int(is_positive.sum()) < 2:
        raise ValueError(f"{int(is_positive.sum())} training images of the class; at least 2 are needed")
    if not (features.isfinite().all() and scores.isfinite().all()):
        raise ValueError("a feature or score is NaN or infinite")
    generator = torch.Generator(features.device).manual_seed(seed)
    chosen = _sample(is_positive, settings.negatives_per_positive, generator)
    features, scores, is_positive = features[chosen], scores[chosen], is_positive[chosen]
    score_range = float(scores.max() - scores.min())
    rounds: list[Fit] = []
    for round_index in range(MAX_ROUNDS + 1):
        fit = _train_round(features, scores, is_positive, settings, seed + 7919 * round_index, progress)
        rounds.append(fit)
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


def significant_counts(xnn: Xnn, features: Tensor, share: float) -> Tensor:
    """Significant X-features of each image, (n,) int64 [P 3.3]."""
    return significant(terms(xnn, features), share).sum(-1)


class _Network(nn.Module):
    """Encoder, decoder and read-out while they are trained, on scaled features and standardised scores."""

    def __init__(self, feature_count: int, settings: XnnSettings) -> None:
        super().__init__()
        sizes = (feature_count, *widths(feature_count, settings.x_feature_count))
        pairs = list(pairwise(sizes))
        self.encoder = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.decoder = nn.ModuleList(nn.Linear(b, a) for a, b in reversed(pairs))
        self.read_out = nn.Parameter(torch.zeros(settings.x_feature_count))
        self.bias = nn.Parameter(torch.zeros(()))

    def encode(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        values = features
        for index, layer in enumerate(self.encoder):
            values = torch.relu(layer(values))
            if index == 0 and dropout:
                values = nn.functional.dropout(values, dropout)
        return values

    def decode(self, codes: Tensor) -> Tensor:
        values = codes
        for layer in self.decoder:
            values = torch.relu(layer(values))
        return values


def _train_round(
    features: Tensor,
    scores: Tensor,
    is_positive: Tensor,
    settings: XnnSettings,
    seed: int,
    progress: Callable[[], None],
) -> Fit:
    with torch.random.fork_rng(devices=[features.device] if features.is_cuda else []):
        torch.manual_seed(seed)
        order = torch.randperm(len(features), device=features.device)
        held_out_count = int(_HELD_OUT * len(order)) if len(order) >= 100 else 0
        held_out, kept = order[:held_out_count], order[held_out_count:]
        scale = features[kept].std().clamp(min=1e-6)
        mean, spread = scores[kept].mean(), scores[kept].std().clamp(min=1e-6)
        inputs, targets = features / scale, (scores - mean) / spread
        network = _Network(features.shape[1], settings).to(features.device)
        settings = replace(settings, batch_size=_batch_size(settings, len(kept)))
        _warm_start(network, inputs[kept], targets[kept], settings.batch_size)
        _train_jointly(network, inputs[kept], targets[kept], spread, settings, progress)
    xnn = _in_score_units(network, scale, mean, spread)
    with torch.no_grad():
        contributions = terms(xnn, features[is_positive]).mean(0)
        measured = held_out if held_out_count else kept
        rmse = faithfulness_loss(score(xnn, features[measured]), scores[measured]).sqrt()
    count = mattering(contributions)
    return Fit(xnn, contributions, count, count, restart_count=0, accepted=False, held_out_rmse=float(rmse))


def _warm_start(network: _Network, inputs: Tensor, targets: Tensor, batch_size: int) -> None:
    """Greedy layer-wise autoencoders, dead X-features revived, then the read-out by least squares on the codes."""
    values = inputs
    for encoder, decoder in zip(network.encoder, reversed(network.decoder), strict=True):
        below = values
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE)
        for _ in range(_WARM_STEPS):
            batch = values[torch.randint(len(values), (batch_size,), device=values.device)]
            loss = (torch.relu(decoder(torch.relu(encoder(batch)))) - batch).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            values = torch.relu(encoder(values))
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
    inputs: Tensor,
    targets: Tensor,
    spread: Tensor,
    settings: XnnSettings,
    progress: Callable[[], None],
) -> None:
    """Minimises L / spread^2: the targets are standardised, so the other terms are weighed down as Lp is."""
    others = [parameter for parameter in network.parameters() if parameter is not network.bias]
    optimizer = torch.optim.Adam(
        [
            {"params": others, "weight_decay": WEIGHT_DECAY},
            {"params": [network.bias], "lr": BIAS_LEARNING_RATE},
        ],
        lr=LEARNING_RATE,
        fused=True,
    )
    batch_size = settings.batch_size
    steps_an_epoch = max(len(inputs) // batch_size, _LEAST_STEPS)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _decay(step / (settings.epochs * steps_an_epoch))
    )
    for epoch in range(settings.epochs):
        ramp = _auxiliary_share(epoch, settings.epochs) / float(spread) ** 2
        order = _order(len(inputs), steps_an_epoch * batch_size, inputs.device)
        for batch in order.reshape(steps_an_epoch, batch_size):
            codes = network.encode(inputs[batch], DROPOUT)
            contributions = codes * network.read_out
            loss = faithfulness_loss(contributions.sum(1) + network.bias, targets[batch])
            if ramp:
                reconstruction = reconstruction_loss(
                    network.decode(codes), inputs[batch], settings.reconstruction_q
                )
                loss = loss + ramp * (
                    settings.reconstruction_weight * reconstruction
                    + settings.pull_away_weight * pull_away_loss(contributions)
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        progress()


def _batch_size(settings: XnnSettings, count: int) -> int:
    return min(count, settings.batch_size or max(_LEAST_BATCH, min(_LARGEST_BATCH, count // _LEAST_STEPS)))


def _order(count: int, wanted: int, device: torch.device) -> Tensor:
    """So many indices below `count`: each once in random order, then again."""
    rounds = range(-(-wanted // count))
    return torch.cat([torch.randperm(count, device=device) for _ in rounds])[:wanted]


def _auxiliary_share(epoch: int, epochs: int) -> float:
    rising = min(1.0, max(0, epoch + 1 - _FAITHFUL_EPOCHS) / _FAITHFUL_EPOCHS)
    return rising if epoch < _REFINED_SHARE * epochs else 0.1 * rising


def _decay(share_done: float) -> float:
    return next((factor for until, factor in _STEP_DECAY if share_done < until), _STEP_DECAY[-1][1])


def _in_score_units(network: _Network, scale: Tensor, mean: Tensor, spread: Tensor) -> Xnn:
    layers = [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in network.encoder]  # type: ignore[operator]
    first_weight, first_bias = layers[0]
    return Xnn(
        encoder=((first_weight / scale, first_bias), *layers[1:]),
        read_out=network.read_out.detach() * spread,
        bias=network.bias.detach() * spread + mean,
    )


def _sample(is_positive: Tensor, negatives_per_positive: int, generator: torch.Generator) -> Tensor:
    """Indices to train on: all positives, and so many negatives a positive (0: all), in their order."""
    positives, negatives = is_positive.nonzero()[:, 0], (~is_positive).nonzero()[:, 0]
    if negatives_per_positive:
        order = torch.randperm(len(negatives), generator=generator, device=negatives.device)
        negatives = negatives[order[: negatives_per_positive * len(positives)]]
    return torch.cat([positives, negatives]).sort().values
