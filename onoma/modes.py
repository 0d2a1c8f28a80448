"""Excitation Backprop's modes: the contracts' numbers and the names that commands, reports and tables have for them."""

from typing import Final, Literal

from onoma.v1 import types_pb2

MODES: Final[dict[int, Literal["strict", "local"]]] = {
    types_pb2.EXCITATION_MODE_STRICT: "strict",
    types_pb2.EXCITATION_MODE_LOCAL: "local",
}
MODE_VALUES: Final = {name: value for value, name in MODES.items()}
