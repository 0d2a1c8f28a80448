"""The import of a folder: a job that leaves a data set alone until its new content is whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from services.inference import import_rows
from services.inference.datasets import class_index
from services.inference.formats import read_layout
from services.inference.intake import Intake, is_inside
from services.inference.layout import Item, Layout, seeded_order
from services.inference.settings import InferenceSettings
from services.inference.tables import TEST, TRAIN, Dataset
from services.runtime.decoding import Decoders
from services.runtime.errors import FailedPrecondition, InvalidArgument, Unavailable
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore

BATCH_SIZE = 500


@dataclass(frozen=True)
class Plan:
    """What to import, as the job keeps it.

    Attributes:
        name: of the data set.
        folder: absolute, without links.
        format: of `formats`, or "" to find it out.
        classes: those to take; empty for all.
        max_train_images_per_class: 0 for all.
        max_test_images_per_class: 0 for all.
        seed: of the limits and of the split.
    """

    name: str
    folder: str
    format: str = ""
    classes: Sequence[str] = ()
    max_train_images_per_class: int = 0
    max_test_images_per_class: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_train_images_per_class", "max_test_images_per_class"):
            if getattr(self, name) < 0:
                raise InvalidArgument(f"{name} {getattr(self, name)}: use 0 for all, or more")


def allowed_folder(path: str, roots: Sequence[Path]) -> Path:
    """The folder that `path` names, links resolved.

    Raises:
        FailedPrecondition: the server allows no imports from its disk.
        InvalidArgument: not absolute, not a folder, or outside the roots.
    """
    if not roots:
        raise FailedPrecondition(
            "this server imports no folders of its own disk: name the allowed ones in ONOMA_IMPORT_ROOTS"
        )
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"path {path[:200]!a}: give an absolute path on the server")
    folder = Path(path).resolve()
    if not is_inside(folder, [root.resolve() for root in roots]):
        allowed = ", ".join(map(str, roots))
        raise InvalidArgument(f"{path} is outside the folders that this server imports from: {allowed}")
    if not folder.is_dir():
        raise InvalidArgument(f"{path} is not a folder on the server")
    return folder


def import_dataset(
    context: JobContext,
    engine: Engine,
    store: ObjectStore,
    roots: Sequence[Path],
    own_folder: Path,
    limits: InferenceSettings,
    decoders: Decoders,
) -> dict[str, Any]:
    """Imports the folder of the job's Plan.

    Pictures that cannot be taken are listed and the rest goes on. Rows are written in batches after their
    objects are durable; readers see them when the last one is there. Taken up again after a kill, the job
    reads every file again, so that changed files count, but decodes only those that no import took before.

    Args:
        own_folder: the server's data folder. What lies in it is left out: a process that opens and closes a SQLite
            database beside its own connections loses its locks on it.
    Returns:
        The job's result: dataset, image_count, skipped_count, converted_count, content_hash.
    Raises:
        MalformedDataset: the folder is not what its format promises.
        InvalidArgument: a class that is not there.
        FailedPrecondition: fewer than two classes, or not one picture.
        Unavailable: the folder went away meanwhile.
    """
    plan = Plan(**context.params)
    folder = Path(plan.folder)
    if done := import_rows.published(engine, plan.name, context.job_id):
        return _result(done)
    context.stage("listing files")
    layout = _without(own_folder, read_layout(folder, plan.format, plan.seed))
    for line in layout.warnings:
        context.warn(f"{folder}: {line}")
    classes, items = _chosen(layout, plan)
    if plan.classes and len(classes) == 1:
        context.warn(
            f"only class {classes[0]!r} was asked for: its xNN has no other pictures to tell it from"
        )

    context.stage("importing pictures", len(items))
    import_rows.forget(engine, context.job_id)
    contents = layout.contents(items)
    batches = iter(lambda: list(islice(contents, BATCH_SIZE)), [])

    def count(_: object) -> None:
        context.check()
        context.advance()

    taken, why_none = Intake(engine, store, roots, limits, decoders, own_folder).take_all(
        batches, count, partial(import_rows.write, engine, plan.name, context.job_id, classes)
    )
    if not taken:
        raise FailedPrecondition(
            f"{folder}: not one of {len(items)} files is a picture that can be taken{why_none}"
        )

    if not folder.exists():
        raise Unavailable(f"{folder} went away during the import; put it back, and the job goes on")
    context.stage("publishing")
    for line in import_rows.repetitions(engine, context.job_id):
        context.warn(line)
    dataset = import_rows.publish(engine, plan.name, context.job_id, classes, taken)
    for line in _thin_classes(dataset):
        context.warn(line)
    return _result(dataset)


def _result(dataset: Dataset) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "image_count": sum(dataset.train_counts) + sum(dataset.test_counts),
        "skipped_count": dataset.skipped_count,
        "converted_count": dataset.converted_count,
        "content_hash": dataset.content_hash,
    }


def _without(own_folder: Path, layout: Layout) -> Layout:
    """The layout without files in the server's own folder, and classes that were made of those alone."""
    own = own_folder.resolve()

    def is_own(item: Item) -> bool:
        return isinstance(item.source, str) and is_inside(Path(item.source), [own])

    left_out = [item for item in layout.items if is_own(item)]
    if not left_out:
        return layout
    items = tuple(item for item in layout.items if not is_own(item))
    if not items:
        raise FailedPrecondition(
            f"everything there is lies in {own}, which holds this server's own data and is left out: move the "
            "pictures elsewhere"
        )
    gone = {item.class_name for item in left_out} - {item.class_name for item in items}
    return replace(
        layout,
        classes=tuple(name for name in layout.classes if name not in gone),
        items=items,
        warnings=(*layout.warnings, f"{own} holds this server's own data and is left out"),
    )


def _chosen(layout: Layout, plan: Plan) -> tuple[tuple[str, ...], list[Item]]:
    """Classes and items of the plan, in the order of the layout."""
    for name in plan.classes:
        class_index(layout.classes, name, plan.folder)
    if len(layout.classes) < 2:
        have = f"one class ({layout.classes[0]})" if layout.classes else "no classes"
        raise FailedPrecondition(f"folder {plan.folder} has {have}; a classifier needs at least 2")
    classes = tuple(name for name in layout.classes if not plan.classes or name in plan.classes)
    groups: dict[tuple[str, str], list[Item]] = {
        (name, part): [] for name in classes for part in (TRAIN, TEST)
    }
    for item in layout.items:
        if (item.class_name, item.part) in groups:
            groups[item.class_name, item.part].append(item)
    items: list[Item] = []
    for (_, part), group in groups.items():
        limit = plan.max_train_images_per_class if part == TRAIN else plan.max_test_images_per_class
        items += seeded_order(group, plan.seed, "limit")[:limit] if limit else group
    return classes, items


def _thin_classes(dataset: Dataset) -> Iterator[str]:
    """Lines about classes with too little to train or to measure on."""
    for name, count in zip(dataset.classes, dataset.train_counts, strict=True):
        if count < 2:
            have = "1 training image" if count else "no training images"
            yield f"class {name!r} has {have}; its xNN needs at least 2"
    if not any(dataset.test_counts):
        yield "no class has test images: xNNs can be trained but not measured"
        return
    for name, count in zip(dataset.classes, dataset.test_counts, strict=True):
        if not count:
            yield f"class {name!r} has no test images: its xNN cannot be measured"
