"""The settings that there are, to compare with what deploy/ tells the services."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from pydantic_settings import BaseSettings

import services


@cache
def known_settings() -> set[str]:
    """ONOMA_* variables that some service reads."""
    for module in pkgutil.walk_packages(services.__path__, "services."):
        if module.name.endswith("settings") or module.name.endswith("ray_engine"):
            importlib.import_module(module.name)
    found, waiting = set(), [BaseSettings]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if kind.__module__.startswith("services."):
            found |= {f"ONOMA_{name.upper()}" for name in kind.model_fields}
    return found
