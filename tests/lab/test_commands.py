"""hactl from the operator's desk, on a real etcd and real services: three-way apply, audit, plan, delete, bad input."""

from __future__ import annotations

import json
import os

import pytest
import yaml

from examples.lab import rig
from tests.lab.conftest import DISKS, EXAMPLES, Lab


def changed(section: str, key: str | None, value: object) -> str:
    """examples/nfs.yaml with one thing changed."""
    document = yaml.safe_load((EXAMPLES / "nfs.yaml").read_text())
    if key is None:
        document[section] = value
    else:
        document[section][key] = value
    return str(yaml.safe_dump(document))


BAD = {
    "does not parse": ("spec: [", "standard input:"),
    "an unknown field": (changed("spec", "dedline", 5), "did you mean deadline"),
    "a path with ..": (changed("spec", "disks", [{"resource": "nfs-home", "mount": "/export/../etc"}]), "'..'"),
    "a name with a /": (changed("metadata", "name", "a/b"), "DNS label"),
    "an unknown kind": (changed("kind", None, "Sevice"), "there are: "),
}


def one_sentence(text: str) -> bool:
    return "Traceback" not in text and 0 < len(text.strip().splitlines()) <= 2


@pytest.mark.parametrize("case", BAD)
def test_bad_manifests_change_nothing_and_are_named(nfs: str, case: str) -> None:
    text, said = BAD[case]
    before = rig.hactl("get", "service", nfs, "-o", "json").stdout
    refused = rig.apply(text, check=False)
    assert refused.returncode == 2, refused
    assert said in refused.stderr
    assert one_sentence(refused.stderr), refused.stderr
    assert rig.hactl("get", "service", nfs, "-o", "json").stdout == before


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("set", "nfs", "primary=hostc"), 2, "hosta"),
        (("set", "nfs", "primery=hostb"), 2, "did you mean primary"),
        (("set", "nsf", "primary=hostb"), 2, "nfs"),
        (("set", "nfs", "deadline=soon"), 2, "deadline"),
    ],
)
def test_set_refuses_nonsense(nfs: str, argv: tuple[str, ...], code: int, said: str) -> None:
    refused = rig.hactl(*argv, check=False)
    assert refused.returncode == code, refused
    assert said in refused.stderr
    assert one_sentence(refused.stderr)


@pytest.mark.parametrize(
    ("where", "argv", "code", "said"),
    [
        ("witness", ("env", "HACTL_ENDPOINTS=http://192.0.2.3:9", "hactl", "status"), 4, "192.0.2.3:9"),
        ("witness", ("hactl", "agent"), 7, "host"),
        ("hosta", ("setpriv", "--reuid=nobody", "--clear-groups", "hactl", "agent"), 6, "root"),
        ("hosta", ("env", "HACTL_CONFIG=/nowhere.toml", "hactl", "status"), 7, "/nowhere.toml"),
    ],
)
def test_what_is_missing_is_named(nfs: str, where: str, argv: tuple[str, ...], code: int, said: str) -> None:
    refused = rig.lab("exec", where, "--", *argv, check=False)
    assert refused.returncode == code, refused
    assert said in refused.stderr
    assert one_sentence(refused.stderr), refused.stderr


@pytest.mark.parametrize("missing", ["libvirt", "DRBD"])
def test_a_host_without_libvirt_or_drbd_says_so(nfs: str, missing: str) -> None:
    """On the witness, which has neither service running: seen by an agent there."""
    hide = "/usr/sbin/drbdsetup" if missing == "DRBD" else "/run/libvirt"
    script = f"mount --bind {'/dev/null' if missing == 'DRBD' else '/mnt'} {hide}; exec timeout 60 hactl agent"
    refused = rig.lab("exec", "hostb", "--", "unshare", "-m", "sh", "-c", script, check=False)
    assert refused.returncode == 7, refused
    assert missing in refused.stderr
    assert one_sentence(refused.stderr), refused.stderr


def test_a_set_primary_survives_an_unrelated_edit(nfs: str) -> None:
    rig.hactl("set", nfs, "primary=hostb", "--wait", "--reason", "the disk of hosta is loud")
    edited = (EXAMPLES / "nfs.yaml").read_text().replace("deadline: 120", "deadline: 90")
    assert "deadline: 90" in edited
    rig.apply(edited)
    now = json.loads(rig.hactl("get", "service", nfs, "-o", "json").stdout)["spec"]
    assert (now["primary"], now["deadline"]) == ("hostb", 90)
    audit = rig.hactl("audit", nfs).stdout
    assert "the disk of hosta is loud" in audit
    rig.ready(nfs, "hostb")


def test_plan_says_the_steps_and_does_nothing(nfs: str) -> None:
    planned = rig.hactl("plan", nfs, "primary=hostb").stdout
    for word in ("nfs-home", "nfs-state", "192.0.2.10/24", "2001:db8::10/64", "nfs-server.service", "/export/home"):
        assert planned.count(word) >= 2, planned
    assert rig.disks_primary("hosta", DISKS) == list(DISKS)


def test_etcd_reads_as_it_is(nfs: str) -> None:
    """Every value under /hactl/ is one line of JSON, with plain etcd tools."""
    etcdctl = ("env", "ETCDCTL_API=3", "etcdctl", "--endpoints=http://192.0.2.3:2379")
    lines = rig.on("witness", *etcdctl, "get", "--prefix", "/hactl/").splitlines()
    assert len(lines) > 10
    for key, value in zip(lines[::2], lines[1::2], strict=True):
        assert key.startswith("/hactl/")
        assert isinstance(json.loads(value), dict)


def test_delete_puts_it_down_and_forgets_it(nfs: str) -> None:
    rig.hactl("delete", nfs, "--yes", "--wait", "--reason", "a test")
    assert "nfs" not in rig.hactl("get").stdout
    for host in rig.HOSTS:
        assert rig.disks_primary(host, DISKS) == []
        assert " nfs " not in rig.on(host, "virsh", "-c", "lxc:///", "list", "--name")
    lines = rig.on(
        "witness",
        "env",
        "ETCDCTL_API=3",
        "etcdctl",
        "--endpoints=http://192.0.2.3:2379",
        "get",
        "--prefix",
        "--keys-only",
        "/hactl/",
    )
    assert "/hactl/owners/nfs" not in lines
    assert "/hactl/services/nfs" not in lines


def test_delete_keep_running_only_forgets(nfs: str) -> None:
    rig.hactl("delete", nfs, "--keep-running", "--yes")
    rig.until("it is forgotten", lambda: "nfs" not in rig.hactl("get").stdout)
    assert rig.disks_primary("hosta", DISKS) == list(DISKS)
    rig.apply(EXAMPLES / "nfs.yaml")
    rig.ready(nfs, "hosta")


def test_the_lab_passes_status_and_input_through(lab: Lab) -> None:
    assert lab.exec("witness", "sh", "-c", "exit 7", check=False).returncode == 7
    assert lab.exec("hosta", "cat", stdin="two\nlines\n").stdout == "two\nlines\n"
    assert os.path.exists(rig.LAB)
