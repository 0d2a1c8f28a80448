"""Messages that a client could send, from the descriptors: plain ones, odd ones, and bytes that are none."""

from __future__ import annotations

import math

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

_DEEPEST = 4
_ODD_TEXTS = (
    "",
    "\0",
    "../../etc/passwd",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "\\\\server\\share",
    "<script>alert(1)</script>",
    "=cmd()",
    "%s%n",
    "'; DROP TABLE study; --",
    "\u202ename",
    "\u200b",
    "x" * 10_000,
    "0" * 64,
    "f" * 32,
)
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_ODD_FLOATS = (0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e-45, 3e38)


@st.composite
def messages(draw, descriptor, known, depth=0):
    """A message whose fields are set or not; those that `known` has values for mostly are, to those.

    Args:
        known: values that the server knows, by the field's name.
    """
    message = GetMessageClass(descriptor)()
    # One odd field is refused for itself; many are refused for the first of them.
    odd = draw(st.sampled_from([0, 0, 4]))
    for field in descriptor.fields:
        if depth > _DEEPEST or draw(st.integers(0, 9)) > (8 if field.name in known else odd):
            continue
        if not field.is_repeated:
            _set(draw, message, field, known, depth)
        elif field.message_type and field.message_type.GetOptions().map_entry:
            continue  # no request has one with values that matter
        else:
            for _ in range(draw(st.integers(0, 3))):
                if field.message_type:
                    one = draw(messages(field.message_type, known, depth + 1))
                    getattr(message, field.name).append(one)
                else:
                    getattr(message, field.name).append(draw(_values(field, known)))
    return message


def _set(draw, message, field, known, depth):
    if field.message_type:
        getattr(message, field.name).CopyFrom(draw(messages(field.message_type, known, depth + 1)))
    else:
        setattr(message, field.name, draw(_values(field, known)))


def _values(field, known):
    values = _any_value(field)
    return st.one_of(*[st.sampled_from(known[field.name])] * 4, values) if field.name in known else values


def _any_value(field):
    kind = field.cpp_type
    if kind in _INTEGERS:
        low, high = _INTEGERS[kind]
        return st.sampled_from([low, high, 0, 1, 2]) | st.integers(low, high)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values] + [99, -1])
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return st.sampled_from(_ODD_FLOATS) | st.floats(width=32)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=200)
    return st.sampled_from(_ODD_TEXTS) | st.text(max_size=30)


@st.composite
def requests(draw, descriptor, known):
    """Bytes of a message: as they should be, with some exchanged, cut off, or at random."""
    kind = draw(st.sampled_from(["whole"] * 6 + ["exchanged", "cut", "random"]))
    if kind == "random":
        return draw(st.binary(max_size=300))
    data = bytearray(draw(messages(descriptor, known)).SerializeToString())
    if data and kind == "cut":
        return bytes(data[: draw(st.integers(0, len(data) - 1))])
    if data and kind == "exchanged":
        for _ in range(draw(st.integers(1, 4))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)
