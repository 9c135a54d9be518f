"""The health of a service that is everywhere, pure: of what its hosts say, the worst. `health` has it as one."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.ownership import View
from reconciler.records import Status

IS_AGENT_RUNNING = "is its agent running? (systemctl status hactl-agent)"
WORST = ("Invalid", "Stalled", "Unknown", "Drift", "Waiting", "Stopping", "Moving", "Starting", "Standby")


def called(hosts: Sequence[str]) -> str:
    """For the column PRIMARY: both; hosta; hosta, hostb, hostc"""
    return "both" if len(hosts) == 2 else ", ".join(hosts)


def state(view: View) -> tuple[str, str, str]:
    """(state, reason, since): Ready only where each of its hosts that is alive says so; else which one does not.
    Before it is everywhere, an owner of before must let go: that is said by the hosts that wait for it."""
    hosts = view.manifest.spec.hosts
    alive = [host for host in hosts if host in view.sessions]
    silent = [f"{host} has no session: {IS_AGENT_RUNNING}" for host in hosts if host not in view.sessions]
    if not alive:
        return "Unknown", "; ".join(silent), ""
    said = [(host, view.statuses.get(host)) for host in alive]
    wrong = [(host, status) for host, status in said if status is None or status.state != "Ready"]
    if not wrong:
        notes = [f"{host}: {status.reason}" for host, status in said if status is not None and status.reason]
        return "Ready", "; ".join([*notes, *silent]), max(status.since for _, status in said if status is not None)
    host, worst = min(wrong, key=lambda one: _rank(one[1]))
    reasons = [f"{where}: {_reason(status)}" for where, status in sorted(wrong, key=lambda one: one[0] != host)]
    return worst.state if worst else "Starting", "; ".join([*reasons, *silent]), worst.since if worst else ""


def _rank(status: Status | None) -> int:
    found = status.state if status is not None else "Starting"
    return WORST.index(found) if found in WORST else len(WORST)


def _reason(status: Status | None) -> str:
    if status is None:
        return "has said nothing of it yet"
    if status.progress is not None:
        return f"{status.progress.done}/{status.progress.of} {status.progress.now}"
    return status.reason or status.state


def is_ready(view: View) -> str:
    """`Ready on hosta and hostb`, each host that is alive having seen this very revision of the spec; or ""."""
    alive = [host for host in view.manifest.spec.hosts if host in view.sessions]
    current = [status for host in alive if (status := view.statuses.get(host)) and status.revision == view.revision]
    ready = len(current) == len(alive) > 0 and state(view)[0] == "Ready"
    return f"Ready on {' and '.join(alive)}" if ready else ""
