"""A study in one document, as `onoma analyse` reads it: what is said of each part stands in docs/statistics.md."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onoma.science.labels import VAGUE, Outcome, Overruling, Vocabulary
from onoma.science.study_data import (
    MIN_CONCEPT_IMAGES,
    Category,
    Naming,
    Study,
    make_category,
    make_namings,
)

_MOST_BITS = 1023  # as floating point allows
ALL_TOGETHER = "any"  # a key beside the annotators' in the statistics
_KNOWN = {
    "categories", "annotators", "namings", "min_cluster_images",
    "label_judgements", "overrulings", "synonyms", "vague_words",
}  # fmt: skip


@dataclass(frozen=True)
class StudyFile:
    """What a document holds.

    Attributes:
        study: categories and namings.
        vocabulary: how labels are compared.
        correct: by category, (images,) bool, whether the network predicts the image rightly; left out where not told.
        inside: by category, (S,) share of each map's mass inside the object, NaN where not told; left out without any.
        unread: keys that mean nothing here.
        by_points: by category, (S,) bool, whether `inside` is a share near part points; elsewhere it is one inside a
            bounding box, or whatever the document took.
    """

    study: Study
    vocabulary: Vocabulary
    correct: Mapping[str, NDArray[np.bool_]]
    inside: Mapping[str, NDArray[np.float64]]
    unread: tuple[str, ...] = ()
    by_points: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def only(self, category: str) -> "StudyFile":
        """The file with this category alone."""
        study = self.study
        return StudyFile(
            replace(
                study,
                categories={category: study.categories[category]},
                namings={category: study.namings.get(category, {})},
            ),
            self.vocabulary,
            {name: of for name, of in self.correct.items() if name == category},
            {name: of for name, of in self.inside.items() if name == category},
            by_points={name: of for name, of in self.by_points.items() if name == category},
        )


def study_from_document(document: Any) -> StudyFile:
    """Reads a study in the form of worked_example.json's "input", or a document that holds it as "input".

    Raises:
        ValueError: a part is missing, is of another form, or does not fit the others; the message says which.
    """
    _check_values(document)
    top = _mapping(document, "the study")
    if "input" in top and "categories" not in top:
        top = _mapping(top["input"], "the study's 'input'")
    annotators = tuple(_strings(_part(top, "annotators", "the study"), "'annotators'"))
    _check_annotators(annotators)
    contents = {
        name: _mapping(content, f"category {name!r}")
        for name, content in _mapping(_part(top, "categories", "the study"), "'categories'").items()
    }
    categories = {name: _category(name, content) for name, content in contents.items()}
    namings = _namings(categories, annotators, _mapping(_part(top, "namings", "the study"), "'namings'"))
    study = Study(categories, annotators, namings, _minimum(top))
    correct, inside = {}, {}
    for name, content in contents.items():
        if "predicted" in content:
            correct[name] = _correct(categories[name], content)
        if "inside" in content:
            inside[name] = _inside(categories[name], content["inside"])
    unread = sorted(key for key in top if key not in _KNOWN and not key.startswith("_"))
    return StudyFile(study, _vocabulary(top), correct, inside, tuple(unread))


def _check_values(document: Any) -> None:
    """Refuses what JSON can write and no table or file can hold: halves of characters, endless whole numbers."""
    parts: list[tuple[str, Any]] = [("the study", document)]
    while parts:
        where, value = parts.pop()
        if isinstance(value, str):
            check_text(value, where)
        elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise ValueError(f"{where} has a whole number beyond 2^{_MOST_BITS}")
        elif isinstance(value, list | tuple):
            parts += [(where, entry) for entry in value]
        elif isinstance(value, Mapping):
            for key in value:
                check_text(key, where)
            parts += [(f"{where}, {key!r}", entry) for key, entry in value.items()]


def check_text(text: str, where: str) -> None:
    """Refuses what JSON can write and no table or message can hold.

    Raises:
        ValueError: it has half of a character; `where` begins the line.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{where} has the text {text!a} with half of a character (a lone surrogate); write the character"
            ) from None


def _category(name: str, content: Mapping[str, Any]) -> Category:
    where = f"category {name!r}"
    activations = _mapping(_part(content, "activations", where), f"{where}: 'activations'")
    pairs = []
    for activation_id, pair in activations.items():
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(_is_name(value) for value in pair)):
            raise ValueError(f"{where}: activation {activation_id!r} is {pair!r}, not [image, X-feature]")
        pairs.append((str(pair[0]), pair[1]))
    x_features = sorted({x_feature for _, x_feature in pairs}, key=str)
    index_of_x_feature = {x_feature: i for i, x_feature in enumerate(x_features)}
    return make_category(
        name,
        _strings(_part(content, "images", where), f"{where}: 'images'"),
        tuple(activations),
        [image_id for image_id, _ in pairs],
        [index_of_x_feature[x_feature] for _, x_feature in pairs],
    )


def _namings(
    categories: Mapping[str, Category], annotators: tuple[str, ...], document: Mapping[str, Any]
) -> dict[str, dict[str, Naming]]:
    concepts: dict[str, dict[str, list[tuple[str, list[str]]]]] = {name: {} for name in categories}
    for annotator, by_category in document.items():
        if annotator not in annotators:
            raise ValueError(
                f"'namings' has {annotator!r}, who is not among the annotators: {_listed(annotators)}"
            )
        for name, naming in _mapping(by_category, f"the namings of {annotator!r}").items():
            where = f"annotator {annotator!r}, category {name!r}"
            if name not in categories:
                raise ValueError(f"{where}: the study has no such category; it has {_listed(categories)}")
            content = _mapping(naming, where)
            concepts[name][annotator] = list(_clusters(_part(content, "clusters", where), where))
            _check_discarded(categories[name], concepts[name][annotator], content.get("discarded", []), where)
    made = {name: make_namings(categories[name], of_category) for name, of_category in concepts.items()}
    return {
        name: {annotator: naming[annotator] for annotator in annotators if annotator in naming}
        for name, naming in made.items()
    }


def _clusters(clusters: Any, where: str) -> Iterable[tuple[str, list[str]]]:
    """Concepts as (name, activation ids): of {name: ids}, or of [{"name": ..., "activations": ids}]."""
    if isinstance(clusters, list):
        for cluster in clusters:
            content = _mapping(cluster, f"{where}: a concept")
            name = _part(content, "name", f"{where}: a concept")
            if not isinstance(name, str):
                raise ValueError(f"{where}: the name of a concept is {name!r}, not a text")
            ids = _part(content, "activations", f"{where}: concept {name!r}")
            yield name, _strings(ids, f"{where}: concept {name!r}")
        return
    for name, ids in _mapping(clusters, f"{where}: 'clusters'").items():
        yield name, _strings(ids, f"{where}: concept {name!r}")


def _check_discarded(
    category: Category, concepts: Iterable[tuple[str, list[str]]], discarded: Any, where: str
) -> None:
    known = set(category.activation_ids)
    concept_of = {activation_id: name for name, ids in concepts for activation_id in ids}
    for activation_id in _strings(discarded, f"{where}: 'discarded'"):
        if activation_id not in known:
            raise ValueError(f"{where}: discarded activation {activation_id!r} is not one of the category's")
        if activation_id in concept_of:
            raise ValueError(
                f"{where}: activation {activation_id!r} is discarded and in concept {concept_of[activation_id]!r}"
            )


def _check_annotators(annotators: tuple[str, ...]) -> None:
    for i, annotator in enumerate(annotators):
        if annotator in annotators[:i]:
            raise ValueError(f"annotator {annotator!r} is listed twice")
        if annotator == ALL_TOGETHER:
            raise ValueError(
                f"no annotator can be called '{ALL_TOGETHER}': it stands for all of them together"
            )


def _minimum(document: Mapping[str, Any]) -> int:
    minimum = document.get("min_cluster_images", MIN_CONCEPT_IMAGES)
    if not isinstance(minimum, int) or isinstance(minimum, bool) or minimum < 1:
        raise ValueError(f"'min_cluster_images' is {minimum!r}; it must be a whole number from 1")
    return minimum


def _correct(category: Category, content: Mapping[str, Any]) -> NDArray[np.bool_]:
    where = f"category {category.name!r}"
    predicted = _mapping(content["predicted"], f"{where}: 'predicted'")
    labels = _mapping(content.get("labels", {}), f"{where}: 'labels'")
    for image_id in category.image_ids:
        if image_id not in predicted:
            raise ValueError(f"{where}: 'predicted' has no image {image_id!r}")
    return np.array(
        [predicted[image_id] == labels.get(image_id, category.name) for image_id in category.image_ids],
        dtype=np.bool_,
    )


def _inside(category: Category, shares: Any) -> NDArray[np.float64]:
    where = f"category {category.name!r}: 'inside'"
    index_of = {activation_id: i for i, activation_id in enumerate(category.activation_ids)}
    inside = np.full(len(index_of), np.nan)
    for activation_id, share in _mapping(shares, where).items():
        if activation_id not in index_of:
            raise ValueError(f"{where} has activation {activation_id!r}, which is not one of the category's")
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
            raise ValueError(f"{where}: activation {activation_id!r} has {share!r}, not a share in [0, 1]")
        inside[index_of[activation_id]] = share
    return inside


def _vocabulary(document: Mapping[str, Any]) -> Vocabulary:
    overrulings = [
        Overruling(_labels(pair, f"'label_judgements', {key!r}"), outcome)
        for key, outcome in (("subset_only", Outcome.SUBSET), ("exact", Outcome.EXACT))
        for pair in _list(
            _mapping(document.get("label_judgements", {}), "'label_judgements'").get(key, []),
            f"'label_judgements', {key!r}",
        )
    ]
    for entry in _list(document.get("overrulings", []), "'overrulings'"):
        content = _mapping(entry, "an overruling")
        outcome = _part(content, "outcome", "an overruling")
        if outcome not in [known.value for known in Outcome]:
            raise ValueError(
                f"an overruling has the outcome {outcome!r}; known are {_listed(known.value for known in Outcome)}"
            )
        labels = _labels(_part(content, "labels", "an overruling"), "an overruling's 'labels'")
        who, when = str(content.get("by", "")), str(content.get("when", ""))
        overrulings.append(Overruling(labels, Outcome(outcome), who, when))
    return Vocabulary(
        synonyms=[
            _strings(group, "a group of 'synonyms'")
            for group in _list(document.get("synonyms", []), "'synonyms'")
        ],
        vague=_strings(document.get("vague_words", list(VAGUE)), "'vague_words'"),
        overrulings=overrulings,
        closed="label_judgements" in document,
    )


def _labels(value: Any, where: str) -> tuple[str, str]:
    labels = _strings(value, where)
    if len(labels) != 2:
        raise ValueError(f"{where} has {value!r}, not two labels")
    return labels[0], labels[1]


def _part(content: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in content:
        raise ValueError(f"{where} has no {key!r}; it must look like worked_example.json's 'input'")
    return content[key]


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be an object with named parts, not {_kind(value)}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} must be a list, not {_kind(value)}")
    return list(value)


def _strings(value: Any, where: str) -> list[str]:
    values = _list(value, where)
    for entry in values:
        if not _is_name(entry):
            raise ValueError(f"{where} has {_kind(entry)} where a name is expected")
    return [str(entry) for entry in values]


def _is_name(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return kinds.get(type(value), "a number")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
