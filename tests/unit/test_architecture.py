"""The shape that DESIGN.md promises: the linters' rules are its rules, and no new file escapes them."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

from resources.kind import Kind
from resources.registry import KINDS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS: dict[str, dict[str, Any]] = {one["name"]: one for one in PROJECT["tool"]["importlinter"]["contracts"]}
PURE = ("asyncio", "subprocess", "libvirt", "pyroute2", "time", "random", "socket", "os")
REAL = ("cli", "etcd", "linux")  # what is real, and what wires it
DECIDING = (
    *("copies", "doctor", "drift", "follows", "guests", "modes", "moves", "ownership", "pause", "plan"),
    *("records", "repairs", "restarts", "spec", "status"),
)


def modules(package: str) -> set[str]:
    """Its files and packages, by their whole names."""
    found = (ROOT / package).iterdir()
    names = {path.stem for path in found if (path.suffix == ".py" or (path / "__init__.py").exists())}
    return {f"{package}.{name}" for name in names - {"__init__", "__pycache__"}}


def kind_modules() -> set[str]:
    return {type(kind).__module__ for kind in KINDS}


def imports(path: Path) -> set[str]:
    """The first words of the modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_is_a_file_of_its_name_with_its_tests(kind: Kind[Any, Any]) -> None:
    assert type(kind).__module__ == f"resources.{kind.name}"
    tests = ROOT / "tests" / "unit" / f"test_{kind.name}.py"
    assert "def test_" in tests.read_text(encoding="utf-8")
    assert type(kind).__doc__


def test_the_registry_finds_the_kinds_there_are_in_an_order_that_never_changes() -> None:
    names = [kind.name for kind in KINDS]
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    assert {"address", "check", "container", "disk", "gate", "mount", "unit"} <= set(names)


def test_no_two_kinds_add_the_same_word_to_a_spec() -> None:
    words = [word for kind in KINDS for word in kind.fields]
    assert len(set(words)) == len(words)


def test_kinds_never_import_each_other_and_no_kind_is_left_out_of_that() -> None:
    contract = CONTRACTS["kinds never import each other"]
    assert contract["type"] == "independence"
    assert set(contract["modules"]) == kind_modules()


def test_reconciler_imports_resources_never_the_reverse() -> None:
    contract = CONTRACTS["reconciler imports resources, never the reverse"]
    assert (contract["type"], contract["source_modules"]) == ("forbidden", ["resources"])
    assert contract["forbidden_modules"] == ["reconciler"]


def test_deciding_is_pure() -> None:
    contract = CONTRACTS["deciding is pure: no time, randomness, processes or network"]
    assert set(contract["source_modules"]) == {"resources", *(f"reconciler.{name}" for name in DECIDING)}
    assert set(PURE) <= set(contract["forbidden_modules"])


@pytest.mark.parametrize("path", sorted((ROOT / "resources").glob("*.py")), ids=lambda path: path.stem)
def test_a_kind_touches_the_world_through_the_machine_alone(path: Path) -> None:
    assert imports(path) & {*PURE, "pathlib", "shutil", "socket", "threading", "signal"} == set()


def test_only_the_cli_wires_the_real_store_and_machine_and_no_module_is_left_out_of_that() -> None:
    contract = CONTRACTS["only the cli wires the real store and the real machine"]
    assert set(contract["forbidden_modules"]) == {"reconciler.etcd", "reconciler.linux"}
    exempt = {f"reconciler.{name}" for name in REAL}
    assert set(contract["source_modules"]) == {"resources", *modules("reconciler")} - exempt


def test_time_and_chance_come_through_the_machine() -> None:
    core = [path for path in (ROOT / "reconciler").glob("*.py") if path.stem not in REAL]
    guilty = {path.name for path in core if imports(path) & {"time", "random", "subprocess", "socket", "os"}}
    assert guilty == set()
