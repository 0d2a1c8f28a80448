"""The tables of the paper, and those beyond it, out of an analysis (docs/statistics.md)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

from onoma.report.analysed import MEASURES, PAIR_COLUMNS, AnalysedCategory, MatchingCounts
from onoma.report.cells import (
    DASH,
    Cell,
    Column,
    Table,
    count,
    listed,
    mean,
    number,
    share,
    share_names,
    spread,
    spread_names,
    text,
    with_means,
)
from onoma.report.data import CoverageRow, NamingSummary
from onoma.science.matching import Kind

Categories = Sequence[AnalysedCategory]

KINDS = {Kind.ONE_TO_ONE: "one to one", Kind.ONE_TO_MANY: "one to many", Kind.BICLIQUE: "biclique"}
_COMMON = PAIR_COLUMNS.index("common")
_FITS = ("exact", "subset", "ambiguous")
_MOST_COLUMNS = 8  # annotators that get a column each
_CATEGORY = Column("category", ("category",), is_text=True)
_ANNOTATOR = Column("annotator", ("annotator",), is_text=True)
_MEASURES = {
    "ari": "adjusted Rand",
    "ami": "adjusted mutual information",
    "v_measure": "V-measure",
    "vi_nats": "variation of information, nats",
    "bcubed_precision": "B-cubed precision",
    "bcubed_recall": "B-cubed recall",
}
_KAPPAS = {
    "named_unnamed_fleiss_kappa": ("Fleiss' kappa", "fleiss_kappa"),
    "named_unnamed_krippendorff_alpha": ("Krippendorff's alpha", "krippendorff_alpha"),
}


def purity_table(categories: Categories, key: str, number_in_paper: int) -> Table:
    """CX- or XC-purity (paper, Tables 2 and 3): a column an annotator, of many their extremes and mean.

    Args:
        key: "CX" or "XC".
    """
    people = list(dict.fromkeys(name for one in categories for name in one.found["purity"]))
    few = len(people) <= _MOST_COLUMNS
    caption = f"Table {number_in_paper}. {key}-purity, % of the named activations: " + (
        "how far each concept holds activations of one X-feature."
        if key == "CX"
        else "how far each X-feature's named activations lie in one concept."
    )
    rows = []
    for one in categories:
        cells = [_purity(one.found["purity"].get(person), key, person) for person in people]
        defined = [float(cell.values[0]) for cell in cells if cell.values[0] is not None]
        middle = mean(defined, len(people), "annotators", "it is defined for no annotator")
        ends = [replace(middle, printed=f"{100 * end:.1f}", values=(end, len(defined)))
                for end in (min(defined), max(defined))] if defined else [middle, middle]  # fmt: skip
        rows.append((text(one.category), *((*cells, middle) if few else (ends[0], middle, ends[1]))))
    stems = _stems(people, {"row", "category", *share_names(f"{key}_mean")})
    columns = [Column(person, share_names(stems[person])) for person in people] if few else []
    names = ("mean",) if few else ("lowest", "mean", "highest")
    columns += [Column(name, share_names(f"{key}_{name}")) for name in names]
    name = f"table{number_in_paper}_{key.lower()}_purity"
    return with_means(Table(name, caption, (_CATEGORY, *columns), tuple(rows)))


def _stems(people: Sequence[str], taken: Iterable[str]) -> dict[str, str]:
    """What each person's columns are named after: the person, numbered where others have one of these names."""
    stems: dict[str, str] = {}
    used = set(taken)
    for person in people:
        stem, n = person, 2
        while used.intersection(share_names(stem)):
            stem, n = f"{person} ({n})", n + 1
        used.update(share_names(stem))
        stems[person] = stem
    return stems


def _purity(purity: Mapping[str, Any] | None, key: str, person: str) -> Cell:
    if purity is None:
        return Cell(DASH, (None, 0), f"{person} has not begun to name it")
    return share(purity[key], purity.get("reasons", {}).get(key, ""))


def coverage_table(coverage: Sequence[CoverageRow]) -> Table:
    """How much is named, by category and annotator (paper, Figures 3 to 5)."""
    rows = []
    for row in coverage:
        covered = partial(_covered, why=_why_uncovered(row))
        removed = replace(listed(row.removed_concepts), values=("; ".join(row.removed_concepts),))
        rows.append(
            (
                text(row.category),
                text(row.annotator) if row.annotator else Cell("any annotator", ("",)),
                covered(row.activation),
                count(row.activation_count),
                covered(row.partial),
                covered(row.complete),
                Cell("", (None,)) if row.annotator else covered(row.complete_by_one_annotator),
                count(row.image_count),
                count(row.left_out_count),
                count(row.concept_count) if row.annotator else Cell("", (None,)),
                replace(removed, printed="none") if row.annotator and not row.removed_concepts else removed,
            )
        )
    columns = (
        _CATEGORY,
        Column("named by", ("annotator",), is_text=True),
        Column("named, %", ("activation",), group="activations"),
        Column("n", ("activations",), group="activations"),
        Column("partly named, %", ("partial",), group="images"),
        Column("wholly named, %", ("complete",), group="images"),
        Column("wholly by one, %", ("complete_by_one_annotator",), group="images"),
        Column("n", ("images",), group="images"),
        Column("left out", ("images_left_out",), group="images"),
        Column("kept", ("concepts",), group="concepts"),
        Column("removed", ("removed_concepts",), is_text=True, group="concepts"),
    )
    caption = "Figures 3 to 5 in numbers. 'Any annotator': named by at least one; wholly by one: by one of them alone."
    return Table("figures_3_to_5_coverage", caption, columns, tuple(rows))


def _covered(value: float | None, why: str) -> Cell:
    return Cell(DASH, (None,), why) if value is None else Cell(f"{100 * value:.1f}", (value,))


def _why_uncovered(row: CoverageRow) -> str:
    """Why a share of a category's activations or images is 0/0."""
    if not row.activation_count:
        return f"no image of {row.category} has a significant activation"
    return f"{row.annotator or 'nobody'} has {'not ' if row.annotator else ''}begun to name {row.category}"


def numbers_of_annotators(categories: Categories) -> range:
    """0, 1, ... to the most annotators of a category: how many may name an activation."""
    most = max((len(one.found["named_by_exactly_n"]) for one in categories), default=0)
    return range(most)


def named_by_table(categories: Categories) -> Table:
    """Share of the activations that exactly n annotators name (paper, Figure 6)."""
    numbers = numbers_of_annotators(categories)
    rows = []
    for one in categories:
        shares = one.found["named_by_exactly_n"]
        cells = [
            share(shares[str(n)], "the category has no significant activation") if str(n) in shares
            else Cell(DASH, (None, 0), "the category has fewer annotators")
            for n in numbers
        ]  # fmt: skip
        rows.append((text(one.category), count(one.found["n"]["activations"]), *cells))
    columns = (
        Column("activations", ("activations",)),
        *(Column(f"by {n}", share_names(f"by_{n}")) for n in numbers),
    )
    caption = "Figure 6 in numbers. Activations that exactly n annotators name, %."
    return with_means(Table("figure6_named_by", caption, (_CATEGORY, *columns), tuple(rows)))


def explanations_table(summaries: Sequence[NamingSummary]) -> Table:
    """The distinct explanations of each category (paper, Table 4)."""
    rows = tuple(
        (
            text(summary.category),
            text(summary.annotator),
            listed(row.names),
            count(row.image_count),
            count(summary.image_count),
            number(100 * row.share, 1, f"{row.image_count:,} of {summary.image_count:,}"),
        )
        for summary in summaries
        for row in summary.named_only
    )
    columns = (
        _CATEGORY,
        _ANNOTATOR,
        Column("explanation", ("explanation",), is_text=True),
        Column("images", ("images",)),
        Column("of", ("of_images",)),
        Column("%", ("percent",)),
    )
    caption = "Table 4. The explanations of each category's images with a significant activation."
    return Table("table4_explanations", caption, columns, rows)


def agreement_table(categories: Categories) -> Table:
    """Jaccard and agreement by each matching, beside chance (paper, Table 5)."""
    columns = [
        _CATEGORY,
        Column("pairs", ("pairs",)),
        Column("in common", ("common_min", "common_mean", "common_max")),
        Column("Jaccard", spread_names("jaccard")),
    ]
    for kind, title in KINDS.items():
        columns += [
            Column("agreement", spread_names(kind.value), group=title),
            Column("chance", tuple(f"{kind.value}_chance{end}" for end in ("", "_at_least", "_shuffles", "_n")),
                   group=title),
            Column("proven", (f"{kind.value}_proven", f"{kind.value}_matchings"), group=title),
            _several_column(kind, title),
        ]  # fmt: skip
    rows = []
    for one in categories:
        of_pairs = one.found["pair_summary"]
        cells = [
            text(one.category),
            count(one.pair_count),
            _in_common(one),
            spread(of_pairs["jaccard"], one.pair_count),
        ]
        for kind in KINDS:
            counts = one.matchings[kind]
            cells += [
                spread(of_pairs[kind.value], one.pair_count),
                _chance(one.found["chance"], kind.value),
                _proven(counts),
                _several(counts),
            ]
        rows.append(tuple(cells))
    caption = (
        "Table 5. Agreement of pairs of annotators, %, mean ± standard deviation over pairs: how many activations both "
        "named, from the fewest to the most; Jaccard on what is named; activations inside each matching of their "
        "concepts over those that both named; the same for shuffled namings; how many matchings are proven optimal; "
        "and how many pairs have several optima, of which the first is taken."
    )
    return with_means(Table("table5_agreement", caption, tuple(columns), tuple(rows)))


def _in_common(category: AnalysedCategory) -> Cell:
    """Activations that both of a pair named: what its agreement rests on."""
    counts = [int(row[_COMMON] or 0) for row in category.pair_rows]
    if not counts:
        return Cell(DASH, (None, None, None), "there is no pair")
    low, high, middle = min(counts), max(counts), fmean(counts)
    printed = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return Cell(printed, (low, middle, high), f"{middle:,.1f} on average of {len(counts):,} pairs")


def _proven(counts: MatchingCounts) -> Cell:
    is_all = counts.proven == counts.matched
    note = "" if is_all else f"the others are at most {100 * counts.gap:.1f} % from the bound"
    return Cell(f"{counts.proven:,} of {counts.matched:,}", (counts.proven, counts.matched), note)


def _several_column(kind: Kind, group: str) -> Column:
    names = (f"{kind.value}_pairs_with_several_optima", f"{kind.value}_pairs_settled")
    return Column("several", names, group=group)


def _several(counts: MatchingCounts) -> Cell:
    """Pairs whose matching is one of several optima, of the pairs where that is settled."""
    if not counts.settled:
        return Cell(DASH, (None, 0), "it is settled for no pair")
    left_open = counts.matched - counts.settled
    note = f"not settled for {left_open:,} of {counts.matched:,} pairs" if left_open else ""
    return Cell(f"{counts.several:,} of {counts.settled:,}", (counts.several, counts.settled), note)


def _chance(chance: Mapping[str, Any], key: str) -> Cell:
    found, at_least = chance[key], chance.get(f"{key}_at_least")
    known = found or at_least
    if known is None:
        return Cell(DASH, (None, None, 0, 0), chance.get("reasons", {}).get(key, ""))
    note = f"{known['shuffles']:,} shuffles over {known['pairs']:,} of {chance['pairs_in_all']:,} pairs"
    if at_least:
        note += f"; at least {100 * at_least['value']:.1f} over {at_least['pairs']:,}: some are not solved with proof"
    ends = (found and found["value"], at_least and at_least["value"])
    printed = f"{100 * known['value']:.1f}" if found else f"≥ {100 * known['value']:.1f}"
    return Cell(printed, (*ends, known["shuffles"], known["pairs"]), note)


def compatibility_table(categories: Categories) -> Table:
    """How far names of matched concepts fit (paper, Table 6)."""
    columns, rows = [_CATEGORY, Column("pairs", ("pairs",))], []
    for kind, title in KINDS.items():
        columns += [Column(fit, spread_names(f"{kind.value}_{fit}"), group=title) for fit in _FITS]
        columns.append(_several_column(kind, title))
    columns.append(Column("edges by hand", ("edges_judged_by_hand", "edges")))
    for one in categories:
        cells = [text(one.category), count(one.pair_count)]
        for kind, counts in one.matchings.items():
            of_kind = (one.found["pair_summary"][f"{kind.value}_{fit}_compat"] for fit in _FITS)
            cells += [*(spread(of_pairs, one.pair_count) for of_pairs in of_kind), _several(counts)]
        by_hand = sum(counts.by_hand for counts in one.matchings.values())
        edges = sum(counts.edges for counts in one.matchings.values())
        rows.append((*cells, Cell(f"{by_hand:,} of {edges:,}", (by_hand, edges))))
    caption = (
        "Table 6. Activations of matched concepts whose names fit, % of those inside the matching, mean ± standard "
        "deviation over pairs. Subset includes exact; ambiguous names do not fit, and are in neither. Several: pairs "
        "with several optima, where names depend on which is taken. Last: matched edges whose names a person judged."
    )
    return with_means(Table("table6_compatibility", caption, tuple(columns), tuple(rows)))


def other_measures_table(categories: Categories) -> Table:
    """Measures of agreement beside the paper's, on commonly named activations."""
    columns = [_CATEGORY, Column("pairs", ("pairs", "of_pairs"))]
    columns += [Column(title, (key,)) for key, title in _MEASURES.items()]
    columns += [
        Column("activations", ("activations",)),
        *(Column(title, (key,)) for title, key in _KAPPAS.values()),
    ]
    rows = []
    for one in categories:
        compared = f"{one.compared_count:,} of {one.pair_count:,}"
        note = f"mean over {compared} pairs"
        cells = [text(one.category), Cell(compared, (one.compared_count, one.pair_count))]
        for key in MEASURES:
            known = one.measures[key] is not None
            cells.append(number(one.measures[key], 2, note if known else "no pair could be compared"))
        cells.append(count(one.found["n"]["activations"]))
        for key in _KAPPAS:
            note = f"n = {one.found['n']['activations']:,} activations, {one.found['n']['annotators']:,} annotators"
            cells.append(number(one.kappa[key], 2, one.kappa.get("reasons", {}).get(key, note)))
        rows.append(tuple(cells))
    caption = (
        "Other measures: means over the pairs that have commonly named activations, on these; a variation of "
        "information of 0 is agreement. The last two are of all annotators, on named against unnamed."
    )
    return Table("other_measures", caption, tuple(columns), tuple(rows))


def consensus_table(categories: Categories) -> Table:
    """Which concepts of all annotators are one, and what they are called."""
    rows = []
    for one in categories:
        for concept in one.found["consensus"]:
            names = listed(
                [name["name"] or "unnamed" for name in concept["names"]],
                [f" ({name['annotators']})" for name in concept["names"]],
            )
            support = concept["support"]
            cell = (
                Cell(DASH, (None, 0), "the category has no annotator")
                if support is None
                else Cell(
                    f"{support['numerator']} of {support['denominator']}",
                    (support["numerator"], support["denominator"]),
                )
            )
            without = _few(concept["dissenters"])
            rows.append((text(one.category), names, cell, count(concept["activations"]), without))
    columns = (
        _CATEGORY,
        Column("names, with how many use them", ("names",), is_text=True),
        Column("support", ("annotators", "of_annotators")),
        Column("activations", ("activations",)),
        Column("without it", ("dissenters",), is_text=True),
    )
    caption = (
        "Concepts that annotators share: matched ones that have at least half of the smaller one in common."
    )
    return Table("consensus", caption, columns, tuple(rows))


def _few(names: Sequence[str]) -> Cell:
    return listed(names) if len(names) <= _MOST_COLUMNS else text(f"{len(names)} annotators")


def accuracy_table(categories: Categories, confidence: float) -> Table:
    """The network's accuracy by explanation, against the rest of the category; the surest losses first."""
    rows = []
    for one in categories:
        for person, explanations in (one.found["accuracy_by_explanation"] or {}).items():
            rows += [(_surely_worse(row), _accuracy_row(one.category, person, row)) for row in explanations]
    rows.sort(key=lambda row: row[0])
    columns = (
        _CATEGORY,
        _ANNOTATOR,
        Column("explanation", ("explanation",), is_text=True),
        Column("images", ("images",)),
        Column("accuracy", ("accuracy",)),
        Column("interval", ("accuracy_low", "accuracy_high")),
        Column("the rest", ("rest_images",)),
        Column("accuracy", ("rest",)),
        Column("difference, points", ("difference",)),
        Column("interval", ("difference_low", "difference_high")),
    )
    caption = (
        "Accuracy of the network, %, among the images with an explanation and among the rest of their category, with "
        f"{100 * confidence:g} % intervals (Wilson; Newcombe for the difference). The surest losses come first; "
        "several explanations are looked at, and intervals are not corrected for that."
    )
    return Table("accuracy", caption, columns, tuple(row for _, row in rows))


def _surely_worse(one: Mapping[str, Any]) -> float:
    interval = one["difference_interval"]
    return 2.0 if interval is None else float(interval[1])


def _accuracy_row(category: str, person: str, one: Mapping[str, Any]) -> tuple[Cell, ...]:
    reasons = one.get("reasons", {})
    here, rest, difference = one["accuracy"], one["rest"], one["difference"]
    return (
        text(category),
        text(person),
        listed(one["labels"]),
        count(here["denominator"]),
        _value_of(here, ""),
        _interval(one["interval"], ""),
        count(rest["denominator"] if rest else 0),
        _value_of(rest, reasons.get("rest", "")),
        Cell(DASH, (None,), reasons.get("difference", ""))
        if difference is None
        else number(100 * difference, 1),
        _interval(one["difference_interval"], reasons.get("difference_interval", "")),
    )


def _value_of(ratio: Mapping[str, Any] | None, why: str) -> Cell:
    """A share whose denominator has a column of its own."""
    cell = share(ratio, why)
    return replace(cell, values=cell.values[:1])


def _interval(ends: Sequence[float] | None, why: str) -> Cell:
    if ends is None:
        return Cell(DASH, (None, None), why)
    low, high = (number(100 * end, 1).printed for end in ends)
    return Cell(f"{low} to {high}", tuple(ends))


def places_table(categories: Categories) -> Table:
    """How much of each concept's maps lies on the object; those outside come first."""
    rows = []
    for category in categories:
        for person, concepts in (category.found["concept_places"] or {}).items():
            for one in concepts:
                inside = one["inside"]
                why = one.get("reasons", {}).get("inside", "")
                cell = (
                    Cell(DASH, (None,), why)
                    if inside is None
                    else number(100 * inside, 1, f"n = {one['n']:,} maps")
                )
                mark = "outside" if one["outside"] else ""
                known = (count(one["n"]), count(one["n_by_points"]))
                cells = (text(category.category), text(person), text(one["name"]), cell, *known, text(mark))
                rows.append((2.0 if inside is None else inside, cells))
    rows.sort(key=lambda row: row[0])
    columns = (
        _CATEGORY,
        _ANNOTATOR,
        Column("concept", ("concept",), is_text=True),
        Column("inside, %", ("inside",)),
        Column("maps", ("maps",)),
        Column("by points", ("maps_by_points",)),
        Column("", ("outside",), is_text=True),
    )
    caption = (
        "Mean share of the mass of a concept's maps that lies on the object: inside its bounding box or, for the maps "
        "counted under 'by points', near its part points, where a picture has no box. Below one half a concept counts "
        "as outside."
    )
    return Table("places", caption, columns, tuple(row for _, row in rows))


def removed_table(categories: Categories) -> Table:
    """Concepts that were left out before anything was counted."""
    rows = [
        (text(one.category), text(person), text(concept["name"]), text(concept["reason"]))
        for one in categories
        for person, removed in one.found["removed_because"].items()
        for concept in removed
    ]
    titles = ("concept", "because")
    columns = (_CATEGORY, _ANNOTATOR, *(Column(title, (title,), is_text=True) for title in titles))
    return Table("removed", "Concepts that were left out of every number.", columns, tuple(rows))


def labels_table(categories: Categories) -> Table:
    """What was decided of each pair of names that met in a matching."""
    rows = [
        (text(one.category), *map(text, judged["labels"]), text(judged["outcome"]), text(judged["reason"]))
        for one in categories
        for judged in one.found["labels"]
    ]
    titles = ("name", "other name", "outcome", "because")
    columns = (_CATEGORY, *(Column(t, (t.replace(" ", "_"),), is_text=True) for t in titles))
    return Table(
        "labels", "Names that met in a matching, and what they are to each other.", columns, tuple(rows)
    )


def tables(
    categories: Categories,
    summaries: Sequence[NamingSummary],
    coverage: Sequence[CoverageRow],
    confidence: float,
) -> dict[str, Table]:
    """Every table of a study that has a row, by its name.

    Args:
        confidence: of the intervals.
    """
    made = (
        coverage_table(coverage),
        purity_table(categories, "CX", 2),
        purity_table(categories, "XC", 3),
        explanations_table(summaries),
        agreement_table(categories),
        compatibility_table(categories),
        named_by_table(categories),
        other_measures_table(categories),
        consensus_table(categories),
        accuracy_table(categories, confidence),
        places_table(categories),
        removed_table(categories),
        labels_table(categories),
    )
    return {table.name: table for table in made if table.rows}
