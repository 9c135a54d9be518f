"""The operator's desk: the store, and who changes things from where. A change is one transaction, audit included."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger

from reconciler.cli import config as configuration
from reconciler.cli.config import Config
from reconciler.cli.errors import Code, Refused
from reconciler.records import Audit, as_id, stamp
from reconciler.store import Store, StoreUnreachable, Txn, audit_key

AUDIT_LASTS = 365 * 86400.0  # seconds
NOBODY = "4294967295"  # of /proc/self/loginuid: no login led to this process
ATTEMPTS = 20  # at a change that others keep getting in before

T = TypeVar("T")


@dataclass
class Desk:
    """`who`, `whence`: as the audit says them; `host`: this machine, in the ids of audit records."""

    store: Store
    who: str = "nobody"
    whence: str = "nowhere"
    host: str = "desk"
    _lease: tuple[int, float] = field(default=(0, 0.0))

    async def commit(self, txn: Txn, audit: Audit) -> int | None:
        """All of it, or nothing and None when something it compares has changed meanwhile.

        Raises StoreUnreachable when it cannot be known which.
        """
        id = f"{as_id(audit.at)}-{self.host}-{secrets.token_hex(2)}"
        whole = txn.plus(Txn({}, {audit_key(id): (audit.line(), await self._audit_lease())}))
        try:
            return await self.store.commit(whole)
        except StoreUnreachable as e:
            raise StoreUnreachable(f"whether this was done is not known (hactl audit {audit.what}): {e}") from e

    def audit(self, what: str, did: str, *, before: Any = None, after: Any = None, why: str = "") -> Audit:
        """A record of what is being done now."""
        now = stamp(datetime.now(UTC))
        return Audit(at=now, who=self.who, whence=self.whence, what=what, did=did, before=before, after=after, why=why)

    async def _audit_lease(self) -> int:
        """One for all that this process changes, made anew when a tenth of it has passed (`apply --watch`)."""
        lease, since = self._lease
        if not lease or time.monotonic() - since > AUDIT_LASTS / 10:
            lease, since = await self.store.grant(AUDIT_LASTS), time.monotonic()
            self._lease = (lease, since)
        return lease


async def until_committed(attempt: Callable[[], Awaitable[T | None]], what: str) -> T:
    """`attempt` reads, decides and commits; again while somebody else's change gets in between (None)."""
    for count in range(ATTEMPTS):
        done = await attempt()
        if done is not None:
            return done
        await asyncio.sleep(0.01 * count)
    raise Refused(Code.UNSAFE, f"{what} is being changed by somebody else all the time; nothing was changed, try again")


def at_desk(command: Callable[[Desk], Awaitable[T]]) -> T:
    """Run a command on the etcd of the configuration. Its own lines are what there is to read: which member did not
    answer is logged only with HACTL_DEBUG=1."""
    if not os.environ.get("HACTL_DEBUG"):
        logger.disable("reconciler")

    async def run() -> T:
        store = connect(configuration.load())
        try:
            return await command(Desk(store, who(), whence(), _hostname()))
        finally:
            await store.close()

    return asyncio.run(run())


def connect(config: Config) -> Store:
    """Inside a running loop. Raises Refused, StoreError."""
    from reconciler.etcd import Etcd, Tls

    files = config.tls
    tls = Tls(*(Path(one) if one else None for one in (files.ca, files.certificate, files.key))) if files else None
    password = configuration.password(config)
    return Etcd(config.endpoints, tls=tls, user=config.user, password=password, client=config.host or _hostname())


def _hostname() -> str:
    return socket.gethostname().partition(".")[0] or "desk"


def who(environ: Mapping[str, str] = os.environ) -> str:
    """The login behind this process. Asks no name service: LDAP may be what has failed."""
    if name := environ.get("SUDO_USER"):
        return name
    uid = _text("/proc/self/loginuid")
    if uid and uid != NOBODY and (name := _local_name(uid)):
        return name
    return environ.get("LOGNAME") or environ.get("USER") or _local_name(str(os.getuid())) or f"uid {os.getuid()}"


def _local_name(uid: str) -> str:
    lines = [line.split(":") for line in _text("/etc/passwd").splitlines()]
    return next((fields[0] for fields in lines if len(fields) > 2 and fields[2] == uid), "")


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def whence(environ: Mapping[str, str] = os.environ) -> str:
    """This machine, and from where somebody is logged in on it."""
    client = (environ.get("SSH_CONNECTION") or environ.get("SSH_CLIENT") or "").partition(" ")[0]
    return f"{_hostname()} (ssh from {client})" if client else _hostname()
