"""Rules 2 and 3: a disk with two copies, who may go on alone, and what the marks in etcd are worth when clocks are not.

Nothing here measures time. Any host may become the owner at any moment, whatever the other is doing: that is every
wrong clock, every proof of death that is none, and every freeze. What holds here needs no clock (DESIGN.md: "this keeps
the data right even if they fail"). Every request takes effect at any later time or never, and so does its reply; an
agent believes what it has heard last for as long as it likes.

DRBD is as LAB.md and drbd.conf(5) have it: protocol C, `fencing resource-and-stonith`. It refuses a second Primary only
while the two are connected; a Primary that loses its peer holds its I/O. Generations are its UUIDs: a new one each time
that a copy goes on alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from tests.model.explore import Model

NAMES = ("hosta", "hostb")


class Flaw(StrEnum):
    """The protocol, broken in one place."""

    NO_MARK = "no mark"
    ANY_OWNER = "mark without comparing the owner"
    IGNORED = "mark ignored by the new owner"
    BY_THE_RESYNCED = "mark cleared by the resynced side"
    NO_LOOK = "cleared without the look"
    NO_COMPARE = "cleared without the compare"
    UNCHECKED = "promote without checking"
    KEPT = "a mark that stands is kept, not set anew"


class Bounds(NamedTuple):
    """How often each may happen. A crash is a power cut or a killed agent; hosts come back as they like."""

    crashes: int = 2
    cuts: int = 1  # of the replication link; it heals as it likes
    claims: int = 2  # besides the first owner's
    writes: int = 2


class Disk:
    """What DRBD says of its own copy. No Enum: hashing one costs a call, a million times."""

    GOOD = "UpToDate"
    ALONE = "Consistent"  # after a boot: current, for all that it knows
    BEHIND = "Inconsistent"  # being resynced


class Host(NamedTuple):
    """A host, its copy, its agent. Sets of writes and of generations are bits."""

    boot: int = 1
    up: bool = True
    primary: bool = False
    disk: str = Disk.GOOD
    data: int = 0  # the writes in this copy
    generations: int = 0
    connected: bool = True  # as this side believes
    peer_good: bool = True  # this side has seen the other copy UpToDate in this connection
    may_alone: bool = False  # DRBD has been told that its peer is outdated
    held: bool = False  # all I/O
    pending: int = 0  # a write that no client has seen acknowledged yet
    answer: bool = False  # "the peer is marked" is on its way from etcd
    epoch: int = 0  # the one in which the agent believes that it owns the service
    read: int = 0  # the revision that the agent has read of the mark on the other copy
    clearing: tuple[int, int] = (0, 0)  # a deletion on its way: (the mark's revision, the owner's epoch)


class State(NamedTuple):
    """`owner`: (host, boot, epoch) as etcd has it; `marks`: the revision of the mark on each copy, 0 for none."""

    hosts: tuple[Host, Host]
    owner: tuple[int, int, int]
    left: Bounds
    marks: tuple[int, int] = (0, 0)
    link: bool = True
    acknowledged: int = 0
    wrong: str = ""


Step = tuple[str, State]


def model(bounds: Bounds, flaw: Flaw | None = None) -> Model[State]:
    """hosta owns the service, both copies are current."""
    start = State((Host(primary=True, epoch=1), Host()), (0, 1, 1), bounds)

    def moves(state: State) -> Iterator[Step]:
        for me in (0, 1):
            if state.hosts[me].up:
                yield from _agent(state, me, flaw)
                yield from _drbd(state, me)
            yield from _etcd(state, me, flaw)
            yield from _faults(state, me)
        yield from _link(state)

    return Model(start, moves, lambda state: state.wrong, show)


# -- the agent, and the fence-peer handler -----------------------------------------------------------------------------


def _agent(state: State, me: int, flaw: Flaw | None) -> Iterator[Step]:
    host, other = state.hosts[me], 1 - me
    name = NAMES[me]
    current = host.disk != Disk.BEHIND or flaw is Flaw.UNCHECKED
    if host.epoch and not host.primary and current:
        yield from _promote(state, me)
    if host.primary and not host.held and not host.pending:
        yield f"{name} demotes its copy", _with(state, me, primary=False)
    if host.held and state.owner[0] == other:
        # Disconnect, detach, I/O errors; attached again later. Not a byte is written.
        gone = host._replace(primary=False, held=False, pending=0, answer=False, connected=False, peer_good=False)
        yield f"{name} gives up its held I/O", _put(state, me, gone._replace(disk=_unsure(gone.disk), epoch=0))
    if host.epoch and state.marks[other] and host.read != state.marks[other]:
        yield f"{name} reads the mark on {NAMES[other]}'s copy", _with(state, me, read=state.marks[other])
    looked = (host.primary and host.connected and host.peer_good) or flaw is Flaw.NO_LOOK
    if host.epoch and host.read and looked and host.clearing == (0, 0):
        seen = "" if flaw is Flaw.NO_LOOK else f" sees {NAMES[other]}'s copy UpToDate and"
        new = _with(state, me, clearing=(host.read, host.epoch), read=0)
        yield f"{name}{seen} asks etcd to clear its mark", new
    if host.epoch and state.owner != (me, host.boot, host.epoch):
        yield f"{name} hears that it is not the owner", _with(state, me, epoch=0, read=0)
    if not host.epoch and host.primary and state.owner[:2] == (me, host.boot):
        yield f"{name} finds itself the owner", _with(state, me, epoch=state.owner[2])


def _promote(state: State, me: int) -> Iterator[Step]:
    host, peer = state.hosts[me], state.hosts[1 - me]
    name = NAMES[me]
    if _joined(state):
        if not peer.primary and Disk.GOOD in (host.disk, peer.disk):
            yield f"{name} promotes its copy", _promoted(state, me, host._replace(primary=True))
    elif not host.connected and host.disk != Disk.BEHIND and (host.answer or host.may_alone):
        yield f"{name} promotes its copy, alone", _promoted(state, me, _goes_alone(state, host._replace(primary=True)))


def _promoted(state: State, me: int, host: Host) -> State:
    """Rules 2 and 3, at the moment of a promotion.

    A host that wrongly believes to be the owner may promote a copy that DRBD has just resynced while its mark still
    stands: that takes a wrong clock, and loses nothing. So of marks only an owner is accused.
    """
    wrong = ""
    if state.hosts[me].disk == Disk.BEHIND:
        wrong = f"rule 2: {NAMES[me]}'s copy is promoted while {Disk.BEHIND}"
    elif state.marks[me] and state.owner[0] == me:
        wrong = f"rule 2: {NAMES[me]}'s copy is promoted though it is marked outdated"
    elif state.acknowledged & ~host.data:
        wrong = f"rule 3: {NAMES[me]}'s copy is promoted without writes that were acknowledged"
    return _put(state, me, host)._replace(wrong=wrong)


# -- etcd: requests take effect ----------------------------------------------------------------------------------------


def _etcd(state: State, me: int, flaw: Flaw | None) -> Iterator[Step]:
    host = state.hosts[me]
    yield from _claim(state, me, flaw)
    # The handler asks for a Primary that holds its I/O, and for a promotion without the peer.
    wants = host.held or (host.epoch > 0 and not host.primary and not host.connected and not host.may_alone)
    if host.up and wants and not host.answer:
        yield from _mark(state, me, flaw)
    revision, epoch = host.clearing
    if revision:
        yield from _clear(state, me, revision, epoch, flaw)
    good = host.disk == Disk.GOOD and host.connected and host.up
    if flaw is Flaw.BY_THE_RESYNCED and state.marks[me] and good and host.clearing == (0, 0):
        yield f"{NAMES[me]} asks etcd to clear its own mark", _with(state, me, clearing=(state.marks[me], -1))


def _claim(state: State, me: int, flaw: Flaw | None) -> Iterator[Step]:
    """At any moment; the agent may hear of it as late as it likes, so it is told at once."""
    host, left = state.hosts[me], state.left
    if not left.claims or not host.up or (state.marks[me] and flaw is not Flaw.IGNORED):
        return
    if host.primary and state.owner[0] == me:
        return  # it has it
    epoch = state.owner[2] + 1
    new = _with(state, me, epoch=epoch, read=0)
    yield (
        f"{NAMES[me]} becomes the owner (epoch {epoch})",
        new._replace(owner=(me, host.boot, epoch), left=left._replace(claims=left.claims - 1)),
    )


def _mark(state: State, me: int, flaw: Flaw | None) -> Iterator[Step]:
    host, other = state.hosts[me], 1 - me
    text = f"{NAMES[me]}'s mark on {NAMES[other]}'s copy is in etcd"
    if state.owner[:2] != (me, host.boot) and flaw not in (Flaw.ANY_OWNER, Flaw.NO_MARK):
        return
    new = _with(state, me, answer=True)
    if flaw is Flaw.NO_MARK:
        yield f"{NAMES[me]}'s handler says yes, unmarked", new
        return
    stands = state.marks[other]
    revision = stands if stands and flaw is Flaw.KEPT else _fresh(state)
    yield text + (" already" if revision == stands else ""), new._replace(marks=_set(state.marks, other, revision))


def _fresh(state: State) -> int:
    """A revision that nobody remembers. Only equality counts, so the smallest will do."""
    used = {*state.marks, *(host.read for host in state.hosts), *(host.clearing[0] for host in state.hosts)}
    return next(number for number in range(1, 10) if number not in used)


def _clear(state: State, me: int, revision: int, epoch: int, flaw: Flaw | None) -> Iterator[Step]:
    """The deletion takes effect, or is refused. epoch -1: the resynced side asks, about its own copy."""
    where = me if epoch < 0 else 1 - me
    new = _with(state, me, clearing=(0, 0))
    owns = epoch < 0 or (state.owner[0], state.owner[2]) == (me, epoch)
    same = flaw is Flaw.NO_COMPARE or state.marks[where] == revision
    if owns and same and state.marks[where]:
        yield f"the mark on {NAMES[where]}'s copy is cleared", new._replace(marks=_set(state.marks, where, 0))
    else:
        yield f"clearing the mark on {NAMES[where]}'s copy is refused", new


# -- DRBD --------------------------------------------------------------------------------------------------------------


def _drbd(state: State, me: int) -> Iterator[Step]:
    host, name = state.hosts[me], NAMES[me]
    if host.primary and not host.held and not host.pending and state.left.writes:
        yield from _write(state, me)
    if host.pending and not host.held and _joined(state):
        reached = _with(state, 1 - me, data=state.hosts[1 - me].data | host.pending)
        yield f"{name}'s write is answered", _acknowledged(reached, me, host._replace(pending=0))
    if host.connected and not _joined(state):
        held = host.primary
        new = host._replace(connected=False, peer_good=False, held=held or host.held)
        yield f"{name} notices that its peer is lost{', holds its I/O' if held else ''}", _put(state, me, new)
    if host.held and host.answer and not host.connected:
        going = _goes_alone(state, host._replace(held=False, pending=0))
        yield f"{name} goes on alone", _acknowledged(state, me, going, host.pending)


def _write(state: State, me: int) -> Iterator[Step]:
    host, left = state.hosts[me], state.left
    bit = 1 << left.writes
    spent = state._replace(left=left._replace(writes=left.writes - 1))
    written = host._replace(data=host.data | bit)
    if _joined(state):
        peer = state.hosts[1 - me]
        both = _with(spent, 1 - me, data=peer.data | bit)
        yield f"a write on {NAMES[me]}, acknowledged", _acknowledged(both, me, written, bit)
    elif host.connected:
        # Sent to a peer that does not answer, and the silence is not noticed yet.
        yield f"a write on {NAMES[me]}, not answered", _put(spent, me, written._replace(pending=bit))
    else:
        yield f"a write on {NAMES[me]} alone, acknowledged", _acknowledged(spent, me, written, bit)


def _acknowledged(state: State, me: int, host: Host, bit: int = -1) -> State:
    """A client is told. bit -1: the pending write."""
    told = state.hosts[me].pending if bit < 0 else bit
    lacking = state.acknowledged & ~host.data
    wrong = f"rule 3: {NAMES[me]} acknowledges a write without all acknowledged before it" if told and lacking else ""
    return _put(state, me, host)._replace(acknowledged=state.acknowledged | told, wrong=wrong)


def _goes_alone(state: State, host: Host) -> Host:
    """A new generation, which the peer does not have."""
    if host.may_alone:
        return host._replace(answer=False)
    used = state.hosts[0].generations | state.hosts[1].generations
    new = host.generations | (used + 1)  # used is 0b11…1: generations are numbered in the order in which they begin
    return host._replace(may_alone=True, answer=False, generations=new, disk=Disk.GOOD)


def _joined(state: State) -> bool:
    """Is the connection a real one: both believe in it, and the link and both kernels carry it?"""
    one, other = state.hosts
    return state.link and one.connected and other.connected and one.up and other.up


def _link(state: State) -> Iterator[Step]:
    one, other = state.hosts
    if state.link and state.left.cuts:
        cut = state.left._replace(cuts=state.left.cuts - 1)
        yield "the replication link is cut", state._replace(link=False, left=cut)
    if not state.link:
        yield "the replication link is back", state._replace(link=True)
    elif one.up and other.up and not one.connected and not other.connected:
        yield from _connect(state)
    for ahead in (0, 1):
        behind = state.hosts[1 - ahead]
        if _joined(state) and behind.disk == Disk.BEHIND:
            yield from _synced(state, ahead)


def _connect(state: State) -> Iterator[Step]:
    """None where DRBD would stay StandAlone: a split brain, two Primaries, or a Primary that is behind."""
    source = _source(state)
    if source is None or state.hosts[1 - source].primary:
        return
    ahead, behind = state.hosts[source], state.hosts[1 - source]
    same = ahead.generations == behind.generations and ahead.data == behind.data and behind.disk != Disk.BEHIND
    pending = ahead.pending
    source_now = _joining(ahead)._replace(disk=Disk.GOOD, peer_good=same, held=False, pending=0)
    behind_now = _joining(behind)._replace(disk=Disk.GOOD if same else Disk.BEHIND, peer_good=True)
    new = _acknowledged(_put(state, 1 - source, behind_now), source, source_now, pending)
    yield ("they connect" if same else f"they connect; {NAMES[1 - source]}'s copy is to be resynced"), new


def _joining(host: Host) -> Host:
    """What DRBD was told of an absent peer is void; so is a handler's answer that comes now."""
    return host._replace(connected=True, may_alone=False, answer=False)


def _source(state: State) -> int | None:
    """Whose copy is the newer one, by generations; of the same generation, a Primary's, or the one with more in it."""
    one, other = state.hosts
    both = one.generations & other.generations
    if both not in (one.generations, other.generations) or (one.primary and other.primary):
        return None
    if one.generations != other.generations:
        source = 0 if both == other.generations else 1
    elif Disk.BEHIND in (one.disk, other.disk):
        source = 0 if other.disk == Disk.BEHIND else 1
    else:
        source = 0 if one.primary or (not other.primary and one.data | other.data == one.data) else 1
    return None if state.hosts[source].disk == Disk.BEHIND else source


def _synced(state: State, ahead: int) -> Iterator[Step]:
    source, behind = state.hosts[ahead], state.hosts[1 - ahead]
    lost = behind.data & state.acknowledged & ~source.data
    copied = behind._replace(data=source.data, generations=source.generations, disk=Disk.GOOD)
    new = _put(_put(state, 1 - ahead, copied), ahead, source._replace(peer_good=True))
    wrong = f"rule 3: the resync takes acknowledged writes from {NAMES[1 - ahead]}'s copy" if lost else ""
    yield f"{NAMES[1 - ahead]}'s copy is resynced", new._replace(wrong=wrong)


# -- faults ------------------------------------------------------------------------------------------------------------


def _faults(state: State, me: int) -> Iterator[Step]:
    host, name = state.hosts[me], NAMES[me]
    if not host.up:
        yield f"{name} boots", _with(state, me, up=True, boot=host.boot + 1)
        return
    if not state.left.crashes:
        return
    spent = state._replace(left=state.left._replace(crashes=state.left.crashes - 1))
    off = Host(
        host.boot, False, disk=_unsure(host.disk), data=host.data, generations=host.generations, connected=False,
        peer_good=False, clearing=host.clearing,
    )  # fmt: skip
    yield f"{name}'s power is cut", _put(spent, me, off)
    if host.epoch or host.read:
        yield f"{name}'s agent is killed", _with(spent, me, epoch=0, read=0)


def _unsure(disk: str) -> str:
    return Disk.ALONE if disk == Disk.GOOD else disk


# -- states ------------------------------------------------------------------------------------------------------------


def _with(state: State, me: int, **changes: object) -> State:
    return _put(state, me, state.hosts[me]._replace(**changes))  # type: ignore[arg-type]


def _put(state: State, me: int, host: Host) -> State:
    one, other = state.hosts
    return state._replace(hosts=(host, other) if me == 0 else (one, host))


def _set(pair: tuple[int, int], at: int, value: int) -> tuple[int, int]:
    return (value, pair[1]) if at == 0 else (pair[0], value)


def show(state: State) -> str:
    """One line: each host's role, disk and writes; who owns it; what is marked."""
    hosts = ", ".join(_shown(host, state.acknowledged) for host in state.hosts)
    marked = [NAMES[at] for at in (0, 1) if state.marks[at]]
    return f"{hosts}; owner {NAMES[state.owner[0]]}" + (f"; marked {' '.join(marked)}" if marked else "")


def _shown(host: Host, acknowledged: int) -> str:
    if not host.up:
        return "off"
    said = f"{'Primary' if host.primary else 'Secondary'}/{host.disk}"
    return said + (" held" if host.held else "") + (" STALE" if acknowledged & ~host.data else "")
