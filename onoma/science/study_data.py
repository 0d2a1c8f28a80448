"""A study as the statistics see it: activations of each category, and who named them what.

Columns of integers instead of sets of ids: entry i of every column is activation i of the
category, so an activation cannot be in two concepts of one annotator, and each statistic is
a few array operations whatever the size.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

UNNAMED = -1
"""Value of `Naming.concept` for an activation that is in no concept (pool or discarded)."""

MIN_CONCEPT_IMAGES = 3
"""Concepts that touch fewer distinct images are removed first (a setting; docs/statistics.md)."""


@dataclass(frozen=True)
class Ratio:
    """A share together with what it rests on; 0/0 is undefined, never 0 or 1."""

    numerator: int
    denominator: int

    @property
    def value(self) -> float | None:
        """The share in [0, 1], None for 0/0."""
        return self.numerator / self.denominator if self.denominator else None


@dataclass(frozen=True, eq=False)
class Category:
    """Significant activations of one category.

    Attributes:
        name: the class whose score is explained.
        image_ids: every explained image, those without a significant activation too.
        activation_ids: the significant activations S.
        image: (S,) int32, index into `image_ids`.
        x_feature: (S,) int32, index of the X-feature within its class, from 0.
    """

    name: str
    image_ids: tuple[str, ...]
    activation_ids: tuple[str, ...]
    image: NDArray[np.int32]
    x_feature: NDArray[np.int32]

    @property
    def activations_per_image(self) -> NDArray[np.int64]:
        """(images,) how many significant activations each image has."""
        return np.bincount(self.image, minlength=len(self.image_ids))

    @property
    def left_out_count(self) -> int:
        """Images without any significant activation; image-level shares leave them out."""
        return int(np.count_nonzero(self.activations_per_image == 0))


@dataclass(frozen=True)
class RemovedConcept:
    """A concept that cleaning set aside, and why."""

    name: str
    image_count: int
    reason: str


@dataclass(frozen=True, eq=False)
class Naming:
    """One annotator's naming of one category.

    Attributes:
        annotator: who.
        concept_names: one a concept; two concepts may bear the same name.
        concept: (S,) int32, index into `concept_names`, UNNAMED where in no concept.
        removed: what `clean` set aside; empty before.
    """

    annotator: str
    concept_names: tuple[str, ...]
    concept: NDArray[np.int32]
    removed: tuple[RemovedConcept, ...] = ()

    @property
    def named(self) -> NDArray[np.bool_]:
        """(S,) whether each activation is in a concept."""
        named: NDArray[np.bool_] = self.concept != UNNAMED
        return named


@dataclass(frozen=True)
class Study:
    """Categories and namings of one study.

    Attributes:
        categories: by name, in the study's order.
        annotators: everyone invited, in order.
        namings: by category, then annotator. An annotator who was not assigned a category
            has no entry there; one who was and named nothing has an empty naming.
        min_concept_images: setting of `clean`.
    """

    categories: Mapping[str, Category]
    annotators: tuple[str, ...]
    namings: Mapping[str, Mapping[str, Naming]] = field(default_factory=dict)
    min_concept_images: int = MIN_CONCEPT_IMAGES

    def cleaned(self, category: str) -> tuple[Naming, ...]:
        """Namings of a category after cleaning, in the order of the annotators.

        Raises:
            ValueError: the study has no such category.
        """
        if category not in self.categories:
            raise ValueError(f"category '{category}' is not one of the study's: {_listed(self.categories)}")
        namings = self.namings.get(category, {})
        return tuple(
            clean(self.categories[category], namings[annotator], self.min_concept_images)
            for annotator in self.annotators
            if annotator in namings
        )


def make_category(
    name: str,
    image_ids: Iterable[str],
    activation_ids: Sequence[str],
    activation_image_ids: Iterable[str],
    x_features: Iterable[int],
) -> Category:
    """Builds a category out of columns: entry i of the last three is activation i.

    Raises:
        ValueError: an image or an activation is there twice, an activation lies on an image
            that is not the category's, or the columns differ in length.
    """
    images = tuple(image_ids)
    index_of = {image_id: i for i, image_id in enumerate(images)}
    if len(index_of) != len(images):
        raise ValueError(f"category '{name}': image '{_first_twice(images)}' is listed twice")
    if len(set(activation_ids)) != len(activation_ids):
        raise ValueError(f"category '{name}': activation '{_first_twice(activation_ids)}' is listed twice")
    columns = []
    for activation_id, image_id, x_feature in zip(
        activation_ids, activation_image_ids, x_features, strict=True
    ):
        if image_id not in index_of:
            raise ValueError(
                f"category '{name}': activation '{activation_id}' lies on image '{image_id}', "
                "which is not among the category's images"
            )
        columns.append((index_of[image_id], x_feature))
    image, feature = np.array(columns, dtype=np.int32).reshape(-1, 2).T
    return Category(name, images, tuple(activation_ids), image, feature)


def make_namings(
    category: Category, namings: Mapping[str, Iterable[tuple[str, Iterable[str]]]]
) -> dict[str, Naming]:
    """Builds namings of a category out of each annotator's (concept name, activation ids) pairs.

    Raises:
        ValueError: an activation is not the category's, or is in two concepts of one annotator.
    """
    index_of = {activation_id: i for i, activation_id in enumerate(category.activation_ids)}
    made = {}
    for annotator, concepts in namings.items():
        names: list[str] = []
        concept = np.full(len(index_of), UNNAMED, dtype=np.int32)
        for name, activation_ids in concepts:
            for activation_id in activation_ids:
                where = f"annotator '{annotator}', category '{category.name}': activation '{activation_id}'"
                i = index_of.get(activation_id)
                if i is None:
                    raise ValueError(f"{where} in concept '{name}' is not one of the category's")
                if concept[i] not in (UNNAMED, len(names)):
                    raise ValueError(f"{where} is in two concepts, '{names[concept[i]]}' and '{name}'")
                concept[i] = len(names)
            names.append(name)
        made[annotator] = Naming(annotator, tuple(names), concept)
    return made


def clean(category: Category, naming: Naming, min_images: int = MIN_CONCEPT_IMAGES) -> Naming:
    """The naming without concepts that touch fewer than `min_images` distinct images.

    Concepts that have no name yet are set aside too [ours]: their activations are grouped, not named.
    """
    image_total = len(category.image_ids)
    cells = naming.concept[naming.named].astype(np.int64) * image_total + category.image[naming.named]
    image_counts = np.bincount(np.unique(cells) // max(image_total, 1), minlength=len(naming.concept_names))
    new_index = np.full(len(naming.concept_names) + 1, UNNAMED, dtype=np.int32)
    kept: list[str] = []
    removed: list[RemovedConcept] = []
    for c, (name, image_count) in enumerate(zip(naming.concept_names, image_counts, strict=True)):
        if not name.strip():
            removed.append(RemovedConcept("(unnamed)", int(image_count), "it has no name"))
        elif image_count < min_images:
            reason = f"it touches {_images(int(image_count))}, fewer than {min_images}"
            removed.append(RemovedConcept(name, int(image_count), reason))
        else:
            new_index[c] = len(kept)
            kept.append(name)
    # UNNAMED is -1: it picks the last entry, which stays UNNAMED.
    return replace(
        naming, concept_names=tuple(kept), concept=new_index[naming.concept], removed=tuple(removed)
    )


def _first_twice(values: Iterable[str]) -> str:
    return Counter(values).most_common(1)[0][0]


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "it has none"
