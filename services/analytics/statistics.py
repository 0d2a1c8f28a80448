"""A study of the services in the form that `onoma.science.analysis` takes, and its analysis in messages."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import Empty, Full, Queue

import grpc
import numpy as np

from onoma.enum_names import names_of
from onoma.science.analysis import analyse_categories
from onoma.science.analysis_options import Options
from onoma.science.category_analysis import analyse_category
from onoma.science.labels import Outcome, Overruling, Vocabulary
from onoma.science.plain_numbers import Json
from onoma.science.study_data import Study
from onoma.science.study_file import StudyFile
from onoma.science.wordnet import Parts
from onoma.v1 import analytics_pb2 as pb
from onoma.v1 import naming_pb2
from services.analytics.objects import on_objects
from services.analytics.study import StudyReader
from services.runtime.errors import InvalidArgument, Unavailable
from services.runtime.peers import asking

MAX_SHUFFLES = 100_000
MAX_TIME_LIMIT_S = 3600.0
_OPTIONS = ("shuffles", "seed", "time_limit_s", "confidence")
_PROGRESS_S = 0.3  # between messages of progress
_PAGE_BYTES = 8 * 1024 * 1024
_AHEAD = 4  # categories done before their messages are taken

KEYS: dict[int, tuple[str, ...]] = {
    pb.ANALYSIS_PART_COVERAGE: ("coverage", "clusters_kept", "clusters_removed", "removed_because"),
    pb.ANALYSIS_PART_NAMED_BY: ("named_by_exactly_n",),
    pb.ANALYSIS_PART_PURITY: ("purity",),
    pb.ANALYSIS_PART_EXPLANATIONS: (
        "explanation_summary_table4_style",
        "explanation_summary_section33_style",
    ),
    pb.ANALYSIS_PART_AGREEMENT: ("pairs", "pair_summary", "chance", "labels", "most_in_common"),
    pb.ANALYSIS_PART_OTHER_MEASURES: (),
    pb.ANALYSIS_PART_CONSENSUS: ("consensus",),
    pb.ANALYSIS_PART_ACCURACY: ("accuracy_by_explanation",),
    pb.ANALYSIS_PART_SUSPECTS: ("right_for_the_wrong_reason", "right_for_the_wrong_reason_n"),
    pb.ANALYSIS_PART_PLACES: ("concept_places",),
}
"""The keys of a category's "expected" that hold each part; other measures stand beside it."""

OF_PAIRS = {pb.ANALYSIS_PART_AGREEMENT, pb.ANALYSIS_PART_OTHER_MEASURES, pb.ANALYSIS_PART_CONSENSUS}
"""Parts for which pairs of annotators have to be compared."""

_OF_ALL = ("n", "warnings")  # told with every part
_OUTCOMES = names_of(naming_pb2.LabelOutcome)


def study_file(
    reader: StudyReader, category: str = "", *, parts_by: Parts | None = None, with_places: bool = True
) -> StudyFile:
    """The study, or one category of it, with its annotators by their display names.

    What the network predicts is told where every image of a category says it, and how much of each map lies on the
    object where the data set has bounding boxes or part points.

    Args:
        parts_by: parts that count as subsets of labels; none when left out.
        with_places: False reads no maps, and does not say how much of them lies on objects.
    Raises:
        NotFound: the study has no such category.
    """
    study = _by_names(
        reader.read(category), {one.annotator_id: one.display_name for one in reader.annotators}
    )
    predicted: dict[str, dict[str, str]] = {}
    for image in reader.images(category):
        predicted.setdefault(image.category, {})[image.image_id] = image.predicted_class
    correct = {
        name: np.array([of_images[image_id] == name for image_id in study.categories[name].image_ids])
        for name, of_images in predicted.items()
        if all(of_images.values())
    }
    objects = on_objects(reader, study) if with_places else {}
    vocabulary = _vocabulary(reader)
    return StudyFile(
        study,
        replace(vocabulary, part_of=parts_by.part_of) if parts_by else vocabulary,
        correct,
        {name: found.inside for name, found in objects.items()},
        by_points={name: found.by_points for name, found in objects.items()},
    )


def options(request: pb.GetAgreementRequest | pb.GetConsensusRequest | pb.AnalyseStudyRequest) -> Options:
    """The options of a request; what it does not say, or has no field for, is the default.

    Raises:
        InvalidArgument: they cannot be.
    """
    given = {field.name: value for field, value in request.ListFields() if field.name in _OPTIONS}
    chosen = Options(**given)
    if not 0 <= chosen.shuffles <= MAX_SHUFFLES:
        raise InvalidArgument(f"shuffles {chosen.shuffles}: use 0, for none, to {MAX_SHUFFLES}")
    if chosen.seed < 0:
        raise InvalidArgument(f"seed {chosen.seed}: use 0 or more")
    if not 0 < chosen.time_limit_s <= MAX_TIME_LIMIT_S:
        raise InvalidArgument(f"time_limit_s {chosen.time_limit_s}: use more than 0, to {MAX_TIME_LIMIT_S}")
    if not 0 < chosen.confidence < 1:
        raise InvalidArgument(f"confidence {chosen.confidence}: use more than 0 and less than 1")
    return chosen


def parts_of(request: pb.AnalyseStudyRequest) -> frozenset[int]:
    """The parts that a request asks for.

    Raises:
        InvalidArgument: one is none.
    """
    unknown = set(request.parts) - set(KEYS)
    if unknown:
        raise InvalidArgument(f"parts {sorted(unknown)}: use values of AnalysisPart, or none for all")
    return frozenset(request.parts) or frozenset(KEYS)


def only(part: Json, parts: frozenset[int]) -> Json:
    """What an analysis of a category says of some parts."""
    kept = {*_OF_ALL, *(key for one in parts for key in KEYS[one])}
    expected = {key: value for key, value in part["expected"].items() if key in kept}
    reasons = {key: why for key, why in part["expected"].get("reasons", {}).items() if key in kept}
    if reasons:
        expected["reasons"] = reasons
    found: Json = {"expected": expected}
    if pb.ANALYSIS_PART_OTHER_MEASURES in parts:
        found["other_measures"] = part["other_measures"]
    return found


def analysed(
    file: StudyFile, chosen: Options, parts: frozenset[int], context: grpc.ServicerContext
) -> Iterator[pb.AnalyseStudyResponse]:
    """Progress while it runs and each category as it is done; ends early when the caller has gone."""
    waiting: Queue[pb.AnalyseStudyResponse | None] = Queue(_AHEAD)

    def put(message: pb.AnalyseStudyResponse | None) -> None:
        while context.is_active():
            try:
                return waiting.put(message, timeout=_PROGRESS_S)
            except Full:
                continue
        raise _CallerHasGone

    def work() -> None:
        for message in _messages(file, chosen, parts, put):
            put(message)
        put(None)

    worker = ThreadPoolExecutor(1, "analysis")
    working = worker.submit(work)
    worker.shutdown(wait=False)
    while context.is_active():
        try:
            message = waiting.get(timeout=_PROGRESS_S)
        except Empty:
            if working.done():
                working.result()  # raises what the analysis did
            continue
        if message is None:
            return
        yield message


def _messages(
    file: StudyFile,
    chosen: Options,
    parts: frozenset[int],
    put: Callable[[pb.AnalyseStudyResponse], None],
) -> Iterator[pb.AnalyseStudyResponse]:
    """The messages of an analysis in order; those of progress within a category are put while it runs."""
    last, told = pb.AnalyseStudyResponse(), -math.inf

    def progress(done: int, total: int) -> None:
        nonlocal last, told
        last = pb.AnalyseStudyResponse(done=done, total=total)
        if time.monotonic() - told >= _PROGRESS_S:
            put(last)
            told = time.monotonic()

    for name, part in analyse_categories(file, replace(chosen, with_pairs=bool(parts & OF_PAIRS)), progress):
        yield pb.AnalyseStudyResponse(
            done=last.done, total=last.total, category=name, json=json.dumps(only(part, parts))
        )
    yield pb.AnalyseStudyResponse(done=last.total, total=last.total)


def agreement_page(
    reader: StudyReader,
    categories: Sequence[str],
    start: int,
    chosen: Options,
    parts_by: Parts | None,
    going_on: Callable[[int], None],
) -> tuple[str, int]:
    """Agreement in categories from one on, until a message is full: the last may overfill it, none is done in vain.

    Args:
        going_on: called before each category and after each pair of namings; ends it by raising.
    Returns:
        JSON, and the place of the category that the next page begins with; the number of categories after the last.
    """
    found: list[str] = []
    size = 0
    place = start
    while place < len(categories) and size < _PAGE_BYTES:
        going_on(0)
        name = categories[place]
        file = study_file(reader, name, parts_by=parts_by, with_places=False)
        part = only(analyse_category(file, chosen, name, going_on), frozenset({pb.ANALYSIS_PART_AGREEMENT}))
        text = f"{json.dumps(name)}: {json.dumps(part['expected'])}"
        found.append(text)
        size += len(text)
        place += 1
    return f"{{{', '.join(found)}}}", place


def while_asked(context: grpc.ServicerContext) -> Callable[[int], None]:
    """A progress that ends an analysis once nobody waits for it."""

    def going_on(_done: int) -> None:
        if not context.is_active():
            raise Unavailable("the caller has left before the analysis was done")

    return going_on


class _CallerHasGone(Exception):
    """Nobody waits for the answer any more."""


def _by_names(study: Study, names: dict[str, str]) -> Study:
    namings = {
        category: {
            names[annotator]: replace(naming, annotator=names[annotator])
            for annotator, naming in of_category.items()
        }
        for category, of_category in study.namings.items()
    }
    return replace(study, annotators=tuple(names[one] for one in study.annotators), namings=namings)


def _vocabulary(reader: StudyReader) -> Vocabulary:
    with asking("naming"):
        stored = reader.peers.naming.GetVocabulary(
            naming_pb2.GetVocabularyRequest(study_id=reader.study.study_id), timeout=reader.timeout_s
        ).vocabulary
    return Vocabulary(
        synonyms=[list(group.words) for group in stored.synonyms],
        vague=list(stored.vague_words),
        overrulings=[
            Overruling(
                (one.first, one.second),
                Outcome(_OUTCOMES[one.outcome]),
                one.decided_by,
                one.time.ToDatetime().isoformat(timespec="seconds"),
            )
            for one in stored.overrulings
        ],
    )
