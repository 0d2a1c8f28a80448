"""`onoma up` and `onoma demo`: everything in one process, on this machine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from onoma.cli.output import DEFAULT_PAGE, console
from onoma.extras import needs

Port = Annotated[int, typer.Option(envvar="ONOMA_HTTP_PORT", help="Port of the page.", min=0, max=65535)]


@needs("serve")
def up(
    data: Annotated[
        Path, typer.Option(envvar="ONOMA_DATA_DIR", help="Folder for databases and objects.")
    ] = Path("onoma-data"),
    port: Port = 8080,
) -> None:
    """Run all services and the page in one process until Ctrl-C or SIGTERM."""
    from services.up import local_settings, start_all, wait_for_signal

    _leave_refusals_to_who_asked()
    settings = local_settings(data)
    running = start_all(settings, http_port=port)
    try:
        console.print(f"Onoma is up: {running.page_url}")
        for service, address in running.addresses.items():
            console.print(f"  {service} at {address}")
        if not (settings.database_url and settings.object_store == "s3"):
            console.print(f"  data in {data.absolute()}", soft_wrap=True)
        if not running.owner_signs_in_by and running.page_url != DEFAULT_PAGE:
            console.print(
                f"Links need its address: onoma study invite STUDY NAME --page {running.page_url}",
                soft_wrap=True,
            )
        console.print(f"{running.reach} Ctrl-C ends it.")
        wait_for_signal()
        console.print("Stopping: calls in flight may end, and a job at work goes on at the next start.")
    finally:
        running.stop()


@needs("demo")
def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="End when the work is done instead of serving.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your own photographs: IMAGES/train/CLASS/*, IMAGES/test/CLASS/*.", file_okay=False
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder for all that the demo makes.")] = Path("onoma-demo"),
    port: Port = 8080,
    simulated_annotators: Annotated[
        int,
        typer.Option(
            help="So many simulated annotators name the maps by where they lie, for results to look at.",
            min=0,
            max=9,
        ),
    ] = 0,
) -> None:
    """Do the main job on real photographs, then serve the page for naming."""
    from onoma.demo.road import run
    from services.up import wait_for_signal

    _leave_refusals_to_who_asked()
    run(
        folder,
        photographs=data,
        port=port,
        serve=None if quick else wait_for_signal,
        simulated_annotators=simulated_annotators,
    )


def _leave_refusals_to_who_asked() -> None:
    """Keeps the terminal of all-in-one servers free of a bare NOT_FOUND for each wrong name; failures still show."""
    logging.getLogger("onoma.calls").setLevel(logging.ERROR)
