"""Every statistic of a study in one go, in the form of worked_example.json's "expected"."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from math import comb
from multiprocessing import get_context
from statistics import fmean
from typing import Any

from threadpoolctl import threadpool_limits

from onoma.science.agreement import spread
from onoma.science.analysis_options import Options
from onoma.science.category_analysis import add_value, analyse_category
from onoma.science.matching import Kind
from onoma.science.plain_numbers import Json, put
from onoma.science.study_file import ALL_TOGETHER, StudyFile

Progress = Callable[[int, int], None]
DEFAULTS = Options()
_MANY_PAIRS = 2000  # from here on it pays to start a process a core


def _unseen(_done: int, _total: int) -> None:
    """Shows no progress."""


def analyse(file: StudyFile, options: Options = DEFAULTS, progress: Progress = _unseen) -> Json:
    """Analyses a study.

    Args:
        progress: called with the pairs of namings done and in all, a category counting for one beside its pairs.
    Returns:
        "expected" and "other_measures_on_commonly_named" by category, and "averages" over the categories; ready for
        JSON.
    Raises:
        ValueError: an option is out of its range.
    """
    parts = dict(analyse_categories(file, options, progress))
    return {
        "expected": {name: part["expected"] for name, part in parts.items()},
        "other_measures_on_commonly_named": {name: part["other_measures"] for name, part in parts.items()},
        "averages": averages(part["expected"] for part in parts.values()),
    }


def analyse_categories(
    file: StudyFile, options: Options = DEFAULTS, progress: Progress = _unseen
) -> Iterator[tuple[str, Json]]:
    """Analyses a study category by category, for studies whose whole analysis is too large to hold.

    Yields:
        The category's name, and {"expected": ..., "other_measures": ...}.
    Raises:
        ValueError: as `analyse`.
    """
    _check(options)
    names = list(file.study.categories)
    work = {name: 1 + (_pairs(file, name) if options.with_pairs else 0) for name in names}
    total, done = sum(work.values()), 0
    progress(0, total)
    if options.processes == 1:
        for name in names:
            yield name, _on_one_core(file, options, name, partial(_report, progress, done, total))
            done += work[name]
            progress(done, total)
        return
    for name, part in _beside_each_other(file, options, names):
        yield name, part
        done += work[name]
        progress(done, total)


def processes_for(file: StudyFile, cores: int) -> int:
    """Processes that pay for themselves: one for a small study, since each takes a second to start."""
    pairs = sum(_pairs(file, name) for name in file.study.categories)
    return max(1, min(cores, len(file.study.categories))) if pairs >= _MANY_PAIRS else 1


def _pairs(file: StudyFile, category: str) -> int:
    return comb(len(file.study.namings.get(category, {})), 2)


def _beside_each_other(file: StudyFile, options: Options, names: Iterable[str]) -> Iterator[tuple[str, Json]]:
    """Analyses in processes, a few categories ahead of whoever takes them, and no further when nobody does."""
    # Processes are not forked: a server's threads hold locks that a copy of it would wait for for ever.
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        ahead: deque[tuple[str, Future[Json]]] = deque()
        try:
            for name in names:
                ahead.append((name, pool.submit(_on_one_core, file.only(name), options, name)))
                if len(ahead) >= 2 * options.processes:
                    done, part = ahead.popleft()
                    yield done, part.result()
            for done, part in ahead:
                yield done, part.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _on_one_core(
    file: StudyFile, options: Options, name: str, progress: Callable[[int], None] = lambda _done: None
) -> Json:
    """Analyses a category; its thousands of small products of matrices are slower the more threads share them."""
    with threadpool_limits(1, "blas"):
        return analyse_category(file, options, name, progress)


def averages(categories: Iterable[Mapping[str, Any]]) -> Json:
    """Means over categories of each category's mean; categories where a measure is undefined are left out.

    Args:
        categories: the values of "expected".
    Returns:
        By measure: the mean and n, the categories that it rests on.
    """
    values: dict[str, list[float | None]] = {}
    for category in categories:
        coverages = dict(category["coverage"])
        by_any = coverages.pop(ALL_TOGETHER)
        for key in ("activation", "partial", "complete"):
            add_value(values, f"coverage_{key}", spread(_values(coverages, key)).mean)
        for key in ("activation", "partial", "complete", "complete_by_one_annotator"):
            add_value(values, f"coverage_by_any_{key}", _number(by_any[key]))
        for key in ("CX", "XC"):
            add_value(values, f"purity_{key}", spread(_values(category["purity"], key)).mean)
        for key, named in category["named_by_exactly_n"].items():
            add_value(values, f"named_by_exactly_{key}", _number(named))
        for key, of_pairs in category["pair_summary"].items():
            add_value(values, key, of_pairs["mean"])
        for kind in Kind:
            add_value(values, f"{kind.value}_chance", _number(category["chance"][kind.value]))
    found: Json = {}
    for key, of_categories in values.items():
        defined = [value for value in of_categories if value is not None]
        found[key] = {"n": len(defined)}
        put(found[key], "mean", fmean(defined) if defined else None, "it is defined in no category")
    return found


def _check(options: Options) -> None:
    if options.shuffles < 0:
        raise ValueError(f"{options.shuffles} shuffles cannot be made; 0 leaves the baseline out")
    if options.seed < 0:
        raise ValueError(f"the seed of the shuffles is {options.seed}; it must be 0 or more")
    if options.processes < 1:
        raise ValueError(f"the analysis cannot run in {options.processes} processes")
    if not options.time_limit_s > 0:
        raise ValueError(f"the time limit is {options.time_limit_s} s; it must be positive")
    if not 0 < options.confidence < 1:
        raise ValueError(f"the confidence is {options.confidence}; it must be between 0 and 1")


def _report(progress: Progress, before: int, total: int, now: int) -> None:
    progress(before + now, total)


def _number(ratio: Json | None) -> float | None:
    return None if ratio is None else float(ratio["value"])


def _values(of_annotators: Mapping[str, Json], key: str) -> Iterator[float | None]:
    return (_number(ratios[key]) for ratios in of_annotators.values())
