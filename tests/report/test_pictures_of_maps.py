import io

import numpy as np
import pytest
from PIL import Image

from onoma.pictures_of_maps import NamedMap, enlarge, explanation_png, overlay


def a_map(row: int, column: int) -> np.ndarray:
    values = np.zeros((14, 14), dtype=np.float32)
    values[row, column] = 1
    return values


def test_an_overlay_marks_where_the_map_is_and_leaves_the_rest() -> None:
    picture = np.full((56, 56, 3), 128, dtype=np.uint8)
    marked = overlay(picture, a_map(2, 11))
    assert (marked[40:, :20] == 128).all()
    assert (marked[10, 46] != 128).any()


@pytest.mark.parametrize("value", [0.0, 1 / 196])
def test_a_map_that_is_the_same_everywhere_leaves_the_picture_as_it_is(value: float) -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert (overlay(picture, np.full((14, 14), value)) == picture).all()


def test_a_map_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        overlay(np.zeros((8, 8, 1), dtype=np.uint8), np.full((2, 2), np.nan))


def test_a_small_grey_picture_is_enlarged_by_a_whole_factor() -> None:
    picture = np.arange(28 * 28, dtype=np.uint16).astype(np.uint8).reshape(28, 28, 1)
    large = enlarge(picture)
    assert large.shape == (224, 224, 3)
    assert (large[::8, ::8, 0] == picture[:, :, 0]).all()


def test_a_large_picture_stays_as_it_is() -> None:
    assert enlarge(np.zeros((300, 400, 3), dtype=np.uint8)).shape == (300, 400, 3)


@pytest.mark.parametrize("names", [[], ["sleeve"], ["$x_1$", "袖", "a" * 300, ""]])
@pytest.mark.filterwarnings("error")
def test_an_explanation_is_one_png_whatever_the_names(names: list[str]) -> None:
    maps = [NamedMap(name, a_map(5, i), "50 % of the evidence") for i, name in enumerate(names)]
    png = explanation_png(np.zeros((28, 28, 1), dtype=np.uint8), maps, "shirt: " + ", ".join(names))
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.width > image.height


def test_the_same_explanation_gives_the_same_bytes() -> None:
    picture = np.zeros((28, 28, 1), dtype=np.uint8)
    first, second = (explanation_png(picture, [NamedMap("hem", a_map(9, 9))], "shirt") for _ in range(2))
    assert first == second
