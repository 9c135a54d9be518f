"""Arguments and options that several commands share, so that they are called and explained the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


def bare(name: str) -> str:
    """`service/nfs`, as `hactl get` prints it, is taken for nfs."""
    return name.removeprefix("service/")


class Lines(StrEnum):
    """Of `audit` and `events`."""

    JSON = "json"


ServiceName = Annotated[str, typer.Argument(metavar="SERVICE", help="its name", callback=bare)]
Reason = Annotated[str, typer.Option(help="why, for the audit")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
Timeout = Annotated[
    float | None, typer.Option(min=1, help="seconds to wait; by default the service's deadline and a minute more")
]
EachLine = Annotated[Lines | None, typer.Option("--output", "-o", help="all of it, an object a line")]
Last = Annotated[int, typer.Option(min=1, help="how many, newest last")]
