"""Training of xNNs: one a class, a row and an object as each is done, measured on the test part."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sqlalchemy import Engine
from sqlmodel import Session, col, select
from torch import Tensor

from onoma.science.xnn import Xnn, from_tensors, score, to_tensors
from onoma.science.xnn_fitting import XnnSettings
from onoma.science.xnn_training import train as train_one
from onoma.science.xnn_trunk import Trunk, codes_of, train_trunk
from services.inference import datasets, figures, registry, tables
from services.inference.features import PartFeatures, kept_features, part_features
from services.inference.sessions import open_stored
from services.inference.settings import InferenceSettings
from services.runtime.database import session
from services.runtime.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore

LEAST_IMAGES = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A training that can begin.

    Attributes:
        name: of the set of xNNs.
        model: the network.
        dataset: its training part trains, its test part measures.
        classes: to train, in the order of the model's classes.
        settings: how.
        seed: of everything random.
    """

    name: str
    model: tables.Model
    dataset: tables.Dataset
    classes: tuple[str, ...]
    settings: XnnSettings
    seed: int

    @property
    def used(self) -> dict[str, Any]:
        """The settings as the set's row and its message have them."""
        return asdict(self.settings) | {"seed": self.seed}

    def settings_hash(self, class_name: str) -> str:
        """SHA-256 of all that the training of a class depends on."""
        model, dataset = self.model, self.dataset
        layer = (model.model_hash, model.attachment_layer, model.preprocessing)
        what = [*layer, dataset.content_hash, self.used, class_name]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def plan(engine: Engine, params: Mapping[str, Any]) -> Plan:
    """What a request asks for, checked against what there is.

    Raises:
        NotFound: no such model or data set.
        InvalidArgument: an unknown class, or settings out of range.
        FailedPrecondition: model and data set share no class, or the set's name is taken.
    """
    model = registry.find(engine, tables.Model, params["model"])
    dataset = registry.find(engine, tables.Dataset, params["dataset"])
    settings, seed = checked_settings(params["settings"])
    classes = _classes(params["classes"], model, dataset)
    made = Plan(params["name"], model, dataset, classes, settings, seed)
    with Session(engine) as opened:
        found = opened.get(tables.XnnSet, made.name)
    _refuse_other(found, made)
    if found and _is_imported(xnns_of(engine, found)):
        raise FailedPrecondition(
            f"set '{found.name}' was trained elsewhere and came with a study; give this one another name (--name)"
        )
    return made


def train(
    context: JobContext, engine: Engine, store: ObjectStore, limits: InferenceSettings
) -> dict[str, Any]:
    """The job: features, then one xNN a class; classes already trained with the same inputs are kept.

    Raises:
        InvalidArgument: an unknown class, or settings out of range.
        FailedPrecondition: no class can be trained, or the set's name is taken.
        ResourceExhausted: the disk is full; the classes that are done stay.
    """
    chosen = plan(engine, context.params)
    model, dataset = chosen.model, chosen.dataset
    onnx = open_stored(store, model.name, model.onnx_key)
    training, test = (
        part_features(
            context,
            engine,
            store,
            onnx,
            model,
            dataset,
            part,
            limits.max_image_pixels,
            keep=context.params.get("keep_cells_of") == part,
        )
        for part in (tables.TRAIN, tables.TEST)
    )
    trainable = _trainable(context, chosen, training)
    _claim_name(engine, chosen)
    _train_classes(context, engine, store, chosen, trainable, training, test, limits.training_workers)
    for class_name in trainable:
        if not (test.class_indices == dataset.classes.index(class_name)).any():
            context.warn(f"class '{class_name}' has no test image; its accuracy is not known")
    summary = figures.of_the_set(model, dataset, test, _whole_set(engine, store, chosen))
    with session(engine) as opened:
        row = opened.get_one(tables.XnnSet, chosen.name)
        row.summary = summary
    return {"xnn_set": chosen.name, "classes": len(trainable)}


def _trainable(context: JobContext, chosen: Plan, training: PartFeatures) -> list[str]:
    """The classes with enough images; warns of the others."""
    for class_name in sorted(set(chosen.model.classes) - set(chosen.dataset.classes)):
        context.warn(f"class '{class_name}' of the model is not in the data set; it gets no xNN")
    trainable = []
    for class_name in chosen.classes:
        count = int((training.class_indices == chosen.dataset.classes.index(class_name)).sum())
        if count >= LEAST_IMAGES:
            trainable.append(class_name)
            continue
        context.warn(
            f"class '{class_name}' has {count} training image{'' if count == 1 else 's'}; at least "
            f"{LEAST_IMAGES} are needed (add images or leave it out with --classes)"
        )
    if not trainable:
        raise FailedPrecondition(
            f"no class of data set '{chosen.dataset.name}' has the {LEAST_IMAGES} training images that are needed; "
            "nothing was trained"
        )
    return trainable


def _train_classes(
    context: JobContext,
    engine: Engine,
    store: ObjectStore,
    chosen: Plan,
    trainable: Sequence[str],
    training: PartFeatures,
    test: PartFeatures,
    workers: int,
) -> None:
    """Trains the classes that have no xNN yet, several beside each other; the first that fails ends them all."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pending = [name for name in trainable if not _is_trained(engine, store, chosen, name)]
    trunk = _trunk(context, chosen, training, device) if pending and chosen.settings.shared_trunk else None
    inputs = (
        torch.from_numpy(training.features)
        if trunk is None
        else codes_of(trunk, torch.from_numpy(training.features), device)
    )
    context.stage("training xNNs", len(trainable) * chosen.settings.epochs)
    context.advance((len(trainable) - len(pending)) * chosen.settings.epochs)
    stopped = threading.Event()

    def train_class(class_name: str) -> None:
        epochs = _Epochs(context, chosen.settings.epochs, stopped)
        epochs.check()
        _train_class(engine, store, chosen, class_name, inputs, trunk, training, test, device, epochs)
        epochs.end()

    with _one_thread(), ThreadPoolExecutor(_workers(workers, device), initializer=_use_one_thread) as pool:
        trained = [pool.submit(train_class, class_name) for class_name in pending]
        try:
            for one in as_completed(trained):
                one.result()
        finally:
            stopped.set()


def _workers(wanted: int, device: torch.device) -> int:
    """Classes to train at once: one a core on a CPU; a GPU is kept busy by one."""
    return wanted or (1 if device.type == "cuda" else os.cpu_count() or 1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one core a class: products this small gain a fifth by a second, and lose tenfold where others run."""
    before = torch.get_num_threads()
    _use_one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _use_one_thread() -> None:
    torch.set_num_threads(1)


def _trunk(context: JobContext, chosen: Plan, training: PartFeatures, device: torch.device) -> Trunk:
    """The first layer of all classes; made again the same where a training goes on."""
    context.stage("training the shared trunk", chosen.settings.epochs)

    def one_more() -> None:
        context.check()
        context.advance()

    features, scores = torch.from_numpy(training.features), torch.from_numpy(training.scores)
    return train_trunk(features, scores, chosen.settings, chosen.seed, one_more, device)


def _train_class(
    engine: Engine,
    store: ObjectStore,
    chosen: Plan,
    class_name: str,
    inputs: Tensor,
    trunk: Trunk | None,
    training: PartFeatures,
    test: PartFeatures,
    device: torch.device,
    epochs: _Epochs,
) -> None:
    """Trains, measures and stores one xNN; the figures of the set as a whole are then no longer known."""
    target = chosen.model.classes.index(class_name)
    class_index = chosen.dataset.classes.index(class_name)
    fit = train_one(
        inputs,
        torch.from_numpy(np.ascontiguousarray(training.scores[:, target])),
        torch.from_numpy(training.class_indices == class_index),
        chosen.settings,
        chosen.seed + target,
        epochs.one_more,
        device=device,
        on_trunk=trunk is not None,
    )
    xnn = from_tensors(to_tensors(trunk.under(fit.xnn) if trunk else fit.xnn))
    weights_key = store.put(save_tensors(to_tensors(xnn)))
    store.flush()
    row = tables.Xnn(
        set_name=chosen.name,
        class_name=class_name,
        weights_key=weights_key,
        settings_hash=chosen.settings_hash(class_name),
        metrics=figures.table_1_row(replace(fit, xnn=xnn), test, target, class_index, chosen.settings),
    )
    with session(engine) as opened:
        opened.merge(row)
        opened.get_one(tables.XnnSet, chosen.name).summary = {}


def _whole_set(engine: Engine, store: ObjectStore, chosen: Plan) -> Iterator[Xnn]:
    """The xNNs of all the model's classes; none unless each has one, trained on the data set as it is now."""
    with Session(engine) as opened:
        row = opened.get_one(tables.XnnSet, chosen.name)
    rows = [xnn for xnn in xnns_of(engine, row) if xnn.settings_hash == chosen.settings_hash(xnn.class_name)]
    if len(rows) == len(chosen.model.classes):
        yield from (load_xnn(store, xnn) for xnn in rows)


def xnns_of(engine: Engine, row: tables.XnnSet) -> Sequence[tables.Xnn]:
    """The xNNs of a set, in the order of the model's classes."""
    with Session(engine) as opened:
        model = opened.get(tables.Model, row.model)
        rows = opened.exec(select(tables.Xnn).where(col(tables.Xnn.set_name) == row.name)).all()
    order = {name: index for index, name in enumerate(model.classes if model else [])}
    return sorted(rows, key=lambda xnn: order.get(xnn.class_name, len(order)))


def scores_on_the_test_part(
    engine: Engine, store: ObjectStore, set_name: str, class_name: str
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]]:
    """Scores of a class by the network and by its xNN, and whether each image is of the class, batch by batch.

    Raises:
        NotFound: no such set, or it has no xNN of the class.
        FailedPrecondition: the features that it was measured on are no longer kept.
    """
    row = registry.find(engine, tables.XnnSet, set_name)
    model = registry.find(engine, tables.Model, row.model)
    dataset = registry.find(engine, tables.Dataset, row.dataset)
    with Session(engine) as opened:
        found = opened.get(tables.Xnn, (set_name, class_name))
    if found is None:
        known = ", ".join(f"'{xnn.class_name}'" for xnn in xnns_of(engine, row)) or "none"
        raise NotFound(f"set '{set_name}' has no xNN of class '{class_name[:80]}', it has: {known}")
    if _is_imported([found]):
        raise FailedPrecondition(
            f"set '{set_name}' came with a study, without the pictures that it was measured on; its figures came "
            f"along (onoma xnn show {set_name})"
        )
    xnn, target = load_xnn(store, found), model.classes.index(class_name)
    for shard in kept_features(engine, store, model, dataset, tables.TEST):
        of_class = shard.class_indices == dataset.classes.index(class_name)
        yield shard.scores[:, target], score(xnn, torch.from_numpy(shard.features)).numpy(), of_class


def _is_imported(xnns: Sequence[tables.Xnn]) -> bool:
    return any(xnn.settings_hash == tables.TRAINED_ELSEWHERE for xnn in xnns)


def load_xnn(store: ObjectStore, row: tables.Xnn) -> Xnn:
    """The xNN of a row."""
    return from_tensors(load_tensors(store.get(row.weights_key)))


class _Stopped(Exception):
    """Another class's training failed."""


class _Epochs:
    """Counts epochs of one class; those of further rounds are not in the bar's total."""

    def __init__(self, context: JobContext, epochs: int, stopped: threading.Event) -> None:
        self._context = context
        self._left = epochs
        self._stopped = stopped

    def check(self) -> None:
        """Raises where the job is to stop."""
        self._context.check()
        if self._stopped.is_set():
            raise _Stopped

    def one_more(self) -> None:
        self.check()
        if self._left:
            self._left -= 1
            self._context.advance()

    def end(self) -> None:
        """Counts those that were not needed, because the fit ended early."""
        self._context.advance(self._left)
        self._left = 0


def checked_settings(given: dict[str, Any]) -> tuple[XnnSettings, int]:
    """Settings and seed, with the defaults filled in.

    Raises:
        InvalidArgument: one is out of range.
    """
    names = {field.name for field in fields(XnnSettings)}
    settings = replace(XnnSettings(), **{k: v for k, v in given.items() if k in names})
    for name, low, high in (("x_feature_count", 1, 64), ("epochs", 1, 1000)):
        value = getattr(settings, name)
        if not low <= value <= high:
            raise InvalidArgument(f"{name} is {value}; it must be {low} to {high}")
    if settings.batch_size and not 2 <= settings.batch_size <= 65536:
        raise InvalidArgument(
            f"batch_size is {settings.batch_size}; it must be 2 to 65536, or 0 to choose it"
        )
    if settings.reconstructed_units < 0:
        raise InvalidArgument(
            f"reconstructed_units is {settings.reconstructed_units}; it must be 0 (all) or more"
        )
    for name in ("reconstruction_weight", "pull_away_weight", "reconstruction_q", "negatives_per_positive"):
        value = getattr(settings, name)
        if not 0 <= value < float("inf"):
            raise InvalidArgument(f"{name} is {value}; it must be finite and not negative")
    if not 0 < settings.significant_share <= 1:
        raise InvalidArgument(f"significant_share is {settings.significant_share}; it must be in (0, 1]")
    return settings, given.get("seed", 0)


def _classes(wanted: Sequence[str], model: tables.Model, dataset: tables.Dataset) -> tuple[str, ...]:
    for name in wanted:
        datasets.class_index(model.classes, name, f"model '{model.name}'")
        datasets.class_index(dataset.classes, name, f"data set '{dataset.name}'")
    shared = tuple(n for n in model.classes if n in dataset.classes and (not wanted or n in wanted))
    if not shared:
        raise FailedPrecondition(
            f"model '{model.name}' ({_shown(model.classes)}) and data set '{dataset.name}' "
            f"({_shown(dataset.classes)}) have no class name in common; register the model with the data set's "
            "names, in the order of its scores (--classes)"
        )
    return shared


def _shown(classes: Sequence[str]) -> str:
    return ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")


def _claim_name(engine: Engine, chosen: Plan) -> None:
    with session(engine) as opened:
        found = opened.get(tables.XnnSet, chosen.name)
        _refuse_other(found, chosen)
        if found is None:
            opened.add(
                tables.XnnSet(
                    name=chosen.name,
                    model=chosen.model.name,
                    dataset=chosen.dataset.name,
                    settings=chosen.used,
                    summary={},
                )
            )


def _refuse_other(found: tables.XnnSet | None, chosen: Plan) -> None:
    wanted = (chosen.model.name, chosen.dataset.name, chosen.used)
    if found and (found.model, found.dataset, found.settings) != wanted:
        raise FailedPrecondition(
            f"set '{found.name}' was trained for model '{found.model}' on '{found.dataset}' with other "
            "settings; give this one another name (--name)"
        )


def _is_trained(engine: Engine, store: ObjectStore, chosen: Plan, class_name: str) -> bool:
    """Whether the class has an xNN of exactly this training, whole in the store."""
    with Session(engine) as opened:
        found = opened.get(tables.Xnn, (chosen.name, class_name))
    if found is None or found.settings_hash != chosen.settings_hash(class_name):
        return False
    try:
        store.get(found.weights_key)
    except (NotFound, DataLoss) as error:
        _log.warning("the xNN of class '%s' is trained again: %s", class_name, error)
        return False
    return True
