"""The commands on a simulated cluster: real agents, simulated hosts and etcd, virtual time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from loguru import logger

from reconciler.cli import apply, dead, delete, get, history, hosts, manifests, plan, set_, status
from reconciler.cli.desk import Desk
from reconciler.cli.errors import Code, Refused
from reconciler.cli.main import run
from reconciler.cli.scene import Scene, look
from reconciler.records import Audit, parse
from reconciler.session import Options
from reconciler.sim.clock import simulate
from reconciler.sim.cluster import Cluster
from reconciler.spec import ServiceManifest, to_json
from reconciler.store import ROOT, StoreUnreachable, Txn, host_key, service_key
from tests.sim.services import service

Capture = pytest.CaptureFixture[str]
WAIT = None  # seconds: the default
SWITCH = "192.0.2.254"
NFS = service("nfs", gates=[{"ping": [SWITCH], "attempts": [1]}])
SHUT = f"gate ping {SWITCH} is shut: no answer from {SWITCH} (asked once)"
HOSTS = "apiVersion: hactl/v1\nkind: Host\nmetadata: {name: hosta}\n---\n" + (
    "apiVersion: hactl/v1\nkind: Host\nmetadata: {name: hostb}\n"
)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.disable("reconciler")


def story(
    tell: Callable[[Cluster, Desk], Awaitable[None]], nfs: ServiceManifest = NFS, options: Options | None = None
) -> None:
    """Tell it on a cluster where nfs is Ready on hosta and hostb could take it."""

    async def run() -> None:
        cluster = Cluster(seed=1, manifests=[nfs], options=options)
        cluster.world.neighbours.add(SWITCH)
        await cluster.start(clients=False)
        await cluster.until_ready()
        await cluster.run(10)
        await tell(cluster, Desk(cluster.desk, "eva", "witness", "witness"))

    simulate(run())


async def refused(what: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await what
    return caught.value


async def audits(desk: Desk) -> list[Audit]:
    entries = (await desk.store.list(f"{ROOT}audit/")).entries
    return [record for entry in entries if (record := parse(Audit, entry.value))]


async def spec(desk: Desk, name: str = "nfs") -> dict[str, object]:
    entry = await desk.store.get(service_key(name))
    assert entry is not None
    found: dict[str, object] = json.loads(entry.value)["spec"]
    return found


# -- set ---------------------------------------------------------------------------------------------------------------


def test_set_moves_it_and_shows_the_steps(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await set_.run(desk, "nfs", ["primary=hostb"], set_.Options("the disk is loud"), WAIT)
        (record,) = await audits(desk)
        assert (record.who, record.whence, record.what) == ("eva", "witness", "service/nfs")
        assert (record.did, record.why) == ("set primary=hostb", "the disk is loud")
        assert (record.before["primary"], record.after["primary"]) == ("hosta", "hostb")
        assert await cluster.not_ready("nfs") == ""

    story(tell)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "nfs: hosta -> hostb   ready: disks UpToDate, container warm, gates passed"
    assert lines[1].startswith("  hosta  ")
    assert "192.0.2.37/24 removed" in "\n".join(lines)
    assert lines[-1].startswith("nfs is Ready on hostb (epoch 2). It took ")


def test_set_what_is_so_already_changes_nothing(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await set_.run(desk, "nfs", ["primary=hosta", "deadline=110"], set_.Options(), WAIT)
        await set_.run(desk, "nfs", ["primary=hosta"], set_.Options(), WAIT)
        assert [record.did for record in await audits(desk)] == ["set primary=hosta deadline=110"]

    story(tell)
    assert "nfs: it is so already, nothing was changed\nnfs is Ready on hosta (epoch 1)." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("service", "change", "code", "said"),
    [
        ("nsf", "primary=hostb", Code.WRONG, "there is no service nsf; did you mean nfs?"),
        ("nfs", "primary=hostc", Code.WRONG, "primary is hostc, which is not one of hosts: hosta, hostb"),
        ("nfs", "primery=hostb", Code.WRONG, "there is no field primery; did you mean primary?"),
        ("nfs", "spec.primery=hostb", Code.WRONG, "there is no field primery; did you mean primary?"),
        ("nfs", "container.domian=x", Code.WRONG, "there is no field domian in container; did you mean domain?"),
        ("nfs", "deadline=soon", Code.WRONG, "deadline: "),
        ("nfs", "deadline=[", Code.WRONG, "the value of deadline is not YAML"),
        ("nfs", "deadline", Code.WRONG, "'deadline' is not KEY=VALUE"),
        ("nfs", "disks.mount=/x", Code.WRONG, "disks is a list"),
        ("nfs", "hosts=[hosta, hostb, hostx]", Code.WRONG, "there is no host hostx"),
        ("nfs", "hosts=", Code.WRONG, "hosts: is missing"),
    ],
)
def test_set_refuses_nonsense(service: str, change: str, code: Code, said: str) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        before = await spec(desk)
        no = await refused(set_.run(desk, service, [change], set_.Options(), WAIT))
        assert no.code is code
        assert said in str(no)
        assert len(str(no).splitlines()) == 1
        assert await spec(desk) == before
        assert await audits(desk) == []

    story(tell)


def test_set_takes_values_as_yaml_and_an_empty_one_as_the_default() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await set_.run(desk, "nfs", ["deadline=90.5", "failover=automatic", "units=[a.service]"], set_.Options(), 0)
        found = await spec(desk)
        assert (found["deadline"], found["failover"], found["units"]) == (90.5, "automatic", ["a.service"])
        await set_.run(desk, "nfs", ["deadline="], set_.Options(), 0)
        assert "deadline" not in await spec(desk)

    story(tell)


def test_set_is_refused_while_the_target_is_not_ready(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        cluster.world.neighbours.discard(SWITCH)
        await cluster.run(60)
        no = await refused(set_.run(desk, "nfs", ["primary=hostb"], set_.Options(), WAIT))
        assert no.code is Code.UNSAFE
        assert str(no).startswith(f"refused: hostb cannot take nfs: {SHUT}")
        assert "\nNothing was changed. " in str(no)
        assert (await spec(desk))["primary"] == "hosta"
        no = await refused(set_.run(desk, "nfs", ["primary=hostb"], set_.Options(anyway=True), 20))
        assert no.code is Code.NOT_YET
        assert (await spec(desk))["primary"] == "hostb"
        (line,) = [line for line in status.service_table(await look(desk.store), ["nfs"]) if line.startswith("nfs")]
        assert "hosta" in line
        assert f"cannot move to hostb: {SHUT}" in line
        no = await refused(status.status(desk, "nfs", None, wait=True, timeout=None))
        assert no.code is Code.NOT_YET
        assert str(no).startswith(f"nfs stays on hosta, since hostb cannot take it: {SHUT}")
        await set_.run(desk, "nfs", ["primary=hosta"], set_.Options(), WAIT)

    story(tell)
    assert "nfs: stays on hosta, the move away is called off" in capsys.readouterr().out


def test_set_is_refused_while_the_target_has_no_agent() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        cluster.restarts = False
        cluster.kill("hostb")
        await cluster.run(30)
        no = await refused(set_.run(desk, "nfs", ["primary=hostb"], set_.Options(), WAIT))
        assert no.code is Code.UNSAFE
        assert "hostb has no session" in str(no)

    story(tell)


def test_a_set_that_must_wait_for_a_proof_says_so(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        cluster.power("hosta", False)
        await cluster.run(30)
        await set_.run(desk, "nfs", ["primary=hostb"], set_.Options(anyway=True), 0)

    story(tell)
    out = capsys.readouterr().out
    assert "  it waits: no word from hosta, where it may well still run." in out
    assert "hactl confirm-dead hosta" in out


def test_a_move_that_reverts_is_a_wait_in_vain(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await set_.run(desk, "nfs", ["deadline=20"], set_.Options(), WAIT)
        cluster.world.hosts["hostb"].faults["systemctl start"] = "fail"
        no = await refused(set_.run(desk, "nfs", ["primary=hostb"], set_.Options(), WAIT))
        assert no.code is Code.NOT_YET
        assert str(no).startswith("nfs goes to hosta instead (hactl agent: set primary=hosta): not Ready on hostb")
        await cluster.until_ready()

    story(tell)
    out = capsys.readouterr().out
    assert out.count("hostb  could not start nfs-first.service: ") == 1, "a retry's failure is told once"


def test_dry_run_changes_nothing(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await set_.run(desk, "nfs", ["primary=hostb", "deadline=9"], set_.Options(dry_run=True), WAIT)
        assert (await spec(desk))["primary"] == "hosta"
        assert await audits(desk) == []

    story(tell)
    assert capsys.readouterr().out == (
        "nfs: hosta -> hostb, deadline default -> 9   ready: disks UpToDate, container warm, gates passed "
        "(dry run: nothing was changed)\n"
    )


# -- plan, status, history ---------------------------------------------------------------------------------------------


def test_plan_says_the_steps_of_both_and_does_nothing() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        text = "\n".join(await plan.plan(desk, "nfs", "primary=hostb"))
        for word in ("nfs-data", "nfs-state", "192.0.2.37/24", "2001:db8::37/64", "nfs.service", "/srv/data"):
            assert text.count(word) == 2, text
        assert text.index("hosta puts it down") < text.index("hostb becomes the owner (epoch 2)")
        assert "hostb could take it now; not Ready within 120 s, it would go back to hosta." in text
        assert "there is nothing to do" in (await plan.plan(desk, "nfs", "primary=hosta"))[0]
        assert (await refused(plan.plan(desk, "nfs", "deadline=5"))).code is Code.WRONG
        assert await audits(desk) == []
        cluster.world.neighbours.discard(SWITCH)
        await cluster.run(60)
        text = "\n".join(await plan.plan(desk, "nfs", "primary=hostb"))
        assert f"It is blocked now: hostb cannot take nfs: {SHUT}" in text

    story(tell)


def test_status_for_people_and_for_programs(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await status.status(desk, "", None, wait=False, timeout=None)
        await status.status(desk, "nfs", None, wait=False, timeout=None)
        found = status.as_json(await look(desk.store), "nfs")
        (one,) = found["services"]
        assert (one["service"], one["primary"], one["owner"], one["epoch"]) == ("nfs", "hosta", "hosta", 1)
        assert (one["state"], one["reason"]) == ("Ready", "")
        assert one["targets"] == {"hostb": {"ready": True, "obstacles": []}}
        assert one["hosts"]["hostb"]["role"] == "standby"
        assert [host["host"] for host in found["hosts"]] == ["hosta", "hostb"]
        assert found["hosts"][0]["owns"] == ["nfs"]
        assert found["without_etcd"] is None

    story(tell)
    out = capsys.readouterr().out
    assert "SERVICE  PRIMARY  STATE" in out
    assert "yes, to hostb" in out
    assert "nfs on hosta: active, Ready for " in out
    assert "nfs on hostb: standby, Standby for " in out
    assert "disk/nfs-data " in out


def test_status_of_an_owner_that_is_away_names_the_way_out() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        cluster.power("hosta", False)
        await cluster.run(30)
        one = status.health_of(await look(desk.store), "nfs")
        assert (one.state, one.owner) == ("Unknown", "hosta")
        assert "no word from hosta" in one.reason
        assert "hactl confirm-dead hosta" in one.reason

    story(tell)


def test_status_of_a_spec_that_is_none() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await cluster.put(service_key("nfs"), '{"kind": "Service"}')
        await cluster.run(5)
        (_, line) = status.service_table(await look(desk.store), ["nfs"])
        assert "Invalid" in line
        assert "is left as it is" in line
        assert (await refused(set_.run(desk, "nfs", ["deadline=5"], set_.Options(), 0))).code is Code.WRONG
        assert (await refused(delete.delete(desk, "nfs", ""))).code is Code.WRONG
        await delete.delete(desk, "nfs", "", keep_running=True)
        assert (await look(desk.store)).services() == []

    story(tell)


def test_audit_and_events(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await set_.run(desk, "nfs", ["primary=hostb"], set_.Options("why not"), WAIT)
        capsys.readouterr()
        await history.audit(desk, "nfs", 50, as_json=False)
        assert (
            capsys.readouterr()
            .out.rstrip()
            .endswith("eva from witness  service/nfs  set primary=hostb  (primary hosta -> hostb)  why: why not")
        )
        await history.events(desk, "nfs", 50, as_json=True)
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {event["kind"] for event in events} >= {"step", "decision"}
        assert all(event["at"] and event["host"] for event in events)
        await history.events(desk, "nfs", 1, as_json=False)
        assert len(capsys.readouterr().out.splitlines()) == 1
        assert (await refused(history.events(desk, "nfx", 1, as_json=False))).code is Code.WRONG

    story(tell)


# -- apply -------------------------------------------------------------------------------------------------------------


def written(directory: Path, text: str) -> list[manifests.Loaded]:
    (directory / "a.yaml").write_text(text)
    return apply.load_all([directory / "a.yaml"])


def test_apply_creates_changes_and_keeps_a_set_primary(tmp_path: Path, capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        text = to_json(service("web", deadline=60).model_dump(mode="json", exclude_unset=True))
        options = apply.Options(reason="new")
        await apply.apply_all(desk, written(tmp_path, text), options)
        await apply.apply_all(desk, written(tmp_path, text), options)
        await set_.run(desk, "web", ["primary=hostb"], set_.Options(anyway=True), 0)
        await apply.apply_all(desk, written(tmp_path, text.replace('"deadline": 60', '"deadline": 90')), options)
        found = await spec(desk, "web")
        assert (found["primary"], found["deadline"]) == ("hostb", 90)
        await set_.run(desk, "web", ["deadline=30"], set_.Options(), 0)
        await apply.apply_all(desk, written(tmp_path, text.replace('"deadline": 60', '"deadline": 30')), options)
        assert [(one.did.partition(" ")[0], one.why) for one in await audits(desk)] == [
            ("apply", "new"),
            ("set", ""),
            ("apply", "new"),
            ("set", ""),
            ("apply", "new"),
        ]

    story(tell)
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.startswith("service/")] == [
        "service/web created",
        "service/web unchanged",
        "service/web changed: deadline 60 -> 90",
        "service/web unchanged",
    ]
    assert "warning: service/web names host hosta, of which there is no manifest" in err


def test_apply_where_file_and_etcd_do_not_go_together(tmp_path: Path) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        text = to_json(service("web").model_dump(mode="json", exclude_unset=True))
        await apply.apply_all(desk, written(tmp_path, text), apply.Options())
        await set_.run(desk, "web", ["primary=hostb"], set_.Options(anyway=True), 0)
        alone = written(tmp_path, text.replace('["hosta", "hostb"]', '["hosta"]') + "\n---\n" + HOSTS)
        no = await refused(apply.apply_all(desk, alone, apply.Options()))
        assert no.code is Code.WRONG
        assert "primary is hostb, which is not one of hosts: hosta" in str(no)
        assert await desk.store.get(host_key("hosta")) is None, "nothing at all is changed"

    story(tell)


def test_apply_check_and_dry_run_change_nothing(tmp_path: Path, capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await apply.apply_all(desk, written(tmp_path, HOSTS), apply.Options(dry_run=True))
        assert await desk.store.get(host_key("hosta")) is None

    story(tell)
    assert "host/hosta created (dry run: nothing was changed)" in capsys.readouterr().out


def test_a_broken_file_is_refused_whole(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        written(tmp_path, f"{HOSTS}---\nkind: Nothing\n")
    assert caught.value.code is Code.WRONG
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/a.yaml:9: kind: is 'Nothing'; there are: Service, Host",
        "Nothing was changed.",
    ]


def test_get(tmp_path: Path) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await apply.apply_all(desk, written(tmp_path, HOSTS), apply.Options())
        assert await get.get(desk, "", "", None) == "service/nfs\nhost/hosta\nhost/hostb"
        assert json.loads(await get.get(desk, "service", "nfs", get.Format.JSON))["metadata"] == {"name": "nfs"}
        assert "kind: Host" in await get.get(desk, "host/hosta", "", None)
        assert len(json.loads(await get.get(desk, "host", "", get.Format.JSON))) == 2
        assert "did you mean nfs?" in str(await refused(get.get(desk, "service", "nsf", None)))
        assert "did you mean service?" in str(await refused(get.get(desk, "servce", "", None)))

    story(tell)


# -- delete, confirm-dead ----------------------------------------------------------------------------------------------


def test_delete_puts_it_down_and_forgets_it(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await delete.delete(desk, "nfs", "a test", wait=WAIT)
        scene = await look(desk.store)
        left = [key for key in scene.all_keys() if "nfs" in key]
        assert left == []
        assert [record.did for record in await audits(desk)] == ["delete"]
        assert not any(host.domains["nfs"].place for host in cluster.world.hosts.values())

    story(tell)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "nfs: its hosts put it down and forget it"
    assert lines[-1].startswith("nfs is gone. It took ")


def test_delete_keep_running_only_forgets(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await delete.delete(desk, "nfs", "", keep_running=True)
        await cluster.run(20)
        assert [key for key in (await look(desk.store)).all_keys() if "nfs" in key] == []
        assert cluster.world.hosts["hosta"].domains["nfs"].place
        await cluster.apply(NFS)
        await cluster.until_ready()

    story(tell)
    assert "it runs on, on hosta. To have it back, apply it with primary: hosta" in capsys.readouterr().out


def test_what_is_being_deleted_is_not_changed_any_more(tmp_path: Path) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        cluster.restarts = False
        cluster.kill("hostb")
        cluster.kill("hosta")
        await cluster.run(30)
        await delete.delete(desk, "nfs", "")
        assert (await refused(set_.run(desk, "nfs", ["deadline=5"], set_.Options(), 0))).code is Code.UNSAFE
        text = to_json(NFS.model_dump(mode="json", exclude_unset=True))
        again = await refused(apply.apply_all(desk, written(tmp_path, text), apply.Options()))
        assert again.code is Code.UNSAFE
        waits = await refused(delete.delete(desk, "nfs", "", wait=5))
        assert waits.code is Code.NOT_YET
        assert "hosta has no session" in str(waits)

    story(tell)


def test_a_host_is_not_forgotten_while_a_service_names_it(tmp_path: Path) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        text = HOSTS + "---\napiVersion: hactl/v1\nkind: Host\nmetadata: {name: old}\n"
        await apply.apply_all(desk, written(tmp_path, text), apply.Options())
        no = await refused(delete.delete_host(desk, "hosta", ""))
        assert no.code is Code.UNSAFE
        assert "service nfs names host hosta" in str(no)
        await delete.delete_host(desk, "old", "")
        assert (await refused(delete.delete_host(desk, "old", ""))).code is Code.WRONG

    story(tell)


def test_confirm_dead_needs_a_host_that_is_silent_and_lets_its_services_go(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        alive = await refused(dead.check(desk, "hosta"))
        assert alive.code is Code.UNSAFE
        assert "hosta is alive" in str(alive)
        assert (await refused(dead.check(desk, "hostx"))).code is Code.WRONG
        cluster.power("hosta", False)
        await cluster.run(30)
        assert await dead.check(desk, "hosta") == ["nfs"]
        text = "\n".join(await dead.believed(desk, "hosta"))
        assert "  nfs, which it owns in epoch 1 since 2026-11-24 07:00:" in text
        assert "in its boot boot-hosta-1" in text
        assert "  hostb saw its session go at 2026-11-24T07:00:" in text
        said = await dead.confirm_dead(desk, "hosta", "its plug is in my hand")
        assert said == "hosta counts as dead. Its services go where you say: hactl set nfs primary=HOST"
        one = status.health_of(await look(desk.store), "nfs")
        assert "hosta is dead: confirmed by eva" in one.reason
        assert [record.did for record in await audits(desk)] == ["confirm-dead"]

    story(tell)


# -- a host that is silent ---------------------------------------------------------------------------------------------


def host_line(scene: Scene, host: str) -> str:
    (line,) = [line for line in hosts.table(scene) if line.startswith(host)]
    return line


FENCED = """\
apiVersion: hactl/v1
kind: Host
metadata: {name: hosta}
spec: {addresses: [192.0.2.1], fencing: {agent: fence_none, secret: hosta-bmc}}
"""


def test_the_witnesses_of_a_silent_owner_are_on_the_screen(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "which", lambda _: None)  # no ping: it would be a real one

    async def answers(address: str) -> bool:
        return address.endswith(".1")

    async def tell(cluster: Cluster, desk: Desk) -> None:
        assert "  none   nfs   there is no manifest of it (kind: Host)" in host_line(await look(desk.store), "hosta")
        cluster.power("hosta", False)
        await cluster.run(30)
        scene = await look(desk.store)
        line = host_line(scene, "hosta")
        assert "is its agent running? (systemctl status hactl-agent); hostb saw its session go at 2026-11-24T07" in line
        assert "hostb has its replication link to it Connecting" in line
        assert "it has no fence device (fencing in its Host spec" in line
        reason = status.health_of(scene, "nfs").reason
        assert "Nothing proves it down: no fence device is configured for hosta" in reason
        with pytest.raises(Refused, match="Nothing proves it down: no fence device") as caught:
            await set_.run(desk, "nfs", ["primary=hostb"], set_.Options(), 60)
        assert caught.value.code is Code.NOT_YET
        await apply.apply_all(desk, written(tmp_path, FENCED), apply.Options())
        await cluster.run(60)
        scene = await look(desk.store)
        assert "hosta could not be fenced, it is tried again: the secret" in status.health_of(scene, "nfs").reason
        assert "fence_none" in host_line(scene, "hosta")
        text = "\n".join(await hosts.details(scene, "hosta", answers))
        assert "192.0.2.1 answers a ping from here" in text
        assert "nfs (epoch 1)" in text
        assert status.as_json(scene)["hosts"][0]["fencing"] == "fence_none"
        await status.status(desk, "hosta", None, wait=False, timeout=None)

    story(tell)
    assert "host hosta\n" in capsys.readouterr().out


def test_a_wait_for_a_watchdogs_proof_is_no_wait_in_vain(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        scene = await look(desk.store)
        assert "watchdog 20s" in host_line(scene, "hosta")
        cluster.power("hosta", False)
        await cluster.run(20)
        assert "What will prove it down: its watchdog of 20 s, at 2026-11-24T07:" in (
            status.health_of(await look(desk.store), "nfs").reason
        )
        assert "It waits for a proof that hosta is down: its watchdog of 20 s" in (
            "\n".join(await plan.plan(desk, "nfs", "primary=hostb"))
        )
        await set_.run(desk, "nfs", ["primary=hostb"], set_.Options(), WAIT)

    story(tell, service("nfs", failover="automatic"), Options(watchdog="/dev/watchdog", watchdog_seconds=20))
    assert "nfs is Ready on hostb (epoch 2)." in capsys.readouterr().out


def test_what_an_automatic_service_needs_is_said() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        line = host_line(await look(desk.store), "hostb")
        assert 'it takes watchdog = "/dev/watchdog" in its /etc/hactl/hactl.toml or fencing in its Host spec' in line

    story(tell, service("nfs", failover="automatic"))


def test_a_host_that_lives_on_a_promise_is_not_confirmed_dead() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        for name, host in cluster.world.hosts.items():
            host.files[Options().key_file] = "a key that all of the hosts share"
            manifest = {"apiVersion": "hactl/v1", "kind": "Host", "metadata": {"name": name}}
            await cluster.put(host_key(name), to_json({**manifest, "spec": {"addresses": [host.own_address]}}))
        await cluster.run(60)
        cluster.etcd.reach("hosta", up=False)
        await cluster.run(60)
        no = await refused(dead.check(desk, "hosta"))
        assert no.code is Code.UNSAFE
        assert "hosta lives: it runs without etcd, and hostb has heard from it" in str(no)
        reason = status.health_of(await look(desk.store), "nfs").reason
        assert reason.startswith("hosta runs on without etcd, and was promised that nobody takes over from it")

    story(tell, service("nfs", failover="automatic"))


# -- data loss ---------------------------------------------------------------------------------------------------------

ACCEPTS = set_.Options("hosta burned down", accept_data_loss=True)


def test_data_loss_is_accepted_by_a_human_once_the_better_copy_is_gone(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        no = await refused(set_.run(desk, "nfs", ["primary=hostb"], ACCEPTS, 0))
        assert (no.code, "there is nothing to accept" in str(no)) == (Code.WRONG, True)
        cluster.link("hosta", "replication", False)
        await cluster.run(30)
        no = await refused(set_.run(desk, "nfs", ["primary=hostb"], ACCEPTS, 0))
        assert no.code is Code.UNSAFE
        assert "hosta is alive and has the writes that hostb lacks" in str(no)
        cluster.power("hosta", False)
        await cluster.run(30)
        await dead.confirm_dead(desk, "hosta", "it burned down")
        no = await refused(set_.run(desk, "nfs", ["primary=hostb"], set_.Options(), 0))
        assert "its copy of disk nfs-data has missed writes" in str(no)
        assert len(await set_.losses(desk, "nfs", ["primary=hostb"])) == 2
        await set_.run(desk, "nfs", ["primary=hostb"], ACCEPTS, WAIT)
        assert await cluster.not_ready("nfs") == ""
        record = (await audits(desk))[-1]
        assert record.did.startswith("set primary=hostb --accept-data-loss (the copy of disk nfs-data on hostb lacks")
        assert (record.who, record.why) == ("eva", "hosta burned down")
        cluster.power("hosta", True)  # it had not burned down, and has writes of its own
        cluster.link("hosta", "replication", True)
        await cluster.run(30)
        (line,) = [one for one in status.service_table(await look(desk.store), ["nfs"]) if one.startswith("nfs ")]
        assert "the sides of disk nfs-data stay apart (hosta says Secondary, " in line
        assert "; hostb says Primary, UpToDate; hosta " in line
        assert "StandAlone" in line
        assert "hactl help split-brain" in line

    story(tell)
    out = capsys.readouterr().out
    assert "nfs: the copy of disk nfs-data on hostb lacks the writes since 2026-11-24 07:00:" in out
    assert ", made on hosta; they are given up\n" in out


def test_it_must_say_why(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HACTL_ENDPOINTS", "http://127.0.0.1:9")
    assert run(["set", "nfs", "primary=hostb", "--accept-data-loss"]) == Code.WRONG
    assert "--accept-data-loss needs a --reason" in capsys.readouterr().err


def test_the_topics(capsys: Capture) -> None:
    assert run(["help"]) == 0
    assert "hactl help data-loss" in capsys.readouterr().out
    assert run(["help", "split-brain"]) == 0
    assert "connect --discard-my-data" in capsys.readouterr().out
    assert run(["help", "data-los"]) == Code.WRONG
    assert "did you mean data-loss?" in capsys.readouterr().err


def test_an_answer_that_was_lost_is_not_taken_for_a_no() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        class Lost:
            """etcd is gone just when it is to commit."""

            def __getattr__(self, name: str) -> object:
                return getattr(cluster.desk, name)

            async def commit(self, txn: Txn) -> int | None:
                raise StoreUnreachable("etcd did not answer in time")

        alone = Desk(Lost(), "eva", "witness", "witness")  # type: ignore[arg-type]
        with pytest.raises(StoreUnreachable, match="whether this was done is not known"):
            await set_.run(alone, "nfs", ["deadline=9"], set_.Options(), 0)

    story(tell)


# -- others at the same time -------------------------------------------------------------------------------------------


def test_two_at_once_both_get_their_change() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        original = desk.store.commit
        raced: list[Txn] = []

        class Raced:
            """Somebody else's change gets in before ours, once."""

            def __getattr__(self, name: str) -> object:
                return getattr(cluster.desk, name)

            async def commit(self, txn: Txn) -> int | None:
                if not raced:
                    raced.append(txn)
                    await cluster.change("nfs", "spec", deadline=77)
                return await original(txn)

        rival = Desk(Raced(), "eva", "witness", "witness")  # type: ignore[arg-type]
        await set_.run(rival, "nfs", ["failover=automatic"], set_.Options(), 0)
        found = await spec(desk)
        assert (found["deadline"], found["failover"]) == (77, "automatic")

    story(tell)
