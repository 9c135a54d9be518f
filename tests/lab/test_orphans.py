"""libvirt_lxc dies while libvirtd cannot see it, so that its init and all else live on: they are found and ended."""

from __future__ import annotations

import json
import time

import pytest

from examples.lab import breaks, rig


def test_what_a_dead_controller_left_is_ended_and_the_service_goes_on(nfs: str) -> None:
    with rig.writing() as client:
        died = rig.on("hosta", "bash", "-s", stdin=breaks.WAYS + DIES).split()
        try:
            rig.until("libvirtd being away is unknown", lambda: rig.status(nfs)["state"] in ("Unknown", "Drift"), 60)
        finally:
            rig.on("hosta", "systemctl", "start", "libvirtd", "systemd-machined")
        rig.ready(nfs, "hosta")
        client.writes_on(90)
        assert rig.on("hosta", "sh", "-c", f"cat /proc/{died[0]}/comm 2>/dev/null || true").strip() == ""
        found = client.end()
    assert (found["lost"], found["wrong"]) == (0, 0), found


@pytest.mark.parametrize("deed", ["AWAY", "RESTART"])
def test_libvirtd_away_or_restarted_changes_nothing(nfs: str, deed: str) -> None:
    """The same init afterwards, the client wrote on all the while, and no step was run."""
    before, steps = _init(), _steps(nfs)
    with rig.writing() as client:
        if deed == "AWAY":
            rig.on("hosta", "sh", "-c", STOP_LIBVIRTD)
            try:
                rig.until("libvirtd being away is unknown", lambda: rig.status(nfs)["state"] == "Unknown", 60)
                time.sleep(AWAY)
            finally:
                rig.on("hosta", "systemctl", "start", "libvirtd")
        else:
            rig.on("hosta", "systemctl", "restart", "libvirtd")
        rig.ready(nfs, "hosta")
        client.writes_on(30)
        found = client.end()
    assert (found["lost"], found["wrong"]) == (0, 0), found
    assert _init() == before
    assert _steps(nfs) == steps


def _init() -> str:
    return rig.on("hosta", "bash", "-s", stdin=f"{breaks.WAYS}echo $I").strip()


def _steps(service: str) -> list[str]:
    """What the agents did, by the events in etcd."""
    lines = rig.hactl("events", service, "-o", "json").stdout.splitlines()
    return [line for line in lines if json.loads(line)["kind"] in ("step", "failed")]


AWAY = 30.0  # seconds
STOP_LIBVIRTD = "systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service"

# Its init's PID. libvirtd is stopped for good: its sockets would start it again. machined too, after the ways: asking
# it for the container's name starts it.
DIES = """systemctl stop systemd-machined
systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service 2>/dev/null
kill -9 "$C"; sleep 1; echo "$I" "$(cat "/proc/$I/comm")"
"""
