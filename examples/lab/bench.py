"""`make bench`: what a client sees of a planned move, beside the same steps as a plain shell script over ssh.

Both in one run, in pairs, in turn; medians. The lab must be up (make demo leaves it so). The shell script is the least
that can do the job: no check, no proof, no record. The aim: hactl's gap is not longer.

`bench.py takeover`: what each fault of the host that has it costs a client, beside what simply must be waited for; the
power cut three times, and its median.
`bench.py drift [TIMES [WORD…]]`: after how many seconds what was broken by hand is seen, and repaired; medians of five;
only of breaks that have one of the words in their name.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence

from examples.lab import breaks, demo, faults, measure, rig

PAIRS = 5
TIMES = 5  # each thing is broken by hand
MEASURED = (*[faults.PowerCut] * 3, faults.Frozen, faults.CutOff)
SETTLE = 8  # seconds of writing between two moves: NFSv4's grace of the one must not reach into the next

DOWN = """set -e
nsenter -t $(init) -n ip address delete 192.0.2.10/24 dev eth0
nsenter -t $(init) -n ip address delete 2001:db8::10/64 dev eth0
systemctl -M $(machine) stop nfs-server.service
systemctl -M $(machine) stop rpcbind.socket rpcbind.service
nsenter -t $(init) -m umount /var/lib/nfs
nsenter -t $(init) -m umount /export/home
drbdadm secondary nfs-state
drbdadm secondary nfs-home
"""

UP = """set -e
for disk in nfs-home nfs-state; do drbdadm primary $disk; done
mount_in nfs-home /export/home
mount_in nfs-state /var/lib/nfs
systemctl -M $(machine) start rpcbind.service
systemctl -M $(machine) start nfs-server.service
nsenter -t $(init) -n ip address add 192.0.2.10/24 dev eth0
nsenter -t $(init) -n ip address add 2001:db8::10/64 dev eth0
nsenter -t $(init) -n arping -q -U -c 1 -I eth0 192.0.2.10
"""

# Ways into the container as a script has them: its init, its name for machined, and a mount by a device node that is
# there for a moment.
WAYS = """
init() { pgrep -P $(cat /run/libvirt/lxc/nfs.pid) | head -n 1; }
machine() { machinectl list --no-legend | awk '$1 ~ /-nfs$/ {print $1; exit}'; }
mount_in() {
    number=$(stat -L -c '%Hr %Lr' /dev/drbd/by-res/$1/0)
    nsenter -t $(init) -m sh -c "mknod /dev/node b $number && mount -t ext4 /dev/node $2 && rm /dev/node"
}
"""


def main() -> int:
    try:
        demo.begin()
        match sys.argv[1:]:
            case ["takeover"]:
                return takeovers()
            case ["drift", *more]:
                return drifts(int(more[0]) if more else TIMES, more[1:])
        return bench(PAIRS)
    except rig.LabError as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1


def bench(pairs: int) -> int:
    rig.ready("nfs", "hosta")
    ours: list[float] = []
    theirs: list[float] = []
    with rig.writing() as client:
        for pair in range(pairs):
            source, target = ("hosta", "hostb") if pair % 2 == 0 else ("hostb", "hosta")
            ours.append(gap(client, lambda target=target: rig.hactl("set", "nfs", f"primary={target}", "--wait")))
            theirs.append(by_script(client, target, source))
            print(f"pair {pair + 1}: hactl {ours[-1]:.2f} s, shell {theirs[-1]:.2f} s", flush=True)
        found = client.end()
    mine, script = statistics.median(ours), statistics.median(theirs)
    print(f"median gap: hactl {mine:.2f} s, shell {script:.2f} s, ratio {mine / script:.2f} (aim: at most 1.0)")
    print(f"writes {found['writes']}, lost {found['lost'] + found['wrong']}")
    return 1 if found["lost"] or found["wrong"] else 0


def gap(client: rig.Client, move: object) -> float:
    """Seconds of the longest interval without an acknowledged write while `move()` runs and shortly after."""
    assert callable(move)
    time.sleep(SETTLE)
    since = client.now()
    move()
    client.writes_on()
    return client.stalls(since)[0][0]


def takeovers() -> int:
    """One of each fault, in turn on whichever host has it."""
    rig.ready("nfs", "hosta")
    rig.hactl("set", "nfs", "failover=automatic")
    measure.watch_sessions()
    print(measure.HEADER)
    ours = []
    with rig.writing() as client:
        for kind in MEASURED:
            owner = rig.status("nfs")["owner"]
            rig.ready("nfs", owner)
            time.sleep(SETTLE)
            fault = kind()
            cost = measure.measure(client, fault, "nfs", owner)
            print(cost, flush=True)
            ours += [cost.ours] if kind is faults.PowerCut else []
            fault.mend()
        rig.ready("nfs", rig.status("nfs")["owner"])
        found = client.end()
    rig.hactl("set", "nfs", "failover=manual")
    print("ours: the first write less session, watchdog's time and steps")
    print(f"after a power cut: {statistics.median(ours):.1f} s, the median (aim: at most 2.0)")
    print(f"writes {found['writes']}, lost {found['lost'] + found['wrong']}")
    return 1 if found["lost"] or found["wrong"] else 0


def drifts(times: int, words: Sequence[str] = ()) -> int:
    """Each thing that somebody may break by hand, on whichever host has the service."""
    owner = rig.status("nfs")["owner"]
    # So often in a row it is a fight otherwise, and waited out; and a restart that did not help, before the next.
    rig.hactl("set", "nfs", "repairs={times: 100, within: 300}", "restarts={times: 3, within: 5}")
    standby = next(host for host in rig.HOSTS if host != owner)
    print(f"{'broken by hand':36}  {'seen after':>10}  {'repaired after':>14}  longest stall   (medians of {times})")
    with rig.writing() as client:
        for one in (one for one in breaks.BREAKS if not words or any(word in one.name for word in words)):
            found, stalls = [], []
            for _ in range(times):
                rig.ready("nfs", owner)
                client.writes_on(90)
                since = client.now()
                found.append(breaks.healed(one, owner, standby))
                client.writes_on(90)
                stalls.append(client.stalls(since)[0][0])
            seen = statistics.median(one.seen for one in found)
            repaired = statistics.median(one.repaired or 0.0 for one in found)
            print(f"{one.name:36}  {seen:8.3f} s  {repaired:12.3f} s  {statistics.median(stalls):6.1f} s", flush=True)
        rig.ready("nfs", owner)
        by_hand = statistics.median(breaks.start_by_hand(owner) for _ in range(times))
        rig.ready("nfs", owner)
        command = statistics.median(breaks.reference(owner) for _ in range(times))
        end = client.end()
    rig.hactl("set", "nfs", "repairs=", "restarts=")
    print(f"a command in the container that breaks nothing, by itself: {command:.3f} s")
    print(f"systemctl start nfs-server.service by hand, alone: {by_hand:.3f} s")
    print(f"writes {end['writes']}, lost {end['lost'] + end['wrong']}")
    return 1 if end["lost"] or end["wrong"] else 0


def by_script(client: rig.Client, source: str, target: str) -> float:
    """The shell's move, with the agents away; then moved back unmeasured, so that hactl finds what it left."""
    for host in rig.HOSTS:
        rig.on(host, "systemctl", "stop", "hactl-agent")
    try:
        found = gap(client, lambda: shell(source, target))
        shell(target, source)
    finally:
        for host in rig.HOSTS:
            rig.on(host, "systemctl", "start", "hactl-agent")
    rig.ready("nfs", source)
    return found


def shell(source: str, target: str) -> None:
    rig.on(source, "bash", "-s", stdin=WAYS + DOWN)
    rig.on(target, "bash", "-s", stdin=WAYS + UP)


if __name__ == "__main__":
    sys.exit(main())
