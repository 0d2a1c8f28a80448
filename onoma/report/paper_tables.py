"""The tables of the paper, and its figures in numbers, out of an analysis (docs/statistics.md)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

from onoma.report.analysed import PAIR_COLUMNS, AnalysedCategory, MatchingCounts
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
MOST_COLUMNS = 8  # annotators that get a column each
CATEGORY = Column("category", ("category",), is_text=True)
ANNOTATOR = Column("annotator", ("annotator",), is_text=True)
_COMMON = PAIR_COLUMNS.index("common")
_FITS = ("exact", "subset", "ambiguous")


def purity_table(categories: Categories, key: str, number_in_paper: int) -> Table:
    """CX- or XC-purity (paper, Tables 2 and 3): a column an annotator, of many their extremes and mean.

    Args:
        key: "CX" or "XC".
    """
    people = list(dict.fromkeys(name for one in categories for name in one.found["purity"]))
    few = len(people) <= MOST_COLUMNS
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
    return with_means(Table(name, caption, (CATEGORY, *columns), tuple(rows)))


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
        CATEGORY,
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
    return with_means(Table("figure6_named_by", caption, (CATEGORY, *columns), tuple(rows)))


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
        CATEGORY,
        ANNOTATOR,
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
        CATEGORY,
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
    columns, rows = [CATEGORY, Column("pairs", ("pairs",))], []
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
