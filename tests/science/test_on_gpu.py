"""On a GPU: maps and xNNs as on a CPU. Skipped, with its reason, where there is none.

It needs torch, numpy and pytest alone: python -m pytest --noconftest tests/science/test_on_gpu.py
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from onoma.science.activations import Explained, explain
from onoma.science.batch_size import images_at_once
from onoma.science.excitation import Mode, look, prepare
from onoma.science.matmul_precision import matmul_precision
from onoma.science.nodes import shape_of
from onoma.science.program import find_attachment, find_map_layer
from onoma.science.xnn import Xnn, score
from onoma.science.xnn_fitting import Precision, XnnSettings
from onoma.science.xnn_training import Fit, Round, train_group
from tests.networks import SHAPE, MobileLike, ModernLike, images, program_of, vgg_like

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

X_FEATURES = 4
SEEDS = [11, 12, 13]


def explained(network: nn.Module, mode: Mode, device: str, dtype: torch.dtype = torch.float32) -> Explained:
    program = program_of(network, SHAPE)
    attachment = find_attachment(program)
    explainer = prepare(program, attachment, find_map_layer(program, attachment), mode, device, dtype)
    width = int(np.prod(shape_of(explainer.attachment)[1:]))
    generator = torch.Generator().manual_seed(0)
    layers = tuple(
        ((torch.randn(b, a, generator=generator) + 0.3).to(device), torch.zeros(b, device=device))
        for a, b in ((width, 12), (12, X_FEATURES))
    )
    xnn = Xnn(layers, torch.tensor([2.0, 1.0, -1.0, 1.5], device=device), torch.tensor(0.5, device=device))
    with matmul_precision("float32", explainer.device):
        return explain(explainer, xnn, 0, look(explainer, images(16, SHAPE)))


@pytest.mark.parametrize("mode", ["strict", "local"])
@pytest.mark.parametrize("network", [vgg_like, MobileLike, ModernLike])
def test_maps_are_those_of_a_cpu(network: Callable[[], nn.Module], mode: Mode) -> None:
    here, there = (explained(network(), mode, device) for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(here.images, there.images)
    np.testing.assert_array_equal(here.x_features, there.x_features)
    np.testing.assert_allclose(there.maps, here.maps, atol=1e-4 * float(np.abs(here.maps).max()))


@pytest.mark.parametrize("mode", ["strict", "local"])
def test_mass_in_bfloat16_stays_within_eight_hundredths_of_the_peak(mode: Mode) -> None:
    exact = explained(MobileLike(), mode, "cuda").maps
    rounded = explained(MobileLike(), mode, "cuda", torch.bfloat16).maps
    assert not np.array_equal(rounded, exact)
    assert (np.abs(rounded - exact).max((1, 2)) < 0.08 * exact.max((1, 2))).all()


def test_more_images_go_through_at_once_than_on_a_cpu() -> None:
    program = program_of(vgg_like(), SHAPE)
    attachment = find_attachment(program)
    explainer = prepare(program, attachment, find_map_layer(program, attachment), "strict", "cuda")
    assert images_at_once(explainer) > 16
    assert images_at_once(explainer, free_bytes=1) == 8


def examples() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features that three classes show in parts of their own, their scores, and whose each is."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % len(SEEDS)
    parts = torch.rand(600, 2 * len(SEEDS), generator=generator) < 0.1
    for c in range(len(SEEDS)):
        parts[labels == c, 2 * c : 2 * c + 2] = torch.rand(200, 2, generator=generator) < 0.8
    mixture = torch.rand(2 * len(SEEDS), 64, generator=generator)
    features = parts.float() @ mixture + 0.05 * torch.rand(600, 64, generator=generator)
    scores = torch.stack([parts[:, 2 * c : 2 * c + 2].float().sum(1) for c in range(len(SEEDS))], 1)
    return features, scores, torch.nn.functional.one_hot(labels).bool()


def trained(device: str, precision: Precision = "float32", **more: object) -> list[Fit]:
    features, scores, positive = examples()
    settings = XnnSettings(x_feature_count=X_FEATURES, epochs=3, precision=precision)
    given = {"device": torch.device(device), **more}
    return train_group(features, scores, positive, settings, 0, SEEDS, **given)  # type: ignore[arg-type]


def errors(fits: list[Fit]) -> list[float]:
    features, scores, _ = examples()
    found = [score(fit.xnn, features.to(fit.xnn.bias.device)).cpu() for fit in fits]
    return [float((f - scores[:, c]).square().mean().sqrt()) for c, f in enumerate(found)]


def test_xnns_are_as_faithful_as_those_of_a_cpu() -> None:
    assert max(errors(trained("cuda"))) < 1.5 * max(errors(trained("cpu"))) + 0.01


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_less_precise_products_cost_little(precision: Precision) -> None:
    assert max(errors(trained("cuda", precision))) < 2 * max(errors(trained("cuda"))) + 0.02


def test_a_training_that_goes_on_from_its_kept_rounds_ends_the_same() -> None:
    kept: list[list[Round]] = [[] for _ in SEEDS]

    def keep(number: int, rounds: object) -> None:
        assert isinstance(rounds, dict)
        for position, found in rounds.items():
            if number == 0:
                kept[position].append(found)

    whole = trained("cuda", keep=keep)
    again = trained("cuda", kept=kept)
    for first, second in zip(whole, again, strict=True):
        assert torch.equal(first.xnn.read_out, second.xnn.read_out)
        for (a, _), (b, _) in zip(first.xnn.encoder, second.xnn.encoder, strict=True):
            assert torch.equal(a, b)
