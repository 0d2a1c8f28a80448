"""What a check of a program reports before it is registered."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onoma.science import registration
from onoma.science.program import Program, save
from onoma.science.registration import Layer, OperatorUse, ProgramReport, check
from tests.networks import SHAPE, MobileLike, images, vgg_like


def report_of(network: nn.Module) -> ProgramReport:
    return check(save(network.eval(), images(2, SHAPE), {}))


def use(report: ProgramReport, name: str) -> OperatorUse:
    return next(found for found in report.operators if found.name == name)


@pytest.mark.parametrize("network", [vgg_like(), MobileLike()], ids=["vgg", "mobile"])
def test_a_network_that_can_be_explained_is_accepted(network: nn.Module) -> None:
    report = report_of(network)
    assert report.reasons == ()
    assert report.attachment_layer
    assert report.map_layer
    assert all(found.has_rule for found in report.operators if found.needs_rule)


def test_operators_are_counted_and_those_on_the_way_need_a_rule() -> None:
    """The last linear layer lies above the attachment, the first convolutions below the map layer."""
    report = report_of(vgg_like())
    assert use(report, "aten.convolution.default") == OperatorUse(
        "aten.convolution.default", 3, needs_rule=False, has_rule=True
    )
    assert use(report, "aten.addmm.default") == OperatorUse(
        "aten.addmm.default", 2, needs_rule=True, has_rule=True
    )
    assert [found.name for found in report.operators] == sorted(found.name for found in report.operators)


class Attending(nn.Module):
    """Softmax over the cells, above the only layer with 14x14 cells or more."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve, self.classify = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 32, 32) to (n, 2)."""
        cells = torch.relu(self.convolve(pixels)).flatten(2)
        return self.classify(torch.softmax(cells, -1).amax(-1))


def test_an_operator_without_a_rule_is_listed_and_named_as_the_reason() -> None:
    report = report_of(Attending())
    found = use(report, "aten._softmax.default")
    assert (found.needs_rule, found.has_rule) == (True, False)
    [reason] = report.reasons
    assert "no rule for aten._softmax.default of layer '_softmax' (" in reason


def test_an_operator_off_the_way_needs_no_rule() -> None:
    """What shapes the scores lies above the attachment."""
    report = report_of(nn.Sequential(*vgg_like(), nn.LogSoftmax(1)))
    found = use(report, "aten._log_softmax.default")
    assert (found.needs_rule, found.has_rule) == (False, False)
    assert report.reasons == ()


@pytest.mark.parametrize(
    ("last", "name"),
    [
        (nn.Softmax(1), "aten._softmax"),
        (nn.Sigmoid(), "aten.sigmoid"),
        (nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Sigmoid(), nn.Flatten()), "aten.sigmoid"),
    ],
)
def test_a_network_that_gives_probabilities_is_refused(last: nn.Module, name: str) -> None:
    [reason] = report_of(nn.Sequential(*vgg_like(), last)).reasons
    assert reason.startswith(f"the network ends in {name}.default, so its scores are probabilities")


class Percent(nn.Module):
    """Says shares as percent, by a softmax or by the powers of its logarithm."""

    def __init__(self, *, logarithm: bool) -> None:
        super().__init__()
        self.logarithm = logarithm

    def forward(self, scores: Tensor) -> Tensor:
        """(n, classes)."""
        return 100 * (scores.log_softmax(1).exp() if self.logarithm else scores.softmax(1))


@pytest.mark.parametrize("logarithm", [True, False])
def test_scores_that_are_shares_of_one_sum_are_refused_however_they_are_made(logarithm: bool) -> None:
    torch.manual_seed(0)
    [reason] = report_of(nn.Sequential(*vgg_like(), Percent(logarithm=logarithm))).reasons
    assert reason.startswith("every image's scores are shares of 100, as of a softmax; export it without")


@pytest.mark.parametrize("weight", [0.0, 0.01])
def test_scores_that_are_never_negative_are_no_shares(weight: float) -> None:
    """Of a network that says the same of every image the sums are the same, too."""
    network = nn.Sequential(*vgg_like(), nn.ReLU())
    last = next(layer for layer in reversed(network) if isinstance(layer, nn.Linear))
    nn.init.constant_(last.weight, weight)
    nn.init.constant_(last.bias, 1.0)
    assert report_of(network).reasons == ()


class AsManyAsImages(nn.Module):
    """Adds a constant that is made for as many images as there are."""

    def __init__(self, *, learned: bool) -> None:
        super().__init__()
        self.learned, self.convolve, self.classify = learned, nn.Conv2d(3, 4, 1), nn.Linear(4, 2)
        self.positions = nn.Parameter(torch.rand(1, 5, 32, 32))

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 32, 32) to (n, 2)."""
        count = pixels.shape[0]
        learned = self.positions.expand(count, -1, -1, -1)[:, 1:]
        beside = learned if self.learned else 0.5 * torch.ones(count, 4, 1, 1)
        return self.classify(torch.relu(self.convolve(pixels) + beside).mean((2, 3)))


@pytest.mark.parametrize("learned", [True, False])
def test_what_is_made_of_the_number_of_images_alone_is_not_listed(learned: bool) -> None:
    report = report_of(AsManyAsImages(learned=learned))
    assert report.reasons == ()
    names = {name.split(".")[1] for name in (found.name for found in report.operators)}
    assert names == {"convolution", "add", "relu", "mean", "addmm"}


@pytest.mark.parametrize("data", [b"", b"text", b"\x80\x04K\x01.", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_refused_gives_its_reason_and_raises_nothing(data: bytes) -> None:
    report = check(data)
    assert (report.operators, report.attachment_layer, report.map_layer) == ((), "", "")
    assert len(report.reasons) == 1


def test_a_network_without_a_linear_layer_says_so_and_lists_its_operators() -> None:
    report = report_of(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert "no fully-connected layer" in report.reasons[0]
    assert use(report, "aten.convolution.default").count == 1


def test_damaged_weights_are_a_reason() -> None:
    network = vgg_like()
    with torch.no_grad():
        network[0].weight[0, 0, 0, 0] = float("nan")
    assert "NaN or infinite" in report_of(network).reasons[0]


class OneImageAtATime(nn.Module):
    """Its head drops the images' axis where there is one image."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve, self.classify = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 32, 32) to (n, 2), n > 1."""
        return self.classify(torch.relu(self.convolve(pixels)).mean((2, 3), keepdim=True).squeeze())


def test_a_network_that_does_not_run_on_one_image_is_refused() -> None:
    [reason] = report_of(OneImageAtATime()).reasons
    assert "runs on two images, but not on one or three" in reason
    assert "onoma.science.program.save" in reason


def test_a_network_whose_images_change_each_others_scores_is_refused() -> None:
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    torch.manual_seed(0)
    head = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    [reason] = report_of(
        nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 4, 3), *head)
    ).reasons
    assert "depend on the others in its batch" in reason


class WithDropout(nn.Module):
    """Drops units at random whatever mode it is in."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve, self.classify = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, h, w) to (n, 2)."""
        cells = nn.functional.dropout(torch.relu(self.convolve(pixels)), 0.5, training=True)
        return self.classify(cells.mean((2, 3)))


def test_a_network_that_draws_at_random_is_refused_as_one() -> None:
    assert any("differ from one time to the next" in reason for reason in report_of(WithDropout()).reasons)


class Mixing(nn.Module):
    """Gates images by each other's mean, and says itself what dtype its features have."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve, self.classify = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 16, 16) to (n, 2)."""
        cells = torch.relu(self.convolve(pixels))
        return self.classify((cells * torch.sigmoid(5 * cells.mean(0, keepdim=True))).mean((2, 3)).float())


def test_one_that_cannot_be_computed_in_float64_is_refused_as_well() -> None:
    [reason] = report_of(Mixing()).reasons
    assert "depend on the others in its batch" in reason


def test_what_is_rounding_alone_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding of a small network is far below; here the scores of images together are others in float32 alone."""
    checked = []
    scores = registration._scores

    def rounded(program: Program, images: Tensor) -> tuple[Tensor, Tensor]:
        checked.append(images.dtype)
        together, alone = scores(program, images)
        return (together * 1.1, alone) if images.dtype == torch.float32 else (together, alone)

    monkeypatch.setattr(registration, "_scores", rounded)
    assert report_of(vgg_like()).reasons == ()
    assert checked == [torch.float32, torch.float32, torch.float64]


class Logarithm(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return torch.log(scores - 50)


class Overflow(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return torch.exp(scores + 1000)


@pytest.mark.parametrize("last", [Logarithm(), Overflow()], ids=["NaN", "infinite"])
def test_scores_that_are_no_numbers_are_a_reason(last: nn.Module) -> None:
    [reason] = report_of(nn.Sequential(*vgg_like(), last)).reasons
    assert "scores of images of noise are NaN or infinite" in reason


def test_every_layer_that_can_be_named_is_listed() -> None:
    report = report_of(vgg_like())
    by_name = {layer.name: layer for layer in report.layers}
    assert by_name["relu"] == Layer("relu", "aten.relu.default", (8, 32, 32), has_cells=True)
    assert not by_name[report.attachment_layer].has_cells
    assert by_name[report.map_layer].has_cells
    content = save(vgg_like(), images(2, SHAPE), {})
    for layer in report.layers:
        if layer.has_cells:
            assert check(content, map_layer=layer.name).reasons == ()


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"classes": ["a", "b", "c"]}, "3 class names for 4 scores"),
        ({"classes": ["a", "b", "c", "a"]}, "twice: a"),
        (
            {"preprocessing": {"channels": 3, "height": 32, "width": 32, "resize": 40}},
            "has 'resize'; .* interpolation",
        ),
        ({"preprocessing": {"channels": 3, "height": 30, "width": 32}}, r"gives images of \(3, 30, 32\)"),
        (
            {"preprocessing": {"channels": 3, "height": 32, "width": 32, "mean": [127, 127, 127]}},
            r"mean \(127, 127, 127\) is not within \[0, 1\]",
        ),
        (
            {"preprocessing": {"channels": 3, "height": 32, "width": 32, "mean": [[1], [2], [3]]}},
            "a list of numbers is needed",
        ),
        ({"preprocessing": []}, "does not say how pictures become its input"),
    ],
)
def test_what_would_be_refused_when_it_is_registered_is_said_before(
    metadata: dict[str, Any], reason: str
) -> None:
    [found] = check(save(vgg_like(), images(2, SHAPE), metadata)).reasons
    assert re.search(reason, found)


def test_one_image_is_no_example() -> None:
    with pytest.raises(ValueError, match=r"example input of shape \(1, 3, 32, 32\).* two images or more are"):
        save(vgg_like(), images(1, SHAPE), {})


def test_metadata_that_save_does_not_know_are_refused() -> None:
    with pytest.raises(
        ValueError, match="metadata has 'preprocesing'; it is an object of name, classes, preproc"
    ):
        save(vgg_like(), images(2, SHAPE), {"preprocesing": {}})
