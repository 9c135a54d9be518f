"""What a human does on purpose: services are paused, a host is drained and rebooted, a host is shut down; doctor."""

from __future__ import annotations

import json
import time

import pytest

from examples.lab import breaks, rig

ADDRESS = "192.0.2.10/24"


def state(service: str) -> str:
    return str(rig.status(service)["state"])


def has_address(host: str) -> bool:
    asked = rig.on(host, "bash", "-s", stdin=breaks.WAYS + "inside -n ip -o address show dev eth0")
    return ADDRESS in asked


def test_a_paused_service_is_left_alone_and_its_drift_is_told(nfs: str) -> None:
    with rig.writing() as client:
        rig.hactl("pause", nfs, "--reason", "new cable")
        try:
            rig.until("it is paused", lambda: state(nfs) == "Paused", 10)
            rig.on("hosta", "bash", "-s", stdin=breaks.WAYS + f"inside -n ip address delete {ADDRESS} dev eth0")
            rig.until("its drift is told", lambda: f"{ADDRESS} is missing" in rig.hactl("drift").stdout, 10)
            screen = rig.hactl("status").stdout
            assert all(words in screen for words in ("Paused", "new cable", f"hactl resume {nfs}")), screen
            time.sleep(5)
            assert not has_address("hosta")
            refused = rig.hactl("set", nfs, "primary=hostb", "--wait", "--timeout", "5", check=False)
            assert refused.returncode == 3, refused
            assert "paused" in refused.stderr
        finally:
            rig.hactl("resume", nfs)
        rig.ready(nfs, "hosta")
        assert has_address("hosta")
        client.writes_on()
        found = client.end()
    assert (found["lost"], found["wrong"]) == (0, 0), found


def test_a_drained_host_is_rebooted_and_no_target_until_it_is_undrained(nfs: str) -> None:
    with rig.sampling() as sampler, rig.writing() as client:
        said = rig.hactl("drain", "hosta", "--reason", "new kernel").stdout
        try:
            assert rig.status(nfs)["owner"] == "hostb", said
            assert all(words in said for words in (f"{nfs} is Ready on hostb", "it may be rebooted")), said
            rig.lab("power", "hosta", "reboot", timeout=300)
            rig.ready(nfs, "hostb", alone=True)
            rig.until("hosta says that it is drained", lambda: "drained" in obstacles(nfs, "hosta"), 60)
            refused = rig.hactl("set", nfs, "primary=hosta", check=False)
            assert refused.returncode == 3, refused
            assert "hactl undrain hosta" in refused.stderr
        finally:
            rig.hactl("undrain", "hosta")
        rig.ready(nfs, "hostb")
        rig.hactl("set", nfs, "primary=hosta", "--wait")
        client.writes_on()
        assert rig.held_twice(sampler.samples()) == []
        found = client.end()
    assert (found["lost"], found["wrong"]) == (0, 0), found


def obstacles(service: str, host: str) -> str:
    return "; ".join(rig.status(service)["targets"].get(host, {}).get("obstacles", []))


def test_a_host_that_is_shut_down_moves_what_is_automatic_first(nfs: str) -> None:
    """It is a move, by the host that goes: no proof of its death is waited for."""
    with rig.sampling() as sampler, rig.writing() as client:
        rig.hactl("set", nfs, "failover=automatic")
        since = client.now()
        rig.lab("power", "hosta", "reboot", timeout=300)
        rig.ready(nfs, "hostb")
        client.writes_on()
        told = rig.hactl("events", nfs).stdout
        assert "its host is being shut down" in told, told
        since_then = told.rpartition("its host is being shut down")[2]
        assert "hosta is dead" not in since_then, told
        assert "holds all I/O" not in since_then, told  # the copy that stays behind says goodbye
        print(f"clean shutdown: longest stall {client.stalls(since)[0][0]:.1f} s")
        rig.hactl("set", nfs, "primary=hosta", "failover=manual", "--wait")
        assert rig.held_twice(sampler.samples()) == []
        found = client.end()
    assert (found["lost"], found["wrong"]) == (0, 0), found


@pytest.mark.parametrize(
    ("where", "deed", "undone", "said"),
    [
        (
            "hosta",
            "virsh -q -c lxc:/// autostart nfs",
            "virsh -q -c lxc:/// autostart --disable nfs",
            "by itself at boot",
        ),
        ("hosta", "systemctl stop etcd", "systemctl start etcd", "192.0.2.1:2379 is not well"),
        ("hosta", "chmod 644 /etc/hactl/cluster.key", "chmod 600 /etc/hactl/cluster.key", "cluster.key"),
    ],
    ids=["libvirt autostart", "an etcd member", "a secret that all can read"],
)
def test_doctor_names_what_would_fail_some_night(nfs: str, where: str, deed: str, undone: str, said: str) -> None:
    well = rig.lab("exec", where, "--", "hactl", "doctor", check=False)
    assert well.returncode == 0, well
    rig.on(where, "sh", "-c", deed)
    try:
        found = rig.lab("exec", where, "--", "hactl", "doctor", "-o", "json", check=False)
    finally:
        rig.on(where, "sh", "-c", undone)
    assert found.returncode == 3, found
    assert any(said in json.loads(line)["what"] for line in found.stdout.splitlines()), found.stdout
