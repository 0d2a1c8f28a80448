"""How far annotators agree: on what to name, on how to group it, and beyond chance (paper, Table 5)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev, stdev

import numpy as np

from onoma.science.matching import TIME_LIMIT_S, ConceptSet, Kind, Matching, best_value, match_all
from onoma.science.overlaps import DENSE_CELLS, overlaps
from onoma.science.partitions import PartitionMeasures, compare_partitions
from onoma.science.study_data import UNNAMED, Naming, Ratio

Shuffled = Mapping[Kind, tuple[float, ...] | None]
"""Agreement by each matching of every shuffle; None where a shuffle is too large to be solved with proof."""


@dataclass(frozen=True)
class Spread:
    """Distribution of a measure over pairs; None where undefined.

    Attributes:
        n: values that are defined; the rest are left out.
        min, mean, max: of these.
        std_sample: with n - 1, None below two values.
        std_population: with n.
    """

    n: int
    min: float | None
    mean: float | None
    max: float | None
    std_sample: float | None
    std_population: float | None


@dataclass(frozen=True)
class PairAgreement:
    """Two annotators' agreement in one category.

    Attributes:
        left, right: the annotators.
        jaccard: activations named by both, over those named by either.
        matchings: by kind, over the namings as they were given; empty where no activation is named by both.
        partitions: other measures, on the commonly named activations; None where there is none.
    """

    left: str
    right: str
    jaccard: Ratio
    matchings: Mapping[Kind, Matching]
    partitions: PartitionMeasures | None

    @property
    def common(self) -> int:
        """Activations that are named by both."""
        return self.jaccard.numerator

    def agreement(self, kind: Kind) -> Ratio:
        """Activations inside the matching, over the commonly named ones; 0/0 where there is none."""
        return Ratio(self.matchings[kind].value if self.matchings else 0, self.common)


@dataclass(frozen=True)
class NamedOrNot:
    """Agreement of all annotators on whether an activation is named; None where undefined.

    Attributes:
        fleiss_kappa: (Fleiss 1971).
        krippendorff_alpha: nominal (Krippendorff 2011).
        reason: why both are undefined, otherwise empty.
    """

    fleiss_kappa: float | None
    krippendorff_alpha: float | None
    reason: str = ""


def by_name(naming: Naming) -> Naming:
    """The naming with its concepts in the order of their names.

    The lexicographically first optimum of a matching then does not depend on who stored which concept first.
    """
    order = sorted(range(len(naming.concept_names)), key=lambda c: (naming.concept_names[c], c))
    new_index = np.full(len(order) + 1, UNNAMED, dtype=np.int32)
    new_index[order] = np.arange(len(order))
    # UNNAMED is -1: it picks the last entry, which stays UNNAMED.
    return replace(
        naming,
        concept_names=tuple(naming.concept_names[c] for c in order),
        concept=new_index[naming.concept],
    )


def pair_agreement(left: Naming, right: Naming, time_limit_s: float = TIME_LIMIT_S) -> PairAgreement:
    """Agreement of two cleaned namings of one category.

    Left and right may change places: of several optimal matchings, the annotator whose name sorts first decides.

    Raises:
        ValueError: the namings are of different activations, or the time limit is not positive.
    """
    if left.annotator > right.annotator:
        turned = pair_agreement(right, left, time_limit_s)
        partitions = turned.partitions and replace(
            turned.partitions,
            bcubed_precision=turned.partitions.bcubed_recall,
            bcubed_recall=turned.partitions.bcubed_precision,
        )
        matchings = {kind: _turned(matching) for kind, matching in turned.matchings.items()}
        return PairAgreement(left.annotator, right.annotator, turned.jaccard, matchings, partitions)
    graph = overlaps(left, right)
    either = int((left.named | right.named).sum())
    return PairAgreement(
        left.annotator,
        right.annotator,
        Ratio(graph.total, either),
        match_all(graph, time_limit_s=time_limit_s) if graph.total else {},
        compare_partitions(graph.table()) if graph.cells <= DENSE_CELLS else None,
    )


def shuffled_agreement(left: Naming, right: Naming, count: int, rng: np.random.Generator) -> Shuffled:
    """Agreement by chance: one naming's concepts are shuffled over the commonly named activations.

    Args:
        count: shuffles, at least 1.
    Returns:
        `count` values a kind; no kind where no activation is named by both.
    """
    if left.annotator > right.annotator:
        left, right = right, left  # so that a seed gives the same shuffles either way
    both = left.named & right.named
    common = int(both.sum())
    if common == 0:
        return {}
    # Concepts without a commonly named activation are no part of it.
    left_used, left_concept = np.unique(left.concept[both], return_inverse=True)
    right_used, right_concept = np.unique(right.concept[both], return_inverse=True)
    shape = (left_used.size, right_used.size)
    values: dict[Kind, list[float] | None] = {kind: [] for kind in Kind}
    for _ in range(count):
        cell = left_concept * shape[1] + rng.permutation(right_concept)
        table = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
        for kind, sofar in values.items():
            value = None if sofar is None else best_value(table, kind)
            if sofar is None or value is None:
                values[kind] = None
            else:
                sofar.append(value / common)
    return {kind: None if sofar is None else tuple(sofar) for kind, sofar in values.items()}


def spread(values: Iterable[float | None]) -> Spread:
    """Distribution of the values that are defined."""
    defined = [value for value in values if value is not None]
    if not defined:
        return Spread(0, None, None, None, None, None)
    return Spread(
        len(defined),
        min(defined),
        fmean(defined),
        max(defined),
        stdev(defined) if len(defined) > 1 else None,
        pstdev(defined),
    )


def named_or_not(namings: Sequence[Naming]) -> NamedOrNot:
    """Fleiss' kappa and Krippendorff's alpha over the activations, with the answers 'named' and 'not named'."""
    if len(namings) < 2:
        return NamedOrNot(None, None, "it needs two annotators")
    named = np.sum([naming.named for naming in namings], axis=0, dtype=np.int64)
    raters, activations = len(namings), named.size
    answers = raters * activations
    yes = int(named.sum())
    if activations == 0:
        return NamedOrNot(None, None, "there is no significant activation")
    if yes in (0, answers):
        return NamedOrNot(None, None, f"every annotator names {'all' if yes else 'none'} of the activations")
    disagreeing = float((named * (raters - named)).mean()) * 2 / (raters * (raters - 1))
    share = yes / answers
    return NamedOrNot(
        fleiss_kappa=1 - disagreeing / (2 * share * (1 - share)),
        krippendorff_alpha=1 - disagreeing * (answers - 1) / answers / (2 * share * (1 - share)),
    )


def _turned(matching: Matching) -> Matching:
    sets = sorted((ConceptSet(part.right, part.left) for part in matching.sets), key=lambda part: part.left)
    return replace(matching, sets=tuple(sets))
