"""The Machine: everything of a host that a kind or the loop may touch, and nothing else.

The real one is `reconciler.linux`, the simulated one `reconciler.sim`. Time, randomness, processes, files,
libvirt and the kernel's tables come through here, so that the same kinds and the same loop run on both.

Errors, by what happens next:

    MachineError            it did not work; the sentence says what, and the way out
    ├── Unavailable         a daemon or a program is missing or silent: what it would tell is *unknown*, never "no"
    ├── Busy                something still uses the thing (`holders` says who)
    ├── TimedOut            it took longer than it may; nothing of it still runs
    └── InUse               another machine has the address

All durations are seconds; `domain` is the name of a libvirt-LXC domain, None the host itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

ANNOUNCED_AGAIN = (1.0, 3.0, 10.0)  # seconds after the first announcement: a switch or a neighbour may have missed that


class MachineError(Exception):
    """Something on this host did not work; the text is one sentence for the operator."""


class Unavailable(MachineError):
    """A daemon or program that would know does not answer: the answer is unknown."""


class Busy(MachineError):
    """Processes still use it."""


class TimedOut(MachineError):
    """It ran longer than allowed and was ended, with its children."""


class InUse(MachineError):
    """Another machine has the address."""


@dataclass(frozen=True)
class Finished:
    """A program that ran: its exit status (128 + n when signal n ended it) and what it printed."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """In one line, of 200 characters at most: errors, or else what it printed."""
        return " ".join((self.err.strip() or self.out).split())[:200]


@dataclass(frozen=True)
class Process:
    """A process, as /proc has it. `state` is its letter; `waits` its wait channel when it is in D."""

    pid: int
    command: str
    state: str
    waits: str = ""
    container: str | None = None  # the domain that it is in, "" for the host itself; None where nobody asked

    def __str__(self) -> str:
        """nfsd (1234, D in nfsd_vfs_write, container nfs)"""
        waits = f" in {self.waits}" if self.waits else ""
        where = "" if self.container is None else f", container {self.container}" if self.container else ", on the host"
        return f"{self.command} ({self.pid}, {self.state}{waits}{where})"


@dataclass(frozen=True)
class Container:
    """A libvirt-LXC domain as this host has it. `pid` is its init's, seen from the host; None unless running."""

    defined: bool
    running: bool
    pid: int | None = None
    id: str = ""  # changes with every start, so "another container by the same name" is seen
    orphans: tuple[Process, ...] = ()  # of earlier runs, whose controller is gone
    stuck: tuple[Process, ...] = ()  # likewise, killed, in D, and no filesystem of a disk is mounted where they are
    stuck_addresses: frozenset[str] = frozenset()  # IPs in the network namespaces of those that are stuck


@dataclass(frozen=True)
class Mounted:
    """One line of mountinfo. `device` is major:minor, as the kernel has it (proc(5))."""

    target: str
    device: str
    fstype: str
    source: str
    readonly: bool


@dataclass(frozen=True)
class Address:
    """An address of an interface: `address` as the kernel writes it, with its prefix length; `flags` the IFA_F_*
    words in small letters: tentative, dadfailed, deprecated, permanent … `rival` is the MAC address of another machine
    that said that it has it, since it was last announced here, or "": hearsay, `Machine.rival` asks."""

    interface: str
    address: str
    flags: frozenset[str] = frozenset()
    rival: str = ""


class Machine(Protocol):
    """One host. Methods that wait are coroutines; the others return at once."""

    @property
    def host(self) -> str:
        """This host's name, as the specs call it."""

    @property
    def boot_id(self) -> str:
        """The kernel's boot id: with the host's name, this incarnation."""

    # -- time and chance -------------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps and goes on while the host is suspended (CLOCK_BOOTTIME)."""

    def utc(self) -> datetime:
        """The wall clock, aware, UTC. For people to read; nothing is decided by it."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the monotonic clock."""

    def random(self) -> float:
        """In [0, 1), for jitter and ids."""

    # -- programs and files ------------------------------------------------------------------------------------------

    async def run(self, *argv: str, timeout: float, domain: str | None = None, stdin: str = "") -> Finished:
        """Run a program, never through a shell; in all namespaces of the domain's init when `domain` is given.

        Raises Unavailable (program or container not there), TimedOut (it and its children are dead then).
        """

    def read(self, path: str) -> str | None:
        """A host file's text; None when it does not exist."""

    def is_secret(self, path: str) -> bool:
        """Is a host file root's, and nobody else may touch it?"""

    def write(self, path: str, text: str) -> None:
        """Replace a host file in one step (write beside, fsync, rename), making its directory."""

    def remove(self, path: str) -> None:
        """Remove a host file; nothing when it is not there."""

    # -- containers (libvirt) ----------------------------------------------------------------------------------------

    async def container(self, domain: str) -> Container:
        """Raises Unavailable while libvirtd does not answer: unknown, never stopped."""

    async def start_container(self, domain: str, timeout: float) -> None:
        """Start the defined domain and wait until its init answers (systemd: its bus is there). Running: nothing."""

    async def stop_container(self, domain: str, grace: float) -> None:
        """Ask its init to power off, destroy it after `grace`. Returns when its cgroup is empty."""

    async def kill_orphans(self, domain: str) -> None:
        """End what is left of earlier runs. Raises MachineError naming what does not die and may hold a disk, with what
        it waits for. What is only stuck (`Container.stuck`) is left to the kernel."""

    # -- mounts ------------------------------------------------------------------------------------------------------

    async def mounts(self, domain: str | None) -> tuple[Mounted, ...]:
        """The mount table there, in the kernel's order. A domain that does not run has none."""

    async def mount(
        self, device: str, target: str, *, fstype: str, options: tuple[str, ...], domain: str | None, timeout: float
    ) -> None:
        """Mount a host's block device at `target` (made if missing), in the running container's mount namespace
        without a device node in it, or on the host."""

    async def unmount(self, target: str, *, domain: str | None, timeout: float) -> None:
        """Raises Busy while a process uses it; not mounted: nothing."""

    async def make_writable(self, target: str, *, domain: str | None, timeout: float) -> None:
        """Take the read-only mark from what is mounted there, its users undisturbed. Raises MachineError where the
        kernel refuses: it saw an error on the filesystem, or the device can only be read."""

    async def holders(self, target: str, *, domain: str | None) -> tuple[Process, ...]:
        """Processes with a file, directory, root or map on what is mounted at `target`."""

    async def users(self, number: str) -> tuple[Process, ...]:
        """Who has the device by that number (major:minor) open, or uses a filesystem on it, wherever that is mounted,
        and in which container. Raises MachineError."""

    async def device_number(self, device: str) -> str | None:
        """major:minor of a block device node of the host; None when it does not exist."""

    def kill(self, pid: int) -> None:
        """SIGKILL; gone already: nothing."""

    # -- addresses -----------------------------------------------------------------------------------------------------

    async def addresses(self, domain: str | None) -> tuple[Address, ...]:
        """All addresses in the container's (or the host's) network namespace. A domain that does not run has none."""

    async def add_address(self, domain: str | None, interface: str, address: str) -> None:
        """Present already: nothing. Raises MachineError naming the interface when that is missing."""

    async def remove_address(self, domain: str | None, interface: str, address: str) -> None:
        """Absent already: nothing."""

    async def announce(self, domain: str | None, interface: str, address: str) -> None:
        """Tell the neighbours: gratuitous ARP (RFC 5227 2.3) or unsolicited neighbour advertisement (RFC 4861 7.2.6);
        an IPv6 address once it is no longer tentative. Returns then, and tells them again at ANNOUNCED_AGAIN, as long
        as the address is there. Raises InUse when duplicate address detection fails (RFC 4862 5.4)."""

    async def rival(self, domain: str | None, interface: str, address: str) -> str:
        """The MAC address of another machine that answers for it there, "" when none does within 0.15 s. The neighbours
        are asked (RFC 5227 2.1.1, RFC 4861 7.2.2), whether it is here or not; an interface that is down is set up.
        Raises MachineError when this host stood still meanwhile: who has it by now is unknown."""

    # -- looking at the network ----------------------------------------------------------------------------------------

    async def ping(self, address: str, timeout: float) -> bool:
        """One ICMP echo answered within `timeout`?"""

    async def tcp(self, address: str, port: int, timeout: float, domain: str | None = None) -> bool:
        """Does something accept a connection there, from the host or from within the container?"""

    async def http(self, url: str, timeout: float, domain: str | None = None) -> int:
        """The HTTP status of a GET; 0 when nothing answers in time."""

    async def fetch(
        self, url: str, timeout: float, domain: str | None = None, *, post: str | None = None
    ) -> tuple[int, str]:
        """The HTTP status of a GET, or of a POST of that JSON, and the first 64 kB of its body; (0, "") when nothing
        answers in time."""

    # -- talking to other agents -------------------------------------------------------------------------------------

    async def ask(self, address: str, port: int, message: bytes, timeout: float) -> bytes | None:
        """The answer of the agent there, over the hosts' network; None when none came in time. One line each way,
        of at most 4,000 bytes; who answers is for the caller to check."""

    async def serve(self, port: int, answer: Callable[[bytes], bytes | None]) -> None:
        """Answer what other agents ask, until cancelled; None: nothing is answered. Raises MachineError."""

    # -- the watchdog --------------------------------------------------------------------------------------------------

    async def arm_watchdog(self, device: str, seconds: float) -> float:
        """Open and arm it; the seconds that it really has. Raises MachineError: it is not there, or closing it would
        disarm it (no magic close), so that an agent that is killed would make a false proof."""

    def pet_watchdog(self) -> None:
        """Another W seconds. Not armed: nothing."""

    async def disarm_watchdog(self) -> None:
        """With the magic character, and close it."""

    # -- being told ----------------------------------------------------------------------------------------------------

    def changes(self) -> AsyncIterator[str]:
        """Topics to look at again, for ever: `domain/NAME`, `disk/RESOURCE`, `network/DOMAIN`, `mounts/DOMAIN`,
        `units/DOMAIN`, or `*` after something may have been missed. Only hints: nothing is decided from them."""

    def notify(self, state: str) -> None:
        """sd_notify(3) to the service manager: READY=1, STATUS=…, WATCHDOG=1."""
