"""How a model's pictures become its input: the message as science takes it."""

from onoma.enum_names import INTERPOLATIONS
from onoma.science.pictures import Preprocessing
from onoma.v1 import types_pb2
from services.runtime.errors import InvalidArgument

_SAID_OR_NOT = {types_pb2.INTERPOLATION_UNSPECIFIED: "bilinear", **INTERPOLATIONS}


def preprocessing_of(message: types_pb2.Preprocessing) -> Preprocessing:
    """How pictures become inputs.

    Raises:
        InvalidArgument: an interpolation that is none.
        ValueError: a value no picture can be made to fit.
    """
    if message.interpolation not in _SAID_OR_NOT:
        known = ", ".join(types_pb2.Interpolation.keys())
        raise InvalidArgument(f"interpolation {message.interpolation} is none of {known}")
    return Preprocessing(
        channels=message.channels,
        height=message.height,
        width=message.width,
        resize_shorter_side=message.resize_shorter_side,
        mean=tuple(message.mean),
        std=tuple(message.std),
        interpolation=_SAID_OR_NOT[message.interpolation],
    )
