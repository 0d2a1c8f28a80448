"""Whole networks: mass from their features down to the map layer, as the table of the documentation says."""

from pathlib import Path

import pytest

from tests.bench.networks import NETWORKS, survey

TABLE = Path(__file__).parents[2] / "docs" / "excitation-rules.md"
SMALL_SIDE = 64  # pixels, so that it takes seconds


def rows_of_the_table() -> dict[str, list[str]]:
    """Cells of each network's row."""
    lines = (line for line in TABLE.read_text().splitlines() if line.startswith("| "))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows if row[0] in NETWORKS}


def test_the_table_has_every_network() -> None:
    assert tuple(rows_of_the_table()) == NETWORKS


@pytest.mark.parametrize(
    "name",
    [
        "squeezenet1_1",
        pytest.param("mobilenet_v3_large", marks=pytest.mark.slow),
        pytest.param("shufflenet_v2_x1_0", marks=pytest.mark.slow),
        "resnet18",
    ],
)
def test_small_pictures_keep_their_mass(name: str) -> None:
    """While negative activations counted as 0, strict mode kept 0.349 on mobilenet_v3_large."""
    found = survey(name, SMALL_SIDE)
    assert found.refused == ""
    assert found.strict == pytest.approx(1, abs=0.02)
    assert found.local == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_the_table_works_as_it_says(name: str) -> None:
    works, attachment, layer, strict, _ = rows_of_the_table()[name]
    found = survey(name)
    cells = "x".join(map(str, found.cells))
    assert found.refused == ""
    assert (works, attachment, layer) == ("works", found.attachment, f"{found.map_layer} ({cells})")
    assert found.strict == pytest.approx(float(strict), abs=0.02)
    assert found.local == pytest.approx(1, abs=1e-3)
