"""The tables beyond the paper's out of an analysis, and all of them together (docs/statistics.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from onoma.report.analysed import MEASURES
from onoma.report.cells import (
    DASH,
    Cell,
    Column,
    Table,
    count,
    listed,
    number,
    share,
    text,
)
from onoma.report.data import CoverageRow, NamingSummary
from onoma.report.paper_tables import (
    ANNOTATOR,
    CATEGORY,
    MOST_COLUMNS,
    Categories,
    agreement_table,
    compatibility_table,
    coverage_table,
    explanations_table,
    named_by_table,
    purity_table,
)

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


def other_measures_table(categories: Categories) -> Table:
    """Measures of agreement beside the paper's, on commonly named activations."""
    columns = [CATEGORY, Column("pairs", ("pairs", "of_pairs"))]
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
        CATEGORY,
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
    return listed(names) if len(names) <= MOST_COLUMNS else text(f"{len(names)} annotators")


def accuracy_table(categories: Categories, confidence: float) -> Table:
    """The network's accuracy by explanation, against the rest of the category; the surest losses first."""
    rows = []
    for one in categories:
        for person, explanations in (one.found["accuracy_by_explanation"] or {}).items():
            rows += [(_surely_worse(row), _accuracy_row(one.category, person, row)) for row in explanations]
    rows.sort(key=lambda row: row[0])
    columns = (
        CATEGORY,
        ANNOTATOR,
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
        CATEGORY,
        ANNOTATOR,
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
    columns = (CATEGORY, ANNOTATOR, *(Column(title, (title,), is_text=True) for title in titles))
    return Table("removed", "Concepts that were left out of every number.", columns, tuple(rows))


def labels_table(categories: Categories) -> Table:
    """What was decided of each pair of names that met in a matching."""
    rows = [
        (text(one.category), *map(text, judged["labels"]), text(judged["outcome"]), text(judged["reason"]))
        for one in categories
        for judged in one.found["labels"]
    ]
    titles = ("name", "other name", "outcome", "because")
    columns = (CATEGORY, *(Column(t, (t.replace(" ", "_"),), is_text=True) for t in titles))
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
