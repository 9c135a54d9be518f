"""What an agent knows by itself, for `hactl status` on a host that cannot reach etcd: `report` is one line of JSON.

It is asked through a socket that only root may use (`reconciler.cli.local`). Ages are seconds on the agent's own clock:
the asker's may differ, and nothing here waits for etcd.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from reconciler.failsafe import Failsafe
from reconciler.guard import Guard
from reconciler.mirror import Mirror
from reconciler.ownership import View
from reconciler.publish import Publisher
from reconciler.records import Owner, Record, Status
from reconciler.session import SessionKeeper
from reconciler.spec import SpecError
from resources.machine import Machine


class LocalService(Record):
    """`status`: as this host last saw it; `looked`: how long ago that was, None where it has not; `owner`, `wanted`,
    `automatic`: as etcd last said; `on`: all of its hosts, where it is everywhere; `why`: what becomes of it without
    etcd."""

    status: Status | None = None
    looked: float | None = None
    owner: Owner | None = None
    wanted: str = ""
    automatic: bool = False
    on: tuple[str, ...] = ()
    why: str = ""


class Report(Record):
    """`etcd`: seconds since it last confirmed this agent's session (or since the agent began); `connected`: the session
    surely stands; `synced`: etcd has answered this very agent; `safe`: for how long nobody takes over what is
    automatic; `kept_by`: by whose promise; `trouble`: why all did not promise; `watchdog`: seconds, 0 for none."""

    host: str
    boot_id: str
    etcd: float
    connected: bool
    synced: bool
    safe: float
    kept_by: tuple[str, ...] = ()
    trouble: str = ""
    watchdog: float = 0
    guard: str = ""  # why there is no watchdog, though there should be
    services: dict[str, LocalService] = Field(default_factory=dict)


@dataclass(frozen=True)
class Local:
    """The parts of an agent that know. `looked(service)`: when (monotonic) it was last looked at, None: never."""

    machine: Machine
    mirror: Mirror
    session: SessionKeeper
    guard: Guard
    failsafe: Failsafe
    publisher: Publisher
    looked: Callable[[str], float | None]

    def report(self) -> Report:
        """All of it, now."""
        now = self.machine.monotonic()
        return Report(
            host=self.machine.host,
            boot_id=self.machine.boot_id,
            etcd=max(0.0, now - self.session.renewed),
            connected=self.session.connected,
            synced=self.mirror.synced.is_set(),
            safe=max(0.0, self.session.safe_until - now),
            kept_by=self.failsafe.kept_by,
            trouble=self.failsafe.trouble,
            watchdog=self.guard.seconds,
            guard=self.guard.trouble,
            services={name: self._service(name, now) for name in self.mirror.services()},
        )

    def _service(self, name: str, now: float) -> LocalService:
        looked = self.looked(name)
        status = self.publisher.said(name)
        ago = None if looked is None else max(0.0, now - looked)
        try:
            view = self.mirror.view(name)
        except SpecError as e:
            return LocalService(status=status, looked=ago, why=f"its spec is not valid: {e}")
        if view is None:
            return LocalService(status=status, looked=ago)
        return LocalService(
            status=status,
            looked=ago,
            owner=view.owner,
            wanted=view.wanted,
            automatic=view.automatic,
            on=view.manifest.spec.hosts if view.everywhere else (),
            why="" if self.session.connected else self._why(view),
        )

    def _why(self, view: View) -> str:
        """What becomes of it while etcd is away."""
        owner = view.owner
        if owner is None:
            nobody = "nobody owned it when etcd last answered, and nobody can take it without"
            return "it runs on all of its hosts and needs no etcd for it" if view.everywhere else nobody
        if (owner.host, owner.boot_id) != (self.machine.host, self.machine.boot_id):
            return f"{owner.host} owned it when etcd last answered"
        if not view.automatic and view.manifest.metadata.name not in self.session.guards:
            manual = "it stays here: a service with failover manual is not taken over without proof"
            return f"it stays as it is: {view.paused_obstacle}" if view.paused else manual
        if self.failsafe.kept_by:
            return f"kept by promise of {' and '.join(self.failsafe.kept_by)}"
        because = f" ({self.failsafe.trouble})" if self.failsafe.trouble else ""
        if self.session.safe:
            left = self.session.safe_until - self.machine.monotonic()
            return f"put down in {left:.0f}s unless etcd answers, or all who could take it promise not to{because}"
        return f"put down: without etcd another host may be taking it over{because}"
