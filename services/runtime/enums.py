"""Enums in requests."""

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from onoma.enum_names import names_of
from services.runtime.errors import InvalidArgument


def name_of(enum: EnumTypeWrapper, value: int, field: str, unsaid: str | None = "") -> str:
    """The name that `onoma.enum_names` has for a value that was sent.

    Args:
        unsaid: stands for the value that says nothing; None where it has to be said.
    Raises:
        InvalidArgument: the enum has no such value.
    """
    names = names_of(enum) if unsaid is None else {0: unsaid, **names_of(enum)}
    if value not in names:
        raise InvalidArgument(f"{field} {value} is none of {', '.join(enum.keys()[1:])}")
    return names[value]
