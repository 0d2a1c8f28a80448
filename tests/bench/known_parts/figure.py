"""A contact sheet: a few test pictures of each network, their deciding parts outlined, and the methods' maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tests.bench.known_parts.measuring import ByXnns, Scene
from tests.bench.known_parts.metrics import enlarged, peaks

ROWS = 3  # pictures a network
COLUMNS = {
    "Onoma: strict, plain": "strict, plain",
    "Onoma: strict, contrastive": "strict, contrastive",
    "Onoma: local, plain": "local, plain",
    "Onoma: local, contrastive": "local, contrastive",
    "no xNN: strict, contrastive": "no xNN, contrastive",
    "Grad-CAM": "Grad-CAM",
}
ACTIVATIONS = "strict, contrastive"
SHOWN_ACTIVATIONS = 2


Drawn = tuple[Scene, ByXnns, Mapping[str, Tensor]]  # and each image's map by method, of all methods


def contact_sheet(scenes: Mapping[str, Drawn], file: Path) -> None:
    """Writes the sheet, rows by network.

    Args:
        scenes: by the network's name.
        file: .png, .svg or .pdf.
    """
    rows = [(name, image) for name, (scene, drawn, _) in scenes.items() for image in _chosen(scene, drawn)]
    titles = ["picture", *COLUMNS.values(), *(f"activation {i + 1}" for i in range(SHOWN_ACTIVATIONS))]
    figure = Figure(figsize=(1.25 * len(titles), 1.28 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for (name, image), row in zip(rows, axes, strict=True):
        scene, drawn, by_method = scenes[name]
        row[0].set_ylabel(name.replace(" (", "\n("), fontsize=7)
        maps = [None, *(by_method[method][image] for method in COLUMNS), *_activations(drawn, image)]
        for axis, drawn_map in zip(row, maps, strict=False):
            _show(axis, scene, image, drawn_map)
        for axis in row[len(maps) :]:
            axis.set_visible(False)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7)
    figure.savefig(file, dpi=100)


def _chosen(scene: Scene, drawn: ByXnns) -> list[int]:
    """The first pictures of as many different classes that have two activations to show."""
    counts = drawn.activations[ACTIVATIONS].images.bincount(minlength=len(scene.images))
    several = (counts >= SHOWN_ACTIVATIONS).nonzero()[:, 0].tolist()
    of_class = {int(scene.classes[image]): image for image in reversed(several)}
    by_class = [of_class[index] for index in sorted(of_class)]
    return by_class[:: max(1, len(by_class) // ROWS)][:ROWS]


def _activations(drawn: ByXnns, image: int) -> list[Tensor]:
    """Maps of the image's activations, the largest contribution first."""
    found = drawn.activations[ACTIVATIONS]
    rows = (found.images == image).nonzero()[:, 0]
    order = found.contributions[rows].argsort(descending=True)[:SHOWN_ACTIVATIONS]
    return list(found.maps[rows[order]])


def _show(axis: Axes, scene: Scene, image: int, drawn_map: Tensor | None) -> None:
    """The picture, paler under a map, with the deciding parts outlined and the map's peak marked."""
    picture = _displayed(scene.images[image])
    axis.set(xticks=[], yticks=[])
    if drawn_map is not None:
        large = enlarged(drawn_map[None], scene.images.shape[3])
        picture = np.repeat(picture.mean(2, keepdims=True), 3, 2)
        axis.imshow(picture, alpha=0.6)
        values = large[0].numpy()
        strength = (values - values.min()) / max(values.max() - values.min(), 1e-12)
        axis.imshow(strength, cmap="inferno", alpha=0.15 + 0.8 * strength)
        row, column = peaks(large)[0].tolist()
        axis.plot(column, row, "o", markersize=3.5, markerfacecolor="white", markeredgecolor="black")
    else:
        axis.imshow(picture)
    axis.contour(
        scene.deciding_masks[image].numpy(),
        [0.5],
        colors="white" if drawn_map is None else "cyan",
        linewidths=0.8,
    )


def _displayed(image: Tensor) -> npt.NDArray[np.float32]:
    """(3, H, W) in [-1, 1] to (H, W, 3) in [0, 1]."""
    return ((image + 1) / 2).permute(1, 2, 0).numpy()
