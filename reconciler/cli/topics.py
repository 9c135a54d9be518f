"""hactl help TOPIC: what a command's --help has no room for."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.errors import Code, Refused
from reconciler.spec import nearest

TOPICS = {
    "data-loss": """A copy that lacks writes, and what can be done about it

When a host goes on with a disk alone (the replication link is down, the other host is away), it first marks the other
host's copy in etcd: outdated, since when. Such a copy is never promoted: what clients were told is written would be
missing. The mark goes when the owner sees that copy UpToDate again; usually all there is to do is to bring the other
host or the link back, and to wait for the resync (hactl status SERVICE).

Only when the better copy is gone for good (its machine burned down, its disks are dead):

    hactl status HOST                    what is known of the host with the better copy
    hactl confirm-dead HOST              it is down, and stays down
    hactl set SERVICE primary=OTHER --accept-data-loss --reason "why"

It says since when writes are missing, asks, takes the marks away in the same transaction as the change, and is in the
audit with your reason. It is refused while a host that has these writes is alive. They are lost then: should that host
come back, DRBD finds two histories (hactl help split-brain), and its newer writes must be discarded by hand.

If DRBD itself says that the copy is Outdated or Inconsistent, the service is still refused there, and hactl does not
force it: drbdadm primary --force RESOURCE on that host, then drbdadm secondary RESOURCE, is your own decision.
""",
    "doctor": """What hactl doctor looks at

From anywhere: etcd (an endpoint that is a name, fewer than three members, two on one machine, one that is not well),
the clocks of etcd's machines beside this one's, hosts without a manifest or a session, automatic services whose host
nothing proves dead, and what each session says that its host lacks.

As root on a host, of that host: what the agent needs (its program, Python, configuration, keys, log), etcd's data and
root's home lying on NFS or on a disk of a service, secrets that others may read, DRBD resources without fencing
resource-and-stonith and our fence-peer handler, containers that are not defined or that libvirt starts by itself, units
that are enabled in their container, fence devices that do not answer from here. So run it on each host.

Each line ends with what to do. Exit code 0: nothing found; 3: something. Nothing is changed by it.
""",
    "drain": """Before a host is rebooted

hactl drain HOST marks the host, and moves every exclusive service away from it: one after the other (--at-once 3: three
side by side), those that others need first, each only to a host that is ready. While the mark stands the host is no
target of moves and takeovers; it survives the reboot. What cannot move is named with its reason and stays; the others
move. Said again, it goes on where it was.

    hactl drain hosta --dry-run          what would go where
    hactl drain hosta --reason "kernel"  its last line says that the host may be rebooted; exit code 5: something stays
    hactl status hosta                   drained since when, by whom, why
    hactl undrain hosta                  it takes services again; nothing moves back by itself:
    hactl set nfs primary=hosta --wait

A service that stayed comes up there again after the reboot. A move that is not Ready in time goes back to the drained
host: otherwise nobody would have it.
""",
    "pause": """Hands off a service

hactl pause SERVICE: until hactl resume SERVICE no agent runs a step for it. Nothing is started, repaired, restarted,
moved, given back or taken over: not when its host loses power, not after a reboot, not with failover: automatic. It is
looked at as always: hactl status shows Paused, since when, by whom, why, and what is not as the spec says; hactl drift
logs it. A paused service whose host has rebooted does not run before somebody says hactl resume.

What goes on even so, since nothing may ever run twice: a host that does not own it puts down what it holds of it (to
move it, resume it and say hactl set SERVICE primary=HOST); a host that was declared dead puts it down; and an automatic
service whose host is cut off from etcd before it has heard of the pause is put down, as its session had promised.

Changes are refused meanwhile; hactl set SERVICE … --anyway and hactl apply record them for when it is resumed.
""",
    "drift": """What differs from what is wanted, and what its lines say

Drift is what differs from the spec while no plan of ours explains it: an address that somebody removed, a unit that
failed, a disk that was promoted by hand. What is coming up, moving or being put down is none. The host's agent puts it
right at once, and tells of it twice: when it is seen, and when it is gone.

    hactl drift                          what is open, then what was put right within a day
    hactl drift SERVICE                  of one service; -o json: an object a line
    hactl events SERVICE                 between the steps and decisions of a service, for 7 days
    hactl watch                          as it happens

EXPECTED is what this host should have, OBSERVED what was there when it was first seen. NOTE says why, where that is
known (what systemd says of the unit, the MAC address of who has our address too, …; nothing is guessed), and what is
being done about it. "stalled" needs you: it was tried in vain, or it is put right and undone again and again, and the
line names who may be doing that. "it went by itself": none of our steps for this very part ended it; often a step for
another part did (a check answers again once its unit was started).

half-switched: the disks of a service are not all of one role on a host. Disks move together or not at all, so somebody
switched one by hand. hactl status says which is Primary where, and where all are to be; each host's agent puts its own
side right. A host without a session says nothing: what it holds is not known (hactl help takeover).
""",
    "split-brain": """Split brain: two copies of a disk that both have writes of their own

DRBD finds it when the hosts see each other again, and stays disconnected: StandAlone in hactl status SERVICE, on one
host or both. Nothing is discarded without you. The service stays where it is; it cannot move until this is settled.

    hactl status SERVICE                 each side's state: who is Primary, which copy is UpToDate
    hactl audit SERVICE                  was --accept-data-loss or confirm-dead said, by whom?

Settle which side's writes are to go (nearly always: those of the host that does not own the service). If you need
anything of them, copy the backing device first. Then, for each disk, on the host whose writes are discarded:

    drbdadm disconnect RESOURCE
    drbdadm secondary RESOURCE
    drbdadm connect --discard-my-data RESOURCE

and on the other one, which keeps its own, if it says StandAlone too:

    drbdadm connect RESOURCE

The resync begins; when it has ended, the service could move again.
""",
    "takeover": """When a host is silent

A lost session, a lost ping prove nothing: the host may well run, and with it its services. Its services are taken over
only once one of these proves that it holds nothing any more:

    it has rebooted                      its agent has a session in another boot
    its power is off                     confirmed by its fence device (fencing in its Host spec)
    its watchdog has reset it            for failover: automatic; watchdog in its /etc/hactl/hactl.toml
    you say so                           hactl confirm-dead HOST

hactl status HOST shows what is known; hactl set SERVICE primary=OTHER --wait says which proof is missing. With
failover: automatic nobody need say anything. docs/takeover.md has all of it, and what happens when etcd is out of
reach.
""",
}


def command(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help=", ".join(TOPICS))] = "",
) -> None:
    """Explain what a command's own --help has no room for.

    \b
    hactl help data-loss
    hactl help doctor
    hactl help drain
    hactl help drift
    hactl help pause
    hactl help split-brain
    hactl help takeover
    """
    if not topic:
        print("\n".join(f"hactl help {name:12} {text.partition(chr(10))[0]}" for name, text in sorted(TOPICS.items())))
        return
    if topic not in TOPICS:
        raise Refused(
            Code.WRONG, f"there is no topic {topic}{nearest(topic, TOPICS)}; of commands: hactl {topic} --help"
        )
    print(TOPICS[topic], end="")
