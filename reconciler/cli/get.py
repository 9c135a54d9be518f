"""hactl get: specs as they stand in etcd."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml

from reconciler.cli.desk import Desk, at_desk
from reconciler.cli.errors import Code, Refused
from reconciler.cli.scene import Scene, look
from reconciler.spec import nearest

KINDS = {"service": "services", "host": "hosts"}


class Format(StrEnum):
    """Of `get`."""

    YAML = "yaml"
    JSON = "json"


def command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="service, host, or KIND/NAME; without it all names")] = "",
    name: Annotated[str, typer.Argument(metavar="NAME", help="one of them; without it all of the kind")] = "",
    output: Annotated[Format | None, typer.Option("--output", "-o", help="whole manifests")] = None,
) -> None:
    """Show the manifests that stand in etcd.

    \b
    hactl get
    hactl get service nfs
    hactl get host -o json
    """
    print(at_desk(lambda desk: get(desk, kind, name, output)))


async def get(desk: Desk, kind: str, name: str, output: Format | None) -> str:
    """What is printed. Raises Refused, StoreError."""
    kind, name = (kind.split("/", 1)[0], kind.split("/", 1)[1]) if "/" in kind else (kind, name)
    if kind and kind not in KINDS:
        raise Refused(Code.WRONG, f"there is no kind {kind}{nearest(kind, KINDS)}")
    scene = await look(desk.store)
    if name:
        return _show(_document(scene, kind, name), output or Format.YAML)
    names = [(each, rest) for each, section in KINDS.items() if kind in ("", each) for rest, _ in scene.under(section)]
    if output is None:
        return "\n".join(f"{each}/{rest}" for each, rest in names) or "there is nothing yet: hactl apply -f FILE"
    documents = [_document(scene, each, rest) for each, rest in names]
    return _show(documents, output)


def _document(scene: Scene, kind: str, name: str) -> Any:
    found = dict(scene.under(KINDS[kind]))
    if name not in found:
        raise Refused(Code.WRONG, f"there is no {kind} {name}{nearest(name, found)}")
    try:
        return json.loads(found[name].value)
    except ValueError:
        raise Refused(Code.WRONG, f"what stands in etcd as {kind} {name} is not JSON: {found[name].value!r}") from None


def _show(what: Any, output: Format) -> str:
    if output is Format.JSON:
        return json.dumps(what, indent=2, ensure_ascii=False)
    many = what if isinstance(what, list) else [what]
    return "---\n".join(_yaml(one) for one in many).rstrip()


def _yaml(document: Any) -> str:
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))
