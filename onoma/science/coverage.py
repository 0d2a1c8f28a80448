"""How much of a category is named: activation, partial and complete coverage (paper, Figures 3 to 6).

All take namings after cleaning. Shares of images leave out images without a significant
activation; `Category.left_out_count` says how many those are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onoma.science.study_data import Category, Naming, Ratio


@dataclass(frozen=True)
class Coverage:
    """Coverage of one category; `Ratio.value` is None where undefined.

    Attributes:
        activation: significant activations that are named.
        partial: images of which some activation is named.
        complete: images of which every activation is named.
        complete_by_one_annotator: for any annotator, images that some ONE annotator names
            wholly; None for a single naming.
    """

    activation: Ratio
    partial: Ratio
    complete: Ratio
    complete_by_one_annotator: Ratio | None = None


def coverage(category: Category, naming: Naming) -> Coverage:
    """Coverage by one naming."""
    return _coverage(category, naming.named)


def coverage_by_any(category: Category, namings: Sequence[Naming]) -> Coverage:
    """Coverage by the union of what the annotators named.

    With no naming at all every share is 0/0 [ours]: nobody was asked, which is not the same as
    naming nothing.
    """
    if not namings:
        return Coverage(Ratio(0, 0), Ratio(0, 0), Ratio(0, 0), Ratio(0, 0))
    named = np.stack([naming.named for naming in namings])
    by_union = _coverage(category, np.logical_or.reduce(named))
    by_one = np.any([_completely_named(category, one) for one in named], axis=0)
    return Coverage(
        by_union.activation,
        by_union.partial,
        by_union.complete,
        Ratio(int(by_one.sum()), by_union.complete.denominator),
    )


def named_by_exactly(category: Category, namings: Sequence[Naming]) -> tuple[Ratio, ...]:
    """Share of the activations named by exactly n of the R annotators, n = 0..R (paper, Figure 6).

    An empty naming counts as an annotator; one who was not assigned the category has no naming here.
    """
    counts = np.zeros(len(category.activation_ids), dtype=np.int64)
    for naming in namings:
        counts += naming.named
    histogram = np.bincount(counts, minlength=len(namings) + 1)
    return tuple(Ratio(int(count), len(counts)) for count in histogram)


def _coverage(category: Category, named: NDArray[np.bool_]) -> Coverage:
    image_count = len(category.image_ids) - category.left_out_count
    touched = np.unique(category.image[named]).size
    complete = int(_completely_named(category, named).sum())
    return Coverage(
        Ratio(int(named.sum()), named.size), Ratio(touched, image_count), Ratio(complete, image_count)
    )


def _completely_named(category: Category, named: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(images,) whether an image has activations and all of them are named."""
    per_image = category.activations_per_image
    named_per_image = np.bincount(category.image[named], minlength=per_image.size)
    completely: NDArray[np.bool_] = (per_image > 0) & (named_per_image == per_image)
    return completely
