"""Whether the services hold their bars for ten minutes with flat memory: python -m tests.bench.load.

The load of naming_load (simulated annotators, an act every 100 ms each) on the naming service, and beside it callers
that have pictures scored by the inference service, one after another. Every few seconds the resident memory of each
process is noted; after a fifth of the time a straight line is fitted to it. Exit code 1 where an act was lost or
doubled, 99 % of the acts took longer than the bar, a call failed, or memory climbed by more than its bound.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from rich.console import Console

from onoma.client import Addresses, Client
from tests.bench.machine import machine_name
from tests.bench.naming_load import call, check_log, make_study, running_stack
from tests.bench.supervised import Supervised
from tests.ports import free_port
from tests.synthetic import tiny_program, write_image_folder

BARS_MS = {"postgresql": 100.0, "sqlite": 200.0}  # within which 99 % of the acts are answered
BOUND_MB = 20.0  # by which a process may grow from warm-up to end
WARM_UP = 0.2
LOOK_S = 5.0
console = Console(stderr=True)


def main() -> None:
    """Runs it and prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--annotators", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=600)
    asked = parser.parse_args()
    figures = run(asked.database, asked.annotators, asked.seconds)
    print(json.dumps({"machine": machine_name("cpu"), "database": asked.database, **figures}))
    sys.exit(1 if figures["broken"] else 0)


def run(database: str, annotators: int, seconds: float) -> dict[str, Any]:
    """The figures, and under "broken" what does not hold."""
    with running_stack(database, with_gateway=False) as stack, Scoring(stack.folder) as scoring:
        invited = make_study(stack, annotators)
        context = multiprocessing.get_context("spawn")
        done, answers = context.Event(), context.Queue()
        callers = context.Process(target=call, args=(stack.naming_address, invited, seconds, done, answers))
        watch = Watch([stack.services, scoring.services])
        callers.start()
        watch.start()
        acknowledged, times = answers.get()
        watch.stop()
        callers.join()
        log = check_log(stack, invited, acknowledged)
    p99_ms = round(1000 * float(np.quantile(times, 0.99)), 1)
    growth_mb = watch.growth_mb()
    broken = [f"{log[what]} acts {what}" for what in ("lost", "doubled") if log[what]]
    if p99_ms > BARS_MS[database]:
        broken.append(f"99 % of the acts within {p99_ms} ms, over {BARS_MS[database]} ms")
    broken += [f"{name} grew by {mb} MB" for name, mb in growth_mb.items() if mb > BOUND_MB]
    if not scoring.scored:
        broken.append("no picture was scored")
    broken += [f"a picture was not scored: {error}" for error in scoring.errors[:3]]
    return {
        "annotators": annotators,
        "seconds": seconds,
        "acts_acknowledged": len(acknowledged),
        "p99_ms": p99_ms,
        "pictures_scored": scoring.scored,
        "growth_mb": growth_mb,
        "broken": broken,
    }


class Scoring:
    """An inference service, and a caller that has pictures scored for as long as it is open."""

    def __init__(self, folder: Path) -> None:
        self.scored = 0
        self.errors: list[str] = []
        self._images = write_image_folder(folder / "shapes")
        self._address = f"127.0.0.1:{free_port()}"
        self.services = Supervised(
            folder / "scoring.log",
            {
                "ONOMA_DATA_DIR": str(folder / "scoring"),
                "ONOMA_INFERENCE_ADDRESS": self._address,
                "ONOMA_LOG_LEVEL": "WARNING",
            },
        )
        self._over = threading.Event()
        self._caller = threading.Thread(target=self._score)

    def __enter__(self) -> Scoring:
        self.services.start(["inference"])
        try:
            self._register()
        except BaseException:
            self.services.stop()
            raise
        self._caller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._caller.join()
        self.services.stop()

    def _register(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
        with Client(Addresses(inference=self._address)) as client:
            client.register_model("tiny", tiny_program(self._images)).wait()

    def _score(self) -> None:
        pictures = [file.read_bytes() for file in sorted(self._images.glob("test/*/*.png"))]
        try:
            with Client(Addresses(inference=self._address)) as client:
                while not self._over.is_set():
                    client.predict("tiny", contents=pictures)
                    self.scored += len(pictures)
        except Exception as error:  # noqa: BLE001  whatever it is, it is reported as a failure of the run
            self.errors.append(f"{type(error).__name__}: {error}")


class Watch:
    """Notes the memory of processes."""

    def __init__(self, watched: list[Supervised]) -> None:
        self._watched = watched
        self._noted: list[dict[str, int]] = []
        self._at: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._note)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends."""
        self._over.set()
        self._thread.join()

    def growth_mb(self) -> dict[str, float]:
        """By how much each process grew after warm-up, by the line that fits best; in units of 2**20 bytes."""
        at = np.array(self._at) - self._at[0]
        warm = at >= WARM_UP * at[-1]
        growth = {}
        for name in self._noted[0]:
            used = np.array([noted[name] for noted in self._noted])
            slope = np.polyfit(at[warm], used[warm], 1)[0]
            growth[name] = round(float(slope * (at[-1] - at[warm][0]) / 2**20), 2)
        return growth

    def _note(self) -> None:
        while True:
            self._at.append(time.monotonic())
            self._noted.append(
                {name: used for one in self._watched for name, used in one.resident_bytes().items()}
            )
            console.print(f"{self._at[-1] - self._at[0]:.0f} s: {self._noted[-1]}")
            if self._over.wait(LOOK_S):
                return


if __name__ == "__main__":
    main()
