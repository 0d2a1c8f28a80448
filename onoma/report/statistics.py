"""The tables of the paper, and those beyond it, out of an analysis (docs/statistics.md)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from onoma.report.cells import DASH, Cell, Column, Table, count, number, share, spread, spread_names, text
from onoma.report.tables import write_csv
from onoma.science.matching import Kind

Categories = Mapping[str, Mapping[str, Any]]
"""The analysis' "expected", by category."""

KINDS = {Kind.ONE_TO_ONE: "one to one", Kind.ONE_TO_MANY: "one to many", Kind.BICLIQUE: "biclique"}
_FITS = ("exact", "subset", "ambiguous")
_MOST_COLUMNS = 8  # annotators that get a column each
_CATEGORY = Column("category", ("category",), is_text=True)
_ANNOTATOR = Column("annotator", ("annotator",), is_text=True)
_OTHER = {
    "ari": ("adjusted Rand", "mean over pairs"),
    "ami": ("adjusted mutual information", "mean over pairs"),
    "v_measure": ("V-measure", "mean over pairs"),
    "vi_nats": ("variation of information, nats", "mean over pairs; 0 is agreement"),
    "bcubed_precision": ("B-cubed precision", "mean over pairs"),
    "bcubed_recall": ("B-cubed recall", "mean over pairs"),
}


def purity_table(categories: Categories, key: str, number_in_paper: int) -> Table:
    """CX- or XC-purity (paper, Tables 2 and 3): a column an annotator, of many their extremes and mean.

    Args:
        key: "CX" or "XC".
    """
    people = list(dict.fromkeys(name for found in categories.values() for name in found["purity"]))
    caption = f"Table {number_in_paper}. {key}-purity, %: " + (
        "how far each concept holds activations of one X-feature."
        if key == "CX"
        else "how far each X-feature's named activations lie in one concept."
    )

    def of(found: Mapping[str, Any], person: str) -> Cell:
        purity = found["purity"].get(person)
        if purity is None:
            return Cell(DASH, (None,), f"{person} has not begun to name it")
        return share(purity[key], purity.get("reasons", {}).get(key, ""))

    few = len(people) <= _MOST_COLUMNS
    rows = []
    for category, found in categories.items():
        cells = [of(found, person) for person in people]
        rows.append((text(category), *(cells if few else ()), *_low_mean_high(cells, few=few)))
    columns = [Column(person, (person,)) for person in people] if few else []
    names = ("mean",) if few else ("lowest", "mean", "highest")
    columns += [Column(name, (f"{key}_{name}",)) for name in names]
    return _with_means(Table(f"{key.lower()}_purity", caption, (_CATEGORY, *columns), tuple(rows)))


def _low_mean_high(cells: Sequence[Cell], *, few: bool) -> tuple[Cell, ...]:
    defined = [float(value) for cell in cells for value in cell.values if value is not None]
    note = f"n = {len(defined)} of {len(cells)} annotators" if defined else "it is defined for no annotator"
    made = (
        [fmean(defined)]
        if few and defined
        else [min(defined), fmean(defined), max(defined)]
        if defined
        else []
    )
    return tuple(Cell(f"{100 * value:.1f}", (value,), note) for value in made) or (
        Cell(DASH, (None,), note),
    ) * (1 if few else 3)


def _with_means(table: Table) -> Table:
    """The table with a last row: the mean of each column over the categories where it is defined."""
    means: list[Cell] = [text("mean")]
    for place in range(1, len(table.columns)):
        of_column = [row[place].values[0] for row in table.rows]
        defined = [value for value in of_column if isinstance(value, float)]
        if any(isinstance(value, int) for value in of_column):
            means.append(text(""))  # counts
        elif defined:
            note = f"n = {len(defined)} of {len(table.rows)} categories"
            means.append(Cell(f"{100 * fmean(defined):.1f}", (fmean(defined),), note))
        else:
            means.append(Cell(DASH, (None,), "it is defined in no category"))
    return Table(table.name, table.caption, table.columns, table.rows, tuple(means))


def numbers_of_annotators(categories: Categories) -> range:
    """0, 1, ... to the most annotators of a category: how many may name an activation."""
    most = (int(n) for found in categories.values() for n in found["named_by_exactly_n"] if n.isdigit())
    return range(max(most, default=-1) + 1)


def named_by_table(categories: Categories) -> Table:
    """Share of the activations that exactly n annotators name (paper, Figure 6)."""
    numbers = numbers_of_annotators(categories)
    rows = []
    for category, found in categories.items():
        shares = found["named_by_exactly_n"]
        cells = [
            share(shares[str(n)], "the category has no significant activation") if str(n) in shares
            else Cell(DASH, (None,), "the category has fewer annotators")
            for n in numbers
        ]  # fmt: skip
        rows.append((text(category), count(found["n"]["activations"]), *cells))
    columns = (
        Column("activations", ("activations",)),
        *(Column(f"by {n}", (f"by_{n}",)) for n in numbers),
    )
    caption = "Activations that exactly n annotators name, % (Figure 6)."
    return _with_means(Table("named_by", caption, (_CATEGORY, *columns), tuple(rows)))


def explanations_table(categories: Categories) -> Table:
    """The distinct explanations of each category (paper, Table 4)."""
    rows = [
        (
            text(category),
            text(person),
            text(", ".join(one["labels"])),
            count(one["images"]),
            number(one["percent"], 1),
        )
        for category, found in categories.items()
        for person, explanations in found["explanation_summary_table4_style"].items()
        for one in explanations
    ]
    explanation = Column("explanation", ("explanation",), is_text=True)
    columns = (_CATEGORY, _ANNOTATOR, explanation, Column("images", ("images",)), Column("%", ("percent",)))
    return Table("explanations", "Table 4. The explanations of each category's images.", columns, tuple(rows))


def agreement_table(categories: Categories) -> Table:
    """Jaccard and agreement by each matching, beside chance (paper, Table 5)."""
    columns = [_CATEGORY, Column("pairs", ("pairs",)), Column("Jaccard", spread_names("jaccard"))]
    for kind, title in KINDS.items():
        columns += [
            Column("agreement", spread_names(kind.value), group=title),
            Column("chance", (f"{kind.value}_chance",), group=title),
            Column("proven", (f"{kind.value}_proven", f"{kind.value}_matchings"), group=title),
            _several_column(kind, title),
        ]
    rows = []
    for category, found in categories.items():
        pairs = found["pairs"]
        cells = [text(category), count(len(pairs)), spread(found["pair_summary"]["jaccard"], len(pairs))]
        for kind in KINDS:
            matched = [pair[kind.value] for pair in pairs.values() if pair[kind.value] is not None]
            proven = sum(matching["status"] == "optimal" for matching in matched)
            gap = max((m["upper_bound"] / m["weight"] - 1 for m in matched if m["weight"]), default=0.0)
            note = (
                "" if proven == len(matched) else f"the others are at most {100 * gap:.1f} % from the bound"
            )
            cells += [
                spread(found["pair_summary"][kind.value], len(pairs)),
                _chance(found["chance"], kind.value),
                Cell(f"{proven:,} of {len(matched):,}", (proven, len(matched)), note),
                _several(matched),
            ]
        rows.append(tuple(cells))
    caption = (
        "Table 5. Agreement of pairs of annotators, %, mean ± standard deviation over pairs: Jaccard on what is named; "
        "activations inside each matching of their concepts over those that both named; the same for shuffled namings; "
        "how many matchings are proven optimal; and how many pairs have several optima, of which the first is taken."
    )
    return _with_means(Table("agreement", caption, tuple(columns), tuple(rows)))


def _several_column(kind: Kind, group: str) -> Column:
    names = (f"{kind.value}_pairs_with_several_optima", f"{kind.value}_pairs_settled")
    return Column("several", names, group=group)


def _several(matched: Sequence[Mapping[str, Any]]) -> Cell:
    """Pairs whose matching is one of several optima, of the pairs where that is settled."""
    settled = [matching for matching in matched if matching["several_optima"] is not None]
    several = sum(matching["several_optima"] for matching in settled)
    open_ones = len(matched) - len(settled)
    if not settled:
        return Cell(DASH, (None, 0), "it is settled for no pair")
    note = f"not settled for {open_ones:,} of {len(matched):,} pairs" if open_ones else ""
    return Cell(f"{several:,} of {len(settled):,}", (several, len(settled)), note)


def _chance(chance: Mapping[str, Any], key: str) -> Cell:
    found = chance[key]
    if found is None:
        return Cell(DASH, (None,), chance.get("reasons", {}).get(key, ""))
    note = f"{found['shuffles']:,} shuffles over {found['pairs']:,} pairs"
    return Cell(f"{100 * found['value']:.1f}", (found["value"],), note)


def compatibility_table(categories: Categories) -> Table:
    """How far names of matched concepts fit (paper, Table 6)."""
    columns, rows = [_CATEGORY], []
    for kind, title in KINDS.items():
        for fit in _FITS:
            columns.append(Column(fit, spread_names(f"{kind.value}_{fit}"), group=title))
        columns.append(_several_column(kind, title))
    columns.append(Column("edges by hand", ("edges_judged_by_hand", "edges")))
    for category, found in categories.items():
        cells, by_hand, edges = [], 0, 0
        for kind in KINDS:
            matched = [pair[kind.value] for pair in found["pairs"].values() if pair[kind.value] is not None]
            by_hand += sum(matching["edges_judged_by_hand"] for matching in matched)
            edges += sum(matching["edges"] for matching in matched)
            of_kind = (found["pair_summary"][f"{kind.value}_{fit}_compat"] for fit in _FITS)
            cells += [*(spread(of_pairs, len(found["pairs"])) for of_pairs in of_kind), _several(matched)]
        rows.append((text(category), *cells, Cell(f"{by_hand:,} of {edges:,}", (by_hand, edges))))
    caption = (
        "Table 6. Activations of matched concepts whose names fit, % of those inside the matching, mean ± standard "
        "deviation over pairs. Subset includes exact; ambiguous names do not fit, and are in neither. Several: pairs "
        "with several optima, where names depend on which is taken. Last: matched edges whose names a person judged."
    )
    return _with_means(Table("compatibility", caption, tuple(columns), tuple(rows)))


def other_measures_table(others: Categories) -> Table:
    """Measures of agreement beside the paper's, on commonly named activations.

    Args:
        others: the analysis' "other_measures_on_commonly_named".
    """
    columns = [_CATEGORY, *(Column(title, (key,)) for key, (title, _) in _OTHER.items())]
    columns += [
        Column("Fleiss' kappa", ("fleiss_kappa",)),
        Column("Krippendorff's alpha", ("krippendorff_alpha",)),
    ]
    rows = []
    for category, found in others.items():
        known = [pair for pair in found["pairs"].values() if pair is not None]
        cells = []
        for key, (_, note) in _OTHER.items():
            note = (
                f"{note}, n = {len(known)} of {len(found['pairs'])}"
                if known
                else "no pair has an activation in common"
            )
            cells.append(number(fmean(pair[key] for pair in known) if known else None, 2, note))
        for key in ("named_unnamed_fleiss_kappa", "named_unnamed_krippendorff_alpha"):
            cells.append(number(found[key], 2, found.get("reasons", {}).get(key, "on named against unnamed")))
        rows.append((text(category), *cells))
    caption = (
        "Other measures, on the activations that both of a pair named; the last two on named against unnamed."
    )
    return Table("other_measures", caption, tuple(columns), tuple(rows))


def consensus_table(categories: Categories) -> Table:
    """Which concepts of all annotators are one, and what they are called."""
    rows = []
    for category, found in categories.items():
        for concept in found["consensus"]:
            names = ", ".join(f"{one['name'] or 'unnamed'} ({one['annotators']})" for one in concept["names"])
            support = concept["support"]
            printed = DASH if support is None else f"{support['numerator']} of {support['denominator']}"
            numbers = (None, None) if support is None else (support["numerator"], support["denominator"])
            rows.append(
                (text(category), text(names), Cell(printed, numbers), count(concept["activations"]),
                 text(_few(concept["dissenters"])))
            )  # fmt: skip
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


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _MOST_COLUMNS else f"{len(names)} annotators"


def accuracy_table(categories: Categories) -> Table:
    """The network's accuracy by explanation, against the rest of the category; the surest losses first."""
    rows = []
    for category, found in categories.items():
        for person, explanations in (found["accuracy_by_explanation"] or {}).items():
            rows += [(_surely_worse(one), _accuracy_row(category, person, one)) for one in explanations]
    rows.sort(key=lambda row: row[0])
    columns = (
        _CATEGORY,
        _ANNOTATOR,
        Column("explanation", ("explanation",), is_text=True),
        Column("images", ("images",)),
        Column("accuracy", ("accuracy",)),
        Column("interval", ("accuracy_low", "accuracy_high")),
        Column("of the rest", ("rest",)),
        Column("difference, points", ("difference",)),
        Column("interval", ("difference_low", "difference_high")),
    )
    caption = (
        "Accuracy of the network, %, among the images with an explanation and among the rest of their category, with "
        "95 % intervals (Wilson; Newcombe for the difference). The surest losses come first; several explanations are "
        "looked at, and intervals are not corrected for that."
    )
    return Table("accuracy", caption, columns, tuple(row for _, row in rows))


def _surely_worse(one: Mapping[str, Any]) -> float:
    interval = one["difference_interval"]
    return 2.0 if interval is None else float(interval[1])


def _accuracy_row(category: str, person: str, one: Mapping[str, Any]) -> tuple[Cell, ...]:
    reasons = one.get("reasons", {})
    difference = one["difference"]
    return (
        text(category),
        text(person),
        text(", ".join(one["labels"])),
        count(one["accuracy"]["denominator"]),
        share(one["accuracy"], ""),
        _interval(one["interval"], ""),
        share(one["rest"], reasons.get("rest", "")),
        Cell(DASH, (None,), reasons.get("difference", ""))
        if difference is None
        else number(100 * difference, 1),
        _interval(one["difference_interval"], reasons.get("difference_interval", "")),
    )


def _interval(ends: Sequence[float] | None, why: str) -> Cell:
    if ends is None:
        return Cell(DASH, (None, None), why)
    low, high = (number(100 * end, 1).printed for end in ends)
    return Cell(f"{low} to {high}", tuple(ends))


def places_table(categories: Categories) -> Table:
    """How much of each concept's maps lies on the object; those outside come first."""
    rows = []
    for category, found in categories.items():
        for person, concepts in (found["concept_places"] or {}).items():
            for one in concepts:
                inside = one["inside"]
                why = one.get("reasons", {}).get("inside", "")
                cell = (
                    Cell(DASH, (None,), why)
                    if inside is None
                    else number(100 * inside, 1, f"n = {one['n']} maps")
                )
                mark = "outside" if one["outside"] else ""
                known = (count(one["n"]), count(one["n_by_points"]))
                cells = (text(category), text(person), text(one["name"]), cell, *known, text(mark))
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
        (text(category), text(person), text(removed["name"]), text(removed["reason"]))
        for category, found in categories.items()
        for person, concepts in found["removed_because"].items()
        for removed in concepts
    ]
    titles = ("concept", "because")
    columns = (_CATEGORY, _ANNOTATOR, *(Column(title, (title,), is_text=True) for title in titles))
    return Table("removed", "Concepts that were left out of every number.", columns, tuple(rows))


def labels_table(categories: Categories) -> Table:
    """What was decided of each pair of names that met in a matching."""
    rows = [
        (text(category), *map(text, judged["labels"]), text(judged["outcome"]), text(judged["reason"]))
        for category, found in categories.items()
        for judged in found["labels"]
    ]
    titles = ("name", "other name", "outcome", "because")
    columns = (_CATEGORY, *(Column(t, (t.replace(" ", "_"),), is_text=True) for t in titles))
    return Table(
        "labels", "Names that met in a matching, and what they are to each other.", columns, tuple(rows)
    )


def tables(analysis: Mapping[str, Any]) -> dict[str, Table]:
    """Every table of an analysis that has a row, by its name."""
    categories: Categories = analysis["expected"]
    others: Categories = analysis["other_measures_on_commonly_named"]
    made = (
        purity_table(categories, "CX", 2),
        purity_table(categories, "XC", 3),
        named_by_table(categories),
        explanations_table(categories),
        agreement_table(categories),
        compatibility_table(categories),
        other_measures_table(others),
        consensus_table(categories),
        accuracy_table(categories),
        places_table(categories),
        removed_table(categories),
        labels_table(categories),
    )
    return {table.name: table for table in made if table.rows}


def write_pairs_csv(path: Path, categories: Categories) -> list[Path]:
    """Every pair of annotators in every category, each matching with its bound and status."""
    of_kind = ("weight", "upper_bound", "status", "several_optima", "agreement", "chance", "exact_compat",
               "subset_compat", "ambiguous_compat", "edges", "edges_judged_by_hand")  # fmt: skip
    header = ["category", "annotator", "other_annotator", "common", "union", "jaccard"]
    header += [f"{kind.value}_{key}" for kind in KINDS for key in of_kind]

    def rows() -> Iterable[list[Any]]:
        for category, found in categories.items():
            for pair in found["pairs"].values():
                row = [category, *pair["annotators"], pair["common"], pair["union"], _value(pair["jaccard"])]
                for kind in KINDS:
                    matching = pair[kind.value] or {}
                    row += [_value(matching.get(key)) for key in of_kind]
                yield row

    return write_csv(path, header, rows())


def _value(found: Any) -> Any:
    return found["value"] if isinstance(found, Mapping) else found
