"""The benchmark with known parts: its synthetic pictures say truly which part is where, and its measures add up."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from onoma.science.excitation import Explainer, look, prepare
from onoma.science.program import find_attachment, find_map_layer, load, save
from onoma.science.xnn import Xnn
from tests.bench.known_parts.animals import (
    PARTS,
    TRAITS,
    Animal,
    class_names,
    class_of,
    deciding_parts,
    random_animal,
)
from tests.bench.known_parts.methods import excitation_of_score, grad_cam, significant_activations, summed
from tests.bench.known_parts.metrics import (
    enlarged,
    hits,
    mass_on,
    peak_distances,
    peaks,
    pointed_parts,
    replaced_areas,
    with_margin,
)
from tests.bench.known_parts.networks import NETWORKS
from tests.bench.known_parts.painting import SIZE, paint, random_pictures
from tests.bench.known_parts.subjects import last_layer
from tests.bench.known_parts.table import mean_and_error


def animals(count: int) -> list[Animal]:
    rng = np.random.default_rng(0)
    return [random_animal(rng) for _ in range(count)]


def peak_at(row: int, column: int, size: int = 8) -> Tensor:
    """A map (1, size, size) with a single peak."""
    found = torch.zeros(1, size, size)
    found[0, row, column] = 1
    return found


def square(row: int, column: int, side: int = 2, size: int = 8) -> Tensor:
    """A mask (1, size, size) of a square with that upper left corner."""
    found = torch.zeros(1, size, size, dtype=torch.bool)
    found[0, row : row + side, column : column + side] = True
    return found


@pytest.mark.parametrize("part", PARTS)
def test_a_parts_mask_is_where_its_colour_shows(part: str) -> None:
    """A pixel that the part covers wholly is in its mask; one that it does not touch is not."""
    for animal in animals(6):
        if part not in animal.shown and part not in TRAITS:
            continue
        black, white = (paint(coloured(animal, part, shade)) for shade in (0.0, 1.0))
        covered = (white[0].astype(float) - black[0]).mean(2) / 255
        mask = black[1] == 1 + PARTS.index(part)
        assert mask.any()
        assert (covered[mask] > 0.05).all()
        assert mask[covered > 0.95].all()


def coloured(animal: Animal, part: str, shade: float) -> Animal:
    """The animal with a part, and its pattern, in one grey."""
    grey = (shade, shade, shade)
    pattern = grey if part == "wing" else animal.pattern
    return replace(animal, colours=animal.colours | {part: grey}, pattern=pattern)


def test_only_the_deciding_traits_make_the_class() -> None:
    for animal in animals(40):
        decides = deciding_parts(animal.traits)
        for part, values in TRAITS.items():
            other = next(value for value in values if value != animal.traits[part])
            changes = class_of(animal.traits | {part: other}) != class_of(animal.traits)
            assert changes == (part in decides)


def test_what_does_not_decide_is_independent_of_the_class() -> None:
    drawn = animals(4000)
    striped = np.array([animal.traits["wing"] == "striped" for animal in drawn])
    broad = np.array([animal.traits["beak"] == "broad" for animal in drawn])
    classes = np.array([class_of(animal.traits) for animal in drawn])
    for index in np.unique(classes[broad]):
        assert abs(striped[classes == index].mean() - 0.5) < 0.1
    assert len(np.unique(classes)) == len(class_names())


def test_the_same_seed_paints_the_same_pictures() -> None:
    first, again, other = random_pictures(3, (5, 0)), random_pictures(3, (5, 0)), random_pictures(3, (5, 1))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.pixels != other.pixels).any()


def test_every_deciding_part_is_seen() -> None:
    pictures = random_pictures(60, (1, 0))
    for labels, deciding in zip(pictures.labels, pictures.deciding, strict=True):
        sizes = np.bincount(labels.ravel(), minlength=1 + len(PARTS))[1:]
        assert deciding.sum() == 3
        assert (sizes[deciding] >= 12).all()


def test_a_peak_counts_up_to_the_tolerance_and_not_beyond() -> None:
    mask = square(2, 2)
    at = [peak_at(3, 3), peak_at(3, 5), peak_at(5, 5), peak_at(3, 6)]
    distances = torch.cat([peak_distances(one, mask) for one in at])
    assert distances.tolist() == [0, 2, 2, 3]
    assert torch.cat([hits(one, mask, 2) for one in at]).tolist() == [True, True, True, False]


def test_the_margin_is_where_a_peak_would_count() -> None:
    mask = square(4, 1)
    counted = [[bool(hits(peak_at(r, c), mask, 2)) for c in range(8)] for r in range(8)]
    assert with_margin(mask, 2)[0].tolist() == counted


def test_a_map_that_is_even_points_nowhere() -> None:
    everywhere = torch.ones(1, 8, 8, dtype=torch.bool)
    assert not hits(torch.ones(1, 8, 8), everywhere)
    assert not hits(torch.zeros(1, 8, 8), everywhere)


def test_the_peak_of_an_enlarged_map_lies_in_its_cell() -> None:
    row, column = peaks(enlarged(peak_at(2, 5, 16), 64))[0].tolist()
    assert 8 <= row < 12
    assert 20 <= column < 24


def test_mass_is_the_share_on_the_mask() -> None:
    drawn = torch.tensor([[[3.0, 1.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    mask = torch.tensor([[[True, True], [False, False]]]).expand(2, 2, 2)
    assert mass_on(drawn, mask).tolist() == [0.5, 0.0]


def test_a_peak_between_two_parts_goes_to_the_nearer_candidate() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[0, 1:3, 1:3], labels[0, 1:3, 5:7], labels[0, 7, 7] = 1, 2, 3
    drawn = peak_at(1, 4)
    both, first, far = torch.tensor([[[1, 1, 0]], [[1, 0, 0]], [[0, 0, 1]]], dtype=torch.bool)
    assert pointed_parts(drawn, labels, both, 2).tolist() == [1]
    assert pointed_parts(drawn, labels, first, 2).tolist() == [0]
    assert pointed_parts(drawn, labels, far, 2).tolist() == [-1]


def test_deletion_falls_as_soon_as_the_map_finds_what_counts() -> None:
    """The score is pixel (0, 0) alone. In 2 steps 0, 1/4 and all of 4 pixels go: found first, the curve is 1, 0, 0, and
    the area 1/8; found last, it is 1, 1, 0, and the area 1/4 + 3/8."""
    image, gone = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    first, last = torch.tensor([[4.0, 3.0], [2.0, 1.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    areas = replaced_areas(image, gone, torch.stack([first, last]), lambda shown: shown[:, 0, 0, 0], steps=2)
    assert areas.tolist() == [0.125, 0.625]


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=NETWORKS)
def prepared(request: pytest.FixtureRequest, images: Tensor) -> tuple[nn.Module, Explainer]:
    """Each of the networks, untrained, and what draws its maps."""
    torch.manual_seed(0)
    network = NETWORKS[request.param](8).eval()
    program = load(save(network, images[:2], {}))
    attachment = find_attachment(program)
    return network, prepare(program, attachment, find_map_layer(program, attachment), "local")


def test_grad_cam_reads_the_layer_that_our_maps_are_drawn_on(
    prepared: tuple[nn.Module, Explainer], images: Tensor
) -> None:
    network, explainer = prepared
    read: list[Tensor] = []
    hook = network.map_layer.register_forward_hook(lambda _module, _inputs, output: read.append(output))
    grad_cam(network, network.map_layer, images, torch.arange(4))
    hook.remove()
    torch.testing.assert_close(
        read[0].detach(), look(explainer, images).values[explainer.map_layer], rtol=1e-4, atol=1e-4
    )


def test_maps_of_the_score_need_no_xnn(prepared: tuple[nn.Module, Explainer], images: Tensor) -> None:
    network, explainer = prepared
    seen = look(explainer, images)
    top = last_layer(network)
    alone = [(top.weight.detach(), torch.full_like(top.bias, 100.0))]  # every score positive
    plain = excitation_of_score(explainer, alone, seen, torch.arange(4), contrastive=False)
    torch.testing.assert_close(plain.sum((1, 2)), torch.ones(4), rtol=1e-3, atol=1e-3)


def test_an_image_is_explained_for_its_own_class(
    prepared: tuple[nn.Module, Explainer], images: Tensor
) -> None:
    """Each class's xNN has one X-feature whose weight is the class's number: contributions tell which xNN spoke."""
    _, explainer = prepared
    seen = look(explainer, images)
    encoder = ((torch.zeros(1, seen.features.shape[1]), torch.ones(1)),)
    xnns = [Xnn(encoder, torch.tensor([1.0 + index]), torch.tensor(0.0)) for index in range(8)]
    classes = torch.tensor([5, 0, 5, 2])
    rows, contributions, _ = significant_activations(explainer, xnns, seen, classes, contrastive=False)
    assert rows.tolist() == [0, 1, 2, 3]
    assert contributions.tolist() == [6.0, 1.0, 6.0, 3.0]


def test_an_explanation_weighs_maps_by_contribution() -> None:
    maps = torch.stack([torch.ones(2, 2), torch.eye(2), torch.ones(2, 2)])
    found = summed(torch.tensor([0, 0, 2]), torch.tensor([2.0, 3.0, 1.0]), maps, 3)
    assert found.tolist() == [[[5.0, 2.0], [2.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]


def test_an_error_over_images_and_trainings_is_that_of_repeated_draws() -> None:
    """2,000 tables of 40 images and 4 trainings: errors of the mean as they are told, and as they are."""
    generator = torch.Generator().manual_seed(0)

    def table(of_image: float, of_training: float, of_both: float) -> Tensor:
        image, training, both = (
            torch.randn(shape, generator=generator) for shape in ((1, 40), (4, 1), (4, 40))
        )
        return of_image * image + of_training * training + of_both * both

    for spreads in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.3, 0.5)):
        found = [mean_and_error(table(*spreads)) for _ in range(2000)]
        means, errors = (torch.tensor(values) for values in zip(*found, strict=True))
        assert errors.square().mean().sqrt().item() == pytest.approx(means.std().item(), rel=0.1)


def test_an_error_of_images_alone_is_the_usual_one_and_leaves_out_what_is_unknown() -> None:
    mean, error = mean_and_error(torch.tensor([[1.0, 3.0, torch.nan]]))
    assert (mean, error) == (2.0, 1.0)
