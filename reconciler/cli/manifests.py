"""Manifests: YAML text -> validated manifests, pure but for reading files. An error names file, line, field and fix."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reconciler.cli.errors import Code, Refused
from reconciler.spec import Manifest, SpecError, dotted, validate

YAML_NAMES = (".yaml", ".yml")
Key = tuple[str, str]  # kind in small letters, name


@dataclass(frozen=True)
class Loaded:
    """A manifest and where it is written."""

    manifest: Manifest
    file: str
    line: int

    @property
    def key(self) -> Key:
        return self.manifest.kind.lower(), self.manifest.metadata.name

    def __str__(self) -> str:
        return "/".join(self.key)


@dataclass(frozen=True)
class Problem:
    """nfs.yaml:12: spec.dedline: there is no such field; did you mean deadline?"""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class _Loader(yaml.SafeLoader):
    """One document after the other, with its nodes, which know their lines."""

    def documents(self) -> Iterator[tuple[yaml.Node, Any]]:
        while self.check_node():
            if (node := self.get_node()) is not None:
                yield node, self.construct_document(node)


def parse(text: str, file: str) -> tuple[list[Loaded], list[Problem]]:
    """All documents of a file; empty ones are skipped."""
    loaded: list[Loaded] = []
    problems: list[Problem] = []
    try:
        for node, document in _Loader(text).documents():
            if document is None:
                continue
            one, wrong = _validate(node, document, file)
            problems += wrong
            loaded += [one] if one else []
    except yaml.MarkedYAMLError as e:
        problems.append(_unparsable(e, file))
    except RecursionError:
        problems.append(Problem(file, 0, "is nested too deep, or has an anchor within itself"))
    except (yaml.YAMLError, ValueError) as e:
        problems.append(Problem(file, 0, f"is not YAML: {' '.join(str(e).split())}"))
    return loaded, problems


def _validate(node: yaml.Node, document: Any, file: str) -> tuple[Loaded | None, list[Problem]]:
    problems = [Problem(file, line, f"{dotted(path)}: is written twice") for line, path in twice(node)]
    try:
        manifest = validate(document)
    except SpecError as e:
        wrong = [(line_of(node, path), f"{dotted(path)}: {said}" if path else said) for path, said in e.problems]
        return None, problems + [Problem(file, line, text) for line, text in wrong]
    if manifest.metadata.deleted is not None:
        line = line_of(node, ("metadata", "deleted"))
        problems.append(Problem(file, line, "metadata.deleted: is written by hactl delete, never by hand"))
    return Loaded(manifest, file, line_of(node, ())), problems


def _unparsable(e: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = e.problem_mark or e.context_mark
    begun = f", begun in line {e.context_mark.line + 1}" if e.context_mark else ""
    what = f"{e.problem or 'it does not parse'}{f' ({e.context}{begun})' if e.context else ''}"
    return Problem(file, mark.line + 1 if mark else 0, f"is not YAML: {' '.join(what.split())}")


def line_of(node: yaml.Node, path: Iterable[str | int]) -> int:
    """The line, from 1, of the deepest part of the path that is written."""
    line = node.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                return line
            line, node = found[-1][0].start_mark.line + 1, found[-1][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return int(line)


def twice(node: yaml.Node, path: tuple[str | int, ...] = ()) -> Iterator[tuple[int, tuple[str | int, ...]]]:
    """Keys that a mapping has twice: YAML forbids it, PyYAML keeps the last one and says nothing."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = (*path, str(key.value))
            if str(key.value) in seen:
                yield key.start_mark.line + 1, here
            seen.add(str(key.value))
            yield from twice(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for number, each in enumerate(node.value):
            yield from twice(each, (*path, number))


def files(paths: Sequence[Path]) -> list[Path]:
    """Directories give their YAML files. Raises Refused."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if is_manifest(one))
            if not inside:
                raise Refused(Code.WRONG, f"{path} has no file that ends in .yaml or .yml")
            found += inside
        else:
            found.append(path)
    return found


def is_manifest(path: Path) -> bool:
    """By its name; editors' leftovers are hidden files or end otherwise."""
    return path.suffix in YAML_NAMES and not path.name.startswith(".")


def load(paths: Sequence[Path]) -> tuple[list[Loaded], list[Problem]]:
    """Hosts first: services name them. Raises Refused when there is nothing to read."""
    loaded: list[Loaded] = []
    problems: list[Problem] = []
    for path in files(paths):
        some, wrong = _load_one(path)
        loaded += some
        problems += wrong
    first: dict[Key, Loaded] = {}
    for one in loaded:
        if (other := first.setdefault(one.key, one)) is not one:
            problems.append(Problem(one.file, one.line, f"{one} is also in {other.file}:{other.line}"))
    return sorted(loaded, key=lambda one: one.key), problems


def _load_one(path: Path) -> tuple[list[Loaded], list[Problem]]:
    piped = str(path) == "-"
    called = "standard input" if piped else str(path)
    try:
        text = sys.stdin.read() if piped else path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return [], [Problem(called, 0, "is not UTF-8 text")]
    except FileNotFoundError:
        return [], [Problem(called, 0, "there is no such file")]
    loaded, problems = parse(text, called)
    if not loaded and not problems:
        problems.append(Problem(called, 0, "has no manifest in it"))
    return loaded, problems
