"""The real Machine and the simulated one, kind by kind: the same script must tell the same of both."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from examples.lab import rig
from reconciler.sim.cluster import Cluster, play
from reconciler.sim.machine import SimMachine
from reconciler.spec import parse_service
from tests.lab.conftest import DISKS, EXAMPLES, Lab
from tests.lab.machine_script import script

SCRIPT = Path(__file__).with_name("machine_script.py")


def test_the_simulated_host_does_as_the_real_one(lab: Lab) -> None:
    """On hosta, with no service applied: the agents have nothing to do with it."""
    text = json.dumps(yaml.safe_load((EXAMPLES / "nfs.yaml").read_text()))
    rig.hactl("delete", "nfs", "--yes", "--wait", check=False)
    assert all(rig.disks_primary(host, DISKS) == [] for host in rig.HOSTS)
    lab.copy(SCRIPT, "hosta", "/run/machine_script.py")
    path = "PYTHONPATH=/opt/hactl/lib:/opt/hactl/deps"
    done = lab.exec("hosta", "env", path, "python3", "-P", "/run/machine_script.py", "hosta", stdin=text, check=False)
    assert done.returncode == 0, done.stderr
    real = [as_simulated(line) for line in json.loads(done.stdout)]

    async def simulated(cluster: Cluster) -> list[str]:
        return await script(SimMachine(cluster.world.hosts["hosta"], "script", lambda _effect: None), manifest)

    manifest = parse_service(text)
    told = play(simulated, [manifest], start=False)
    assert not [line for line in told if line.startswith("not well")]
    assert "watchdog: 20 s" in told
    assert real == told


def as_simulated(line: str) -> str:
    """DRBD 8.4 does not name its peer; nfs-server.service is a oneshot."""
    return line.replace("; peer Connected", "; hostb Connected").replace("active (exited)", "active (running)")
