"""Every statistic of one category, in the form of worked_example.json's "expected".

Undefined numbers are None; the object that holds one says why under "reasons", by the same key.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from statistics import fmean
from zlib import crc32

import numpy as np

from onoma.science.agreement import (
    Chance,
    PairAgreement,
    Shuffled,
    by_name,
    named_or_not,
    pair_agreement,
    shuffled_agreement,
    spread,
)
from onoma.science.analysis_options import Options
from onoma.science.consensus import Join, Member, SharedConcept, consensus
from onoma.science.coverage import Coverage, coverage, coverage_by_any, named_by_exactly
from onoma.science.drawn_pair import drawn_pair
from onoma.science.labels import Compatibility, Judgement, MatchedLabels, Vocabulary, compatibility
from onoma.science.matching import Kind, Matching
from onoma.science.plain_numbers import Json, plain_ratio, plain_ratios, plain_spread, put
from onoma.science.practice_answers import practice_answers
from onoma.science.purity import purity
from onoma.science.study_data import Category, Naming
from onoma.science.study_file import ALL_TOGETHER, StudyFile
from onoma.science.summary import OTHER, UNLABELED, Reading, summary

_READINGS = {
    "explanation_summary_table4_style": Reading.NAMED_ONLY,
    "explanation_summary_section33_style": Reading.WITH_OTHER,
}
SHUFFLES_OF_A_PAIR = 10
"""Of the one_to_one baseline, whose shuffles cost microseconds, however many pairs there are."""

EXAMPLES = 6
"""Images that are told of each explanation; a page shows no more."""
_NO_COMMON = "no activation is named by both"
_NO_ACTIVATION = "the category has no significant activation"
_NO_NAMED = "no activation is named"


def analyse_category(
    file: StudyFile,
    options: Options,
    name: str,
    progress: Callable[[int], None] = lambda _done: None,
) -> Json:
    """Analyses a category.

    Args:
        progress: called with the pairs of namings done.
    Returns:
        "expected" and "other_measures", each in worked_example.json's form.
    """
    category = file.study.categories[name]
    namings = [by_name(naming) for naming in file.study.cleaned(name)]
    judge = _Judge(file.vocabulary)
    keys = pair_keys(file.study.annotators)
    shuffles = _shuffles_of_pairs(name, namings, options)
    pairs: Json = {}
    others: Json = {}
    chance: list[Shuffled] = []
    summaries: dict[str, list[float | None]] = {}
    joins: list[Join] = []
    closest: tuple[PairAgreement, Naming, Naming] | None = None
    for done, (left, right) in enumerate(combinations(namings, 2) if options.with_pairs else (), start=1):
        annotators = left.annotator, right.annotator
        key = keys[annotators]
        pair = pair_agreement(left, right, options.time_limit_s)
        counts, seed = shuffles[annotators]
        by_chance = shuffled_agreement(left, right, counts, seed, options.time_limit_s) if counts else {}
        chance.append(by_chance)
        pairs[key] = _pair(pair, left, right, judge, by_chance, summaries)
        others[key] = _partitions(pair)
        joins += _joins(pair)
        if pair.common > (closest[0].common if closest else 0):
            closest = (pair, left, right)
        progress(done)
    expected = {
        "n": {
            "images": len(category.image_ids) - category.left_out_count,
            "images_left_out": category.left_out_count,
            "activations": len(category.activation_ids),
            "annotators": len(namings),
        },
        "warnings": list(_warnings(namings)),
        "clusters_kept": {naming.annotator: list(naming.concept_names) for naming in namings},
        "clusters_removed": {n.annotator: sorted(removed.name for removed in n.removed) for n in namings},
        "removed_because": {
            n.annotator: [{"name": removed.name, "reason": removed.reason} for removed in n.removed]
            for n in namings
        },
        "coverage": _coverages(category, namings),
        "named_by_exactly_n": {
            str(n): plain_ratio(ratio) for n, ratio in enumerate(named_by_exactly(category, namings))
        },
        "purity": {
            naming.annotator: plain_ratios({"CX": pure.cx, "XC": pure.xc}, _NO_NAMED)
            for naming in namings
            for pure in [purity(category, naming)]
        },
        "pairs": pairs,
        "pair_summary": {
            key: plain_spread(spread(summaries.get(key, ()))) for key in ["jaccard", *_KEYS_OF_KINDS]
        },
        "chance": _chance(chance, options),
        **{
            key: {naming.annotator: _summary(category, naming, reading) for naming in namings}
            for key, reading in _READINGS.items()
        },
        "labels": judge.told(),
        "consensus": [_shared(concept) for concept in consensus(category, namings, joins)],
        **practice_answers(file, category, namings, options.confidence),
    }
    put(
        expected,
        "most_in_common",
        closest and drawn_pair(*closest),
        "no pair has a commonly named activation",
    )
    if not category.activation_ids:
        expected.setdefault("reasons", {})["named_by_exactly_n"] = _NO_ACTIVATION
    agreed = named_or_not(namings)
    other: Json = {
        "pairs": others,
        "reasons": {key: _why_not_compared(pairs[key]) for key, of in others.items() if of is None},
    }
    put(other, "named_unnamed_fleiss_kappa", agreed.fleiss_kappa, agreed.reason)
    put(other, "named_unnamed_krippendorff_alpha", agreed.krippendorff_alpha, agreed.reason)
    return {"expected": expected, "other_measures": other}


_COMPATS = ("exact_compat", "subset_compat", "ambiguous_compat")
_KEYS_OF_KINDS = [
    *(kind.value for kind in Kind),
    *(f"{kind.value}_{compat}" for kind in Kind for compat in _COMPATS),
]


class _Judge:
    """Judges labels, each pair of them once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._known: dict[tuple[str, str], Judgement] = {}

    def __call__(self, left: str, right: str) -> Judgement:
        key = (left, right) if left <= right else (right, left)
        if key not in self._known:
            self._known[key] = self._vocabulary.judge(*key)
        return self._known[key]

    def told(self) -> list[Json]:
        """What was judged, and why."""
        return [
            {
                "labels": list(labels),
                "outcome": judged.outcome.value,
                "reason": judged.reason,
                "by_hand": judged.by_hand,
            }
            for labels, judged in sorted(self._known.items())
        ]


def pair_keys(annotators: Sequence[str]) -> dict[tuple[str, str], str]:
    """What each pair is called in the statistics: "left-right", numbered where an earlier pair is called so."""
    keys: dict[tuple[str, str], str] = {}
    taken = set()
    for pair in combinations(annotators, 2):
        key, number = "-".join(pair), 1
        while key in taken:
            number += 1
            key = f"{'-'.join(pair)} ({number})"
        taken.add(key)
        keys[pair] = key
    return keys


def _shuffles_of_pairs(
    category: str, namings: Sequence[Naming], options: Options
) -> dict[tuple[str, str], tuple[dict[Kind, int], tuple[int, int]]]:
    """How many shuffles each pair gets, and a seed of its own, whatever the order of the annotators."""
    seeds = {}
    for left, right in combinations(namings, 2):
        names = sorted((left.annotator, right.annotator))
        seeds[left.annotator, right.annotator] = crc32("\0".join([category, *names]).encode())
    each, more = divmod(options.shuffles, len(seeds)) if seeds else (0, 0)
    by_chance = sorted(seeds, key=lambda pair: (seeds[pair], pair))
    found = {}
    for rank, pair in enumerate(by_chance):
        count = each + (rank < more)
        counts = dict.fromkeys(Kind, count)
        counts[Kind.ONE_TO_ONE] = max(count, min(SHUFFLES_OF_A_PAIR, options.shuffles))
        counts = {kind: count for kind, count in counts.items() if count}
        found[pair] = (counts, (options.seed, seeds[pair]))
    return found


def _pair(
    pair: PairAgreement,
    left: Naming,
    right: Naming,
    judge: _Judge,
    by_chance: Shuffled,
    summaries: dict[str, list[float | None]],
) -> Json:
    found: Json = {
        "annotators": [pair.left, pair.right],
        "common": pair.common,
        "union": pair.jaccard.denominator,
    }
    put(found, "jaccard", plain_ratio(pair.jaccard), "neither names an activation")
    add_value(summaries, "jaccard", pair.jaccard.value)
    weight_of = pair.graph.weight_of
    for kind in Kind:
        key = kind.value
        if not pair.matchings:
            put(found, key, None, _NO_COMMON)
            for name in (key, *(f"{key}_{compat}" for compat in _COMPATS)):
                add_value(summaries, name, None)
            continue
        matching = pair.matchings[kind]
        compatible = compatibility(
            MatchedLabels(
                left.concept_names[one],
                right.concept_names[other],
                weight_of[one, other],
                judge(left.concept_names[one], right.concept_names[other]),
            )
            for one, other in matching.edges
        )
        found[key] = _matching(pair, matching, left, right, compatible, by_chance)
        add_value(summaries, key, pair.agreement(kind).value)
        shares = (compatible.exact, compatible.subset, compatible.ambiguous)
        for compat, share in zip(_COMPATS, shares, strict=True):
            add_value(summaries, f"{key}_{compat}", share.value)
    return found


def _matching(
    pair: PairAgreement,
    matching: Matching,
    left: Naming,
    right: Naming,
    compatible: Compatibility,
    by_chance: Shuffled,
) -> Json:
    found: Json = {
        "weight": matching.value,
        "upper_bound": matching.upper_bound,
        "status": matching.status,
        "several_optima": matching.several_optima,
        "lexicographically_first": matching.lexicographically_first,
        "agreement": plain_ratio(pair.agreement(matching.kind)),
        "sets": [
            [
                [left.concept_names[c] for c in part.left],
                [right.concept_names[c] for c in part.right],
            ]
            for part in matching.sets
        ],
        "exact_compat": plain_ratio(compatible.exact),
        "subset_compat": plain_ratio(compatible.subset),
        "ambiguous_compat": plain_ratio(compatible.ambiguous),
        "edges": compatible.edge_count,
        "edges_judged_by_hand": compatible.by_hand_count,
    }
    if matching.several_optima is None:
        found["reasons"] = {"several_optima": matching.several_unknown}
    chance = by_chance.get(matching.kind, Chance(unknown="no shuffle of this pair was made"))
    put(found, "chance", _mean(chance.values), chance.unknown)
    if chance.at_least:
        found["chance_at_least"] = _mean(chance.at_least)
    return found


def _mean(values: Sequence[float]) -> Json | None:
    return {"value": fmean(values), "shuffles": len(values)} if values else None


def _joins(pair: PairAgreement) -> Iterator[Join]:
    """The concepts that the one-to-one matching pairs, for the consensus."""
    if not pair.matchings:
        return
    graph = pair.graph
    weight_of = graph.weight_of
    left_sizes = np.bincount(graph.left, graph.weight, graph.left_count).astype(np.int64).tolist()
    right_sizes = np.bincount(graph.right, graph.weight, graph.right_count).astype(np.int64).tolist()
    for one, other in pair.matchings[Kind.ONE_TO_ONE].edges:
        yield Join(
            Member(pair.left, one),
            Member(pair.right, other),
            weight_of[one, other],
            left_sizes[one],
            right_sizes[other],
        )


def _chance(chance: Sequence[Shuffled], options: Options) -> Json:
    """Agreement by chance: the mean over the pairs that have one of each pair's mean over its shuffles."""
    found: Json = {"pairs_in_all": len(chance)}
    for kind in Kind:
        of_pairs = [shuffled[kind] for shuffled in chance if kind in shuffled]
        solved = [of_pair for of_pair in of_pairs if of_pair.values]
        if solved:
            found[kind.value] = {
                "value": fmean(fmean(of_pair.values) for of_pair in solved),
                "shuffles": sum(len(of_pair.values) for of_pair in solved),
                "pairs": len(solved),
            }
        else:
            why = _NO_COMMON
            if not options.shuffles:
                why = "no shuffles were asked for"
            elif not chance:
                why = "it needs two annotators"
            elif of_pairs:
                why = of_pairs[0].unknown
            put(found, kind.value, None, why)
        bounded = [of_pair.values or of_pair.at_least for of_pair in of_pairs]
        if len(solved) < len(of_pairs):
            found[f"{kind.value}_at_least"] = {
                "value": fmean(fmean(values) for values in bounded),
                "shuffles": sum(map(len, bounded)),
                "pairs": len(bounded),
            }
    return found


def _partitions(pair: PairAgreement) -> Json | None:
    measures = pair.partitions
    if measures is None:
        return None
    return {
        "common": pair.common,
        "ari": measures.ari,
        "ami": measures.ami,
        "nmi": measures.v_measure,
        "v_measure": measures.v_measure,
        "vi_nats": measures.variation_of_information,
        "bcubed_precision": measures.bcubed_precision,
        "bcubed_recall": measures.bcubed_recall,
    }


def _coverages(category: Category, namings: Sequence[Naming]) -> Json:
    found = {naming.annotator: _coverage(coverage(category, naming), _NO_ACTIVATION) for naming in namings}
    why = _NO_ACTIVATION if namings else "nobody named the category"
    found[ALL_TOGETHER] = _coverage(coverage_by_any(category, namings), why)
    return found


def _coverage(covered: Coverage, why: str) -> Json:
    ratios = {
        "activation": covered.activation,
        "partial": covered.partial,
        "complete": covered.complete,
    }
    if covered.complete_by_one_annotator is not None:
        ratios["complete_by_one_annotator"] = covered.complete_by_one_annotator
    return plain_ratios(ratios, why)


def _summary(category: Category, naming: Naming, reading: Reading) -> list[Json]:
    counted = summary(category, naming, reading)
    return [
        {
            "labels": list(row.names),
            "images": len(row.image_ids),
            "examples": list(row.image_ids[:EXAMPLES]),
            "percent": 100 * counted.share(row),
        }
        for row in counted.rows
    ]


def _shared(concept: SharedConcept) -> Json:
    return {
        "names": [{"name": name, "annotators": count} for name, count in concept.names],
        "support": plain_ratio(concept.support),
        "members": [list(member) for member in concept.members],
        "dissenters": list(concept.dissenters),
        "activations": concept.activation_count,
    }


def _why_not_compared(pair: Json) -> str:
    return "the naming has too many concepts" if pair["common"] else _NO_COMMON


def _warnings(namings: Sequence[Naming]) -> Iterator[str]:
    for naming in namings:
        seen: dict[str, str] = {}
        for name in naming.concept_names:
            same = seen.setdefault(name.casefold(), name)
            if same is not name:
                yield f"annotator '{naming.annotator}' has concepts '{same}' and '{name}': they count as two"
        for name in (OTHER, UNLABELED):
            if name in naming.concept_names:
                yield (
                    f"annotator '{naming.annotator}' has a concept '{name}', which is what summaries call what nobody "
                    "named: they do not tell the two apart"
                )


def add_value(values: dict[str, list[float | None]], key: str, value: float | None) -> None:
    """Appends one to the values of that key."""
    values.setdefault(key, []).append(value)
