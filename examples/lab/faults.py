"""What can happen to the host that has a service, on the lab's real hosts: done to it, and put right again.

`inflict` returns at once; `mend` returns when the host is well again. For tests and the benchmark.
"""

from __future__ import annotations

import time

from examples.lab import rig

THAWED_AFTER = 60.0  # seconds
NOT_AGAIN = """mkdir -p /run/systemd/system/hactl-agent.service.d
printf '[Service]\\nRestart=no\\n' >/run/systemd/system/hactl-agent.service.d/away.conf
systemctl daemon-reload
systemctl kill -s KILL hactl-agent
"""


class Fault:
    """One object a use. `name`: for people."""

    name = ""

    def __init__(self) -> None:
        self.host = self._boot = ""
        self.at = 0.0  # time.time() when it struck

    def inflict(self, host: str) -> None:
        """On the host that has the service now."""
        self.host, self._boot = host, rig.boot_id(host)
        self.at = time.time()
        self._do()

    def mend(self) -> None:
        """The host is well again, and whatever it does then may be looked at."""
        raise NotImplementedError

    def _do(self) -> None:
        raise NotImplementedError


class PowerCut(Fault):
    name = "power cut"

    def _do(self) -> None:
        rig.lab("power", self.host, "off")

    def mend(self) -> None:
        rig.lab("power", self.host, "on")


class Frozen(Fault):
    """Thawed a minute later, its watchdog resets it at once: it does nothing that it was about to do."""

    name = "frozen, thawed after a minute"

    def _do(self) -> None:
        rig.lab("power", self.host, "freeze")

    def mend(self) -> None:
        time.sleep(max(0.0, self.at + THAWED_AFTER - time.time()))
        rig.lab("power", self.host, "thaw")
        rig.booted_anew(self.host, self._boot)


class CutOff(Fault):
    """From clients and etcd; not from power, nor from the other host's disks."""

    name = "cut from clients and etcd"

    def _do(self) -> None:
        rig.lab("link", self.host, "lan", "down")

    def mend(self) -> None:
        rig.lab("link", self.host, "lan", "up")


class Isolated(Fault):
    """From everything but power: its DRBD holds all I/O, nothing can be unmounted, so its watchdog resets it."""

    name = "cut from everything"

    def _do(self) -> None:
        rig.lab("link", self.host, "replication", "down")
        rig.lab("link", self.host, "lan", "down")

    def mend(self) -> None:
        rig.lab("link", self.host, "lan", "up")
        rig.lab("link", self.host, "replication", "up")
        rig.booted_anew(self.host, self._boot)


class AgentGone(Fault):
    """Killed, and nothing starts it again: the watchdog resets the host."""

    name = "agent killed for good"

    def _do(self) -> None:
        rig.on(self.host, "sh", "-c", NOT_AGAIN)

    def mend(self) -> None:
        rig.booted_anew(self.host, self._boot)


TAKEOVERS: tuple[type[Fault], ...] = (PowerCut, Frozen, CutOff, Isolated, AgentGone)
