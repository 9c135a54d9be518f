"""/etc/hactl/hactl.toml: where etcd is, and for an agent which host this is.

    host = "hosta"                                   # on hosts; not on an operator's desk
    endpoints = ["http://192.0.2.1:2379", "…"]       # by address: the DNS may be what has failed
    lease = 15                                       # seconds until a silent agent counts as away
    resync = 30                                      # seconds between looks when nothing happens
    watchdog = "/dev/watchdog"                       # resets this host when its agent cannot keep its promises
    watchdog_seconds = 30                            # after so many seconds
    failsafe_port = 7717                             # where agents ask each other for promises (docs/takeover.md) …
    key_file = "/etc/hactl/cluster.key"              # … with this key, which only root reads, the same on all hosts
    metrics_port = 9717                              # Prometheus text at http://127.0.0.1:9717/metrics; without: none
    shutdown = 60                                    # seconds for automatic services to move when the host is shut down
    user = "hactl"                                   # with its password in a file that only root reads
    password_file = "/etc/hactl/etcd-password"
    [tls]
    ca = "/etc/hactl/ca.pem"
    certificate = "/etc/hactl/hactl.pem"
    key = "/etc/hactl/hactl.key"

HACTL_CONFIG names another file, HACTL_ENDPOINTS (a,b,c) other endpoints.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from reconciler.cli.errors import Code, Refused
from reconciler.spec import dotted, nearest
from resources.kind import Model
from resources.words import Name
from resources.words import Path as AbsolutePath

DEFAULT = "/etc/hactl/hactl.toml"


class TlsFiles(Model):
    """PEM files."""

    ca: AbsolutePath | None = None
    certificate: AbsolutePath | None = None
    key: AbsolutePath | None = None


class Config(Model):
    """The file's fields. `lease`, `resync`, `watchdog_seconds`, `shutdown`: seconds."""

    host: Name | None = None
    endpoints: tuple[str, ...] = ()
    lease: Annotated[float, Field(ge=3, le=300)] = 15
    resync: Annotated[float, Field(ge=1, le=3600)] = 30
    watchdog: AbsolutePath | None = None
    watchdog_seconds: Annotated[float, Field(ge=5, le=600)] = 30
    failsafe_port: Annotated[int, Field(ge=1, le=65535)] = 7717
    key_file: AbsolutePath = "/etc/hactl/cluster.key"
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    shutdown: Annotated[float, Field(ge=0, le=600)] = 60
    user: str = ""
    password_file: AbsolutePath | None = None
    tls: TlsFiles | None = None


def load(environ: Mapping[str, str] = os.environ) -> Config:
    """Raises Refused."""
    named = environ.get("HACTL_CONFIG", "")
    path = Path(named or DEFAULT)
    instead = tuple(one.strip() for one in environ.get("HACTL_ENDPOINTS", "").split(",") if one.strip())
    text = _read(path, optional=bool(instead) and not named)
    config = _parse(path, text)
    if instead:
        config = config.model_copy(update={"endpoints": instead})
    if not config.endpoints:
        raise Refused(Code.LACKING, f'{path} names no endpoints of etcd: endpoints = ["http://192.0.2.1:2379"]')
    return config


def _read(path: Path, *, optional: bool) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        if optional:
            return ""
        way_out = 'write endpoints = ["http://192.0.2.1:2379"] into it, or set HACTL_ENDPOINTS'
        raise Refused(Code.LACKING, f"there is no {path}, which says where etcd is: {way_out}") from None
    except PermissionError:
        raise Refused(Code.NO_PERMISSION, f"{path} may not be read by this user: try sudo") from None
    except (OSError, UnicodeDecodeError) as e:
        raise Refused(Code.LACKING, f"{path} cannot be read: {e}") from e


def _parse(path: Path, text: str) -> Config:
    try:
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as e:
        raise Refused(Code.LACKING, f"{path} is not TOML: {e}") from e
    except ValidationError as e:
        raise Refused(Code.LACKING, f"{path}: {_sentence(e.errors()[0])}") from e


def _sentence(problem: Any) -> str:
    field = dotted(problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = TlsFiles.model_fields if len(problem["loc"]) > 1 else Config.model_fields
        return f"{field}: there is no such field{nearest(str(problem['loc'][-1]), known)}"
    return f"{field}: {problem['msg'].removeprefix('Value error, ').removeprefix('Input ')}"


def password(config: Config) -> str:
    """The first line of its file; "" without one. Raises Refused."""
    if config.password_file is None:
        return ""
    return _read(Path(config.password_file), optional=False).partition("\n")[0]
