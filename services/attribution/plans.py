"""What a study's maps are made of, as the services say that own it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import grpc

from onoma.v1 import inference_pb2, naming_pb2
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.runtime.errors import FailedPrecondition
from services.runtime.peers import asking

TIMEOUT_S = 30.0
_FORGETTING_S = 600.0  # a large study with all that was named
_PAGE = 10_000


@dataclass(frozen=True)
class Peers:
    """Stubs of the services that attribution asks."""

    inference: InferenceServiceStub
    naming: NamingServiceStub


@dataclass(frozen=True, eq=False)
class Network:
    """A registered network with a set of xNNs of it."""

    model: inference_pb2.Model
    xnn_set: inference_pb2.XnnSet

    def weights_key(self, category: str) -> str:
        """Object key of a class's xNN.

        Raises:
            FailedPrecondition: there is none.
        """
        for xnn in self.xnn_set.xnns:
            if xnn.class_name == category:
                return xnn.weights_key
        known = ", ".join(f"'{xnn.class_name}'" for xnn in self.xnn_set.xnns) or "none"
        raise FailedPrecondition(
            f"set '{self.xnn_set.name}' has no xNN of class '{category[:80]}', it has: {known} (onoma xnn train)",
            "NO_XNN",
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """A study and what it is explained with."""

    study: naming_pb2.Study
    network: Network
    dataset: inference_pb2.Dataset


def fetch_study(peers: Peers, study_id: str) -> naming_pb2.Study:
    """The study of that id, or of that name where only one has it."""
    with asking("naming"):
        return peers.naming.GetStudy(naming_pb2.GetStudyRequest(study_id=study_id), timeout=TIMEOUT_S).study


def forget_study(peers: Peers, study_id: str) -> bool:
    """Has naming forget a study; returns whether it knew of one."""
    request = naming_pb2.ForgetStudyRequest(study_id=study_id)
    try:
        with asking("naming"):
            peers.naming.ForgetStudy(request, timeout=_FORGETTING_S)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return False
    return True


def fetch_model(peers: Peers, name: str) -> inference_pb2.Model:
    """A model by its name."""
    with asking("inference"):
        return peers.inference.GetModel(inference_pb2.GetModelRequest(name=name), timeout=TIMEOUT_S).model


def fetch_dataset(peers: Peers, name: str) -> inference_pb2.Dataset:
    """A data set by its name."""
    with asking("inference"):
        return peers.inference.GetDataset(
            inference_pb2.GetDatasetRequest(name=name), timeout=TIMEOUT_S
        ).dataset


def fetch_network(peers: Peers, model: str, xnn_set: str) -> Network:
    """A model and a set of xNNs.

    Raises:
        FailedPrecondition: the set explains another model.
    """
    found = fetch_model(peers, model)
    with asking("inference"):
        xnns = peers.inference.GetXnnSet(
            inference_pb2.GetXnnSetRequest(name=xnn_set), timeout=TIMEOUT_S
        ).xnn_set
    if xnns.model != found.name:
        raise FailedPrecondition(
            f"set '{xnns.name}' explains model '{xnns.model}', not '{found.name}'", "OTHER_MODEL"
        )
    return Network(found, xnns)


def fetch_plan(peers: Peers, study_id: str) -> Plan:
    """The study with its model, xNNs and data set.

    Raises:
        FailedPrecondition: they do not fit each other, or the study has no xNNs.
    """
    study = fetch_study(peers, study_id)
    if not study.xnn_set:
        raise FailedPrecondition(
            f"study '{study.name}' was made without a set of xNNs, so its maps are imported "
            "(onoma maps import); make a study with one to compute them",
            "NO_XNN",
        )
    network = fetch_network(peers, study.model, study.xnn_set)
    for category in study.categories:
        network.weights_key(category)
    return Plan(study, network, fetch_dataset(peers, study.dataset))


def chosen_images(peers: Peers, study: naming_pb2.Study, category: str) -> dict[str, inference_pb2.Image]:
    """The images of a category by id, in id order: all, or the first so many in a seeded order.

    The same bytes under two paths are one image.
    """
    images: dict[str, inference_pb2.Image] = {}
    for image in listed_images(peers, study, category):
        images.setdefault(image.image_id, image)
    return {image_id: images[image_id] for image_id in sorted(within_limit(study, images))}


def listed_images(peers: Peers, study: naming_pb2.Study, category: str) -> Iterator[inference_pb2.Image]:
    """Images of a category in the study's part of its data set, by path; one id may come under several."""
    token = ""
    while True:
        request = inference_pb2.ListImagesRequest(
            dataset=study.dataset,
            part=study.part,
            class_name=category,
            page_size=_PAGE,
            page_token=token,
            model=study.model,
        )
        with asking("inference"):
            response = peers.inference.ListImages(request, timeout=TIMEOUT_S)
        yield from response.images
        token = response.next_page_token
        if not token:
            return


def within_limit(study: naming_pb2.Study, image_ids: Iterable[str]) -> list[str]:
    """All image ids of a category, or the first so many in the study's seeded order."""
    seed = study.settings.seed
    in_order = sorted(image_ids, key=lambda image_id: hashlib.sha256(f"{seed} {image_id}".encode()).digest())
    return in_order[: study.settings.max_images_per_category or len(in_order)]
