"""Tables whose entries know how they are printed, what files hold of them, and what they rest on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from onoma.report.tables import Value, latex, latex_row, write_csv

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"
_ISOLATE, _END_ISOLATE = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
_IN_LATEX = str.maketrans(
    {DASH: "--", MINUS: "$-$", NO_BREAK: "~", "±": r"$\pm$", "≥": r"$\geq$", _ISOLATE: "", _END_ISOLATE: ""}
)


@dataclass(frozen=True, slots=True)
class Cell:
    """An entry of a table.

    Attributes:
        printed: as people read it; DASH where it is undefined.
        values: what a file for programs holds, one a name of the column's.
        note: what it rests on, or why it is undefined; shown on hover.
    """

    printed: str
    values: tuple[Value, ...]
    note: str = ""

    @property
    def is_undefined(self) -> bool:
        """Whether there is no value to print."""
        return self.printed == DASH


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        title: its heading.
        names: of the columns of the CSV file that hold it.
        is_text: set to the left, and read as text.
        group: heading over it and its neighbours of the same group; empty for none.
    """

    title: str
    names: tuple[str, ...]
    is_text: bool = False
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: stem of its files.
        caption: what its numbers are.
        columns: of every row.
        rows: each with an entry a column.
        means: the last row, of means over the others; empty for none. In files the first column says which row it is.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    means: tuple[Cell, ...] = ()

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings over the columns and how many each spans, in order; empty where no column has one."""
        found = [(group, len(list(columns))) for group, columns in groupby(self.columns, lambda c: c.group)]
        return found if any(group for group, _ in found) else []


def text(words: str) -> Cell:
    """Words."""
    return Cell(words, (words,))


def listed(names: Sequence[str], notes: Sequence[str] = ()) -> Cell:
    """Names after each other, which keep their order where some are written from right to left.

    Args:
        names: in people's words.
        notes: what follows each, in ours.
    """
    notes = notes or [""] * len(names)
    plain, printed = (
        ", ".join(f"{start}{name}{end}{note}" for name, note in zip(names, notes, strict=True))
        for start, end in (("", ""), (_ISOLATE, _END_ISOLATE))
    )
    return Cell(printed, (plain,))


def count(n: int) -> Cell:
    """A whole number."""
    return Cell(f"{n:,}", (n,))


def number(value: float | None, digits: int = 2, note: str = "") -> Cell:
    """A number; `note` says why where there is none."""
    if value is None:
        return Cell(DASH, (None,), note)
    return Cell(f"{value:z.{digits}f}".replace("-", MINUS), (value,), note)


def share(ratio: Mapping[str, Any] | None, why: str) -> Cell:
    """A share as a percentage, with its fraction on hover; in files the value and its denominator.

    Args:
        ratio: value, numerator and denominator; None for 0/0.
        why: it is undefined.
    """
    if ratio is None:
        return Cell(DASH, (None, 0), why)
    fraction = f"{ratio['numerator']:,} of {ratio['denominator']:,}"
    return Cell(f"{100 * ratio['value']:.1f}", (ratio["value"], ratio["denominator"]), fraction)


def share_names(stem: str) -> tuple[str, str]:
    """Names of the columns that hold a share."""
    return stem, f"{stem}_n"


def mean(values: Sequence[float], of: int, what: str, why: str) -> Cell:
    """The mean of the shares that are defined; in files with their number.

    Args:
        of: how many there could be.
        what: they are, for people.
        why: there is none.
    """
    if not values:
        return Cell(DASH, (None, 0), why)
    found = fmean(values)
    printed = f"{100 * found:.1f}".replace("-", MINUS)
    return Cell(printed, (found, len(values)), f"n = {len(values):,} of {of:,} {what}")


def spread(of_pairs: Mapping[str, Any], of: int) -> Cell:
    """Mean and sample standard deviation of shares, as percentages; in files also minimum, maximum and n.

    Args:
        of_pairs: a distribution of the analysis ("pair_summary").
        of: pairs there are.
    """
    values = tuple(of_pairs[key] for key in ("mean", "std_sample", "min", "max", "n"))
    mean, std, low, high, n = values
    if mean is None:
        return Cell(DASH, values, of_pairs.get("reasons", {}).get("mean", ""))
    printed = f"{100 * mean:.1f}" + ("" if std is None else f" ±{NO_BREAK}{100 * std:.1f}")
    return Cell(printed, values, f"{100 * low:.1f} to {100 * high:.1f}, n = {n:,} of {of:,} pairs")


def spread_names(stem: str) -> tuple[str, ...]:
    """Names of the columns that hold a spread."""
    return tuple(f"{stem}_{part}" for part in ("mean", "std_sample", "min", "max", "n"))


def with_means(table: Table) -> Table:
    """The table with a last row: the mean of each column of shares over the categories where it is defined.

    A mean over fewer than all says in brackets over how many.
    """
    of = len(table.rows)
    means = [text("")]
    for place, column in enumerate(table.columns[1:], start=1):
        of_column = [row[place].values[0] for row in table.rows]
        shares = [value for value in of_column if isinstance(value, float)]
        nothing = [None] * (len(column.names) - 1)
        if any(isinstance(value, int) for value in of_column):
            means.append(Cell("", (None, *nothing)))  # counts have no mean here
            continue
        cell = mean(shares, of, "categories", "it is defined in no category")
        n = [*nothing[:-1], len(shares)] if nothing else []
        printed = f"{cell.printed}{NO_BREAK}({len(shares):,})" if 0 < len(shares) < of else cell.printed
        means.append(replace(cell, printed=printed, values=(cell.values[0], *n)))
    is_of_fewer = any(cell.printed.endswith(")") for cell in means)
    means[0] = Cell(f"mean of {of:,}" + (", or of (n)" if is_of_fewer else ""), ("",))
    return replace(table, means=tuple(means))


def write(table: Table, folder: Path) -> list[Path]:
    """Writes a table as NAME.csv and NAME.tex.

    Raises:
        OSError: the folder cannot be written to.
    """
    stem = folder / table.name
    names = [name for column in table.columns for name in column.names]
    rows: Iterable[list[Value]] = map(_values, table.rows)
    if table.means:
        names = ["row", *names]
        rows = chain((["category", *row] for row in rows), [["mean", *_values(table.means)]])
    written = write_csv(stem.with_name(f"{table.name}.csv"), names, rows)
    path = stem.with_name(f"{table.name}.tex")
    path.write_text(_latex(table), encoding="utf-8")
    return [*written, path]


def _values(row: Sequence[Cell]) -> list[Value]:
    return [value for cell in row for value in cell.values]


def _latex(table: Table) -> str:
    lines = [
        r"% needs \usepackage{booktabs}",
        *(f"% {line}" for line in table.caption.splitlines()),
        r"\begin{tabular}{" + "".join("l" if column.is_text else "r" for column in table.columns) + "}",
        r"\toprule",
        *_latex_groups(table.groups),
        " & ".join(latex(column.title) for column in table.columns) + r" \\",
        r"\midrule",
        *(latex_row(map(_latex_cell, row)) for row in table.rows),
        *([r"\midrule", latex_row(map(_latex_cell, table.means))] if table.means else []),
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]
    return "\n".join(lines)


def _latex_groups(groups: Sequence[tuple[str, int]]) -> list[str]:
    """The row of headings over columns, and the rules under them."""
    if not groups:
        return []
    headings, rules, place = [], [], 1
    for group, span in groups:
        headings.append(rf"\multicolumn{{{span}}}{{c}}{{{latex(group)}}}" if group else "& " * (span - 1))
        if group:
            rules.append(rf"\cmidrule(lr){{{place}-{place + span - 1}}}")
        place += span
    return [" & ".join(headings) + r" \\", " ".join(rules)]


def _latex_cell(cell: Cell) -> str:
    return latex(cell.printed).translate(_IN_LATEX)
