"""A whole cluster on virtual time: the world, etcd, an agent a host, clients that write, the rules after every event.

    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.set_primary("nfs", "hostb")
        await cluster.until_ready()

    play(story, [NFS], seed=1)

`run` and the `until`s raise Broken as soon as a rule is violated or an agent crashes, with the timeline that led there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reconciler.fencepeer import HELD, Incarnation, fence_peer
from reconciler.guests import keeper_of, placed
from reconciler.loop import Agent, Options
from reconciler.modes import EVERYWHERE, FOLLOWS
from reconciler.records import Death, Owner, Status, stamp
from reconciler.records import parse as parse_record
from reconciler.sim.client import PAUSE, Client
from reconciler.sim.clock import simulate
from reconciler.sim.hoststore import HostStore
from reconciler.sim.machine import EPOCH, Killed, SimMachine
from reconciler.sim.patroni import Patroni
from reconciler.sim.rules import Rules, Violation, missing
from reconciler.sim.store import SimEtcd
from reconciler.sim.world import Domain, World
from reconciler.spec import HostManifest, Manifest, ServiceManifest, parse_service, to_json
from reconciler.store import (
    Entry,
    StoreError,
    Txn,
    death_key,
    host_key,
    outdated_key,
    owner_key,
    service_key,
    session_key,
    status_key,
)
from resources.words import disks

T = TypeVar("T")
HostOptions = Options | Mapping[str, Options]  # of all hosts, or by host; what is not named has the defaults

BOOTS = 15.0  # seconds
RESTARTS = 2.0  # seconds until systemd starts an agent again that has gone
SETTLES = 180.0  # seconds a service may take to become Ready
SHOWN = 80  # lines of the timeline


class Broken(AssertionError):
    """A rule was violated, an agent crashed, or what was waited for did not come."""


@dataclass
class Running:
    """An agent's process."""

    machine: SimMachine
    agent: Agent
    task: asyncio.Task[None]


class Cluster:
    """Hosts are those that the manifests name. `tap`: called with (host, effect) after each effect of an agent."""

    def __init__(self, seed: int, manifests: Sequence[Manifest], options: HostOptions | None = None) -> None:
        services = [one for one in manifests if isinstance(one, ServiceManifest)]
        self.seed, self.services = seed, {one.metadata.name: one for one in services}
        self.machines = {one.metadata.name: one for one in manifests if isinstance(one, HostManifest)}
        self.hosts = tuple(sorted({host for one in services for host in one.spec.hosts} | set(self.machines)))
        given = dict.fromkeys(self.hosts, options) if isinstance(options, Options) else options or {}
        self.options = {host: given.get(host, Options()) for host in self.hosts}
        self.world = World(self.hosts)
        self.etcd = SimEtcd(seed, (*self.hosts, "witness"))
        self.desk = self.etcd.client("desk")
        self.rules = Rules(self.world, services, self._marked, self._violated)
        self.world.watchers.append(self.rules.check)
        self.world.reset, self.world.cut_power = self.reset, self._cut_power
        self.etcd.on_commit = self.rules.check
        self.agents: dict[str, Running] = {}
        self.clients: dict[str, Client] = {}
        self.others: dict[str, asyncio.Task[None]] = {}  # what else manages the same things, by name
        self.tap: Callable[[str, str], None] = lambda _host, _effect: None
        self.pause = PAUSE  # seconds between a client's writes
        self.restarts = True
        self.masked: set[str] = set()  # hosts whose agent is not started
        self.over = False
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._engines: set[asyncio.Task[None]] = set()
        self._begun = 0
        self._stopping: set[str] = set()
        for one in services:
            self.knows(one)
        for one in services:
            self._install(one)
        for machine in self.machines.values():
            self.world.hosts[machine.metadata.name].called(*(str(address) for address in machine.spec.addresses))
            self._let_fence(machine)
        self.world.handle_fencing(self._fence_peer)

    def _install(self, service: ServiceManifest) -> None:
        for disk in disks(service.spec):
            self.world.add_disk(disk.resource, (service.spec.hosts[0], service.spec.hosts[1]))
        for host in service.spec.hosts:
            if (domain := service.spec.domain) and not keeper_of(service):
                self.world.hosts[host].domains[domain] = Domain(domain)
        domain = self.placed(service).spec.domain
        if service.spec.mode == FOLLOWS and domain and domain not in self.world.engines:
            self.world.engines[domain] = Patroni(self.world, domain, service.spec.hosts)

    def _let_fence(self, machine: HostManifest) -> None:
        """The file with the secret of its power switch, on all hosts."""
        fencing = machine.spec.fencing
        if fencing is not None and fencing.secret is not None:
            for host in self.world.hosts.values():
                secret = f"password=secret of {machine.metadata.name}\n"
                host.files[f"/etc/hactl/secrets/{fencing.secret}"] = secret

    async def start(self, *, clients: bool = True) -> None:
        """The specs are in etcd, the agents start."""
        for name, machine in sorted(self.machines.items()):
            await self.put(host_key(name), to_json(machine.model_dump(mode="json", exclude_none=True)))
        for name in sorted(self.services):
            await self.apply(self.services[name])
            if clients:
                self.clients[name] = Client(self.world, self.placed(self.services[name]), self.pause)
                self.clients[name].start()
        for engine in self.world.engines.values():
            self._engines.add(asyncio.create_task(engine.run()))
        for host in self.hosts:
            self.start_agent(host)

    # -- agents ------------------------------------------------------------------------------------------------------

    def start_agent(self, host: str) -> None:
        """As systemd does; one that runs already stays."""
        if host in self.agents or host in self.masked or not self.world.hosts[host].power:
            return
        self._begun += 1

        def tap(effect: str) -> None:
            self.tap(host, effect)

        machine = SimMachine(self.world.hosts[host], f"{self.seed}/{self._begun}", tap)
        agent = Agent(HostStore(self.etcd.client(host), machine), machine, self.options[host])
        self.world.happened(host, "agent started")
        task = asyncio.create_task(agent.run(), name=f"agent {host}")
        self.agents[host] = Running(machine, agent, task)
        task.add_done_callback(lambda task: self._ended(host, machine, task))

    def kill(self, host: str) -> None:
        """SIGKILL of the agent, at this very moment; systemd starts it again where `restarts`."""
        running = self.agents.pop(host, None)
        if running is None:
            return
        running.machine.die()
        running.task.cancel()
        self.world.happened(host, "agent killed")
        if self.restarts:
            asyncio.get_running_loop().call_later(RESTARTS, self.start_agent, host)

    async def stop_agent(self, host: str) -> None:
        """SIGTERM: it ends its session; systemd does not start it again."""
        running = self.agents.get(host)
        if running is None:
            return
        with contextlib.suppress(Killed):
            await running.agent.leave()
        if self.agents.get(host) is not running:
            return  # it has gone meanwhile
        del self.agents[host]
        self._stopping.add(host)
        running.task.cancel()
        await asyncio.wait([running.task])
        with contextlib.suppress(Killed):  # its host went meanwhile
            await running.agent.stop()
        running.machine.die()
        self._stopping.discard(host)
        self.world.happened(host, "agent stopped")

    def _ended(self, host: str, machine: SimMachine, task: asyncio.Task[None]) -> None:
        if self.over or host in self._stopping or machine.dead or not self.world.hosts[host].power:
            if not task.cancelled():
                task.exception()
            return
        why = "was cancelled" if task.cancelled() else repr(task.exception())
        self._break(f"the agent of {host} crashed: {why}", None if task.cancelled() else task.exception())

    # -- faults ------------------------------------------------------------------------------------------------------

    def power(self, host: str, on: bool) -> None:
        """The agent starts with its host."""
        if not on and self.world.hosts[host].power:
            self.world.power_off(host)
            self.etcd.member(host, "killed")
            self._stop_dead(host)
        elif on and not self.world.hosts[host].power:
            self.world.power_on(host)
            self.etcd.member(host, "up")
            asyncio.get_running_loop().call_later(RESTARTS, self.start_agent, host)

    def reset(self, host: str) -> None:
        """By its watchdog: off, and on again after a boot."""
        self.power(host, False)
        asyncio.get_running_loop().call_later(BOOTS, self.power, host, True)

    def _cut_power(self, host: str) -> None:
        self.power(host, False)

    def _stop_dead(self, host: str) -> None:
        if running := self.agents.pop(host, None):
            running.machine.dead = True
            running.task.cancel()

    def freeze(self, host: str, frozen: bool = True) -> None:
        """All of it, its member of etcd too; clocks go on."""
        there = self.world.hosts[host]
        if there.power and there.thawed.is_set() == frozen:
            self.etcd.member(host, "stopped" if frozen else "up")
            self.world.freeze(host, frozen)

    def link(self, host: str, which: str, up: bool) -> None:
        """`lan` carries clients and etcd, `replication` DRBD."""
        self.world.link(host, which, up)
        if which == "lan":
            self.etcd.reach(host, up)

    async def _fence_peer(self, host: str, disk: str, peer: str) -> int:
        """hactl fence-peer: a process of its own, whatever becomes of the agent."""
        machine = SimMachine(self.world.hosts[host], f"{self.seed}/handler", lambda _effect: None)
        me = Incarnation(host, machine.boot_id)
        try:
            answer = await fence_peer(HostStore(self.etcd.client(host), machine), me, disk, [peer], stamp(EPOCH))
            await machine.alive()
        except (StoreError, Killed):
            return HELD
        return answer.status

    # -- what an operator does ---------------------------------------------------------------------------------------

    async def apply(self, manifest: ServiceManifest) -> None:
        """As `hactl apply` does, whatever is there."""
        self.knows(manifest)
        await self.put(
            service_key(manifest.metadata.name), to_json(manifest.model_dump(mode="json", exclude_unset=True))
        )

    def knows(self, manifest: ServiceManifest) -> None:
        """What the rules and `missing` go by."""
        self.services[manifest.metadata.name] = manifest
        self.rules.services = [self.placed(one) for one in self.services.values()]

    def placed(self, manifest: ServiceManifest) -> ServiceManifest:
        """A guest, with the domain of the service that keeps its container."""
        keeper = self.services.get(keeper_of(manifest))
        return placed(manifest, keeper.spec.domain if keeper is not None else None)

    async def put(self, key: str, value: str) -> None:
        await self.desk.commit(Txn({}, {key: (value, 0)}))

    async def change(self, name: str, part: str, **changes: object) -> None:
        """Change fields of `spec` or `metadata` as they stand in etcd, comparing what was read."""
        while True:
            entry = await self.entry(service_key(name))
            document = json.loads(entry.value)
            document[part] = {**document[part], **changes}
            txn = Txn({entry.key: entry.revision}, {entry.key: (to_json(document), 0)})
            if await self.desk.commit(txn) is not None:
                self.world.happened("desk", f"{name}: {changes}")
                return

    async def set_primary(self, name: str, host: str) -> None:
        """hactl set NAME primary=HOST, without its checks."""
        await self.change(name, "spec", primary=host)

    async def confirm_dead(self, host: str) -> None:
        """hactl confirm-dead HOST. Where it still runs it is the human who makes two of it: rule 1 looks away."""
        owners = [parse_record(Owner, one.value) for one in (await self.desk.list(owner_key(""))).entries]
        at = stamp(EPOCH)
        for boot in sorted({one.boot_id for one in owners if one is not None and one.host == host}):
            death = Death(host=host, boot_id=boot, proof="confirmed", by="root", at=at)
            txn = Txn({session_key(host): 0}, {death_key(host, boot): (death.line(), 0)})
            if await self.desk.commit(txn) is not None:
                self.rules.excused.add(host)
                self.world.happened("desk", f"{host} confirmed dead")

    async def status(self, name: str, host: str) -> Status | None:
        entry = await self.desk.get(status_key(name, host))
        return parse_record(Status, entry.value) if entry else None

    async def entry(self, key: str) -> Entry:
        """A key that is there."""
        found = await self.desk.get(key)
        if found is None:
            raise Broken(f"there is no {key}\n{self.timeline()}")
        return found

    async def spec(self, name: str) -> ServiceManifest:
        """As it stands in etcd."""
        return parse_service((await self.entry(service_key(name))).value)

    async def owner(self, name: str) -> Owner:
        """As it stands in etcd."""
        owner = parse_record(Owner, (await self.entry(owner_key(name))).value)
        assert owner is not None
        return owner

    @property
    def now(self) -> float:
        """Seconds of the story."""
        return asyncio.get_running_loop().time()

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def run(self, seconds: float) -> None:
        """Let it go on. Raises Broken."""
        await asyncio.wait([self._broken], timeout=seconds)
        if self._broken.done():
            self._broken.result()

    async def until(self, condition: Callable[[], bool], within: float = SETTLES, what: str = "it") -> None:
        """Raises Broken when it does not come about."""
        end = self.now + within
        while not condition():
            if self.now > end:
                raise Broken(f"{what} did not come about within {within:.0f} s\n{self.timeline()}")
            await self.run(0.25)

    async def until_ready(self, *names: str, within: float = SETTLES) -> None:
        """Rule 4: Ready on its primary, or on all of its hosts that run, as agents say and as the world is."""
        end = self.now + within
        for name in names or sorted(self.services):
            while problem := await self.not_ready(name):
                if self.now > end:
                    raise Broken(
                        f"{name} is not Ready after {within:.0f} s: {problem}\n{self.said(name)}\n{self.timeline()}"
                    )
                await self.run(0.25)

    async def not_ready(self, name: str) -> str:
        """Why it is not Ready where it is to be, or ""."""
        manifest = self.placed(await self.spec(name))
        hosts = [manifest.spec.wanted]
        if manifest.spec.mode == EVERYWHERE:
            hosts = [host for host in manifest.spec.hosts if self.world.hosts[host].runs]
        problems = [await self._not_ready_on(name, manifest, host) for host in hosts]
        return next((problem for problem in problems if problem), "")

    async def _not_ready_on(self, name: str, manifest: ServiceManifest, host: str) -> str:
        if absent := missing(self.world, manifest, host):
            return absent[0]
        status = await self.status(name, host)
        if status is None or (status.role, status.state) != ("active", "Ready"):
            return f"its status on {host} is {status.state + ' ' + status.reason if status else 'not there'}"
        return ""

    def said(self, name: str) -> str:
        """Who owns a service and what each host says of it."""
        keys = [owner_key(name), *(status_key(name, host) for host in self.hosts)]
        return "\n".join(f"{key}: {self.etcd.value(key)}" for key in keys)

    def timeline(self) -> str:
        """The last events, one a line."""
        return "\n".join(f"{at:9.3f} {host:6} {text}" for at, host, text in self.world.log[-SHOWN:])

    # -- breaking ----------------------------------------------------------------------------------------------------

    def _marked(self, disk: str, host: str) -> bool:
        return self.etcd.value(outdated_key(disk, host)) is not None

    def _violated(self, violation: Violation) -> None:
        self._break(str(violation), None)

    def _break(self, text: str, cause: BaseException | None) -> None:
        if not self._broken.done():
            error = Broken(f"{text}\n{self.timeline()}")
            error.__cause__ = cause
            self._broken.set_exception(error)
            self._broken.exception()  # whoever waits is told; asyncio need not, at the end


def play(
    story: Callable[[Cluster], Awaitable[T]],
    manifests: Sequence[Manifest],
    seed: int = 1,
    *,
    options: HostOptions | None = None,
    pause: float = PAUSE,
    start: bool = True,
) -> T:
    """Tell a story of a cluster that has just been started. Raises Broken, also for what broke at its very end."""

    async def told() -> T:
        cluster = Cluster(seed, manifests, options)
        cluster.pause = pause
        try:
            if start:
                await cluster.start()
            result = await story(cluster)
            await cluster.run(0)
            return result
        finally:
            cluster.over = True

    return simulate(told())
