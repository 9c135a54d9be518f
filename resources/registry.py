"""Every resource kind there is, found by looking: a module of this package with a class that is a Kind.

Adding a kind is adding its file.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import resources
from resources.kind import Kind


def _find() -> tuple[Kind[Any, Any], ...]:
    found: list[Kind[Any, Any]] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(resources.__path__)):
        for _, thing in sorted(vars(importlib.import_module(f"resources.{module}")).items()):
            if inspect.isclass(thing) and issubclass(thing, Kind) and not inspect.isabstract(thing):
                found.append(thing())
    return tuple(found)


KINDS: tuple[Kind[Any, Any], ...] = _find()
