"""How far annotators agree: on what to name, on how to group it, and beyond chance (paper, Table 5)."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, pstdev, stdev

import numpy as np
from numpy.typing import NDArray

from onoma.science.analysis_options import TIME_LIMIT_S
from onoma.science.matching import (
    ConceptSet,
    Kind,
    Matching,
    best_value,
    good_value,
    match_all,
)
from onoma.science.overlaps import DENSE_CELLS, Overlaps, overlaps, overlaps_of_cells, overlaps_of_table
from onoma.science.partitions import PartitionMeasures, compare_partitions
from onoma.science.study_data import UNNAMED, Naming, Ratio

_NUMBERS_AT_ONCE = 1_000_000  # of shuffles that are made together


@dataclass
class Chance:
    """Agreement of shuffled namings by one matching.

    Attributes:
        values: of each shuffle that was solved with proof.
        at_least: where shuffles are too large for that: of each, what some matching reaches.
        unknown: why there are fewer values than were asked for, otherwise empty.
    """

    values: list[float] = field(default_factory=list)
    at_least: list[float] = field(default_factory=list)
    unknown: str = ""


Shuffled = Mapping[Kind, Chance]


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
        graph: which concepts share activations.
        jaccard: activations named by both, over those named by either.
        matchings: by kind, over the namings as they were given; empty where no activation is named by both.
        partitions: other measures, on the commonly named activations; None where there is none.
    """

    left: str
    right: str
    graph: Overlaps
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
        return PairAgreement(
            left.annotator, right.annotator, turned.graph.turned, turned.jaccard, matchings, partitions
        )
    graph = overlaps(left, right)
    either = int((left.named | right.named).sum())
    return PairAgreement(
        left.annotator,
        right.annotator,
        graph,
        Ratio(graph.total, either),
        match_all(graph, time_limit_s=time_limit_s) if graph.total else {},
        compare_partitions(graph.table()) if graph.cells <= DENSE_CELLS else None,
    )


def shuffled_agreement(
    left: Naming,
    right: Naming,
    counts: Mapping[Kind, int],
    seed: Sequence[int],
    time_limit_s: float = TIME_LIMIT_S,
) -> Shuffled:
    """Agreement by chance: one naming's concepts are shuffled over the commonly named activations.

    Args:
        counts: shuffles of each matching; the matchings look at the same ones.
        seed: of the random numbers.
        time_limit_s: for all of it; what a matching leaves of its share goes to the others.
    Returns:
        By matching; none where no activation is named by both.
    """
    if left.annotator > right.annotator:
        left, right = right, left  # so that a seed gives the same shuffles either way
    both = left.named & right.named
    common = int(both.sum())
    if common == 0:
        return {}
    end = time.monotonic() + time_limit_s
    found: dict[Kind, Chance] = {}
    for kind, count in counts.items():
        now = time.monotonic()
        deadline = now + max(end - now, 0) / (len(counts) - len(found))
        found[kind] = chance = Chance()
        for shuffle in _shuffles(left.concept[both], right.concept[both], count, np.random.default_rng(seed)):
            value, proven = _value(shuffle, kind, deadline)
            late = time.monotonic() > deadline
            if proven:
                chance.values.append(value / common)
            elif not (late and chance.values):
                chance.at_least.append(value / common)
                chance.unknown = "a shuffle is too large to be solved with proof"
            if late:
                break
        if chance.at_least:
            # The solved ones are easy because their matching takes much: alone, they would say too much.
            chance.at_least += chance.values
            chance.values.clear()
        made = len(chance.values) + len(chance.at_least)
        if made < count:
            chance.unknown = f"the time limit ended the shuffles after {made} of {count}"
    return found


def _shuffles(
    left: NDArray[np.int32], right: NDArray[np.int32], count: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64] | Overlaps]:
    """The contingency tables of `count` shuffles; where one would be too large, its graph.

    Args:
        left, right: (n,) concepts of the commonly named activations.
    """
    # Concepts without a commonly named activation are no part of it.
    left_used, row = np.unique(left, return_inverse=True)
    right_used, column = np.unique(right, return_inverse=True)
    rows, columns = left_used.size, right_used.size
    cells = rows * columns
    at_once = max(1, min(count, _NUMBERS_AT_ONCE // max(column.size, cells)))
    for start in range(0, count, at_once):
        many = min(at_once, count - start)
        cell = row * columns + rng.permuted(np.broadcast_to(column, (many, column.size)), axis=1)
        if cells > DENSE_CELLS:
            for of_shuffle in cell:
                yield overlaps_of_cells(of_shuffle, rows, columns)
            continue
        cell += cells * np.arange(many)[:, None]
        yield from np.bincount(cell.ravel(), minlength=many * cells).reshape(many, rows, columns)


def _value(shuffle: NDArray[np.int64] | Overlaps, kind: Kind, deadline: float) -> tuple[int, bool]:
    """Activations inside the best matching, and True; inside a good one, and False, where the best is not proven."""
    if not isinstance(shuffle, Overlaps):
        best = best_value(shuffle, kind, deadline)
        if best is not None:
            return best, True
        shuffle = overlaps_of_table(shuffle)
    return good_value(shuffle, kind, deadline)


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
