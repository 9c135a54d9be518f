"""Patroni, simulated: one of the containers in which it runs has the leader's lock, and another takes it when that one
is gone for as long as the lock lasts. What its REST API answers is as Patroni 4 has it, as far as hactl reads it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.sim.world import World

UNIT = "patroni.service"
TTL = 30.0  # seconds that the leader's lock lasts
SWITCHES = 3.0  # seconds of a planned switchover, in which nobody is the primary
LOOKS = 1.0


class Patroni:
    """One cluster, in a container of the same name on each host. `refuses`: why no switchover is done now."""

    def __init__(self, world: World, domain: str, hosts: Sequence[str]) -> None:
        self._world, self._domain, self._hosts = world, domain, hosts
        self.leader, self.paused, self.refuses = hosts[0], False, ""
        self.slow = 0.0  # seconds that an answer may take
        self.switches = SWITCHES
        self._stopping = False  # the primary is, in a switchover
        self._seen = 0.0

    async def run(self) -> None:
        """The lock, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            if self.runs(self.leader):
                self._seen = loop.time()
            elif loop.time() - self._seen > TTL and not self.paused:
                for host in filter(self.runs, self._hosts):
                    self.lead(host)
                    break
            await asyncio.sleep(LOOKS)

    def runs(self, host: str) -> bool:
        place = self._world.hosts[host].place(self._domain) if self._world.hosts[host].runs else None
        return place is not None and place.unit(UNIT).active == "active"

    def lead(self, host: str) -> None:
        """From now on it is the primary."""
        self.leader = host
        self._world.happened(host, f"Patroni of {self._domain} leads")

    def get(self, host: str, path: str) -> tuple[int, str]:
        """/primary, /replica: what its API says there."""
        role = "primary" if host == self.leader else "replica"
        stops = self._stopping and role == "primary"
        said = {"state": "stopping" if stops else "running", "role": role}
        if role == "replica" and self.runs(self.leader) and not self._stopping:
            said["replication_state"] = "streaming"
        return 200 if path == f"/{role}" and not stops else 503, json.dumps(
            said | ({"pause": True} if self.paused else {})
        )

    async def switch(self, order: str) -> tuple[int, str]:
        """POST /switchover."""
        wanted = json.loads(order)
        if wanted["leader"] != self.leader:
            return 412, "leader name does not match"
        if self.refuses or not self.runs(wanted["candidate"]):
            return 412, self.refuses or "candidate does not exist"
        self._stopping = True
        try:
            await asyncio.sleep(self.switches)
        finally:
            self._stopping = False
        if not self.runs(wanted["candidate"]):
            return 503, "Switchover failed"
        self.lead(wanted["candidate"])
        return 200, f'Successfully switched over to "{self.leader}"'
