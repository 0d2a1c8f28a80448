"""What sets of xNNs with several K have to be compared by; apart from the figures, for tables need no matplotlib."""

from dataclasses import dataclass


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
