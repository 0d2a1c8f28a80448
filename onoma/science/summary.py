"""Explanations of images as sets of names, and how often each occurs (paper, section 3.3 and Table 4)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from onoma.science.study_data import UNNAMED, Category, Naming

OTHER = "other"
UNLABELED = "unlabeled"


class Reading(Enum):
    """How unnamed activations enter an explanation."""

    NAMED_ONLY = "named_only"
    """Table 4: they are dropped; 'unlabeled' where nothing is named."""
    WITH_OTHER = "with_other"
    """Section 3.3: they give 'other'."""


@dataclass(frozen=True)
class SummaryRow:
    """One distinct explanation and the images that have it."""

    names: tuple[str, ...]
    image_ids: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """The distinct explanations of a category, most frequent first, then by names.

    Attributes:
        rows: one an explanation.
        image_count: images with at least one significant activation; shares are over these.
        left_out_count: images without any.
    """

    rows: tuple[SummaryRow, ...]
    image_count: int
    left_out_count: int

    def share(self, row: SummaryRow) -> float:
        """Share of the images that have this explanation, in (0, 1]."""
        return len(row.image_ids) / self.image_count


@dataclass(frozen=True)
class InferredName:
    """The name that an annotator would most likely give to an activation of an X-feature.

    Attributes:
        name: the most frequent concept name among the named activations of the X-feature.
        support: share of them that bear it, in (0, 1].
    """

    name: str
    support: float


def explanation(names: Iterable[str | None], reading: Reading) -> tuple[str, ...]:
    """The set of names of an image's significant activations, sorted.

    Args:
        names: one a significant activation, None where it is unnamed.
        reading: what unnamed activations become.

    Returns:
        Distinct names; empty only where there is no significant activation.
    """
    distinct = set(names)
    unnamed = None in distinct
    words = {name for name in distinct if name is not None}
    if unnamed and reading is Reading.WITH_OTHER:
        words.add(OTHER)
    if unnamed and not words:
        words.add(UNLABELED)
    return tuple(sorted(words))


def names_of_activations(naming: Naming) -> tuple[str | None, ...]:
    """Name of every activation of the category, None where unnamed."""
    return tuple(None if c == UNNAMED else naming.concept_names[c] for c in naming.concept.tolist())


def summary(category: Category, naming: Naming, reading: Reading) -> Summary:
    """Counts the distinct explanations of a category's images under a cleaned naming."""
    names_by_image: dict[int, list[str | None]] = {}
    for image, name in zip(category.image.tolist(), names_of_activations(naming), strict=True):
        names_by_image.setdefault(image, []).append(name)
    images_by_explanation: dict[tuple[str, ...], list[str]] = {}
    for image in sorted(names_by_image):
        words = explanation(names_by_image[image], reading)
        images_by_explanation.setdefault(words, []).append(category.image_ids[image])
    rows = [SummaryRow(names, tuple(images)) for names, images in images_by_explanation.items()]
    rows.sort(key=lambda row: (-len(row.image_ids), row.names))
    return Summary(tuple(rows), len(names_by_image), category.left_out_count)


def inferred_names(category: Category, naming: Naming) -> dict[int, InferredName]:
    """Most frequent name of each X-feature's named activations, by X-feature [ours].

    The paper names activations of images that annotators saw; for any other image this carries
    their names over by X-feature. X-features none of whose activations is named are left out;
    ties go to the name that sorts first.
    """
    inferred = {}
    names = np.array(names_of_activations(naming), dtype=object)
    for x_feature in np.unique(category.x_feature[naming.named]).tolist():
        counts = Counter(names[(category.x_feature == x_feature) & naming.named])
        name, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
        inferred[x_feature] = InferredName(name, count / counts.total())
    return inferred
