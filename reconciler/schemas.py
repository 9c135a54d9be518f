"""JSON Schemas of what a user writes, generated from the models into crds-like-specs/: for editors and other programs.

    python -m reconciler.schemas            writes them (make schemas)
    python -m reconciler.schemas --check    exits 1 and names those that are stale

In an editor with a YAML language server, the first line of a manifest:
    # yaml-language-server: $schema=…/crds-like-specs/service.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from reconciler.spec import API_VERSION, MANIFESTS

DIRECTORY = Path(__file__).resolve().parents[1] / "crds-like-specs"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, str]:
    """File name -> text."""
    found = {}
    for kind, model in sorted(MANIFESTS.items()):
        schema = {"$schema": DIALECT, **model.model_json_schema(), "title": f"{API_VERSION} {kind}"}
        found[f"{kind.lower()}.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return found


def stale(directory: Path = DIRECTORY) -> list[str]:
    """Names of files that are not, or no longer, as the models say."""
    wanted = schemas()
    there = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    return sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))


def write(directory: Path = DIRECTORY) -> list[str]:
    """Make them so; the names of those that changed."""
    directory.mkdir(parents=True, exist_ok=True)
    changed, wanted = stale(directory), schemas()
    for name in changed:
        if name in wanted:
            (directory / name).write_text(wanted[name], encoding="utf-8")
        else:
            (directory / name).unlink()
    return changed


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m reconciler.schemas", description="JSON Schemas of the manifests")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when one is stale")
    if not parser.parse_args(argv).check:
        for name in write():
            print(f"crds-like-specs/{name} written")
        return 0
    found = stale()
    for name in found:
        print(f"crds-like-specs/{name} is stale: make schemas", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
