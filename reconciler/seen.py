"""Seen: what etcd said that decides, kept on this host for an agent that starts while etcd is away.

A file a service, so that a change costs one service, and one with what is of all and with the services' names.
Statuses and sessions are not kept: they would be lies by then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from loguru import logger

from reconciler.index import Index, split
from reconciler.store import Entry, epoch_key, owner_key, service_key
from resources.machine import Machine, MachineError
from resources.words import LABEL

SEEN = "/var/lib/hactl/seen.json"
OF_A_SERVICE = ("services", "owners", "epochs")
OF_ALL = ("hosts", "outdated")
ALL = ""  # in place of a service's name


class Seen:
    """`note` after each change, `note_all` after a listing; `load` before anything else."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._written: dict[str, str] = {}  # by path
        self._names: set[str] = set()
        self._due: set[str] = set()

    def note(self, key: str, index: Index) -> None:
        """It has changed."""
        section, name = split(key)
        if section in OF_ALL:
            self._save({ALL}, index)
        elif section in OF_A_SERVICE and re.fullmatch(LABEL, name):
            self._save({name}, index)

    def note_all(self, index: Index) -> None:
        """Anything may have changed."""
        names = {split(entry.key)[1] for section in OF_A_SERVICE for entry in index.under(section)}
        # What is no name is no service's; nor may what stands in etcd name a file elsewhere.
        self._save({ALL, *self._names, *(name for name in names if re.fullmatch(LABEL, name))}, index)

    def _save(self, names: Iterable[str], index: Index) -> None:
        self._due |= set(names)
        try:
            for name in sorted(self._due - {ALL}):
                self._save_service(name, index)
            if ALL in self._due:
                shared = [_row(entry) for section in OF_ALL for entry in index.under(section)]
                self._write(SEEN, json.dumps({"services": sorted(self._names), "keys": shared}))
            for name in self._due - self._names - {ALL}:
                self._machine.remove(_file(name))
                self._written.pop(_file(name), None)
            self._due = set()
        except MachineError as e:
            logger.warning("what etcd says could not be kept for a start without it: {}", e)

    def _save_service(self, name: str, index: Index) -> None:
        keys = (service_key(name), owner_key(name), epoch_key(name))
        rows = [_row(entry) for key in keys if (entry := index.get(key)) is not None]
        if rows:
            self._write(_file(name), json.dumps(rows))
        if bool(rows) != (name in self._names):
            (self._names.add if rows else self._names.discard)(name)
            self._due.add(ALL)

    def _write(self, path: str, text: str) -> None:
        if self._written.get(path) != text:
            self._machine.write(path, text)
            self._written[path] = text

    def load(self) -> list[Entry]:
        """What was seen last; empty where nothing was, or it cannot be read."""
        try:
            return list(self._load())
        except (ValueError, TypeError, KeyError):
            return []

    def _load(self) -> Iterator[Entry]:
        said = json.loads(self._read(SEEN) or "[]")
        if isinstance(said, list):  # one file with all, as earlier versions wrote it
            yield from (Entry(*row) for row in said)
            return
        yield from (Entry(*row) for row in said["keys"])
        for name in said["services"]:
            self._names.add(name)
            # One that is listed and not there makes all of it worthless: a service that is not known is not put down.
            yield from (Entry(*row) for row in json.loads(self._read(_file(name)) or ""))

    def _read(self, path: str) -> str | None:
        text = self._machine.read(path)
        if text is not None:
            self._written[path] = text
        return text


def _file(service: str) -> str:
    return f"/var/lib/hactl/seen/{service}.json"


def _row(entry: Entry) -> list[object]:
    return [entry.key, entry.value, entry.revision, entry.created]
