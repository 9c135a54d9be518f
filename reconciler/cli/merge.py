"""Three-way merge and differences in words, pure. What a file did not change since its last apply stays as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reconciler.spec import Manifest

Document = Mapping[str, Any]
MISSING = object()


def plain(manifest: Manifest) -> dict[str, Any]:
    """A manifest as JSON has it, with what was said and no defaults; 120.0 seconds are 120."""
    found: dict[str, Any] = _tidy(manifest.model_dump(mode="json", exclude_unset=True))
    return found


def _tidy(value: Any) -> Any:
    match value:
        case dict():
            return {key: _tidy(each) for key, each in value.items()}
        case list():
            return [_tidy(each) for each in value]
        case float() if value.is_integer():
            return int(value)
    return value


def merge(base: Document | None, file: Document, stands: Document | None) -> dict[str, Any]:
    """`base`: what the file said when it was last applied, `stands`: what is in etcd.

    Mappings are merged by key; anything else, lists too, is one value. What the file says now and did not say then
    wins; what it says as it did then, or never said, stays as it stands; what it no longer says goes.
    """
    base, stands = base or {}, stands or {}
    merged: dict[str, Any] = {}
    for key in (*file, *(key for key in stands if key not in file)):
        value = _one(base.get(key, MISSING), file.get(key, MISSING), stands.get(key, MISSING))
        if value is not MISSING:
            merged[key] = value
    return merged


def _one(base: Any, file: Any, stands: Any) -> Any:
    if file is MISSING:
        return stands if base is MISSING else MISSING
    if file == base:
        return stands
    if isinstance(file, Mapping) and isinstance(stands, Mapping):
        return merge(base if isinstance(base, Mapping) else None, file, stands)
    return file


def differences(before: Any, after: Any) -> list[str]:
    """`primary hosta -> hostb`, in the order of `after`; lists of what is more than a word are only named."""
    return _differences(before or {}, after or {}, "")


def _differences(before: Document, after: Document, path: str) -> list[str]:
    found = []
    for key in (*after, *(key for key in before if key not in after)):
        was, now = before.get(key), after.get(key)
        name = f"{path}{key}"
        if isinstance(was, Mapping) or isinstance(now, Mapping):
            sides = [each if isinstance(each, Mapping) else {} for each in (was, now)]
            found += _differences(sides[0], sides[1], f"{name}.")
        elif was != now:
            found.append(f"{name} {_short(was)} -> {_short(now)}" if _is_short(was, now) else f"{name} changed")
    return found


def _is_short(*values: Any) -> bool:
    words = [value if isinstance(value, list) else [value] for value in values]
    return all(not isinstance(word, list | dict) for each in words for word in each) and all(len(w) < 6 for w in words)


def _short(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
