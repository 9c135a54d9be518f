"""The failsafe: `automatic` services outlive an etcd out of reach, while those who could take them promise not to.

An agent that cannot renew its session asks every host that could prove its death, directly: *will you leave me alone
for one more lease?* Only if all of them promise does it stay safe, until the question's *sending* plus the lease, minus
the margin; it asks again before that is over. One that refuses or is silent: no promise, and what is automatic is put
down before the session's deadline. A promise is kept even when etcd comes back: no proof, no fencing and no takeover
before it has ended, and the watchdog's time counts from there.

Whom it asks is in its session's last word (`promisers`), and only those may prove its death by watchdog: a host that
the spec names only since then was not asked, so it leaves that proof to them. Who has begun something against an
incarnation promises it nothing any more.

On the wire, both ways: the HMAC-SHA256 of a line of JSON in hex, a space, the line. The key is a root-only file that
all hosts share; without it there is no failsafe. A question carries the asker's monotonic time, which only goes up
within a boot: an old question that somebody repeats promises nothing. The answer's HMAC covers the whole question.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from loguru import logger

from reconciler.mirror import Mirror
from reconciler.ownership import View
from reconciler.secret import secret
from reconciler.session import Options, SessionKeeper
from reconciler.store import death_key
from resources.machine import Machine, MachineError

NOTE = "/run/hactl/promises"
LONGEST = 300.0  # seconds of one promise: the longest lease there may be
SHORTEST_KEY = 16  # characters
LOOKS = 0.5  # seconds
KEY_LASTS = 30.0  # seconds between looks at the key's file
ASKS_AT = 0.4  # of the lease since the last renewal: one was missed


class Key:
    """The hosts' shared secret. `trouble`: why there is none that may be used."""

    def __init__(self, machine: Machine, path: str) -> None:
        self._machine, self._path = machine, path
        self._key = b""
        self.trouble = ""

    def look(self) -> None:
        """Read the file again."""
        try:
            text = secret(self._machine, self._path, "promises between the hosts (the failsafe)").strip()
            if len(text) < SHORTEST_KEY:
                raise MachineError(f"the key in {self._path} is too short: openssl rand -hex 32 makes one")
            self._key, trouble = text.encode(), ""
        except (MachineError, OSError) as e:
            self._key, trouble = b"", str(e)
        if trouble and trouble != self.trouble:
            logger.info("no failsafe, automatic services are put down when etcd is out of reach: {}", trouble)
        self.trouble = trouble

    @property
    def there(self) -> bool:
        return bool(self._key)

    def seal(self, purpose: str, content: dict[str, Any], about: bytes = b"") -> bytes:
        """The message; its HMAC covers `about` too."""
        line = json.dumps(content, sort_keys=True).encode()
        return self._code(purpose, line, about) + b" " + line

    def open(self, purpose: str, message: bytes, about: bytes = b"") -> dict[str, Any] | None:
        """Its content; None when it is not from one who has the key."""
        code, _, line = message.partition(b" ")
        if not self._key or not hmac.compare_digest(code, self._code(purpose, line, about)):
            return None
        try:
            found = json.loads(line)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _code(self, purpose: str, line: bytes, about: bytes) -> bytes:
        parts = [f"hactl {purpose} 1".encode(), about, line]
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.new(self._key, framed, hashlib.sha256).hexdigest().encode()


class Promises:
    """What this host has promised others, and what it has begun against them. `serve` answers those who ask."""

    def __init__(
        self, machine: Machine, mirror: Mirror, key: Key, port: int, connected: Callable[[], bool] = lambda: False
    ) -> None:
        """`connected`: has this host a session, so that it could take something over?"""
        self._machine, self._mirror, self._key, self._port = machine, mirror, key, port
        self._connected = connected
        self._until: dict[str, float] = {}  # by host
        self._asked: dict[tuple[str, str], float] = {}  # by incarnation: its clock at its last question
        self._begun: set[tuple[str, str]] = set()
        self._no_memory_before = self._load()

    def promised(self, host: str) -> float:
        """Until when (monotonic) this host takes nothing over from that one; perhaps long ago."""
        return self._until.get(host, 0.0)

    def may_have_promised(self, host: str, lease: float) -> float:
        """Until when, at most: before this boot it may have promised, for a lease, what it does not remember."""
        forgotten = self._no_memory_before + lease if self._no_memory_before else 0.0
        return max(self.promised(host), forgotten)

    def holds_back(self, host: str) -> bool:
        """Is there a promise to that host now?"""
        return self._machine.monotonic() < self.promised(host)

    def begin(self, host: str, boot_id: str) -> bool:
        """Before anything is begun against that incarnation. False: a promise stands. Else it gets none any more."""
        if self.holds_back(host):
            return False
        self._begun.add((host, boot_id))
        return True

    def end(self, host: str, boot_id: str) -> None:
        """What was begun has surely not been done."""
        self._begun.discard((host, boot_id))

    async def serve(self) -> None:
        """For ever; where nothing can be served, that is said now and then."""
        while True:
            try:
                await self._machine.serve(self._port, self.answer)
            except MachineError as e:
                logger.warning("nobody can ask this host for a promise: {}", e)
            await self._machine.sleep(KEY_LASTS)

    def answer(self, message: bytes) -> bytes | None:
        """To a question; None to who has not the key. All at once: nothing can be begun in between."""
        asked = self._key.open("question", message)
        match asked:
            case {
                "host": str(host),
                "boot_id": str(boot_id),
                "lease": float(lease),
                "sent": float(sent),
                "to": str(to),
            }:
                why = self._refuses(host, boot_id, sent, to) or self._promise(host, boot_id, min(lease, LONGEST), sent)
                said = {"by": self._machine.host, "promise": not why, "why": why}
                return self._key.seal("answer", said, message)
        return None

    def _refuses(self, host: str, boot_id: str, sent: float, to: str) -> str:
        """Why that incarnation gets no promise, or ""."""
        session = self._mirror.session(host)
        if to != self._machine.host:
            return f"this is {self._machine.host}, not {to}"
        if sent < self._asked.get((host, boot_id), float("-inf")):
            return "this question is older than another that was answered"
        if session is not None and session.boot_id != boot_id:
            return f"{host} has rebooted since"
        if session is not None:
            self.end(host, boot_id)  # it lives: whatever was begun compared that it did not
        if (host, boot_id) in self._begun or self._mirror.revision_of(death_key(host, boot_id)):
            return f"{self._machine.host} has begun to take over from it"
        moves = self._is_to_have(host, boot_id) if self._connected() else ""
        return f"{self._machine.host} is to have {moves}, which {host} cannot know" if moves else ""

    def _is_to_have(self, host: str, boot_id: str) -> str:
        """An `automatic` service of that incarnation's that somebody has said is to be here, and could be; or ""."""
        me = self._machine.host
        for view in self._mirror.views():
            theirs = view.owner is not None and (view.owner.host, view.owner.boot_id) == (host, boot_id)
            if theirs and view.automatic and view.wanted == me and not view.target_obstacles(me):
                return view.manifest.metadata.name
        return ""

    def _promise(self, host: str, boot_id: str, lease: float, sent: float) -> str:
        """Give it; a question that is repeated makes it no longer. Returns why it could not be kept safe, or ""."""
        if sent > self._asked.get((host, boot_id), float("-inf")):
            until = max(self.promised(host), self._machine.monotonic() + lease)
            try:
                self._machine.write(NOTE, json.dumps({**self._until, host: until}))
            except MachineError as e:
                return str(e)
            self._until[host], self._asked[host, boot_id] = until, sent
        return ""

    def _load(self) -> float:
        """Those of a predecessor of this process, in this boot. Where there is no note of any, now; else 0."""
        try:
            found = json.loads(self._machine.read(NOTE) or "")
            self._until = {str(host): float(until) for host, until in found.items()}
            return 0.0
        except (ValueError, TypeError, AttributeError):
            return self._machine.monotonic()


class Failsafe:
    """Asks for promises when the session cannot be renewed. `kept_by`: who has promised, while that is what counts;
    `trouble`: why not all did, the last time they were asked."""

    def __init__(
        self,
        machine: Machine,
        options: Options,
        mirror: Mirror,
        session: SessionKeeper,
        key: Key,
        told: Callable[[str, str, str], None] = lambda _service, _text, _why: None,
    ) -> None:
        """`told(service, text, why)` hears when one begins to live on promises, and when it does no longer."""
        self._machine, self._options, self._mirror, self._session = machine, options, mirror, session
        self._key, self._told = key, told
        self._by: tuple[str, ...] = ()
        self._asked_at = 0.0
        self.trouble = ""

    @property
    def kept_by(self) -> tuple[str, ...]:
        return self._by if self._session.kept else ()

    def promisers(self) -> tuple[str, ...]:
        """For the session to say: every other host that could take over what this one owns; () without a key."""
        me = self._machine.host
        hosts = {host for view in self.owned() for host in view.manifest.spec.hosts}
        return tuple(sorted(hosts - {me})) if self._key.there else ()

    def lacks(self) -> tuple[str, ...]:
        """Why there is no failsafe, for the session to say."""
        if self._key.trouble:
            return (self._key.trouble,)
        silent = [host for host in self.promisers() if not self._addresses(host)]
        return tuple(f"{host} cannot be asked for a promise: its Host spec has no addresses" for host in silent)

    def _addresses(self, host: str) -> list[str]:
        spec = self._mirror.host(host)
        return [str(one) for one in spec.spec.addresses] if spec is not None else []

    def owned(self) -> list[View]:
        """The services of this incarnation that count as `automatic`, by the spec or by what the session says."""
        me, guards = (self._machine.host, self._machine.boot_id), self._session.guards
        return [
            view
            for view in self._mirror.views()
            if view.owner is not None
            and (view.owner.host, view.owner.boot_id) == me
            and (view.automatic or view.manifest.metadata.name in guards)
        ]

    async def run(self) -> None:
        """For ever."""
        key_read = self._machine.monotonic()
        while True:
            await self._machine.sleep(LOOKS if self._key.there else KEY_LASTS)
            if self._machine.monotonic() >= key_read + KEY_LASTS:
                key_read = self._machine.monotonic()
                self._key.look()
            if self._due():
                await self._ask_all()
            if self._by and self._session.connected and self._session.renewed > self._asked_at:
                self._by, self.trouble = (), ""
                self._tell("needs no promise any more", "etcd is back")

    def _due(self) -> bool:
        """One renewal was missed, and it is not too late: what was put down is not taken up again without etcd."""
        session, now = self._session, self._machine.monotonic()
        late = now >= session.safe_until - self._options.safe_for + ASKS_AT * self._options.lease
        return late and now < session.safe_until and bool(session.promisers) and bool(self.owned())

    async def _ask_all(self) -> None:
        sent = self._asked_at = self._machine.monotonic()
        hosts = sorted(self._session.promisers)
        answers = await asyncio.gather(*(self._ask(host, sent) for host in hosts))
        refused = [f"{host} {why}" for host, why in zip(hosts, answers, strict=True) if why]
        self._say(hosts, "; ".join(refused))
        if refused:
            await self._machine.sleep(self._options.lease / 15)
        else:
            self._session.promised(sent + self._options.safe_for)

    def _say(self, hosts: list[str], trouble: str) -> None:
        """What has changed."""
        if trouble and trouble != self.trouble:
            logger.warning("no promise while etcd does not answer: {}; automatic services may be put down", trouble)
        if not trouble and not self._by:
            self._tell(f"kept by promise of {' and '.join(hosts)}", "etcd does not answer")
        if not trouble:
            self._by = tuple(hosts)
        self.trouble = trouble

    def _tell(self, text: str, why: str) -> None:
        for view in self.owned():
            self._told(view.manifest.metadata.name, text, why)

    async def _ask(self, host: str, sent: float) -> str:
        """Why it does not promise, or "": at all of its addresses side by side, one promise is enough."""
        addresses = self._addresses(host)
        if not addresses:
            return "cannot be asked: its Host spec has no addresses"
        question = {
            "host": self._machine.host,
            "boot_id": self._machine.boot_id,
            "lease": float(self._options.lease),
            "sent": sent,
            "to": host,
            "nonce": self._machine.random(),
        }
        message = self._key.seal("question", question)
        answers = await asyncio.gather(*(self._ask_at(address, message) for address in addresses))
        found = [answer for answer in answers if answer is not None and answer.get("by") == host]
        if any(answer.get("promise") is True for answer in found):
            return ""
        return f"refuses: {found[0].get('why')}" if found else f"does not answer ({', '.join(addresses)})"

    async def _ask_at(self, address: str, message: bytes) -> dict[str, Any] | None:
        patience = max(0.3, self._options.lease / 15)
        answer = await self._machine.ask(address, self._options.failsafe_port, message, patience)
        return self._key.open("answer", answer, message) if answer is not None else None
