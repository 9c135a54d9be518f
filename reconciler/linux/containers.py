"""libvirt-LXC domains: what libvirtd says of them, and how to start and stop them.

libvirt's calls block, so they run in threads of their own; its events come from libvirt's own event loop in another
thread. While libvirtd does not answer, all is Unavailable: unknown, never "stopped". A restart of libvirtd costs one
new connection and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import libvirt
from loguru import logger

from reconciler.linux import orphans, proc
from resources.machine import Container, MachineError, Unavailable

URI = "lxc:///"
PATIENCE = 10.0  # seconds for libvirtd to answer a question
DESTROYS = 30.0  # seconds for it to end a container
NOTICES = 5.0  # seconds for it to see that a container has ended by itself
LOOKS = 0.1  # seconds between looks at one that starts or stops
POWER_OFF = signal.SIGRTMIN + 4  # to systemd as init (systemd(1))
WAY_OUT = "systemctl status libvirtd"

_GONE = frozenset(
    {
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
    }
)

T = TypeVar("T")


class Containers:
    """One connection to libvirtd, made when it is needed and made anew when it broke.

    `changed` is called in the asyncio thread with the domain's name, "" after something may have been missed.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._connection: Any = None
        self._opening = threading.Lock()
        self._turns = asyncio.Semaphore(max(2, os.cpu_count() or 1))  # of those that are being started
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="libvirt")
        _events()

    async def _ask(self, job: Callable[[Any], T], timeout: float = PATIENCE) -> T:
        """Run `job(connection)` in a thread. Raises Unavailable, or libvirtError for what is the domain's fault."""
        try:
            async with asyncio.timeout(timeout):
                return await self._loop.run_in_executor(self._threads, lambda: job(self._connected()))
        except TimeoutError as e:
            raise Unavailable(f"libvirtd does not answer within {timeout:.0f} s ({WAY_OUT})") from e
        except libvirt.libvirtError as e:
            if not self._lost(e):
                raise
            raise Unavailable(f"libvirtd does not answer: {e} ({WAY_OUT})") from e

    def _connected(self) -> Any:
        with self._opening:
            if self._connection is None:
                connection = libvirt.open(URI)
                connection.setKeepAlive(3, 3)
                lifecycle = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
                connection.domainEventRegisterAny(None, lifecycle, lambda _c, dom, *_: self._tell(dom.name()), None)
                connection.registerCloseCallback(lambda *_: self._closed(), None)
                self._connection = connection
                self._tell("")
            return self._connection

    def _lost(self, error: Any) -> bool:
        """Is it the connection that failed, and not the domain? The next call makes a new one."""
        connection = self._connection
        if connection is not None and error.get_error_code() not in _GONE:
            return False
        with contextlib.suppress(libvirt.libvirtError):
            if connection is not None and connection.isAlive():
                return False
        self._connection = None
        return True

    def _closed(self) -> None:
        logger.info("the connection to libvirtd was closed")
        self._connection = None
        self._tell("")

    def _tell(self, domain: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the agent has ended
            self._loop.call_soon_threadsafe(self._changed, domain)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def look(self, domain: str) -> Container:
        """See `Machine.container`."""
        try:
            controller = await self._ask(lambda connection: _controller(connection, domain))
        except libvirt.libvirtError as e:
            if e.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return Container(defined=False, running=False)
            raise Unavailable(f"libvirt does not say how container {domain} is: {e}") from e
        init = (proc.children(controller) or [0])[0] if controller else 0
        began = proc.started(init) if init else ""
        left = orphans.left(domain)
        if not began:
            return Container(True, False, None, "", left.orphans, left.stuck, left.addresses)
        return Container(True, True, init, f"{init}-{began}", left.orphans, left.stuck, left.addresses)

    # -- starting and stopping ---------------------------------------------------------------------------------------

    async def start(self, domain: str, timeout: float, answers: Callable[[int], bool]) -> None:
        """Until `answers(init)`. A few at a time: a host that boots has all of its services to start, and other things
        to do in time. Raises MachineError."""
        async with self._turns:
            await self._start(domain, timeout, answers)

    async def _start(self, domain: str, timeout: float, answers: Callable[[int], bool]) -> None:
        if not (await self.look(domain)).running:
            try:
                await self._ask(lambda connection: _create(connection, domain), timeout)
            except libvirt.libvirtError as e:
                if not (await self.look(domain)).running:
                    raise MachineError(f"container {domain} does not start: {e}") from e
        end = self._loop.time() + timeout
        while self._loop.time() < end:
            now = await self.look(domain)
            if not now.running:
                raise MachineError(f"container {domain} stopped again while it started (journalctl -u libvirtd)")
            if now.pid is not None and answers(now.pid):
                return
            await asyncio.sleep(LOOKS)
        raise MachineError(f"container {domain} runs, but its init does not answer after {timeout:.0f} s")

    async def stop(self, domain: str, grace: float) -> None:
        """Ask its init, then destroy it; until its cgroup is empty. Raises MachineError."""
        now = await self.look(domain)
        cgroup = _cgroup(now.pid) if now.pid else None
        if now.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(now.pid, POWER_OFF)
            await self._until(grace, lambda: not proc.started(now.pid or 0))
            await self._noticed(domain)
        try:
            await self._ask(lambda connection: _destroy(connection, domain), DESTROYS)
        except libvirt.libvirtError as e:
            raise MachineError(f"container {domain} cannot be destroyed: {e}") from e
        if cgroup is not None and not await self._until(2.0, lambda: not orphans.populated(cgroup)):
            orphans.kill_all(cgroup)
            if not await self._until(10.0, lambda: not orphans.populated(cgroup)):
                left = orphans.words(cgroup)
                raise MachineError(f"container {domain} is destroyed, but processes of it do not die: {left}")

    async def _noticed(self, domain: str) -> None:
        """libvirtd cleans up after an init that has ended, and sometimes not to the end when it is told to destroy the
        domain meanwhile (9.0): it is left to itself for a moment."""
        with contextlib.suppress(libvirt.libvirtError):
            for _ in range(round(NOTICES / LOOKS)):
                if not await self._ask(lambda connection: connection.lookupByName(domain).isActive()):
                    return
                await asyncio.sleep(LOOKS)

    async def _until(self, seconds: float, true: Callable[[], bool]) -> bool:
        end = self._loop.time() + seconds
        while not true():
            if self._loop.time() >= end:
                return False
            await asyncio.sleep(LOOKS)
        return True

    def close(self) -> None:
        """No thread is waited for: one may hang in a call to a libvirtd that does."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _controller(connection: Any, domain: str) -> int:
    """The PID of its libvirt_lxc; 0 while it does not run."""
    found = connection.lookupByName(domain)
    return int(found.ID()) if found.isActive() else 0


def _create(connection: Any, domain: str) -> None:
    """Start it. What libvirtd takes for running though there is no init is cleared away first: left by a start that
    failed half-way, or by a stop that libvirtd (9.0) did not see to its end. Both were seen in the lab."""
    found = connection.lookupByName(domain)
    for _ in range(round(NOTICES / LOOKS)):
        if not found.isActive():
            break
        if proc.children(int(found.ID())):
            return
        time.sleep(LOOKS)
    else:
        logger.warning("libvirtd takes container {} for running, and it has no init: it is cleared away", domain)
        _destroy(connection, domain)
    found.create()


def _destroy(connection: Any, domain: str) -> None:
    found = connection.lookupByName(domain)
    try:
        if found.isActive():
            found.destroy()
    except libvirt.libvirtError:
        if found.isActive():
            raise


# -- its cgroup --------------------------------------------------------------------------------------------------------


def _cgroup(init: int) -> Path | None:
    """The scope that holds all of the container (cgroup v2), from its init's."""
    text = proc.read(proc.PROC / str(init) / "cgroup").strip().removeprefix("0::")
    scope, found, _ = text.partition(".scope")
    return orphans.CGROUPS / f"{scope}.scope".lstrip("/") if found else None


# -- libvirt's own event loop ------------------------------------------------------------------------------------------

_registered = False


def _events() -> None:
    """Once a process: keepalives and events are handled in a thread that does nothing else."""
    global _registered
    if _registered:
        return
    _registered = True
    libvirt.registerErrorHandler(lambda *_: None, None)  # else it prints what it also raises
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, name="libvirt events", daemon=True).start()
