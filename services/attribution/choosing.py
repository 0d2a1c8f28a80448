"""What a study takes of an archive of maps: which images, and which of their rows are significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from onoma.science.map_archive import ImageRow, MapArchive, Rows
from onoma.science.significance import significant_in_groups
from onoma.v1 import inference_pb2, naming_pb2
from services.attribution.plans import Peers, listed_images, within_limit
from services.runtime.errors import InvalidArgument, some_of
from services.runtime.jobs import JobContext

Pair = tuple[str, str]  # category, image id


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a study takes of an archive.

    Attributes:
        images: every explained image, with what the archive says of it.
        image_ids: of each row of the archive.
        rows: (m,) rows that are significant activations of these images, ascending.
        shares: (n,) of each row, of its image's positive weight.
    """

    images: Mapping[Pair, ImageRow]
    image_ids: Sequence[str]
    rows: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64]


def choose(
    context: JobContext,
    peers: Peers,
    study: naming_pb2.Study,
    model: inference_pb2.Model,
    archive: MapArchive,
) -> Chosen:
    """What a study takes of an archive whose values are checked.

    Raises:
        InvalidArgument: a row is of no image or category of the study, comes twice, or lacks its image.
    """
    rows = archive.rows
    known = {category: _known(peers, study, category) for category in study.categories}
    image_ids = [
        _image_id(known, study, rows.categories[i], image, rows.named(i))
        for i, image in enumerate(rows.images)
    ]
    _check_distinct(rows, image_ids)
    images = _images(known, study, model, archive, image_ids)
    shown = _shown(context, study, images)
    pairs = list(zip(rows.categories, image_ids, strict=True))
    is_significant, shares = _significant(pairs, rows, archive, study.settings.significant_share)
    is_shown = np.array([pair in shown for pair in pairs])
    left_out = int((is_shown & ~is_significant).sum())
    if left_out:
        context.warn(
            f"{left_out} of {int(is_shown.sum())} rows are not significant: the largest positive weights of their "
            f"image hold {study.settings.significant_share:g} without them; left out"
        )
    return Chosen(shown, image_ids, np.flatnonzero(is_shown & is_significant), shares)


def _known(peers: Peers, study: naming_pb2.Study, category: str) -> dict[str, str]:
    """Id of each image of a category, by path and by id."""
    ids: dict[str, str] = {}
    for image in listed_images(peers, study, category):
        ids[image.path] = ids[image.image_id] = image.image_id
    return ids


def _image_id(
    known: Mapping[str, Mapping[str, str]], study: naming_pb2.Study, category: str, image: str, where: str
) -> str:
    if category not in known:
        has = some_of([f"'{name}'" for name in known])
        raise InvalidArgument(f"{where}: study '{study.name}' has no such category; it has {has}")
    if image not in known[category]:
        raise InvalidArgument(
            f"{where}: no such image in this class and part of data set '{study.dataset}'; give its path there "
            "(train/CLASS/FILE, as the data set was imported) or the SHA-256 of the file"
        )
    return known[category][image]


def _check_distinct(rows: Rows, image_ids: Sequence[str]) -> None:
    first: dict[tuple[str, str, int], int] = {}
    for i, key in enumerate(zip(rows.categories, image_ids, rows.units.tolist(), strict=True)):
        if first.setdefault(key, i) != i:
            raise InvalidArgument(
                f"{rows.named(i)} is of the same image, category and unit as row {first[key]}; keep one"
            )


def _images(
    known: Mapping[str, Mapping[str, str]],
    study: naming_pb2.Study,
    model: inference_pb2.Model,
    archive: MapArchive,
    image_ids: Sequence[str],
) -> dict[Pair, ImageRow]:
    """Every image that the archive explains: those of images.csv, or else those that have a row."""
    rows = archive.rows
    pairs = list(zip(rows.categories, image_ids, strict=True))
    if archive.images is None:
        return {pair: ImageRow(pair[1], pair[0], None, None, "") for pair in pairs}
    images: dict[Pair, ImageRow] = {}
    for image in archive.images:
        pair = (image.category, _image_id(known, study, image.category, image.image, image.named))
        if images.setdefault(pair, image) is not image:
            raise InvalidArgument(f"{image.named} comes twice; keep one")
        if image.predicted_class and image.predicted_class not in model.classes:
            raise InvalidArgument(
                f"{image.named}: predicted_class '{image.predicted_class[:80]}' is no class of model '{model.name}'"
            )
    for i, pair in enumerate(pairs):
        if pair not in images:
            raise InvalidArgument(
                f"{rows.named(i)}: images.csv has no row of this image and category; it lists every explained image"
            )
    return images


def _shown(
    context: JobContext, study: naming_pb2.Study, images: Mapping[Pair, ImageRow]
) -> dict[Pair, ImageRow]:
    """The images within the study's limit a category."""
    by_category: dict[str, list[str]] = {category: [] for category in study.categories}
    for category, image_id in images:
        by_category[category].append(image_id)
    shown: dict[Pair, ImageRow] = {}
    for category, of_category in by_category.items():
        taken = within_limit(study, of_category)
        if not taken:
            context.warn(f"category '{category}' has no image in the archive")
        if len(taken) < len(of_category):
            context.warn(
                f"category '{category}' has {len(of_category)} images in the archive, and the study shows "
                f"{len(taken)}, chosen by its seed; the others are left out (--max-images when a study is made)"
            )
        shown |= {(category, image_id): images[category, image_id] for image_id in taken}
    return shown


def _significant(
    pairs: Sequence[Pair], rows: Rows, archive: MapArchive, share: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Which rows are significant, and each row's share of its image's positive weight."""
    numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    groups = np.array([numbers[pair] for pair in pairs])
    positive = np.maximum(rows.weights, 0).astype(np.float64)
    evidence = np.bincount(groups, positive)[groups]
    shares = positive / np.where(evidence > 0, evidence, 1)
    if archive.manifest.already_significant:
        return np.ones(len(pairs), bool), shares
    by_unit = np.lexsort((rows.units, groups))  # where weights are equal, the first unit comes first
    found = np.zeros(len(pairs), bool)
    weights = torch.from_numpy(rows.weights[by_unit])
    found[by_unit] = significant_in_groups(torch.from_numpy(groups[by_unit]), weights, share).numpy()
    return found, shares
