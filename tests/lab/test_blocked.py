"""A target that is not ready: nothing is touched on the source, and the status says why in one line."""

from __future__ import annotations

import json
import time

import yaml

from examples.lab import rig
from tests.lab.conftest import DISKS, EXAMPLES


def steps(service: str) -> list[str]:
    """All steps that were noted so far."""
    lines = rig.hactl("events", service, "-o", "json").stdout.splitlines()
    return [line for line in lines if json.loads(line)["kind"] == "step"]


def blocked_line(service: str, *words: str) -> str:
    """Waits for the line of the table that says it; the line."""

    def look() -> str:
        for line in rig.hactl("status").stdout.splitlines():
            if line.startswith(service) and all(word in line for word in words):
                return line
        return ""

    line: str = rig.until(f"the status says {words}", look, 60)
    return line


def test_a_gate_that_is_shut_blocks_the_move(nfs: str) -> None:
    document = yaml.safe_load((EXAMPLES / "nfs.yaml").read_text())
    document["spec"]["gates"] = [{"ping": ["192.0.2.99"], "attempts": [1, 1]}]
    rig.apply(json.dumps(document))
    rig.until("hostb says that it could not", lambda: not rig.status(nfs)["targets"]["hostb"]["ready"])
    refused = rig.hactl("set", nfs, "primary=hostb", check=False)
    assert refused.returncode == 3
    assert "192.0.2.99" in refused.stderr
    assert "Nothing was changed" in refused.stderr
    before = steps(nfs)
    rig.hactl("set", nfs, "primary=hostb", "--anyway")
    blocked_line(nfs, "hosta", "192.0.2.99")
    time.sleep(3)
    assert steps(nfs) == before
    assert rig.disks_primary("hosta", DISKS) == list(DISKS)
    rig.apply(EXAMPLES / "nfs.yaml")
    rig.ready(nfs, "hostb")


def test_a_disk_that_lacks_writes_blocks_the_move(nfs: str) -> None:
    with rig.writing() as client:
        rig.on("hostb", "drbdadm", "disconnect", "nfs-state")
        blocked = rig.until("hostb says that it could not", lambda: rig.status(nfs)["targets"]["hostb"]["obstacles"])
        assert "nfs-state" in blocked[0]
        client.writes_on()
        before = steps(nfs)
        rig.hactl("set", nfs, "primary=hostb", "--anyway")
        blocked_line(nfs, "nfs-state")
        time.sleep(3)
        assert steps(nfs) == before
        assert rig.disks_primary("hosta", DISKS) == list(DISKS)
        rig.on("hostb", "drbdadm", "connect", "nfs-state")
        rig.ready(nfs, "hostb")
        client.writes_on()
        found = client.end()
    assert (found["lost"], found["wrong"]) == (0, 0)


def test_a_target_that_cannot_start_gives_the_service_back(nfs: str) -> None:
    """nfs-server fails in hostb's container: the move reverts within its deadline."""
    guard = "/run/systemd/system/nfs-server.service.d/broken.conf"
    inside = ["systemd-run", "--quiet", "--pipe", "--wait", "-M", machine("hostb")]
    rig.on(
        "hostb",
        *inside,
        "/bin/sh",
        "-c",
        f"mkdir -p {guard.rpartition('/')[0]}; printf '[Service]\\nExecStartPre=/bin/false\\n' > {guard}; "
        "systemctl daemon-reload",
    )
    try:
        rig.hactl("set", nfs, "deadline=20")
        rig.ready(nfs, "hosta")
        waited = rig.hactl("set", nfs, "primary=hostb", "--wait", check=False)
        assert waited.returncode != 0
        rig.ready(nfs, "hosta")
        assert "hactl agent" in rig.hactl("audit", nfs).stdout
    finally:
        rig.on("hostb", *inside, "/bin/sh", "-c", f"rm {guard}; systemctl daemon-reload; systemctl reset-failed")


def machine(host: str) -> str:
    """The container's name for machined."""
    return rig.on(host, "sh", "-c", "machinectl list --no-legend | awk '$1 ~ /-nfs$/ {print $1; exit}'").strip()
