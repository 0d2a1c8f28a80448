"""Values of the contracts' enums, and the names that commands, reports, tables and the science have for them."""

from typing import Final, Literal

from onoma.v1 import types_pb2

PART_VALUES: Final = {"train": types_pb2.DATASET_PART_TRAIN, "test": types_pb2.DATASET_PART_TEST}
PARTS: Final[dict[int, str]] = {value: name for name, value in PART_VALUES.items()}
MODES: Final[dict[int, Literal["strict", "local"]]] = {
    types_pb2.EXCITATION_MODE_STRICT: "strict",
    types_pb2.EXCITATION_MODE_LOCAL: "local",
}
MODE_VALUES: Final = {name: value for value, name in MODES.items()}
INTERPOLATIONS: Final[dict[int, Literal["bilinear", "bicubic"]]] = {
    types_pb2.INTERPOLATION_BILINEAR: "bilinear",
    types_pb2.INTERPOLATION_BICUBIC: "bicubic",
}
INTERPOLATION_VALUES: Final = {name: value for value, name in INTERPOLATIONS.items()}
