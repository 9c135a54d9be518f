"""The doctor: what would fail some night, from facts. Each finding names the thing and the way out."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler import doctor
from reconciler.cli.members import ahead, parse, unhealthy
from reconciler.doctor import Endpoint
from reconciler.records import Session
from reconciler.spec import HostManifest, validate
from resources.drbd import Configured, configured
from resources.machine import Mounted
from tests.unit.support import captured, session, view

WELL = tuple(Endpoint(f"http://192.0.2.{n}:2379", ahead=0.3) for n in (1, 2, 3))
THREE = {"hosta": ["192.0.2.1"], "hostb": ["192.0.2.2"], "witness": ["192.0.2.3"]}
AUTOMATIC = {"failover": "automatic"}


def texts(found: Any) -> list[str]:
    return [str(one) for one in found]


def host(name: str, **spec: Any) -> HostManifest:
    found = validate({"apiVersion": "hactl/v1", "kind": "Host", "metadata": {"name": name}, "spec": spec})
    assert isinstance(found, HostManifest)
    return found


HOSTS = {name: host(name) for name in ("hosta", "hostb")}
SESSIONS = {name: session(name) for name in ("hosta", "hostb")}


# -- etcd --------------------------------------------------------------------------------------------------------------


def test_three_members_by_address_are_well() -> None:
    assert texts(doctor.etcd(WELL, THREE)) == []
    assert texts(doctor.etcd((Endpoint("http://localhost:2379"), Endpoint("http://[2001:db8::1]:2379")), THREE)) == []


@pytest.mark.parametrize(
    ("endpoints", "members", "said"),
    [
        (
            (*WELL, Endpoint("https://etcd.example.org:2379")),
            THREE,
            "etcd: endpoint https://etcd.example.org:2379 is a name: no agent finds etcd while the DNS is away. "
            "Write its address into /etc/hactl/hactl.toml",
        ),
        (
            (*WELL[:2], Endpoint(WELL[2].url, "it does not answer (Connection refused)")),
            THREE,
            "etcd: http://192.0.2.3:2379 is not well: it does not answer (Connection refused). "
            "systemctl status etcd there",
        ),
        (
            WELL[:2],
            {"hosta": ["192.0.2.1"], "hostb": ["192.0.2.2"]},
            "etcd: there are 2 of the 3 members that it takes to outlive one. Add a witness (etcdctl member add)",
        ),
        (
            WELL,
            {**THREE, "witness": ["192.0.2.1"]},
            "etcd: members hosta, witness are all on 192.0.2.1: they go together. Put each on a machine of its own",
        ),
        (WELL[:2], None, "etcd: only 2 endpoints are named. Name all members in /etc/hactl/hactl.toml"),
        (
            (*WELL[:2], Endpoint(WELL[2].url, ahead=-3600.2)),
            THREE,
            "etcd: the clock of http://192.0.2.3:2379 is 3600 s behind this machine's. "
            "No decision depends on it, but logs and certificates do: chronyc tracking on both",
        ),
    ],
)
def test_gaps_of_etcd(endpoints: Any, members: Any, said: str) -> None:
    assert texts(doctor.etcd(endpoints, members)) == [said]


def test_what_members_say_over_http() -> None:
    assert parse(captured("etcd-member-list.json")) == {name: ["127.0.0.1"] for name in ("m1", "m2", "m3")}
    assert unhealthy('{"health":"true"}') == ""
    assert unhealthy('{"health":"true","reason":""}') == ""
    assert unhealthy('{"health":"false"}') == "it says that it is not healthy: is there a quorum?"
    assert "(RAFT NO LEADER)" in unhealthy('{"health":"false","reason":"RAFT NO LEADER"}')
    assert unhealthy("404 page not found") == unhealthy("") == "it does not speak as etcd does"
    date = "Wed, 25 Nov 2026 12:58:05 GMT"
    assert ahead(date, 1795611485.5) == 0
    assert ahead("", 1795611485.5) is None


# -- the site ----------------------------------------------------------------------------------------------------------


def test_a_site_that_is_well() -> None:
    assert texts(doctor.site([view()], HOSTS, SESSIONS, {})) == []


def test_nobody_dies_in_silence() -> None:
    """Of a host that is away, what its session said last counts."""
    guarded = SESSIONS["hostb"].model_copy(update={"watchdog": 30})
    seen = [view(fields=AUTOMATIC)]
    (one,) = texts(doctor.site(seen, HOSTS, {**SESSIONS, "hostb": guarded}, {}))
    assert one.startswith("host/hosta: nothing proves its death, so its automatic services (nfs) are not taken over by")
    fenced = {**HOSTS, "hosta": host("hosta", fencing={"agent": "fence_ipmilan"})}
    assert texts(doctor.site(seen, fenced, {**SESSIONS, "hostb": guarded}, {})) == []
    away = texts(doctor.site(seen, fenced, {"hosta": SESSIONS["hosta"]}, {"hostb": guarded}))
    assert away == ["host/hostb: it has no session. Is its agent running? (systemctl status hactl-agent there)"]
    assert texts(doctor.site([view(fields=AUTOMATIC, paused=True)], HOSTS, SESSIONS, {})) == []


def test_what_a_session_lacks_and_a_host_nobody_wrote_down() -> None:
    lacking: Session = SESSIONS["hosta"].model_copy(update={"lacks": ("the key is missing",)})
    found = texts(doctor.site([view()], {"hosta": HOSTS["hosta"]}, {**SESSIONS, "hosta": lacking}, {}))
    assert found == [
        "host/hosta: the key is missing. See docs/takeover.md",
        "host/hostb: there is no manifest of it (kind: Host). hactl apply -f hosts.yaml",
    ]


def test_a_service_of_one_host() -> None:
    (one,) = texts(doctor.site([view(fields={"hosts": ["hosta"]})], HOSTS, SESSIONS, {}))
    assert one == "service/nfs: it may run on hosta alone. hactl set nfs hosts='[hosta, …]'"


# -- a host ------------------------------------------------------------------------------------------------------------

MOUNTS = (
    Mounted("/", "8:1", "ext4", "/dev/sda1", readonly=False),
    Mounted("/root", "0:50", "nfs4", "nfs.example.org:/root", readonly=False),
    Mounted("/srv/ct/git", "147:2", "ext4", "/dev/drbd2", readonly=False),
)


def test_a_loop_is_found_whether_the_disk_is_mounted_just_now_or_not() -> None:
    disk = {"resource": "git", "mount": "/srv/ct/git", "where": "host"}
    managed = doctor.managed_mounts([view(fields={"disks": [disk, {"resource": "home", "mount": "/opt"}]})])
    needs = {"the agent's program": "/srv/ct/git/bin/hactl", "the log": "/var/log", "the key": "/opt/key"}
    for mounts in (MOUNTS, MOUNTS[:1]):
        (one,) = texts(doctor.needed("hosta", needs, mounts, managed))
        assert one == (
            "host/hosta: the agent's program (/srv/ct/git/bin/hactl) is on /srv/ct/git, a disk of the service nfs that "
            "this agent keeps. Move it to a disk of the host's own"
        )


def test_what_root_needs_is_not_on_nfs() -> None:
    (one,) = texts(doctor.needed("hosta", {"root's home": "/root", "the log": "/rootless"}, MOUNTS, {}))
    assert one.startswith(
        "host/hosta: root's home (/root) is on nfs4 nfs.example.org:/root: it hangs when that is away."
    )


def test_the_longest_mount_wins_and_the_last_of_several() -> None:
    twice = (*MOUNTS, Mounted("/root", "8:2", "ext4", "/dev/sda2", readonly=False))
    found = doctor.lies_on("/root/.ssh", twice)
    assert found is not None
    assert found.source == "/dev/sda2"
    assert doctor.lies_on("/x", ()) is None


@pytest.mark.parametrize("name", ["drbdadm-dump-9.txt", "drbdadm-dump-84.txt"])
def test_a_resource_with_our_handler(name: str) -> None:
    seen = configured(captured(name))
    assert seen == Configured("resource-and-stonith", "/usr/local/bin/hactl fence-peer")
    assert texts(doctor.disk("hosta", "nfs-home", seen)) == []


def test_a_resource_without_it_may_lose_writes() -> None:
    fencing, handler = texts(doctor.disk("hosta", "git", configured(captured("drbdadm-dump-9-plain.txt"))))
    assert fencing.startswith(
        "host/hosta: disk git has fencing dont-care: a failover may lose writes. fencing resource-and-"
    )
    assert handler.startswith("host/hosta: disk git calls nothing when it loses its peer: a failover may lose writes.")
    (other,) = texts(doctor.disk("hosta", "git", Configured("resource-and-stonith", "/usr/lib/drbd/crm-fence-peer.sh")))
    assert "calls /usr/lib/drbd/crm-fence-peer.sh" in other
    assert texts(doctor.disk("hosta", "git", configured(""))) == [
        "host/hosta: DRBD knows no resource git. Write /etc/drbd.d/git.res on both hosts"
    ]


def test_what_starts_by_itself() -> None:
    assert texts(doctor.domain("hosta", "nfs", defined=True, autostart=False)) == []
    missing, starts = texts(doctor.domain("hosta", "nfs", defined=False, autostart=True))
    assert missing.startswith("host/hosta: container nfs is not defined.")
    assert starts.endswith("virsh -c lxc:/// autostart --disable nfs")
    for state in ("disabled", "static", "masked", ""):
        assert texts(doctor.unit("hosta", "nfs", "nfs.service", state)) == []
    (unit,) = texts(doctor.unit("hosta", "nfs", "nfs.service", "enabled"))
    assert unit.endswith("In the container: systemctl disable nfs.service")
