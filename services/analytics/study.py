"""Reads a study's activations and namings from the services that hold them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from onoma.science.pictures import Preprocessing
from onoma.science.study_data import (
    Category,
    Naming,
    Study,
    clean,
    make_category,
    make_namings,
)
from onoma.v1 import attribution_pb2, inference_pb2, naming_pb2
from onoma.v1.attribution_pb2_grpc import AttributionServiceStub
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from services.runtime.peers import asking
from services.runtime.preprocessing import preprocessing_of


@dataclass(frozen=True)
class Peers:
    """Stubs of the services behind analytics."""

    inference: InferenceServiceStub
    attribution: AttributionServiceStub
    naming: NamingServiceStub


@dataclass(frozen=True)
class StudyReader:
    """Reads one study within one call's deadline.

    Attributes:
        study: the study as naming knows it.
        annotators: everyone invited to name, in order.
        timeout_s: longest that one call to a peer may take.
    """

    peers: Peers
    study: naming_pb2.Study
    annotators: tuple[naming_pb2.Annotator, ...]
    timeout_s: float

    @classmethod
    def open(cls, peers: Peers, study_id: str, timeout_s: float) -> "StudyReader":
        """Finds a study by its id, or by its name where only one study has it.

        Raises:
            InvalidArgument: no id was given.
            NotFound: there is no such study.
        """
        if not study_id:
            raise InvalidArgument("study_id is empty; give the id or the name of a study")
        with asking("naming"):
            study = peers.naming.GetStudy(
                naming_pb2.GetStudyRequest(study_id=study_id), timeout=timeout_s
            ).study
            annotators = peers.naming.ListAnnotators(
                naming_pb2.ListAnnotatorsRequest(study_id=study.study_id), timeout=timeout_s
            ).annotators
        naming_ones = (one for one in annotators if one.role != naming_pb2.ROLE_VIEWER)
        return cls(peers, study, tuple(naming_ones), timeout_s)

    def annotator(self, annotator_id: str) -> naming_pb2.Annotator:
        """An annotator of the study by id, or by display name.

        Raises:
            NotFound: nobody by that id or name; the message lists who there is.
        """
        for annotator in self.annotators:
            if annotator_id in (annotator.annotator_id, annotator.display_name):
                return annotator
        known = ", ".join(f"'{annotator.display_name}'" for annotator in self.annotators)
        raise NotFound(
            f"study '{self.study.name}' has no annotator '{annotator_id}'; "
            f"it has {known or 'none yet: invite one'}"
        )

    def preprocessing(self) -> Preprocessing:
        """How pictures become the input of the study's model."""
        request = inference_pb2.GetModelRequest(name=self.study.model)
        with asking("inference"):
            model = self.peers.inference.GetModel(request, timeout=self.timeout_s).model
        return preprocessing_of(model.preprocessing)

    def check_category(self, category: str) -> None:
        """Raises NotFound unless the study has this category."""
        if category not in self.study.categories:
            known = ", ".join(f"'{name}'" for name in self.study.categories)
            raise NotFound(f"study '{self.study.name}' has no category '{category}'; it has {known}")

    def images(self, category: str = "") -> list["ExplainedImage"]:
        """The explained images of a category, or of all."""
        request = attribution_pb2.ListExplainedImagesRequest(study_id=self.study.study_id, category=category)
        images: list[ExplainedImage] = []
        with asking("attribution"):
            for response in self.peers.attribution.ListExplainedImages(request, timeout=self.timeout_s):
                columns = response.images
                images += map(
                    ExplainedImage,
                    columns.image_id,
                    columns.category,
                    columns.predicted_class,
                )
        return images

    def activations(self, category: str = "") -> list["Activation"]:
        """The significant activations of a category, or of all."""
        request = attribution_pb2.ListActivationsRequest(study_id=self.study.study_id, category=category)
        activations: list[Activation] = []
        with asking("attribution"):
            for response in self.peers.attribution.ListActivations(request, timeout=self.timeout_s):
                columns = response.activations
                activations += map(
                    Activation,
                    columns.activation_id,
                    columns.image_id,
                    columns.category,
                    columns.x_feature,
                    columns.share,
                )
        return activations

    def read(self, category: str = "", annotator_ids: Sequence[str] = ()) -> Study:
        """Activations and namings of one category or of all, for the statistics.

        An annotator who has not acted in a category yet has no naming there [ours]: they may not
        have seen it, so it counts as not assigned.

        Raises:
            NotFound: the study has no such category.
            FailedPrecondition: namings and activations do not fit each other.
        """
        if category:
            self.check_category(category)
        names = [category] if category else list(self.study.categories)
        images = _by_category(self.images(category))
        activations = _by_category(self.activations(category))
        namings = self._namings(annotator_ids)
        try:
            categories = {
                name: _category(name, images.get(name, []), activations.get(name, [])) for name in names
            }
            return Study(
                categories=categories,
                annotators=tuple(annotator.annotator_id for annotator in self.annotators),
                namings={name: make_namings(categories[name], namings.get(name, {})) for name in names},
                min_concept_images=self.min_concept_images,
            )
        except ValueError as error:
            raise FailedPrecondition(
                f"study '{self.study.name}': its namings do not fit its activations: {error}"
            ) from error

    @property
    def min_concept_images(self) -> int:
        """The study's setting of cleaning."""
        return self.study.settings.min_concept_images

    def _namings(self, annotator_ids: Sequence[str]) -> dict[str, dict[str, list[tuple[str, list[str]]]]]:
        """Concepts as (name, activation ids), by category and annotator."""
        namings: dict[str, dict[str, list[tuple[str, list[str]]]]] = {}
        # One annotator a message: all of a large study's in one would pass the message limit.
        for annotator_id in annotator_ids or [annotator.annotator_id for annotator in self.annotators]:
            request = naming_pb2.ExportNamingsRequest(
                study_id=self.study.study_id, annotator_ids=[annotator_id]
            )
            with asking("naming"):
                pieces = self.peers.naming.ExportNamings(request, timeout=self.timeout_s)
                exported = "".join(piece.text for piece in pieces)
            for category, naming in json.loads(exported)["namings"].get(annotator_id, {}).items():
                namings.setdefault(category, {})[annotator_id] = [
                    (concept["name"], concept["activations"]) for concept in naming["concepts"]
                ]
        return namings


@dataclass(frozen=True)
class ExplainedImage:
    """An image of the study."""

    image_id: str
    category: str
    predicted_class: str


@dataclass(frozen=True)
class Activation:
    """A significant activation of the study."""

    activation_id: str
    image_id: str
    category: str
    x_feature: int
    share: float


Item = TypeVar("Item", ExplainedImage, Activation)


def naming_of(study: Study, category: str, annotator_id: str) -> Naming:
    """An annotator's cleaned naming of a category; an empty one where they have not acted yet."""
    activations = study.categories[category]
    started = study.namings[category].get(annotator_id)
    naming = started or make_namings(activations, {annotator_id: []})[annotator_id]
    return clean(activations, naming, study.min_concept_images)


def _category(name: str, images: Iterable[ExplainedImage], activations: Sequence[Activation]) -> Category:
    return make_category(
        name,
        [image.image_id for image in images],
        [activation.activation_id for activation in activations],
        [activation.image_id for activation in activations],
        [activation.x_feature for activation in activations],
    )


def _by_category(items: Iterable[Item]) -> dict[str, list[Item]]:
    grouped: dict[str, list[Item]] = {}
    for item in items:
        grouped.setdefault(item.category, []).append(item)
    return grouped
