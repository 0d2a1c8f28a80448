"""Seconds a class to train xNNs, side by side with the plain loop: python -m tests.bench.training.

Synthetic features of the size of VGG16's first fully-connected layer: 12,000 images, D = 4096, 200 classes, with the
scores of a linear classifier trained on them. Each way trains the same few classes, once each without the restart rule,
in turns; errors are those of the classes that every way trained, on 2,000 images that none of them saw. The plain loop
is the paper's training as one would write it down: one class after another on all cores, batches of 50, every unit
reconstructed, torch's own Adam. Groups are the chosen plan with classes trained together by batched products (--groups
8 16 32; give --sample 32, and --alone 2 to time few of them where a class is trained by itself).

--whole trains all the classes by the chosen plan, with the restart rule, and watches the process's memory.
--served does it as a user does, on synthetic pictures: a server, one command, the server's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from rich.progress import Progress
from torch import Tensor, nn

from onoma.science import xnn_training
from onoma.science.xnn import Xnn, score
from onoma.science.xnn_fitting import LEARNING_RATE, WEIGHT_DECAY, XnnSettings, widths
from onoma.science.xnn_losses import faithfulness_loss, pull_away_loss, reconstruction_loss
from onoma.science.xnn_plan import beside, group_size, groups_of, on_device
from onoma.science.xnn_trunk import codes_of, train_trunk
from tests.bench.machine import largest_resident, machine_name

PARTS = 96  # that the synthetic features mix
WARM_STEPS = 150
PLAIN = "plain loop, as the paper"
ONE_BY_ONE = "chosen plan, one class a group"
SHARED = "shared trunk (opt-in, not the paper's xNN)"


@dataclass(frozen=True, eq=False)
class Problem:
    """Synthetic features (n, D), scores (n, classes) and classes (n,), to train on; others to measure on."""

    features: Tensor
    scores: Tensor
    labels: Tensor
    test_features: Tensor
    test_scores: Tensor


def main() -> None:
    options = _options()
    if options.served:
        from tests.bench.served_training import train_served  # needs gRPC, which the other ways do without

        trained = options.trained or options.classes
        found = train_served(
            options.images, options.features, options.classes, trained, options.fast, options.epochs
        )
        print(json.dumps({"machine": machine_name(options.device), **found}, indent=2))
        return
    settings = XnnSettings(epochs=options.epochs)
    device = torch.device(options.device)
    problem = make_problem(options.images, options.features, options.classes)
    if options.whole:
        found = whole(problem, replace(settings, shared_trunk=options.fast), device, options.workers)
        print(json.dumps(found, indent=2))
        return
    chosen = torch.linspace(0, options.classes - 1, options.sample).long().tolist()
    alone = chosen[: options.alone or None]
    trunk_seconds: list[float] = []
    ways: dict[str, Callable[[], list[Xnn]]] = {
        PLAIN: lambda: [plain_loop(problem, c, settings, device) for c in alone],
        ONE_BY_ONE: lambda: in_groups(problem, alone, settings, device, options.workers, 1),
        **{
            f"chosen plan, groups of {size}": lambda size=size: in_groups(
                problem, chosen, settings, device, options.workers, size
            )
            for size in options.groups or [len(chosen)]
        },
        SHARED: lambda: on_trunk(problem, chosen, settings, device, options.workers, trunk_seconds),
    }
    if device.type == "cuda":
        for precision in ("tf32", "bf16"):
            ways[f"chosen plan, groups of 32, {precision}"] = lambda precision=precision: in_groups(
                problem, chosen, replace(settings, precision=precision), device, options.workers, 32
            )
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    errors: dict[str, float] = {}
    with once(), Progress(transient=True) as progress:
        for _ in progress.track(range(options.rounds)):
            for name, way in ways.items():
                started = time.perf_counter()
                xnns = way()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                seconds[name].append((time.perf_counter() - started) / len(xnns))
                errors[name] = mean_error(problem, alone, xnns[: len(alone)])
    trunk_s = statistics.median(trunk_seconds)
    plain = statistics.median(seconds[PLAIN])
    fast = statistics.median(seconds[SHARED])
    fast += trunk_s / options.classes - trunk_s / len(chosen)
    found = {
        "machine": machine_name(options.device),
        "images": options.images,
        "features": options.features,
        "classes_timed": len(chosen),
        "of_them_alone": len(alone),
        "seconds_a_class": {name: statistics.median(taken) for name, taken in seconds.items()},
        "shared_trunk_seconds": trunk_s,
        "shared_trunk_seconds_a_class_of_all": fast,
        "mean_rmse_over_range": errors,
        "times_plain": {name: plain / statistics.median(taken) for name, taken in seconds.items()}
        | {SHARED: plain / fast},
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{found['machine']}; {options.images} synthetic images, D = {options.features}; "
        f"{len(chosen)} classes timed, {len(alone)} where they are trained one by one"
    )
    print("| way | seconds a class | times the plain loop | held-out RMSE / range |\n|---|---|---|---|")
    for (name, taken), rmse in zip(seconds.items(), errors.values(), strict=True):
        each = fast if name == SHARED else statistics.median(taken)
        print(f"| {name} | {each:.1f} | {plain / each:.1f} | {rmse:.2%} |")
    print(f"the trunk itself takes {trunk_s:.0f} s, shared out over {options.classes} classes above")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--sample", type=int, default=4, help="classes that are timed")
    parser.add_argument(
        "--alone", type=int, default=0, help="of them where a class is trained by itself; 0: all"
    )
    parser.add_argument(
        "--groups", type=int, nargs="*", help="sizes of groups to compare; default: all the timed classes"
    )
    parser.add_argument("--epochs", type=int, default=XnnSettings().epochs)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--workers", type=int, default=0, help="classes at once; 0: as many as cores, 1 on a GPU"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--whole", action="store_true", help="train every class and watch the memory")
    parser.add_argument(
        "--served",
        action="store_true",
        help="train by `onoma xnn train` on a server of its own and watch its memory",
    )
    parser.add_argument(
        "--trained", type=int, default=0, help="with --served: so many classes; 0: all of them"
    )
    parser.add_argument("--fast", action="store_true", help="with --whole or --served: on a shared trunk")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def make_problem(images: int, features: int, classes: int) -> Problem:
    """Synthetic: sparse mixtures of parts that classes have more or less often, and a classifier's scores."""
    generator = torch.Generator().manual_seed(0)
    test_images = max(100, images // 6)
    labels = torch.arange(images + test_images) % classes
    has = torch.rand(classes, PARTS, generator=generator) < 0.08
    shown = torch.rand(len(labels), PARTS, generator=generator) < torch.where(has[labels], 0.9, 0.06)
    strength = shown * (0.6 + 0.8 * torch.rand(len(labels), PARTS, generator=generator))
    mixture = torch.relu(torch.randn(PARTS, features, generator=generator) - 0.8)
    noise = torch.randn(len(labels), features, generator=generator)
    made = torch.relu(0.5 * strength @ mixture - 0.35 + 0.25 * noise)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = nn.Linear(features, classes)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=LEARNING_RATE, fused=True)
    for _ in range(400):
        chosen = torch.randint(images, (512,), generator=generator)
        loss = nn.functional.cross_entropy(classifier(made[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        scores = classifier(made)
    return Problem(made[:images], scores[:images], labels[:images], made[images:], scores[images:])


def plain_loop(problem: Problem, target: int, settings: XnnSettings, device: torch.device) -> Xnn:
    """The paper's training without any of ours: greedy autoencoders, least squares, then all losses at batch 50."""
    torch.manual_seed(target)
    inputs, wanted = problem.features.to(device), problem.scores[:, target].to(device)
    scale, mean, spread = inputs.std(), wanted.mean(), wanted.std()
    inputs, wanted = inputs / scale, (wanted - mean) / spread
    sizes = (inputs.shape[1], *widths(inputs.shape[1], settings.x_feature_count))
    encoder = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes)).to(device)
    decoder = nn.ModuleList(nn.Linear(b, a) for a, b in reversed(list(pairwise(sizes)))).to(device)
    values = inputs
    for up, down in zip(encoder, reversed(decoder), strict=True):
        optimizer = torch.optim.Adam([*up.parameters(), *down.parameters()], lr=LEARNING_RATE)
        for _ in range(WARM_STEPS):
            batch = values[torch.randint(len(values), (50,), device=device)]
            _step(optimizer, nn.functional.mse_loss(torch.relu(down(torch.relu(up(batch)))), batch))
        with torch.no_grad():
            values = torch.relu(up(values))
    design = torch.cat([values, torch.ones_like(values[:, :1])], 1)
    solved = torch.linalg.lstsq(
        design.cpu(), wanted[:, None].cpu()
    )  # a GPU's needs full rank, dead units have none
    read_out = nn.Parameter(solved.solution[:, 0].to(device))
    parameters = [*encoder.parameters(), *decoder.parameters(), read_out]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = settings.epochs * (len(inputs) // 50)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [steps // 2, steps * 3 // 4, steps * 9 // 10], gamma=0.3
    )
    for _ in range(settings.epochs):
        for chosen in torch.randperm(len(inputs), device=device)[: len(inputs) // 50 * 50].reshape(-1, 50):
            codes = inputs[chosen]
            for index, layer in enumerate(encoder):
                codes = torch.relu(layer(codes))
                codes = nn.functional.dropout(codes, 0.02) if index == 0 else codes
            decoded = codes
            for layer in decoder:
                decoded = torch.relu(layer(decoded))
            contributions = codes * read_out[:-1]
            loss = faithfulness_loss(contributions.sum(1) + read_out[-1], wanted[chosen])
            other = settings.reconstruction_weight * reconstruction_loss(
                decoded, inputs[chosen], settings.reconstruction_q
            ) + settings.pull_away_weight * pull_away_loss(contributions)
            _step(optimizer, loss + other / spread**2)
            schedule.step()
    layers = [(layer.weight.detach(), layer.bias.detach()) for layer in encoder]
    read_out = read_out.detach()
    return Xnn(
        ((layers[0][0] / scale, layers[0][1]), *layers[1:]),
        read_out[:-1] * spread,
        read_out[-1] * spread + mean,
    )


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def in_groups(
    problem: Problem,
    chosen: Sequence[int],
    settings: XnnSettings,
    device: torch.device,
    workers: int,
    size: int,
    features: Tensor | None = None,
) -> list[Xnn]:
    """Groups of so many classes beside each other, as the inference service trains them; 0 for its own size."""
    inputs = on_device(problem.features if features is None else features, device)
    size = group_size(size, settings, len(inputs), inputs.shape[1], device)

    def one(group: Sequence[int]) -> list[Xnn]:
        fits = xnn_training.train_group(
            inputs,
            problem.scores[:, group],
            problem.labels[:, None] == torch.tensor(group),
            settings,
            0,
            group,
            device=device,
            on_trunk=features is not None,
        )
        return [fit.xnn for fit in fits]

    trained = beside(one, groups_of(chosen, size), workers, device)
    return [xnn for group in trained for xnn in group]


def on_trunk(
    problem: Problem,
    chosen: Sequence[int],
    settings: XnnSettings,
    device: torch.device,
    workers: int,
    trunk_seconds: list[float],
) -> list[Xnn]:
    started = time.perf_counter()
    settings = replace(settings, shared_trunk=True)
    trunk = train_trunk(problem.features, problem.scores, settings, 0, device=device)
    codes = codes_of(trunk, problem.features, device)
    trunk_seconds.append(time.perf_counter() - started)
    return [trunk.under(xnn) for xnn in in_groups(problem, chosen, settings, device, workers, 0, codes)]


def mean_error(problem: Problem, chosen: Sequence[int], xnns: Sequence[Xnn]) -> float:
    """Mean over classes of RMSE / range on the images that nobody saw."""
    errors = []
    for target, xnn in zip(chosen, xnns, strict=True):
        wanted = problem.test_scores[:, target]
        found = score(xnn, problem.test_features.to(xnn.bias.device)).cpu()
        errors.append(float(faithfulness_loss(found, wanted).sqrt() / (wanted.max() - wanted.min())))
    return statistics.fmean(errors)


def whole(problem: Problem, settings: XnnSettings, device: torch.device, workers: int) -> dict[str, object]:
    """Every class with the restart rule; the process's largest resident memory, watched each quarter of a second."""
    targets = list(range(problem.scores.shape[1]))
    started = time.perf_counter()
    with largest_resident(os.getpid()) as largest:
        if settings.shared_trunk:
            xnns = on_trunk(problem, targets, settings, device, workers, [])
        else:
            xnns = in_groups(problem, targets, settings, device, workers, 0)
    taken = time.perf_counter() - started
    return {
        "machine": machine_name(device.type),
        "classes": len(targets),
        "shared_trunk": settings.shared_trunk,
        "seconds": taken,
        "largest_resident_gb": max(largest) / 1e9,
        "mean_rmse_over_range": mean_error(problem, targets, xnns),
    }


@contextmanager
def once() -> Iterator[None]:
    """Without the restart rule, so that all ways train each class once."""
    before, xnn_training.MAX_ROUNDS = xnn_training.MAX_ROUNDS, 0
    try:
        yield
    finally:
        xnn_training.MAX_ROUNDS = before


if __name__ == "__main__":
    main()
