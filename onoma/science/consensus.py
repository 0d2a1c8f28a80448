"""Which concepts of several annotators are one concept: a step towards a shared vocabulary (paper, section 5)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from onoma.science.study_data import Category, Naming, Ratio

LEAST_SHARED = 0.5
"""Of the smaller concept's commonly named activations, the share that a join of two must have [ours]."""


class Member(NamedTuple):
    """An annotator's concept, by its index in the annotator's naming."""

    annotator: str
    concept: int


@dataclass(frozen=True)
class Join:
    """Two annotators' concepts that a matching of their namings pairs.

    Attributes:
        one, other: the concepts.
        weight: activations in both.
        one_size, other_size: activations of each that are named by both annotators.
    """

    one: Member
    other: Member
    weight: int
    one_size: int
    other_size: int

    @property
    def likeness(self) -> float:
        """Activations in both over those in either, in (0, 1]."""
        return self.weight / (self.one_size + self.other_size - self.weight)


@dataclass(frozen=True)
class SharedConcept:
    """A concept that annotators share, or that one has alone.

    Attributes:
        names: with how many annotators use each, most frequent first; case apart, the names are as given.
        members: whose concept it is, and what they call it.
        support: annotators who have it, over those who named the category.
        dissenters: those who did not name such a concept.
        activation_count: activations that at least half of its annotators put there.
    """

    names: tuple[tuple[str, int], ...]
    members: tuple[tuple[str, str], ...]
    support: Ratio
    dissenters: tuple[str, ...]
    activation_count: int


def consensus(
    category: Category, namings: Sequence[Naming], joins: Iterable[Join]
) -> tuple[SharedConcept, ...]:
    """The shared vocabulary of a category.

    Every concept is a group of its own at first; joins make one group of two. They are taken from the most alike to
    the least; one that would put two concepts of an annotator into one is passed over, since the annotator tells them
    apart.

    Args:
        namings: cleaned.
        joins: from the pairwise matchings.
    Returns:
        Concepts by falling support, then by falling activations, then by name.
    """
    group_of = {
        member: [member]
        for naming in namings
        for member in (Member(naming.annotator, c) for c in range(len(naming.concept_names)))
    }
    for join in sorted(joins, key=_from_the_most_alike):
        if join.weight < LEAST_SHARED * min(join.one_size, join.other_size):
            continue
        one, other = group_of[join.one], group_of[join.other]
        if {member.annotator for member in one}.isdisjoint(member.annotator for member in other):
            one += other
            group_of.update(dict.fromkeys(other, one))
    groups = {id(group): group for group in group_of.values()}.values()
    by_annotator = {naming.annotator: naming for naming in namings}
    shared = [_shared(category, by_annotator, sorted(group)) for group in groups]
    return tuple(
        sorted(
            shared,
            key=lambda concept: (-concept.support.numerator, -concept.activation_count, concept.names),
        )
    )


def _from_the_most_alike(join: Join) -> tuple[float, int, list[Member]]:
    """Ties do not depend on who was invited first."""
    return -join.likeness, -join.weight, sorted((join.one, join.other))


def _shared(category: Category, namings: dict[str, Naming], members: Sequence[Member]) -> SharedConcept:
    votes = np.zeros(len(category.activation_ids), dtype=np.int64)
    for member in members:
        votes += namings[member.annotator].concept == member.concept
    named = tuple(
        (member.annotator, namings[member.annotator].concept_names[member.concept]) for member in members
    )
    spellings: dict[str, Counter[str]] = {}
    for _, name in named:
        spellings.setdefault(name.casefold(), Counter())[name] += 1
    names = sorted(
        ((most_frequent(counts), counts.total()) for counts in spellings.values()),
        key=lambda item: (-item[1], item[0]),
    )
    having = {annotator for annotator, _ in named}
    return SharedConcept(
        tuple(names),
        named,
        Ratio(len(having), len(namings)),
        tuple(annotator for annotator in namings if annotator not in having),
        int((2 * votes >= len(members)).sum()),
    )


def most_frequent(counts: Counter[str]) -> str:
    """The most frequent word; of equals, the one that sorts first."""
    return min(counts, key=lambda word: (-counts[word], word))
