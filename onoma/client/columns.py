"""Columns as arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onoma.v1 import types_pb2


def map_arrays(columns: types_pb2.MapColumns) -> npt.NDArray[np.float32]:
    """Maps as (n, height, width) float32 probability mass.

    Stored as float16 multiples of each map's largest value: the error is at most 2^-12 of that value.
    """
    values = np.frombuffer(columns.values, "<f2").astype(np.float32)
    maps = values.reshape(len(columns.activation_id), columns.height, columns.width)
    return maps * np.array(columns.scale, np.float32)[:, None, None]
