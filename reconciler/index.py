"""The index: keys of etcd by what they are of, so that a change of one service costs one service, not a look at all."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.store import ROOT, Entry


class Index:
    """Entries under /hactl/, found by key, by section (`owners`) and, of statuses, by service (`status/nfs`)."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[str, Entry] = {}
        self._groups: dict[str, dict[str, Entry]] = {}
        self._sorted: dict[str, list[Entry]] = {}
        for entry in entries:
            self.put(entry.key, entry)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Entry | None:
        """As it stands."""
        return self._entries.get(key)

    def put(self, key: str, entry: Entry | None) -> None:
        """None: it is gone."""
        group = group_of(key)
        self._sorted.pop(group, None)
        if entry is None:
            self._entries.pop(key, None)
            self._groups.get(group, {}).pop(key, None)
        else:
            self._entries[key] = entry
            self._groups.setdefault(group, {})[key] = entry

    def under(self, group: str) -> list[Entry]:
        """Of a section or, `status/nfs`, of a service's statuses, sorted by key."""
        if group not in self._sorted:
            self._sorted[group] = [entry for _, entry in sorted(self._groups.get(group, {}).items())]
        return self._sorted[group]


def split(key: str) -> tuple[str, str]:
    """(section, the rest): ("owners", "nfs")"""
    section, _, rest = key.removeprefix(ROOT).partition("/")
    return section, rest


def group_of(key: str) -> str:
    """`owners`, `status/nfs`"""
    section, rest = split(key)
    name, slash, _ = rest.partition("/")
    return f"{section}/{name}" if section == "status" and slash else section
