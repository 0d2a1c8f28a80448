"""How long the analysis of a study takes: python -m tests.bench.analysis [PART ...].

Parts: `paper` (12 categories, 5 annotators, 1,500 activations), `large` (200 categories, 50 annotators, 100,000
activations), `tenth` (20 of these categories; only when named), `pair` (300 x 300 concepts over 1e6 activations),
`bicliques` (8 x 8 to 12 x 12 at pure chance, and beyond), `growth` (time over activations at fixed concepts, drawn into
docs/images). All synthetic. Every part runs in a process of its own, so that its memory is its own; times are of one
run unless a median is named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from onoma.science.analysis import analyse, analyse_categories
from onoma.science.analysis_options import Options
from onoma.science.matching import Kind, match
from onoma.science.overlaps import overlaps, overlaps_of_table
from onoma.science.study_data import Naming
from tests.studies import synthetic_study

PLOT = Path("docs/images/analysis-growth.svg")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    for part in options.parts or [part for part in PARTS if part != "tenth"]:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            for row in pool.submit(PARTS[part]).result():
                print(json.dumps(row) if options.json else _line(row), flush=True)
    print(f"{platform.machine()}, {os.cpu_count()} cores")


def paper() -> list[Row]:
    """Cold: the first analysis of a process, with what has to be imported and set up."""
    study = synthetic_study()
    rows = []
    for shuffles in (0, 100):
        times, processor = [], []
        for _ in range(5):
            start, start_processor = time.perf_counter(), time.process_time()
            found = analyse(study, Options(shuffles=shuffles))
            times.append(time.perf_counter() - start)
            processor.append(time.process_time() - start_processor)
        rows.append(
            {
                "part": "paper",
                "shuffles a category": shuffles,
                "first_s": times[0],
                "median_s": statistics.median(times),
                "first_processor_s": processor[0],
                "median_processor_s": statistics.median(processor),
                "unproven": _unproven(found["expected"].values()),
            }
        )
    return rows


def large(part: str = "large", categories: int = 200) -> list[Row]:
    """Category by category, as `onoma analyse` does."""
    study = synthetic_study(categories=categories, annotators=50, activations=500 * categories)
    processes = os.cpu_count() or 1
    start, start_processor = time.perf_counter(), os.times()
    unproven = pairs = 0
    for _, found in analyse_categories(study, Options(processes=processes), _show):
        unproven += _unproven([found["expected"]])
        pairs += len(found["expected"]["pairs"])
    return [
        {
            "part": part,
            "pairs": pairs,
            "seconds": time.perf_counter() - start,
            "processor_s": sum(os.times()[:4]) - sum(start_processor[:4]),
            "memory_gb": _memory_gb(processes),
            "unproven": unproven,
        }
    ]


def tenth() -> list[Row]:
    """A tenth of `large`, for machines that do other work."""
    return large("tenth", 20)


def pair() -> list[Row]:
    """Two namings that merge and split each other's concepts, with a share of slips."""
    rows = []
    for slips in (0.1, 0.5):
        left, right = _large_pair(300, 1_000_000, slips)
        graph = overlaps(left, right)
        for kind in (Kind.ONE_TO_ONE, Kind.ONE_TO_MANY):
            start = time.perf_counter()
            matching = match(graph, kind)
            rows.append(
                {
                    "part": "pair",
                    "slips": slips,
                    "edges": graph.left.size,
                    "kind": kind.value,
                    "seconds": time.perf_counter() - start,
                    "status": matching.status,
                    "value": matching.value,
                    "several_optima": matching.several_optima,
                }
            )
    return rows


def bicliques() -> list[Row]:
    """Pure chance, where bicliques are hardest: `items` thrown over the cells, ten tables each."""
    rows = []
    for side, items in [
        (8, 150),
        (10, 100),
        (10, 200),
        (12, 100),
        (12, 150),
        (12, 200),
        (12, 400),
        (15, 300),
        (20, 400),
    ]:
        rng = np.random.default_rng(side * 1000 + items)
        times, gaps, proven = [], [], 0
        for _ in range(10 if side <= 15 else 2):
            table = np.bincount(rng.integers(0, side * side, items), minlength=side * side)
            start = time.perf_counter()
            matching = match(overlaps_of_table(table.reshape(side, side)), Kind.BICLIQUE)
            times.append(time.perf_counter() - start)
            proven += matching.status == "optimal"
            gaps.append(matching.upper_bound / matching.value - 1)
        rows.append(
            {
                "part": "bicliques",
                "concepts": f"{side} x {side}",
                "activations": items,
                "median_s": statistics.median(times),
                "longest_s": max(times),
                "proven": f"{proven} of {len(times)}",
                "largest_gap": max(gaps),
            }
        )
    return rows


def growth() -> list[Row]:
    """One category, five annotators, 8 concepts each; every statistic, without shuffles and with ten."""
    rows = []
    for activations in (10_000, 30_000, 100_000, 300_000, 1_000_000):
        study = synthetic_study(categories=1, annotators=5, activations=activations, concepts=(8, 8))
        for shuffles in (0, 10):
            times = []
            for _ in range(3):
                start = time.perf_counter()
                analyse(study, Options(shuffles=shuffles))
                times.append(time.perf_counter() - start)
            rows.append(
                {
                    "part": "growth",
                    "activations": activations,
                    "shuffles": shuffles,
                    "median_s": statistics.median(times),
                }
            )
    _draw(rows)
    return rows


PARTS: dict[str, Callable[[], list[Row]]] = {
    "paper": paper,
    "large": large,
    "tenth": tenth,
    "pair": pair,
    "bicliques": bicliques,
    "growth": growth,
}


def _large_pair(concepts: int, activations: int, slips: float) -> tuple[Naming, Naming]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, concepts, activations)
    seen = [truth, np.where(rng.random(activations) < 0.3, truth, rng.integers(0, concepts, concepts)[truth])]
    names = tuple(f"c{i}" for i in range(concepts))
    left, right = (
        Naming(
            f"annotator {i}",
            names,
            np.where(rng.random(activations) < slips, rng.integers(0, concepts, activations), concept).astype(
                np.int32
            ),
        )
        for i, concept in enumerate(seen)
    )
    return left, right


def _draw(rows: list[Row]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for shuffles, label in ((0, "without the baseline"), (10, "with ten shuffles")):
        points = [(row["activations"], row["median_s"]) for row in rows if row["shuffles"] == shuffles]
        axes.plot(*zip(*points, strict=True), "o-", label=label)
    axes.set(xlabel="significant activations", ylabel="seconds", xlim=0, ylim=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(PLOT, metadata={"Date": None})


def _unproven(categories: Any) -> int:
    return sum(
        matching["status"] != "optimal"
        for category in categories
        for pair in category["pairs"].values()
        for matching in (pair[kind.value] for kind in Kind)
        if matching is not None
    )


def _memory_gb(processes: int) -> float:
    """The most that this process held, and each of its children as much as the largest of them."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + (processes if processes > 1 else 0) * child) / 1e6


def _show(done: int, total: int) -> None:
    print(f"\r{done:,} of {total:,}", end="\n" if done == total else "", flush=True)


def _line(row: Row) -> str:
    return "  ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
    )


if __name__ == "__main__":
    main()
