"""The records in etcd that are not specs: who holds a session, who owns, what each host saw. JSON, one line each.

Times are UTC ISO 8601 to the millisecond, for people; nothing is decided by comparing them.
A record written by a newer version may have fields unknown here: they are ignored, never refused.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resources.kind import Role


class Record(BaseModel):
    """Frozen, lenient about what it does not know, one line of JSON without what is empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def line(self) -> str:
        return json.dumps(self.model_dump(mode="json", exclude_none=True), ensure_ascii=False)


R = TypeVar("R", bound=Record)


def parse(model: type[R], text: str) -> R | None:
    """None when it is not such a record: somebody else's garbage is left alone, never an exception."""
    try:
        return model.model_validate_json(text)
    except ValidationError:
        return None


def stamp(moment: datetime) -> str:
    """2026-11-24T07:02:11.123Z"""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_id(moment: str) -> str:
    """2026-11-24T07:02:11.123Z -> 20261124T070211123Z, as the keys of what happened begin."""
    return moment.translate({ord(sign): None for sign in ":-."})


class Session(Record):
    """This incarnation's agent is alive. `watchdog`: seconds until the host is reset without it; 0: none. `guards`: the
    services that are down by then, those that it knew to be `automatic`. `promisers`:
    they alone may prove its death by watchdog, since they alone are asked for promises; (): anyone may. `lacks`: what
    this host should have and has not, in sentences."""

    host: str
    boot_id: str
    version: str
    watchdog: float = 0
    guards: tuple[str, ...] = ()
    lease: float = 15
    since: str
    promisers: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


class Owner(Record):
    """The one incarnation that may hold what is exclusive. `previous`: to whom a failed move reverts."""

    host: str
    boot_id: str
    epoch: int
    since: str
    previous: str = ""


class Epoch(Record):
    """The last epoch given and to whom: kept when the owner key goes. `failed_on`: hosts that it was moved away from
    because its checks failed there, as long as the spec is at `spec_revision`: a human's change begins anew."""

    epoch: int
    host: str
    since: str
    failed_on: list[str] = Field(default_factory=list)
    spec_revision: int = 0


class Death(Record):
    """How it was proven that an incarnation holds nothing any more, by whom, when; by watchdog: of `guards` alone."""

    host: str
    boot_id: str
    proof: Literal["rebooted", "fenced", "watchdog", "confirmed"]
    by: str
    at: str
    why: str = ""
    guards: tuple[str, ...] = ()

    def covers(self, service: str) -> bool:
        """A watchdog promises only what its host knew to be automatic: that may be well, and other services up."""
        return self.proof != "watchdog" or service in self.guards


State = Literal[
    "Ready",  # active, and all is as the spec says
    "Starting",  # active, coming up
    "Moving",  # active, being put down for another host
    "Stopping",  # being put down: deleted
    "Drift",  # active, something is not as it should be, being repaired
    "Standby",  # not active here, nothing held
    "Waiting",  # for something named in `reason`
    "Stalled",  # a human is needed; `reason` says why
    "Paused",  # `hactl pause` was said: left as it is, `reason` says by whom and what is not as it should be
    "Unknown",  # cannot be read
    "Invalid",  # the spec in etcd is not one; left as it is
]


class Target(Record):
    """Could this host take the service over now? True for the spec at `revision` and no other. `unreadable`: nothing
    is in its way but what could not be read just now."""

    ready: bool
    revision: int
    obstacles: list[str] = Field(default_factory=list)
    unreadable: bool = False


class PartStatus(Record):
    """One resource in words; `problem` is empty when it is as the role wants it. `fit`: of an engine (resources.kind),
    None where that is not known."""

    says: str
    problem: str = ""
    fit: int | None = None


class Progress(Record):
    """Of the pass under way."""

    done: int
    of: int
    now: str


class Witness(Record):
    """What a host that could take over from `host` knows of it, while that has no session. `gone`: since when, on the
    witness's wall clock, "" where it did not see it go; `proof`: what is about to prove it down, "": nothing is;
    `lacks`: why nothing is; `promised`: it runs without etcd, and nobody takes over from it."""

    host: str
    gone: str = ""
    proof: str = ""
    lacks: str = ""
    promised: bool = False


class OpenDrift(Record):
    """What is not as its role wants it, and no plan of ours explains. `since`: when it was first seen."""

    reason: str
    since: str
    expected: str = ""
    observed: str = ""
    cause: str = ""


class Status(Record):
    """What one host last saw of a service. Written only when it changes; `since` is when `state` last changed."""

    role: Role
    state: State
    reason: str = ""
    since: str
    revision: int = 0
    epoch: int = 0
    target: Target | None = None
    progress: Progress | None = None
    witness: Witness | None = None
    holds: list[str] = Field(default_factory=list)
    parts: dict[str, PartStatus] = Field(default_factory=dict)
    drifts: dict[str, OpenDrift] = Field(default_factory=dict)  # by part id
    would_take: list[str] = Field(default_factory=list)  # the steps of taking it over now, for `hactl plan`
    would_release: list[str] = Field(default_factory=list)  # the steps of putting it down now


class Event(Record):
    """Something that happened: a step with its seconds, a decision, a drift."""

    at: str
    host: str
    kind: Literal["step", "failed", "decision", "drift", "repaired", "state"]
    text: str
    reason: str = ""
    resource: str = ""  # of a drift: the part's id, and how it differs
    expected: str | None = None
    observed: str | None = None
    cause: str | None = None
    by: list[str] | None = None  # of a repair: the steps that put it right; None: it went by itself
    seconds: float | None = None
    epoch: int | None = None


class Outdated(Record):
    """That copy lacks writes: since when, by whose word, in which epoch of the service."""

    since: str
    by: str
    epoch: int = 0


class Audit(Record):
    """A change by a user, or by an agent where it changes a spec (revert). Written in the change's own transaction."""

    at: str
    who: str  # a login, or "hactl agent"
    whence: str  # the host, and the client's address where it came over ssh
    what: str  # "service/nfs"
    did: str  # "set primary=hostb"
    before: Any = None
    after: Any = None
    why: str = ""
