"""How commands speak: tables and bars for people, JSON for programs, one clear line for errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from onoma.client import DataLoss, InvalidArgument, JobFailed, RunningJob
from onoma.v1 import jobs_pb2

# Names that people gave are text, whatever brackets and colons they have.
console = Console(highlight=False, markup=False, emoji=False)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class Engine(StrEnum):
    """Where long work in shards is done."""

    LOCAL = "local"
    RAY = "ray"


EngineOption = Annotated[
    Engine, typer.Option(help="Where: in the server's process, or on its Ray cluster (docs/scale.md).")
]
_UNBOUNDED = 10_000  # columns; rich measures a table as no wider than what it is told
DEFAULT_PAGE = "http://127.0.0.1:8080"  # where `onoma up` serves it
JOB_ID_SHOWN = 8  # so much of an id as tells jobs apart
DASH = "\N{EN DASH}"  # what an undefined value (0/0) prints as


@contextmanager
def about(file: Path) -> Iterator[None]:
    """Where whatever is refused of a file's content is said with the file's name."""
    try:
        yield
    except (DataLoss, InvalidArgument, JobFailed, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error


def plain(one: Message | Mapping[str, Any]) -> Mapping[str, Any]:
    """A message as what JSON can hold; what is that already as it is."""
    if not isinstance(one, Message):
        return one
    found: dict[str, Any] = MessageToDict(
        one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def print_json(content: Message | Mapping[str, Any] | Iterable[Message | Mapping[str, Any]]) -> None:
    """Prints a message, or a list of them, as JSON with the protos' field names; what is JSON already as it is."""
    shown = plain(content) if isinstance(content, Message | Mapping) else [plain(one) for one in content]
    sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    empty: str = "",
    spare: str = "",
) -> None:
    """Prints rows under their column names; numbers are right-aligned, None is an en dash.

    Args:
        columns: a column "id" is never broken, so that it can be copied.
        empty: what is said instead where there is no row.
        spare: a column that is left out where there is no room for all.
    """
    content = [list(row) for row in rows]
    if empty and not content:
        console.print(empty)
        return
    table = _table(columns, content, title)
    if _is_too_wide(table) and spare:
        without = columns.index(spare)
        columns = [name for place, name in enumerate(columns) if place != without]
        content = [[value for place, value in enumerate(row) if place != without] for row in content]
        table = _table(columns, content, title)
    console.print(table)


def _table(columns: Sequence[str], content: Sequence[Sequence[object]], title: str) -> Table:
    """A table whose columns stand nearer to each other where it would be too wide."""
    table = Table(
        title=title or None,
        box=None,
        header_style="bold",
        title_justify="left",
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for index, name in enumerate(columns):
        is_number = any(_is_number(row[index]) for row in content)
        table.add_column(
            name, justify="right" if is_number else "left", overflow="fold", no_wrap=name == "id"
        )
    for row in content:
        table.add_row(*(_cell(value) for value in row))
    if _is_too_wide(table):
        table.padding = (0, 1, 0, 0)
    return table


def _is_too_wide(table: Table) -> bool:
    return console.measure(table, options=console.options.update_width(_UNBOUNDED)).maximum > console.width


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and value.endswith("%"))


def _cell(value: object) -> str:
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value)


def percent(share: float | None, digits: int = 1) -> str | None:
    """A share as people read it; None where it is undefined."""
    return None if share is None else f"{share:.{digits}%}"


@contextmanager
def bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar as a function of (done, total), with rate and time left; on stderr, as all that is no result."""
    with _progress() as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def bar_of_stages(description: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar a stage, as a function of (stage, done, total); a total of 0 is one that is not known."""
    with _progress() as progress:
        task: TaskID = progress.add_task(description, total=None)
        stage = ""

        def show(now: str, done: int, total: int) -> None:
            nonlocal stage, task
            if now != stage:
                if stage:
                    progress.update(task, completed=progress.tasks[task].total or 0)
                    task = progress.add_task("", total=None)
                stage = now
            label = f"{description}: {stage}" if stage else description
            progress.update(task, description=label, completed=done, total=total or None)

        yield show


def wait(job: RunningJob, description: str) -> dict[str, Any]:
    """Waits for a job behind a bar, then prints what it warned of, all of it on stderr.

    Returns:
        What the job made.
    Raises:
        JobFailed: it did not succeed.
    """
    try:
        with bar_of_stages(description) as show:
            result = job.wait(
                lambda message: show(message.stage or "waits for its turn", message.done, message.total)
            )
    except JobFailed as failed:
        if job.message.state == jobs_pb2.JOB_STATE_CANCELLED:
            raise JobFailed(
                f"{failed}; onoma job resume {job.job_id[:JOB_ID_SHOWN]} goes on with it", job.message
            ) from None
        raise
    except KeyboardInterrupt:
        errors.print(
            f"stopped waiting; the job goes on at the server: onoma job watch {job.job_id[:JOB_ID_SHOWN]} (or cancel)",
            soft_wrap=True,
        )
        raise
    for warning in job.message.warnings[:20]:
        errors.print(Text("  ! ", style="yellow") + Text(warning))
    if len(job.message.warnings) > 20:
        errors.print(f"  ... and {len(job.message.warnings) - 20} more")
    return result


class _DoneColumn(MofNCompleteColumn):
    """Nothing where it is not known how much there is."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total is not None else Text()


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "", style="progress.data.speed")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        _DoneColumn(table_column=Column(no_wrap=True)),
        _RateColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(no_wrap=True)),
        console=errors,
        transient=False,
    )


def ask(question: str, unasked: str) -> None:
    """Asks before what cannot be taken back.

    Args:
        question: with all that yes means.
        unasked: what would happen, where nobody is there to be asked.
    Raises:
        typer.Abort: no.
        ValueError: nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise ValueError(f"{unasked}, and nobody can be asked here: give --yes")
    typer.confirm(question, abort=True, err=True)


def delete(what: str, do: Callable[[], None], *, asks: bool) -> None:
    """Deletes something for good, after asking where that is wanted.

    Args:
        what: how to call it, and what goes with it.
        do: deletes it.
    Raises:
        typer.Abort: no.
        ValueError: nobody is there to be asked.
    """
    if asks:
        ask(f"{what}: delete for good?", f"{what} would be deleted for good")
    do()
    console.print(f"{what}: deleted", soft_wrap=True)
