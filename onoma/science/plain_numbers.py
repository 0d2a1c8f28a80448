"""Numbers as JSON has them: what is undefined is null, and the object that holds it says why under "reasons"."""

from collections.abc import Mapping
from typing import Any

from onoma.science.agreement import Spread
from onoma.science.practice import Interval
from onoma.science.study_data import Ratio

Json = dict[str, Any]


def put(found: Json, key: str, value: object, why: str) -> None:
    """Puts a value under its key, and the reason where it is undefined."""
    found[key] = value
    if value is None:
        found.setdefault("reasons", {})[key] = why


def plain_ratio(ratio: Ratio) -> Json | None:
    """A share with what it rests on; None for 0/0."""
    if ratio.value is None:
        return None
    return {"value": ratio.value, "numerator": ratio.numerator, "denominator": ratio.denominator}


def plain_ratios(ratios: Mapping[str, Ratio], why: str) -> Json:
    """Shares by key, with one reason for those that are undefined."""
    found: Json = {}
    for key, ratio in ratios.items():
        put(found, key, plain_ratio(ratio), why)
    return found


def plain_spread(values: Spread) -> Json:
    """A distribution over pairs."""
    found: Json = {"n": values.n}
    for key in ("min", "mean", "max", "std_population"):
        put(found, key, getattr(values, key), "it is defined for no pair")
    put(found, "std_sample", values.std_sample, f"it needs two pairs, and is defined for {values.n}")
    return found


def plain_interval(interval: Interval | None) -> list[float] | None:
    """[low, high]."""
    return None if interval is None else [interval.low, interval.high]
