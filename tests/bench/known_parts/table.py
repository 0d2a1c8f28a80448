"""The benchmark's figures as tables of fixed rows, columns and decimals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from torch import Tensor

from tests.bench.known_parts.subjects import Quality

# By row and measure, (trainings, n): a value a training of the xNNs and image, NaN where there is none to measure. Rows
# that need no xNN have one training.
Measured = Mapping[str, Mapping[str, Tensor]]
DIFFERENCES = (
    ("Onoma: local, plain", "Onoma: strict, plain"),
    ("Onoma: local, contrastive", "Onoma: strict, contrastive"),
    ("Onoma: strict, contrastive", "Onoma: strict, plain"),
    ("Onoma: local, contrastive", "Onoma: local, plain"),
    ("Onoma: strict, contrastive", "Grad-CAM"),
    ("Onoma: local, contrastive", "Grad-CAM"),
)


@dataclass(frozen=True, eq=False)
class Result:
    """What was measured on one network.

    Attributes:
        network: its name.
        quality: of the network and its xNNs.
        images: explained, all classified right.
        trainings: of the xNNs.
        unexplained: images without a significant activation, mean over trainings.
        activations_an_image: significant ones, mean over images and trainings.
        certainty: mean softmax of the class on the pictures, and on their blur.
        chance: by measure.
        maps: an image's explanation, by method.
        activations: single activations' maps, by mode and kind.
    """

    network: str
    quality: Quality
    images: int
    trainings: int
    unexplained: float
    activations_an_image: float
    certainty: tuple[float, float]
    chance: dict[str, float]
    maps: Measured
    activations: Measured


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean over trainings and images (trainings, n), and its standard error over both; 0 for one image and training.

    Both are drawn at random: the variances of their means add up, each over its number, and what is of neither alone
    stands in both, so it is taken off once (crossed random effects).
    """
    by_image, by_training, mean = values.nanmean(0), values.nanmean(1), values.nanmean()
    rest = values - by_image - by_training[:, None] + mean
    freedom = (values.shape[0] - 1) * (values.shape[1] - 1)
    both = float(rest.square().nansum()) / freedom / values.numel() if freedom else 0.0
    variance = _variance_of_mean(by_image) + _variance_of_mean(by_training) - both
    return float(mean), max(variance, 0.0) ** 0.5


def _variance_of_mean(means: Tensor) -> float:
    known = means[~means.isnan()]
    return float(known.var()) / len(known) if len(known) > 1 else 0.0


def as_json(result: Result) -> dict[str, object]:
    """Means and standard errors."""
    return {
        "network": result.network,
        "quality": asdict(result.quality),
        "images": result.images,
        "trainings_of_xnns": result.trainings,
        "images_without_significant_activation": result.unexplained,
        "activations_an_image": result.activations_an_image,
        "certainty_on_picture_and_blur": result.certainty,
        "chance": result.chance,
        "maps": _means(result.maps),
        "differences": _means(_differences(result.maps)),
        "activations": _means(result.activations),
    }


def as_text(result: Result) -> str:
    """Markdown."""
    quality = result.quality
    return "\n".join(
        [
            f"### {result.network}",
            f"accuracy {quality.accuracy:.1%}, of its xNNs {quality.xnn_accuracy:.1%}; RMSE / range "
            f"{quality.rmse_over_range:.2%}; mass lost in strict mode {quality.strict_leak:.1%}; "
            f"{result.images} images, {result.trainings} trainings of the xNNs, {result.activations_an_image:.2f} "
            f"significant activations an image, {result.unexplained:g} images without; softmax of the class "
            f"{result.certainty[0]:.3f}, on the blur "
            f"{result.certainty[1]:.3f}",
            "",
            "Explanations of images",
            *_table("map", result.maps),
            f"| chance | {result.chance['pointing']:.3f} | {result.chance['mass']:.3f} | | |",
            "",
            "Differences, image by image",
            *_table("maps", _differences(result.maps), signed=True),
            "",
            "Single activations",
            *_table("map", result.activations),
        ]
    )


def _differences(maps: Measured) -> Measured:
    return {
        f"{one} - {other}": {measure: maps[one][measure] - maps[other][measure] for measure in maps[one]}
        for one, other in DIFFERENCES
    }


def _means(measured: Measured) -> dict[str, dict[str, tuple[float, float]]]:
    return {
        row: {measure: mean_and_error(values) for measure, values in values_of.items()}
        for row, values_of in measured.items()
    }


def _table(title: str, measured: Measured, *, signed: bool = False) -> list[str]:
    measures = list(next(iter(measured.values())))
    form = "+.3f" if signed else ".3f"
    rows = [
        f"| {row} | " + " | ".join(f"{mean:{form}} ± {error:.3f}" for mean, error in means.values()) + " |"
        for row, means in _means(measured).items()
    ]
    return [f"| {title} | " + " | ".join(measures) + " |", "|---" * (len(measures) + 1) + "|", *rows]
