"""Mass in bfloat16: maps stay close to those of float32, and what is significant does not change."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from onoma.science.activations import Explained, explain
from onoma.science.excitation import Explainer, Mode, draw, look, prepare
from onoma.science.program import Program, find_attachment, find_map_layer
from onoma.science.xnn import Xnn
from tests.networks import SHAPE, MobileLike, ModernLike, images, program_of, vgg_like

EXACT, ROUNDED = torch.float32, torch.bfloat16


def explainer_of(program: Program, mode: Mode, dtype: torch.dtype) -> Explainer:
    attachment = find_attachment(program)
    return prepare(program, attachment, find_map_layer(program, attachment), mode, dtype=dtype)


def maps_of(program: Program, mode: Mode, dtype: torch.dtype) -> Tensor:
    explainer = explainer_of(program, mode, dtype)
    seen = look(explainer, images(8, SHAPE))
    positive = seen.features.clamp(min=0)
    return draw(explainer, seen, positive / positive.sum(1, keepdim=True), torch.arange(8))


@pytest.mark.parametrize("mode", ["strict", "local"])
@pytest.mark.parametrize("network", [vgg_like, MobileLike, ModernLike])
def test_mass_in_bfloat16_stays_within_a_hundredth_and_maps_within_two_of_their_peak(
    network: Callable[[], nn.Module], mode: Mode
) -> None:
    program = program_of(network(), SHAPE)
    exact, rounded = (maps_of(program, mode, dtype) for dtype in (EXACT, ROUNDED))
    assert rounded.dtype == torch.float32
    assert (rounded >= 0).all()
    torch.testing.assert_close(rounded.sum((1, 2)), exact.sum((1, 2)), atol=0.01, rtol=0)
    assert ((rounded - exact).abs().amax((1, 2)) < 0.02 * exact.amax((1, 2))).all()
    assert not torch.equal(rounded, exact)


@pytest.fixture(scope="module")
def contrastive() -> dict[torch.dtype, Explained]:
    """The same images of a network where P and Q are nearly the same, in both precisions."""
    torch.manual_seed(3)
    encoder = ((torch.randn(12, 24) + 0.3, torch.zeros(12)), (torch.randn(5, 12) + 0.3, torch.zeros(5)))
    xnn = Xnn(encoder, torch.tensor([2.0, 1.0, -1.0, 1.5, 0.5]), torch.tensor(0.5))
    program = program_of(MobileLike(), SHAPE)
    explainers = {dtype: explainer_of(program, "local", dtype) for dtype in (EXACT, ROUNDED)}
    return {
        dtype: explain(explainer, xnn, 0, look(explainer, images(8, SHAPE)))
        for dtype, explainer in explainers.items()
    }


def test_a_contrastive_map_in_bfloat16_is_the_difference_and_not_its_rounding(
    contrastive: dict[torch.dtype, Explained],
) -> None:
    """P and Q brought down apart in bfloat16 differ by up to 18 % of the map's peak here; P - Q by 4 %."""
    exact, rounded = contrastive[EXACT].maps, contrastive[ROUNDED].maps
    assert (np.abs(rounded - exact).max((1, 2)) < 0.08 * exact.max((1, 2))).all()


def test_scores_and_significance_do_not_depend_on_the_precision_of_the_mass(
    contrastive: dict[torch.dtype, Explained],
) -> None:
    for name in ("dnn_scores", "xnn_scores", "images", "x_features", "contributions"):
        exact, rounded = (getattr(contrastive[dtype], name) for dtype in (EXACT, ROUNDED))
        np.testing.assert_array_equal(rounded, exact, err_msg=name)


def test_mass_of_another_dtype_is_refused() -> None:
    program = program_of(vgg_like(), SHAPE)
    with pytest.raises(ValueError, match=r"mass of dtype torch\.float16; it can be torch\.float32 or"):
        explainer_of(program, "strict", torch.float16)
