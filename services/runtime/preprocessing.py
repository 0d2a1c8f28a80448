"""How a model's pictures become its input: the message as science takes it."""

from onoma.science.pictures import Preprocessing
from onoma.v1 import types_pb2
from services.runtime.enums import name_of


def preprocessing_of(message: types_pb2.Preprocessing) -> Preprocessing:
    """How pictures become inputs.

    Raises:
        InvalidArgument: an interpolation that is none.
        ValueError: a value no picture can be made to fit.
    """
    return Preprocessing(
        channels=message.channels,
        height=message.height,
        width=message.width,
        resize_shorter_side=message.resize_shorter_side,
        mean=tuple(message.mean),
        std=tuple(message.std),
        interpolation=name_of(
            types_pb2.Interpolation, message.interpolation, "interpolation", unsaid="bilinear"
        ),
    )
