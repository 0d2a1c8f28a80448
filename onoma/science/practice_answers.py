"""A practitioner's questions about one category, answered in plain JSON."""

from collections.abc import Sequence

from onoma.science.plain_numbers import Json, plain_interval, plain_ratio, put
from onoma.science.practice import (
    ConceptPlace,
    ExplanationAccuracy,
    accuracy_by_explanation,
    places,
    suspects,
)
from onoma.science.study_data import Category, Naming
from onoma.science.study_file import StudyFile

_MOST_SUSPECTS = 20


def practice_answers(
    file: StudyFile, category: Category, namings: Sequence[Naming], confidence: float
) -> Json:
    """Answers what the study tells enough for; the rest is null.

    Args:
        namings: cleaned.
        confidence: of the intervals.
    """
    found: Json = {}
    correct, inside = file.correct.get(category.name), file.inside.get(category.name)
    by_points = file.by_points.get(category.name)
    if correct is None:
        for key in ("accuracy_by_explanation", "right_for_the_wrong_reason", "right_for_the_wrong_reason_n"):
            put(found, key, None, "the study does not say what the network predicts")
    else:
        found["accuracy_by_explanation"] = {
            naming.annotator: [
                _accuracy(row)
                for row in accuracy_by_explanation(category, naming, correct, confidence=confidence)
            ]
            for naming in namings
        }
        unusual = suspects(category, namings, correct)
        found["right_for_the_wrong_reason_n"] = len(unusual)
        found["right_for_the_wrong_reason"] = [
            {
                "image": suspect.image_id,
                "usual": suspect.usual,
                "explanations": {annotator: list(names) for annotator, names in suspect.explanations},
            }
            for suspect in unusual[:_MOST_SUSPECTS]
        ]
    if inside is None:
        put(found, "concept_places", None, "the study does not say where objects lie")
    else:
        found["concept_places"] = {
            naming.annotator: [_place(place) for place in places(naming, inside, by_points)]
            for naming in namings
        }
    return found


def _accuracy(row: ExplanationAccuracy) -> Json:
    found: Json = {"labels": list(row.names), "interval": plain_interval(row.interval)}
    for key, value in {
        "accuracy": plain_ratio(row.accuracy),
        "rest": plain_ratio(row.rest),
        "rest_interval": plain_interval(row.rest_interval),
        "difference": row.difference,
        "difference_interval": plain_interval(row.difference_interval),
    }.items():
        put(found, key, value, "every image has this explanation")
    return found


def _place(place: ConceptPlace) -> Json:
    found: Json = {
        "name": place.name,
        "n": place.n,
        "n_by_points": place.n_by_points,
        "outside": place.outside,
    }
    put(found, "inside", place.inside, "it is known of none of its maps")
    return found
