"""What a fault costs: seconds from it to Ready and to the client's first write, beside what must be waited for.

What must be waited for: until the session's key is gone (the lease), then the watchdog's time and its margin, then the
steps that bring the service up. The rest is ours. For `bench.py takeover`; standard library only.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from examples.lab import faults, rig

WATCH = """systemctl stop lab-sessions 2>/dev/null
systemd-run --quiet --collect --unit=lab-sessions --setenv=ETCDCTL_API=3 sh -c '
    etcdctl --endpoints=http://192.0.2.3:2379 watch --prefix /hactl/sessions/ |
    while read -r line; do echo "$(date +%s.%N) $line"; done >/run/lab-sessions.log'
"""


WATCHDOG = 10 + 2 + 1  # seconds from the session's end to the proof: reconciler.proofs.patience
HEADER = "seconds after the fault         session  proof  owned  Ready  first write    steps   ours  longest stall"


@dataclass(frozen=True)
class Cost:
    """Seconds after the fault, but for `steps` and `stall`, which are lengths. `gone`: the session's key."""

    fault: str
    gone: float
    proof: float
    owned: float
    ready: float
    written: float
    steps: float
    stall: float

    @property
    def ours(self) -> float:
        return self.written - self.gone - WATCHDOG - self.steps

    def __str__(self) -> str:
        times = f"{self.gone:7.1f}  {self.proof:5.1f}  {self.owned:5.1f}  {self.ready:5.1f}  {self.written:11.1f}"
        return f"{self.fault:30}  {times}    {self.steps:5.1f}  {self.ours:5.1f}  {self.stall:13.1f}"


def watch_sessions() -> None:
    """From now on the witness notes when each session's key goes."""
    rig.on("witness", "sh", "-c", WATCH)


def measure(client: rig.Client, fault: faults.Fault, service: str, owner: str) -> Cost:
    """Inflict it on the owner; until the other host has it and the client writes. `fault.mend` is the caller's."""
    heir = next(host for host in rig.HOSTS if host != owner)
    since, offset = client.now(), clock_offset()
    fault.inflict(owner)
    rig.ready(service, heir, alone=True)
    client.writes_on(120)
    stall, written = client.stalls(since)[0]
    time.sleep(1)  # the last events are written a little later
    events = [event for event in noted(service) if event["host"] == heir and seconds(event["at"]) > fault.at]
    steps = [event for event in events if event["kind"] == "step"]
    death = [line for line in audited(f"host/{owner}") if line["did"].startswith("dead: ")][-1]
    now = rig.status(service)
    return Cost(
        fault=fault.name,
        gone=session_gone(owner, fault.at) - fault.at,
        proof=seconds(death["at"]) - fault.at,
        owned=next(seconds(event["at"]) for event in events if event["text"].startswith("owned by")) - fault.at,
        ready=seconds(now["since"]) - fault.at,
        written=written + offset - fault.at,
        steps=covered((seconds(step["at"]) - step["seconds"], seconds(step["at"])) for step in steps),
        stall=stall,
    )


def clock_offset() -> float:
    """From the witness's monotonic clock, which the client's log has, to the wall clock of all."""
    wall, uptime = rig.on("witness", "sh", "-c", "date +%s.%N; cut -d' ' -f1 /proc/uptime").split()
    return float(wall) - float(uptime)


def session_gone(host: str, after: float) -> float:
    """When etcd told that its key was deleted. The log has `TIME DELETE`, then `TIME KEY`."""
    rows = [line.split() for line in rig.on("witness", "cat", "/run/lab-sessions.log").splitlines()]
    for row, following in itertools.pairwise(rows):
        if row[1:] == ["DELETE"] and following[1:] == [f"/hactl/sessions/{host}"] and float(row[0]) > after:
            return float(row[0])
    return float("nan")


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of their union: steps go side by side."""
    total, reached = 0.0, float("-inf")
    for began, ended in sorted(intervals):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total


def noted(service: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rig.hactl("events", service, "-o", "json").stdout.splitlines()]


def audited(what: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rig.hactl("audit", what, "-o", "json").stdout.splitlines()]


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
