"""A study of the services in the form that `onoma.science.analysis` takes."""

import json
from collections.abc import Iterator
from dataclasses import replace

import grpc
import numpy as np

from onoma.science.analysis import analyse_categories, averages
from onoma.science.category_analysis import Options
from onoma.science.labels import Outcome, Overruling, Vocabulary
from onoma.science.study_data import Study
from onoma.science.study_file import StudyFile
from onoma.v1 import analytics_pb2 as pb
from onoma.v1 import naming_pb2
from services.analytics.objects import on_objects
from services.analytics.study import StudyReader
from services.runtime.errors import InvalidArgument
from services.runtime.peers import asking

MAX_SHUFFLES = 100_000
_OUTCOMES = {
    naming_pb2.LABEL_OUTCOME_EXACT: Outcome.EXACT,
    naming_pb2.LABEL_OUTCOME_SUBSET: Outcome.SUBSET,
    naming_pb2.LABEL_OUTCOME_NONE: Outcome.NONE,
    naming_pb2.LABEL_OUTCOME_AMBIGUOUS: Outcome.AMBIGUOUS,
}


def study_file(reader: StudyReader, category: str = "") -> StudyFile:
    """The study, or one category of it, with its annotators by their display names.

    What the network predicts is told where every image of a category says it, and how much of each map lies on the
    object where the data set has bounding boxes or part points.

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
    objects = on_objects(reader, study)
    return StudyFile(
        study,
        _vocabulary(reader),
        correct,
        {name: found.inside for name, found in objects.items()},
        by_points={name: found.by_points for name, found in objects.items()},
    )


def options(request: pb.GetAgreementRequest | pb.AnalyseStudyRequest) -> Options:
    """The options of a request.

    Raises:
        InvalidArgument: they cannot be.
    """
    shuffles = request.shuffles if request.HasField("shuffles") else Options.shuffles
    if not 0 <= shuffles <= MAX_SHUFFLES:
        raise InvalidArgument(f"shuffles {shuffles}: use 0, for none, to {MAX_SHUFFLES}")
    if request.seed < 0:
        raise InvalidArgument(f"seed {request.seed}: use 0 or more")
    return Options(shuffles=shuffles, seed=request.seed)


def analysed(
    file: StudyFile, chosen: Options, context: grpc.ServicerContext
) -> Iterator[pb.AnalyseStudyResponse]:
    """Progress, each category as it is done, and the averages; ends early when the caller has gone."""
    parts = {}
    told: list[pb.AnalyseStudyResponse] = []

    def progress(done: int, total: int) -> None:
        if not context.is_active():
            raise _CallerHasGone
        told[:] = [pb.AnalyseStudyResponse(done=done, total=total)]

    try:
        for name, part in analyse_categories(file, chosen, progress):
            parts[name] = part["expected"]
            yield pb.AnalyseStudyResponse(
                done=told[0].done, total=told[0].total, category=name, json=json.dumps(part)
            )
    except _CallerHasGone:
        return
    last = told[0] if told else pb.AnalyseStudyResponse()
    yield pb.AnalyseStudyResponse(
        done=last.total, total=last.total, json=json.dumps(averages(parts.values()))
    )


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
                _OUTCOMES[one.outcome],
                one.decided_by,
                one.time.ToDatetime().isoformat(timespec="seconds"),
            )
            for one in stored.overrulings
        ],
    )
