"""Values of the contracts' enums, and the names that commands, reports, tables and the science have for them."""

from typing import Final, TypeVar, cast

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from onoma.v1 import types_pb2

Value = TypeVar("Value")


def names_of(enum: EnumTypeWrapper) -> dict[int, str]:
    """Names by value: PULL_AWAY_PAIRS_FEATURES is "features". The value that says nothing has none."""
    prefix = enum.keys()[0].removesuffix("UNSPECIFIED")
    return {value: name.removeprefix(prefix).lower() for name, value in enum.items()[1:]}


def values_of(enum: type[Value]) -> dict[str, Value]:
    """Values by name, the other way round; the stubs have an enum as the type of its values."""
    return {name: cast(Value, value) for value, name in names_of(cast(EnumTypeWrapper, enum)).items()}


PARTS: Final = names_of(types_pb2.DatasetPart)
PART_VALUES: Final = values_of(types_pb2.DatasetPart)
MODES: Final = names_of(types_pb2.ExcitationMode)
MODE_VALUES: Final = values_of(types_pb2.ExcitationMode)
INTERPOLATION_VALUES: Final = values_of(types_pb2.Interpolation)
