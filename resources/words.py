"""The words that several kinds share: names, paths, addresses, and a disk as the user writes it.

What may not be in a spec is refused here, by type: names are DNS labels (RFC 1123), paths absolute and without `..`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Hashable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field

from resources.kind import Model

LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"

T = TypeVar("T")


def matching(pattern: str, sentence: str) -> Callable[[str], str]:
    """A validator: the whole text matches, or ValueError with the sentence."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"{text!r} {sentence}")
        return text

    return check


def once(said: Callable[[T], Hashable]) -> Callable[[tuple[T, ...]], tuple[T, ...]]:
    """A validator: no two of a list say the same, or ValueError naming it; where `said` is None, nothing is compared.

    Two parts by one id would be seen as one, and what is planned for the one would be done to the other.
    """

    def check(listed: tuple[T, ...]) -> tuple[T, ...]:
        seen = set()
        for name in (said(one) for one in listed):
            if name is not None and name in seen:
                raise ValueError(f"lists {name} twice: write it once")
            seen.add(name)
        return listed

    return check


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not an absolute path: begin it with /")
    if ".." in text.split("/"):
        raise ValueError(f"{text!r} has a '..' in it: write the path it means")
    if any(ord(c) < 32 for c in text):
        raise ValueError("a path has no control characters")
    return re.sub("/+", "/", text).rstrip("/") or "/"


def _interface_address(text: str) -> str:
    if "%" in text:
        raise ValueError(f"{text!r} names an interface with '%': write that as the field interface")
    if "/" not in text:
        raise ValueError(f"{text!r} has no prefix length: write it as {text}/24 or {text}/64")
    try:
        return str(ipaddress.ip_interface(text))
    except ValueError as e:
        raise ValueError(f"{text!r} is not an IPv4 or IPv6 address with its prefix length") from e


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as e:
        raise ValueError(
            f"{text!r} is not an IP address: names are not asked for, the DNS may be what has failed"
        ) from e


Name = Annotated[
    str,
    AfterValidator(matching(LABEL, "is not a name: small letters, digits and '-' only, 63 at most, as in a DNS label")),
    Field(json_schema_extra={"pattern": f"^{LABEL}$"}),
]
Resource = Annotated[
    str,
    AfterValidator(matching(r"[A-Za-z0-9_][-.A-Za-z0-9_]{0,62}", "is not a DRBD resource's name")),
]
Path = Annotated[str, AfterValidator(_path), Field(json_schema_extra={"pattern": "^/"})]
InterfaceAddress = Annotated[str, AfterValidator(_interface_address)]
Ip = Annotated[str, AfterValidator(_ip)]
Interface = Annotated[
    str, AfterValidator(matching(r"[^\s/:]{1,15}", "is not an interface's name (15 characters at most)"))
]
Unit = Annotated[
    str,
    AfterValidator(
        matching(
            r"[A-Za-z0-9:_.\\@][-A-Za-z0-9:_.\\@]*\.(service|socket|target|timer|path|mount)",
            "is not a unit: give its whole name, such as nfs-server.service",
        )
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Option = Annotated[str, AfterValidator(matching(r"[-A-Za-z0-9_=.:/+@%]+", "is not a mount option"))]


class DiskField(Model):
    """A DRBD resource and where its filesystem goes; `where: host`: on the host, before the container starts."""

    resource: Resource
    volume: Annotated[int, Field(ge=0, le=65535)] = 0
    mount: Path | None = None
    fstype: Literal["ext4", "xfs", "btrfs", "ext3", "ext2"] = "ext4"
    options: tuple[Option, ...] = ()
    where: Literal["container", "host"] = "container"


def disks(service: Any) -> tuple[DiskField, ...]:
    """The service's `disks`, which the disk and the mount kind both read."""
    return tuple(service.get("disks"))
