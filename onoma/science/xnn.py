"""xNN: one small explanation network a class, that gives the network's score from a handful of X-features.

[P] Hamidi-Haines et al. 2018, section 3.2; [X] Qi, Khorram, Li, arXiv 1709.05360; [ours] said where it is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from onoma.science.significance import significant


@dataclass(frozen=True)
class Xnn:
    """A trained explanation network: encoder and read-out; the decoder serves in training only.

    Attributes:
        encoder: (W (out, in), b (out,)) of each layer, float32; ReLU after every one.
        read_out: w (K,).
        bias: b (), added to w . x.
    """

    encoder: tuple[tuple[Tensor, Tensor], ...]
    read_out: Tensor
    bias: Tensor


def x_features(xnn: Xnn, features: Tensor) -> Tensor:
    """X-features of n images: (n, D) activations of the attachment to (n, K), not negative [P 3.2]."""
    values = features
    for weight, bias in xnn.encoder:
        values = torch.relu(values @ weight.T + bias)
    return values


def terms(xnn: Xnn, features: Tensor) -> Tensor:
    """Contributions w_i x_i, (n, K), in score units [P 3.3]."""
    return x_features(xnn, features) * xnn.read_out


def score(xnn: Xnn, features: Tensor) -> Tensor:
    """Scores w . x + b, (n,)."""
    return terms(xnn, features).sum(-1) + xnn.bias


def to_tensors(xnn: Xnn) -> dict[str, Tensor]:
    """The xNN under the names it is stored by: encoder.I.weight, encoder.I.bias, read_out.weight, read_out.bias."""
    tensors = {"read_out.weight": xnn.read_out, "read_out.bias": xnn.bias}
    for index, (weight, bias) in enumerate(xnn.encoder):
        tensors |= {f"encoder.{index}.weight": weight, f"encoder.{index}.bias": bias}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def from_tensors(tensors: Mapping[str, Tensor]) -> Xnn:
    """The inverse of `to_tensors`; weights of other float types become float32, as features are.

    Raises:
        ValueError: a tensor is missing, of no float type, not finite in float32, or of a shape that does not fit the
            others.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(
                f"the xNN's file has {name} as {str(tensor.dtype).removeprefix('torch.')}; weights are floats (float32)"
            )
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    try:
        layers = sum(name.startswith("encoder.") and name.endswith(".weight") for name in tensors)
        encoder = tuple((tensors[f"encoder.{i}.weight"], tensors[f"encoder.{i}.bias"]) for i in range(layers))
        xnn = Xnn(encoder, tensors["read_out.weight"], tensors["read_out.bias"])
    except KeyError as error:
        raise ValueError(f"the xNN's file lacks the tensor {error}") from error
    if not layers or not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("the xNN's file has no encoder, or a weight that is NaN or infinite")
    inputs = [weight.shape[1:] for weight, _ in encoder[1:]] + [xnn.read_out.shape]
    fits = all(weight.ndim == 2 and bias.shape == weight.shape[:1] for weight, bias in encoder)
    if (
        not fits
        or xnn.bias.ndim
        or any(bias.shape != wanted for (_, bias), wanted in zip(encoder, inputs, strict=True))
    ):
        raise ValueError("the xNN's file has layers whose shapes do not fit together")
    return xnn


def significant_counts(xnn: Xnn, features: Tensor, share: float) -> Tensor:
    """Significant X-features of each image, (n,) int64 [P 3.3]."""
    return significant(terms(xnn, features), share).sum(-1)
