"""Training of xNNs: one a class, a row and an object as each is done, measured on the test part."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from sqlalchemy import Engine
from sqlmodel import Session
from torch import Tensor

from onoma.science.xnn import Xnn, from_tensors, to_tensors
from onoma.science.xnn_fitting import HELD_OUT_FROM, XnnSettings, widths
from onoma.science.xnn_plan import beside, group_size, groups_of, on_device
from onoma.science.xnn_training import TF32_REFUSED, Round, is_checked, train_group
from onoma.science.xnn_trunk import Trunk, codes_of, train_trunk
from services.inference import datasets, figures, registry, rounds, tables
from services.inference.features import PartFeatures, Pass, part_features
from services.inference.sessions import open_stored
from services.inference.settings import InferenceSettings
from services.inference.stored_xnns import is_imported, load_xnn, xnns_of
from services.runtime.cores import cores
from services.runtime.database import keep_deletions_out, session
from services.runtime.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, some_of
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore, StorePlace

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
        InvalidArgument: an unknown class, settings out of range, or TF32 without a GPU.
        FailedPrecondition: model and data set share no class, or the set's name is taken.
    """
    model = registry.find(engine, tables.Model, params["model"])
    dataset = registry.find(engine, tables.Dataset, params["dataset"])
    settings, seed = checked_settings(params["settings"])
    if settings.precision == "tf32" and _device().type != "cuda":
        raise InvalidArgument(TF32_REFUSED)
    classes = _classes(params["classes"], model, dataset)
    made = Plan(params["name"], model, dataset, classes, settings, seed)
    with Session(engine) as opened:
        found = opened.get(tables.XnnSet, made.name)
    _refuse_other(found, made)
    if found and is_imported(xnns_of(engine, found)):
        raise FailedPrecondition(
            f"set '{found.name}' was trained elsewhere and came with a study; give this one another name (--name)"
        )
    return made


def train(
    context: JobContext, engine: Engine, store: ObjectStore, place: StorePlace, limits: InferenceSettings
) -> dict[str, Any]:
    """The job: features, then one xNN a class; classes already trained with the same inputs are kept.

    Args:
        place: where workers elsewhere find the object store.
    Raises:
        InvalidArgument: an unknown class, or settings out of range.
        FailedPrecondition: no class can be trained, or the set's name is taken.
        ResourceExhausted: the disk is full; the classes that are done stay.
        Unavailable: Ray does not get on; the features that are done stay.
    """
    chosen = plan(engine, context.params)
    model, dataset = chosen.model, chosen.dataset
    onnx = cache(partial(open_stored, store, model.name, model.onnx_key))
    training, test = (
        part_features(
            context,
            Pass(
                engine,
                store,
                place,
                model,
                dataset,
                part,
                limits.max_image_pixels,
                keep=context.params.get("keep_cells_of") == part,
                onnx=onnx,
            ),
            context.params.get("engine", "local"),
        )
        for part in (tables.TRAIN, tables.TEST)
    )
    trainable = _trainable(context, chosen, training)
    _tell_of_unchecked(context, chosen, trainable, training)
    _claim_name(engine, chosen)
    _train_classes(context, engine, store, chosen, trainable, training, test, limits)
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
    of_model, of_dataset = set(chosen.model.classes), set(chosen.dataset.classes)
    for whose, others, elsewhere in (
        ("the model", of_model - of_dataset, "in the data set"),
        ("the data set", of_dataset - of_model, "among the model's"),
    ):
        if others:
            context.warn(
                f"{len(others)} of the classes of {whose} {'is' if len(others) == 1 else 'are'} not {elsewhere} and "
                f"will have no xNN: {some_of(sorted(others), 5)}"
            )
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


def _tell_of_unchecked(
    context: JobContext, chosen: Plan, trainable: Sequence[str], training: PartFeatures
) -> None:
    """Warns of classes with too few images for some to be held out."""
    unchecked = []
    for class_name in trainable:
        is_own = training.class_indices == chosen.dataset.classes.index(class_name)
        if not is_checked(int(is_own.sum()), int((~is_own).sum()), chosen.settings):
            unchecked.append(class_name)
    if unchecked:
        context.warn(
            f"fewer than {HELD_OUT_FROM} images to train on: how faithful xNNs are was not checked on held-out ones, "
            f"so none counts as accepted ({some_of(unchecked, 5)})"
        )


def _train_classes(
    context: JobContext,
    engine: Engine,
    store: ObjectStore,
    chosen: Plan,
    trainable: Sequence[str],
    training: PartFeatures,
    test: PartFeatures,
    limits: InferenceSettings,
) -> None:
    """Trains the classes that have no xNN yet, in groups, several beside each other; the first that fails ends all."""
    device, settings = _device(), chosen.settings
    features = torch.from_numpy(training.features)
    width = (
        widths(features.shape[1], settings.x_feature_count)[0] if settings.shared_trunk else features.shape[1]
    )
    size = group_size(limits.training_group, settings, len(features), width, device)
    # A group's xNNs are stored all at once, so a group that is done in part is of another request, or has lost some.
    # Fitted again the others would change by rounding, and studies that were made with them would be of other xNNs.
    left = [
        [name for name in group if not _is_trained(engine, store, chosen, name)]
        for group in groups_of(trainable, size)
    ]
    pending = [group for group in left if group]
    inputs, trunk = on_device(features, device), None
    if pending and settings.shared_trunk:
        trunk = _trunk(context, chosen, inputs, torch.from_numpy(training.scores), device)
        inputs = codes_of(trunk, inputs, device)
    context.stage("training xNNs", len(trainable) * settings.epochs)
    context.advance((len(trainable) - sum(map(len, pending))) * settings.epochs)
    stopped = threading.Event()

    def train_classes(group: Sequence[str]) -> None:
        epochs = _Epochs(context, settings.epochs, len(group), stopped)
        epochs.check()
        _train_group(engine, store, chosen, group, inputs, trunk, training, test, device, epochs)
        epochs.end()

    beside(train_classes, pending, limits.training_workers or cores(), device, stopped.set)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _trunk(
    context: JobContext, chosen: Plan, features: Tensor, scores: Tensor, device: torch.device
) -> Trunk:
    """The first layer of all classes; made again the same where a training goes on."""
    context.stage("training the shared trunk", chosen.settings.epochs)

    def one_more() -> None:
        context.check()
        context.advance()

    return train_trunk(features, scores, chosen.settings, chosen.seed, one_more, device)


def _train_group(
    engine: Engine,
    store: ObjectStore,
    chosen: Plan,
    group: Sequence[str],
    inputs: Tensor,
    trunk: Trunk | None,
    training: PartFeatures,
    test: PartFeatures,
    device: torch.device,
    epochs: _Epochs,
) -> None:
    """Trains, measures and stores the xNNs of a group; rounds that an earlier try has kept are not fitted again."""
    targets = [chosen.model.classes.index(name) for name in group]
    class_indices = [chosen.dataset.classes.index(name) for name in group]
    hashes = {name: chosen.settings_hash(name) for name in group}

    def keep(number: int, found: Mapping[int, Round]) -> None:
        by_class = {group[index]: of_class for index, of_class in found.items()}
        rounds.keep(engine, store, chosen.name, number, by_class, hashes)

    fits = train_group(
        inputs,
        torch.from_numpy(training.scores[:, targets]),
        torch.from_numpy(training.class_indices[:, None] == np.array(class_indices)),
        chosen.settings,
        chosen.seed,
        [chosen.seed + target for target in targets],
        epochs.one_more,
        device=device,
        on_trunk=trunk is not None,
        kept=[rounds.kept(engine, store, chosen.name, name, hashes[name]) for name in group],
        keep=keep,
    )
    rows = []
    for name, fit in zip(group, fits, strict=True):
        xnn = from_tensors(to_tensors(trunk.under(fit.xnn) if trunk else fit.xnn))
        rows.append(
            tables.Xnn(
                set_name=chosen.name,
                class_name=name,
                weights_key=store.put(save_tensors(to_tensors(xnn))),
                settings_hash=hashes[name],
                metrics=figures.table_1_row(
                    replace(fit, xnn=xnn), chosen.model, chosen.dataset, test, name, chosen.settings
                ),
            )
        )
    store.flush()
    with session(engine) as opened:
        for row in rows:
            opened.merge(row)
        opened.get_one(tables.XnnSet, chosen.name).summary = {}  # those of the whole are no longer known
        no_longer_needed = rounds.forget(opened, chosen.name, group)
    rounds.delete_unnamed(engine, store, no_longer_needed)


def _whole_set(engine: Engine, store: ObjectStore, chosen: Plan) -> Iterator[Xnn]:
    """The xNNs of all the model's classes; none unless each has one, trained on the data set as it is now."""
    with Session(engine) as opened:
        row = opened.get_one(tables.XnnSet, chosen.name)
    rows = [xnn for xnn in xnns_of(engine, row) if xnn.settings_hash == chosen.settings_hash(xnn.class_name)]
    if len(rows) == len(chosen.model.classes):
        yield from (load_xnn(store, xnn) for xnn in rows)


class _Stopped(Exception):
    """Another class's training failed."""


class _Epochs:
    """Counts epochs of a group of classes; a round of the restart rule adds its own to the bar's total."""

    def __init__(self, context: JobContext, epochs: int, classes: int, stopped: threading.Event) -> None:
        self._context = context
        self._epochs = self._left = epochs
        self._classes = classes
        self._stopped = stopped

    def check(self) -> None:
        """Raises where the job is to stop."""
        self._context.check()
        if self._stopped.is_set():
            raise _Stopped

    def one_more(self) -> None:
        self.check()
        if not self._left:
            self._context.expect(self._epochs * self._classes)
            self._left = self._epochs
        self._left -= 1
        self._context.advance(self._classes)

    def end(self) -> None:
        """Counts those that were not needed, because the fit ended early."""
        self._context.advance(self._left * self._classes)
        self._left = 0


def checked_settings(given: dict[str, Any]) -> tuple[XnnSettings, int]:
    """Settings and seed, with the defaults filled in.

    Raises:
        InvalidArgument: one is out of range.
    """
    names = {field.name for field in fields(XnnSettings)}
    try:
        settings = XnnSettings(**{k: v for k, v in given.items() if k in names})
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    return settings, given.get("seed", 0)


def _classes(wanted: Sequence[str], model: tables.Model, dataset: tables.Dataset) -> tuple[str, ...]:
    for name in wanted:
        datasets.class_index(model.classes, name, f"model '{model.name}'")
        datasets.class_index(dataset.classes, name, f"data set '{dataset.name}'")
    shared = tuple(n for n in model.classes if n in dataset.classes and (not wanted or n in wanted))
    if not shared:
        raise FailedPrecondition(
            f"model '{model.name}' ({some_of(model.classes, 5)}) and data set '{dataset.name}' "
            f"({some_of(dataset.classes, 5)}) have no class name in common; register the model with the data set's "
            "names, in the order of its scores (--classes)"
        )
    return shared


def _claim_name(engine: Engine, chosen: Plan) -> None:
    with session(engine) as opened:
        keep_deletions_out(opened)
        registry.check_there(opened, chosen.model, chosen.dataset)
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
    if found and (found.model, found.dataset, asdict(XnnSettings()) | found.settings) != wanted:
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
