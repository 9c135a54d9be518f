"""The loop: when to look. Triggers, one worker a service, the session, the mirror. `Agent.run` is `hactl agent`.

A trigger only says *look again at service X*; nothing is ever decided from the event itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Any

from loguru import logger

from reconciler.applied import Applied
from reconciler.failsafe import Failsafe, Key, Promises
from reconciler.guard import Guard
from reconciler.local import Local
from reconciler.mirror import Mirror
from reconciler.ownership import View
from reconciler.proofs import Proofs
from reconciler.publish import Publisher
from reconciler.records import Death
from reconciler.session import STARTING, Asks, Options, SessionKeeper
from reconciler.shutdown import Shutdown
from reconciler.store import Store, StoreError
from reconciler.transfers import Parts
from reconciler.worker import NEVER, Worker
from resources.machine import Machine

__all__ = ["Agent", "Options"]


class Agent:
    """Keeps this host as etcd says. Stopping it leaves running services untouched."""

    def __init__(self, store: Store, machine: Machine, options: Options) -> None:
        self._machine = machine
        self._mirror = Mirror(store, machine, self._store_changed)
        self._guard = Guard(machine, options.watchdog, options.watchdog_seconds)
        looks = partial(self._store_changed, "")
        asks = Asks(
            guarded=self._guarded,
            gives_up=self._give_up,
            empty=self._empty,
            changed=looks,
            promisers=lambda: self.failsafe.promisers(),
            lacks=lambda: self.failsafe.lacks() if self._guarded() else (),
        )
        self._session = SessionKeeper(store, machine, options, self._guard, asks)
        self._publisher = Publisher(store, machine, self._mirror)
        self._key = Key(machine, options.key_file)
        self.failsafe = Failsafe(machine, options, self._mirror, self._session, self._key, self._publisher.happened)
        port = options.failsafe_port
        self._promises = Promises(machine, self._mirror, self._key, port, lambda: self._session.connected)
        leases, applied = self._publisher.leases, Applied(machine)
        self._proofs = Proofs(store, machine, self._mirror, self._session, leases, self._promises, self._store_changed)
        self._shutdown = Shutdown(store, machine, self._mirror, self._session, self._publisher, looks)
        self._parts = Parts(
            store=store,
            machine=machine,
            mirror=self._mirror,
            session=self._session,
            publisher=self._publisher,
            applied=applied,
            promises=self._promises,
            proofs=self._proofs,
            shutdown=self._shutdown,
            spawn=self._spawn,
            resync=options.resync,
        )
        self._leaves = options.shutdown
        self._workers: dict[str, Worker] = {}
        self.local = Local(
            machine, self._mirror, self._session, self._guard, self.failsafe, self._publisher, self._looked
        )
        self._swept = False
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled. First it looks, and puts down what it does not own; only then has it a session."""
        logger.info("hactl agent on {}, boot {}", self._machine.host, self._machine.boot_id)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._guard.take_up()
                self._key.look()
                tasks.create_task(self._promises.serve())
                tasks.create_task(self.failsafe.run())
                tasks.create_task(self._guard.run(self._kept))
                tasks.create_task(self._mirror.run())
                tasks.create_task(self._publisher.run())
                tasks.create_task(self._listen())
                self._machine.notify("READY=1\nSTATUS=waiting for etcd")
                await self._know_something()
                await self._sweep()
                tasks.create_task(self._session.run())
                tasks.create_task(self._session.expire())
                tasks.create_task(self._proofs.run())
                self._machine.notify(f"STATUS=keeping {len(self._workers)} services")
        finally:
            self._machine.notify("STOPPING=1")

    async def leave(self) -> None:
        """Before `run` is cancelled, beside it: where the host is being shut down, what is automatic moves away."""
        await self._shutdown.leave(self._leaves)

    async def stop(self) -> None:
        """After `run` was cancelled: say what is unsaid, end the session."""
        try:
            async with asyncio.timeout(3):
                await self._publisher.flush()
        except (StoreError, TimeoutError) as e:
            logger.info("the last statuses were not written: {}", e)
        await self._session.end()

    async def _know_something(self) -> None:
        """What etcd says or, where it is away, what it said last: what this host owns is kept going by that."""
        loaded = self._mirror.load()  # at once: the failsafe may have to ask before anything is put down
        try:
            async with asyncio.timeout(STARTING):
                await self._mirror.synced.wait()
        except TimeoutError:
            if loaded:
                logger.warning("etcd is away; going on from what it said last")
            else:
                await self._mirror.synced.wait()

    # -- what the session and the watchdog must know -------------------------------------------------------------------

    def _guarded(self) -> tuple[str, ...]:
        """The `automatic` services of this host's concern."""
        return tuple(view.manifest.metadata.name for view in self._mirror.views() if self._counts(view))

    def _counts(self, view: View) -> bool:
        return view.automatic and self._machine.host in view.manifest.spec.hosts

    def _looked(self, service: str) -> float | None:
        """When it was last looked at (monotonic)."""
        worker = self._workers.get(service)
        return worker.looked_at if worker is not None else None

    def _give_up(self) -> None:
        """This incarnation was declared dead: what it owned is another's to take."""
        for worker in self._workers.values():
            worker.give_up()

    def _empty(self, death: Death | None = None) -> bool:
        """Did the last look at every service, or at those that a death is about, find nothing exclusive here?"""
        workers = [one for one in self._workers.values() if death is None or death.covers(one.name)]
        return self._swept and all(worker.empty_at != NEVER for worker in workers)

    def _kept(self, deadline: float) -> bool:
        """Was nothing of an `automatic` service held when it was looked at after that moment?"""
        return self._swept and all(worker.empty_at > deadline for worker in self._workers.values() if worker.automatic)

    async def _sweep(self) -> None:
        """One pass over each service without a session: nothing can be claimed, what is not owned is put down."""
        workers = [self._worker(name) for name in self._mirror.services()]
        for worker, result in zip(
            workers,
            await asyncio.gather(*(worker.reconcile() for worker in workers), return_exceptions=True),
            strict=True,
        ):
            if isinstance(result, StoreError):
                logger.warning("{}: {}", worker.name, result)
            elif isinstance(result, BaseException):
                raise result
        self._swept = True
        for worker in workers:
            self._start(worker)
        self._take_up(self._mirror.services())  # those that came meanwhile

    def _worker(self, name: str) -> Worker:
        return self._workers.setdefault(name, Worker(name, self._parts))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        assert self._tasks is not None
        return self._tasks.create_task(work, name=name)

    def _start(self, worker: Worker) -> None:
        task = self._spawn(worker.run(), f"service {worker.name}")
        task.add_done_callback(lambda task: self._ended(task, worker.name))

    def _ended(self, task: asyncio.Task[None], name: str) -> None:
        """A service that is gone. One that this agent has only stopped to look at is still held as it was."""
        if not task.cancelled():
            self._workers.pop(name, None)

    def _store_changed(self, name: str) -> None:
        """Look again at one service, or at all; services that are new get their worker."""
        if not self._swept:
            return
        if not name:
            self._take_up(self._mirror.services())
        elif self._mirror.revision(name):
            self._take_up([name])
        self._session_looks(name)
        for worker in [self._workers[name]] if name in self._workers else [] if name else list(self._workers.values()):
            worker.poke()

    def _session_looks(self, name: str) -> None:
        """It says what is guarded as soon as that is another."""
        counted = self._session.counted
        if not name:
            changed = counted != frozenset(self._guarded())
        else:
            changed = (name in counted) != any(self._counts(view) for view in self._mirror.views(name))
        if changed:
            self._session.look()

    def _take_up(self, names: Iterable[str]) -> None:
        """Those that are new."""
        for name in names:
            if name not in self._workers:
                self._start(self._worker(name))

    async def _listen(self) -> None:
        """What the kernel and the daemons tell."""
        async for topic in self._machine.changes():
            for worker in list(self._workers.values()):
                if topic == "*" or topic in worker.topics:
                    worker.poke(topic, urgent=False)
