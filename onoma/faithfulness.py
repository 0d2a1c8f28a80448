"""How faithful xNNs are, for tables: rows of Table 1, and of sets to compare; apart from the report, which draws."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from google.protobuf.message import Message

from onoma.v1 import inference_pb2


@dataclass(frozen=True)
class ClassRow:
    """One class's row of Table 1: the fields of Xnn in inference.proto, described there."""

    class_name: str
    image_count: int
    significant_count: int
    significant_mean: float | None
    dnn_accuracy: float | None
    xnn_accuracy: float | None
    rmse: float | None
    score_min: float | None
    score_max: float | None
    mattering_count: int = 0
    first_mattering_count: int = 0
    restart_count: int = 0
    accepted: bool = True
    mean_abs_correlation: float | None = None

    @property
    def rmse_share(self) -> float | None:
        """RMSE over the score's range; None where nothing was measured or the range is 0."""
        if self.rmse is None or self.score_min is None or self.score_max is None:
            return None
        score_range = self.score_max - self.score_min
        return self.rmse / score_range if score_range > 0 else None


@dataclass(frozen=True)
class FeatureCountRow:
    """What xNNs with so many X-features gave.

    Attributes:
        x_feature_count: K.
        rmse: over the score's range, mean of the classes; None where it has none.
        worst_rmse: the largest of the classes.
        significant_mean: significant X-features an image, mean of the classes; None without test images.
        mattering_mean: X-features that matter, mean of the classes.
        argmax_agreement: share of test images where the arg-maxes agree; None unless every class has an xNN.
    """

    x_feature_count: int
    rmse: float | None
    worst_rmse: float | None
    significant_mean: float | None
    mattering_mean: float
    argmax_agreement: float | None


def class_row(xnn: inference_pb2.Xnn) -> ClassRow:
    """One class's row of Table 1."""
    return ClassRow(
        class_name=xnn.class_name,
        image_count=xnn.image_count,
        significant_count=xnn.significant_count,
        significant_mean=optional(xnn, "significant_mean"),
        dnn_accuracy=optional(xnn, "dnn_accuracy"),
        xnn_accuracy=optional(xnn, "xnn_accuracy"),
        rmse=optional(xnn, "rmse"),
        score_min=optional(xnn, "score_min"),
        score_max=optional(xnn, "score_max"),
        mattering_count=xnn.mattering_count,
        first_mattering_count=xnn.first_mattering_count,
        restart_count=xnn.restart_count,
        accepted=xnn.accepted,
        mean_abs_correlation=optional(xnn, "mean_abs_correlation"),
    )


def feature_count_row(xnn_set: inference_pb2.XnnSet) -> FeatureCountRow:
    """A set's figures, to compare with those of other K."""
    rows = [class_row(xnn) for xnn in xnn_set.xnns]
    relative = [row.rmse_share for row in rows if row.rmse_share is not None]
    significant = [row.significant_mean for row in rows if row.significant_mean is not None]
    return FeatureCountRow(
        x_feature_count=xnn_set.settings.x_feature_count,
        rmse=fmean(relative) if relative else None,
        worst_rmse=max(relative, default=None),
        significant_mean=fmean(significant) if significant else None,
        mattering_mean=fmean(row.mattering_count for row in rows),
        argmax_agreement=optional(xnn_set, "argmax_agreement"),
    )


def optional(message: Message, field: str) -> float | None:
    """A number of a message; None where it is not set."""
    return getattr(message, field) if message.HasField(field) else None
