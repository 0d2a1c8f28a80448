"""`onoma analyse`: every statistic of a study in a file, with no server."""

from __future__ import annotations

import json as json_text
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from onoma.cli.output import Json, bar, errors
from onoma.extras import needs
from onoma.science.analysis_options import TIME_LIMIT_S, Options
from onoma.wordnet_file import DATA_NOUN, read_parts


def _check_time_limit(seconds: float) -> float:
    if not seconds > 0:  # NaN is not, either
        raise typer.BadParameter(f"{seconds:g} s is no time; give more than 0")
    return seconds


def _check_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise typer.BadParameter(f"{confidence:g} is no confidence; give more than 0 and less than 1")
    return confidence


Shuffles = Annotated[int, typer.Option(min=0, help="Of the permutation baseline, a category; 0: none.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the shuffles.")]
TimeLimit = Annotated[
    float,
    typer.Option(callback=_check_time_limit, help="Seconds for one matching of one pair of annotators."),
]
Confidence = Annotated[
    float, typer.Option(callback=_check_confidence, help="Of the intervals, more than 0 and less than 1.")
]
PartOf = Annotated[
    bool, typer.Option("--part-of", help="Take parts by WordNet for subsets ('eye' of 'head').")
]


@needs("analysis")
def analyse(
    file: Annotated[Path, typer.Argument(help="A study (docs/statistics.md).", exists=True, dir_okay=False)],
    shuffles: Shuffles = Options.shuffles,
    seed: Seed = Options.seed,
    time_limit: TimeLimit = TIME_LIMIT_S,
    confidence: Confidence = Options.confidence,
    part_of: PartOf = False,
    wordnet: Annotated[
        Path | None, typer.Option(help="WordNet's data.noun, for --part-of.", show_default=str(DATA_NOUN))
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Categories beside each other; found by itself.")
    ] = None,
    json: Json = False,
) -> None:
    """Compute coverage, purity, agreement and more of a study in a file; needs no server."""
    from onoma.cli.printed_analysis import prepared
    from onoma.science.analysis import analyse_categories, processes_for
    from onoma.science.study_file import study_from_document

    if wordnet and not part_of:
        raise typer.BadParameter("--wordnet says where --part-of finds parts; give --part-of too")
    study = study_from_document(_read(file))
    for key in study.unread:
        errors.print(f"'{key}' in {file} means nothing here and is left out", soft_wrap=True)
    if part_of:
        parts = read_parts(wordnet or DATA_NOUN)
        study = replace(study, vocabulary=replace(study.vocabulary, part_of=parts.part_of))
    options = Options(
        shuffles, seed, time_limit, confidence, processes or processes_for(study, os.cpu_count() or 1)
    )
    with bar("analyse") as progress:
        categories = analyse_categories(study, options, progress)
        print_analysis = prepared(categories, as_json=json)
    print_analysis()


def _read(file: Path) -> Any:
    try:
        document = json_text.loads(
            file.read_text(encoding="utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_number,
            parse_int=_whole,
        )
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text") from None
    except json_text.JSONDecodeError as error:
        raise ValueError(
            f"{file} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise ValueError(f"{file} is nested too deeply to be a study") from None
    if isinstance(document, dict) and document.get("format") == "onoma-namings":
        raise ValueError(
            f"{file} holds namings alone, without what was shown; `onoma study analyse STUDY` analyses a study as it "
            "stands, `onoma study export` writes all of it"
        )
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(
            f"'{twice}' stands twice in one object (two concepts of one name: write 'clusters' as a list)"
        )
    return found


def _no_number(constant: str) -> float:
    raise ValueError(f"the study has {constant}, which is no number; leave out what is not known")


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise ValueError(f"the study has a whole number of {len(digits):,} digits: too large") from None
