"""`onoma job`: long work on the servers, which goes on whether a command waits for it or not."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer

from onoma.cli.output import JOB_ID_SHOWN, Json, console, print_json, print_table, wait
from onoma.client import Client, RunningJob
from onoma.client.jobs import ENDED
from onoma.enum_names import names_of
from onoma.v1 import jobs_pb2

app = typer.Typer(no_args_is_help=True, help="Jobs: imports, trainings, maps.")

_SHOWN = 20
_WHY = 60  # characters of why a job failed
JobId = Annotated[str, typer.Argument(help="Id of the job, or how it begins, as `onoma job list` has it.")]


@app.command("list")
def list_jobs(
    all_jobs: Annotated[
        bool, typer.Option("--all", help=f"All, not the last {_SHOWN}; --json has all.")
    ] = False,
    json: Json = False,
) -> None:
    """List the jobs, latest first."""
    with Client() as client:
        jobs = (job.message for job in client.list_jobs())
        shown = list(jobs if all_jobs or json else islice(jobs, _SHOWN))
        is_more = next(jobs, None) is not None
        study_names = {study.study_id: study.name for study in client.list_studies()}
    if json:
        print_json(shown)
        return
    has_failed = any(job.error for job in shown)
    print_table(
        ("id", "job", "of", "state", "done", "asked for", *["why"] * has_failed),
        [
            (
                job.job_id[:JOB_ID_SHOWN],
                job.kind,
                study_names.get(job.subject, job.subject),
                _state(job),
                _share(job),
                f"{_asked_for(job):%m-%d %H:%M}",
                *[_why(job)] * has_failed,
            )
            for job in shown
        ],
        empty="no job yet",
        spare="asked for",
    )
    if is_more:
        console.print(f"the last {_SHOWN}; --all lists those before them too")


@app.command()
def watch(job: JobId, json: Json = False) -> None:
    """Wait for a job behind a bar, and say what it made; fails as it does."""
    with Client() as client:
        _wait(_found(client, job), json)


@app.command()
def cancel(job: JobId) -> None:
    """Stop a job at its next safe point; what it did so far stays."""
    with Client() as client:
        found = _found(client, job)
        found.cancel()
        state = found.message.state
        if state in (jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED):
            raise ValueError(
                f"{found.message.kind} {found.job_id} has ended already: {_state(found.message)}"
            )
        asked = "is asked to stop" if state == jobs_pb2.JOB_STATE_RUNNING else "is cancelled"
        console.print(
            f"{found.message.kind} {asked}; what it did stays: onoma job resume {job}", soft_wrap=True
        )


@app.command()
def resume(job: JobId, json: Json = False) -> None:
    """Go on with a failed or cancelled job, and wait for it; finished parts are not done again."""
    with Client() as client:
        found = _found(client, job)
        found.resume()
        _wait(found, json)


def _wait(job: RunningJob, json: bool) -> None:
    made = wait(job, job.message.kind)
    if json:
        print_json(made)
        return
    for name, value in made.items():
        console.print(f"{name}: {value}")


def _state(job: jobs_pb2.Job) -> str:
    return names_of(jobs_pb2.JobState).get(job.state, "?")


def _share(job: jobs_pb2.Job) -> str | None:
    return f"{job.done / job.total:.0%}" if job.state == jobs_pb2.JOB_STATE_RUNNING and job.total else None


def _why(job: jobs_pb2.Job) -> str:
    first, _, _ = job.error.partition("\n")
    return first if len(first) <= _WHY else first[: _WHY - 1] + "…"


def _asked_for(job: jobs_pb2.Job) -> datetime:
    return job.create_time.ToDatetime(UTC).astimezone()


def unfinished_job(client: Client, kind: str, subject: str) -> str:
    """How the latest job of a kind on something stands and goes on; empty where it has succeeded or is not known."""
    jobs = (job.message for job in client.list_jobs())
    latest = next((job for job in jobs if (job.kind, job.subject) == (kind, subject)), None)
    if latest is None or latest.state == jobs_pb2.JOB_STATE_SUCCEEDED:
        return ""
    act = "resume" if latest.state in ENDED else "watch"
    return f"its latest {kind} is {_state(latest)}: onoma job {act} {latest.job_id[:JOB_ID_SHOWN]}"


def _found(client: Client, job_id: str) -> RunningJob:
    """The job of an id, or of as much of it as no other has.

    Raises:
        ValueError: there is none, or several begin so.
    """
    found = [job for job in client.list_jobs() if job.job_id.startswith(job_id)]
    if len(found) != 1:
        many = f"{len(found)} jobs begin with" if found else "there is no job"
        raise ValueError(f"{many} '{job_id}': `onoma job list --all` has the ids")
    return found[0]
