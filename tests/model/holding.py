"""Rule 1: one holder of an address, by session, deadline, watchdog, proof of death and failsafe promise.

hosta is the one that owns the service at first, in full. hostb is whoever takes over, as eager as it may be: it
proves, claims and holds as soon as it is allowed to, and lets go when it likes. How hostb in turn is taken from is the
same with the names changed, so it is not modelled twice.

Clocks are right, and all alike: margins are there for their differences, so here they are nothing. Time is ticks, every
timer is a number of ticks left, so the states are finite. Disks are in tests/model/copies.py: a mark only ever forbids
a claim. The spec is not here: any host may want the service at any moment, and let go of it at any.

A request takes effect at any later time or never, its reply comes at any time after that or never, hosta hears the news
as late as it likes, a put-down may hang for ever, an agent may do nothing at all: so a host that is cut off from etcd,
or whose agent is frozen, needs no step of its own. A reset for want of petting that was allowed is a power cut; so an
agent that may pet, does, at the last moment. That hostb hears late only makes it take over later, which it may anyway.
Likewise a renewal that takes effect late only lengthens a lease, and a lease may end late anyway: it works at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from tests.model.explore import Model

LEASE, WATCHDOG, STARTING = 2, 2, 1  # ticks
PETTED = (
    WATCHDOG + 1
)  # whole ticks to come until it bites: petted just before a tick, it bites just before the one after
TAKER = (1, 1)  # hostb as (host, boot)


class Flaw(StrEnum):
    """The protocol, broken in one place."""

    NO_DEADLINE = "no deadline"
    TOO_EARLY = "proof too early"
    NOT_OBSERVED = "key deleted before observing"
    DISARMED_FIRST = "watchdog disarmed before the session says so"
    PROMISE_BROKEN = "promise not kept when etcd comes back"
    PROMISE_FORGOTTEN = "promise forgotten by the agent's restart"
    PROMISE_REVIVES = "promise believed after what was safe had ended"
    DISARMED_SAFE = "watchdog disarmed by the noted deadline, while a new agent believes what it finds"
    KEEPS_EPOCH = "epoch kept by an incarnation that takes its death back"
    ARMED_ONCE = "armed before the session is asked for, and not seen to again once it is there"
    LATE_PET = "petted by a confirmation that comes after its deadline"
    TAKEN_UP_LATE = "watchdog taken up after the noted deadline"
    CLOSING_PETS = "the kernel pets when a killed agent's device is closed"
    BEGUN_BLIND = "session begun without comparing its key"
    PROVEN_BLIND = "proof without comparing that no session was between"


class Bounds(NamedTuple):
    """How often each may happen. `cuts`: of hosta's power; `kills`: of either agent; `stops`: hosta's agent ended on
    purpose; `starts`: of hosta's agent; `begins`: of sessions of hosta, besides the first; `late`: requests given up by
    hosta, or replies lost; `claims`: besides the first; `promises`: asked for."""

    cuts: int = 1
    kills: int = 1
    stops: int = 1
    starts: int = 1
    begins: int = 1
    late: int = 1
    claims: int = 2
    promises: int = 1


class Kind:
    """hosta's requests to etcd. No Enum: hashing one costs a call, a million times."""

    BEGIN = "begin its session"
    KEEP = "keep its lease alive"
    SAY = "say that no watchdog guards it"
    CLAIM = "become the owner"
    RELEASE = "delete the owner key"


Owner = tuple[int, int, int]  # host, boot, epoch
Compared = Owner | int | None


class Request(NamedTuple):
    """`compares`: the owner or the session's revision that must be unchanged; `also`: its own session's, or whether it
    was declared dead; `ticks`: left of its lease, and of the deadline that it would set. `done`: "", or what became of
    it, the reply still on its way."""

    kind: str
    compares: Compared
    also: int = 0
    ticks: int = 0
    done: str = ""


class Session(NamedTuple):
    """hosta's session key: its revision, what it says, the lease it is on, and the ticks that this has left."""

    revision: int
    boot: int
    says: bool
    lease: int
    ticks: int


class Heard(NamedTuple):
    """What hosta's mirror holds: the owner, the revision of its own session (0: none), the boot declared dead."""

    owner: Owner | None = None
    session: int = 0
    dead: int = 0


class Holder(NamedTuple):
    """hosta, its watchdog, and its agent. Timers are ticks left."""

    boot: int = 1
    up: bool = True
    held: bool = False
    dog: int = -1  # -1: not armed
    until: int = 0  # petted for so long; noted under /run
    alive: bool = True  # the agent
    stopping: bool = False
    grace: int = 0  # a new agent believes what it finds
    begun: int = 0  # the revision of its session when it began, 0 for none in this process
    revision: int = 0  # of its session now, as it believes: also the name of its lease
    deadline: int = 0
    trusted: int = 0  # hostb's promise
    epoch: int = 0
    step: bool = False  # an exclusive step was allowed, and has not taken effect yet
    session: Request | None = None
    owning: Request | None = None
    asked: int = 0  # left of the promise that this host has asked for, from the asking
    granted: bool = False  # and the yes is on its way
    heard: Heard = Heard()


class Taker(NamedTuple):
    """hostb. `life`: its agents and their sessions, counted; `gone`: ticks since it saw hosta's session end, -1 for not
    seen; `last`: that session's boot and word; `promise`: ticks left."""

    holds: bool = False
    life: int = 1
    begun: bool = True  # this agent has its session
    gone: int = -1
    last: tuple[int, bool] = (0, False)
    promise: int = 0
    proving: tuple[int, int, int] | None = None  # on its way: boot, hosta's sessions until then, its own life
    claiming: tuple[Owner | None, int] | None = None  # on its way: the owner to compare, its own life


class State(NamedTuple):
    """`session`, `owner`, `dead` (a boot of hosta), `begins` (hosta's sessions) and `life` (hostb's session) are
    etcd's; `late`: the boot and a request of hosta's that it has given up."""

    a: Holder
    b: Taker
    session: Session | None
    owner: Owner | None
    left: Bounds
    dead: int = 0
    begins: int = 1
    life: int = 1
    epochs: int = 1
    late: tuple[int, Request] | None = None


Step = tuple[str, State]


def model(bounds: Bounds, flaw: Flaw | None = None, *, waiting: bool = False) -> Model[State]:
    """hosta owns the service and holds its address; its session says that a watchdog guards it. `waiting`: that session
    has just ended, and hosta's first request for another was given up and is still under way."""
    a = Holder(
        held=True, dog=PETTED, until=LEASE, begun=1, revision=1, deadline=LEASE, epoch=1, heard=Heard((0, 1, 1), 1)
    )
    start = State(a, Taker(), Session(1, 1, True, 1, LEASE), (0, 1, 1), bounds)
    if waiting:
        late = (1, Request(Kind.BEGIN, 0, 0, LEASE))
        lost = a._replace(dog=WATCHDOG, until=0, deadline=0, revision=0, heard=Heard((0, 1, 1)))
        start = start._replace(a=lost, b=Taker(gone=0, last=(1, True)), session=None, late=late)

    def moves(state: State) -> Iterator[Step]:
        if not state.left.claims and not state.b.holds:
            return  # hostb can never hold it any more, so nothing can go wrong from here
        if state.a.alive:
            yield from _session(state, flaw)
            yield from _replies(state, flaw)
            if state.a.stopping:
                yield from _stopping(state, flaw)
            else:
                yield from _worker(state, flaw)
        yield from _etcd(state, flaw)
        yield from _taker(state, flaw)
        yield from _failsafe(state, flaw)
        yield from _faults(state, flaw)
        yield "a tick passes", _tick(state, flaw)

    return Model(start, moves, wrong, show)


def wrong(state: State) -> str:
    """Rule 1."""
    return "rule 1: both hosts hold the address" if state.a.held and state.b.holds else ""


# -- hosta: its worker -------------------------------------------------------------------------------------------------


def _safe(host: Holder, flaw: Flaw | None) -> bool:
    """May nobody take it from this host?"""
    if flaw is Flaw.NO_DEADLINE:
        return True
    if not host.begun:
        return max(host.until, host.grace) > 0
    return max(host.deadline if host.revision else 0, host.trusted) > 0 and host.heard.session >= host.begun


def _worker(state: State, flaw: Flaw | None) -> Iterator[Step]:
    host, owner = state.a, state.a.heard.owner
    epoch = owner[2] if owner is not None and owner[:2] == (0, host.boot) else 0
    safe = _safe(host, flaw) and host.heard.dead != host.boot
    if (state.owner, _revision(state.session), state.dead) != host.heard:
        yield "hosta hears the news", _hear(state)
    may = safe and epoch and epoch == host.epoch
    if host.held and not host.step:
        yield "hosta puts the address down", _a(state, held=False)  # also by hand, or for a move
    if host.epoch and not may:
        yield "hosta finds that it may not hold it", _a(state, epoch=0)
    if epoch and safe and host.held and not host.epoch and host.owning is None:
        yield "hosta goes on owning it", _a(state, epoch=epoch)
    if epoch and safe and host.epoch == epoch and not host.held and not host.step:
        yield "hosta is allowed to add the address", _a(state, step=True)
    if host.step:
        yield "hosta has added the address", _a(state, step=False, held=True)
    over = not host.until and (flaw is Flaw.DISARMED_SAFE or not _safe(host, flaw))
    if over and not host.held and not host.step and host.dog >= 0:
        yield "hosta sees that nothing is held, disarms its watchdog", _a(state, dog=-1)
    if host.owning is None and not host.step:
        yield from _moves(state, epoch, flaw)


def _hear(state: State) -> State:
    return _a(state, heard=Heard(state.owner, _revision(state.session), state.dead))


def _revision(session: Session | None) -> int:
    return session.revision if session is not None else 0


def _moves(state: State, epoch: int, flaw: Flaw | None) -> Iterator[Step]:
    """Requests about the owner key, from what the mirror says."""
    host, owner = state.a, state.a.heard.owner
    if epoch and (not host.held or flaw is Flaw.NOT_OBSERVED):
        yield from _ask(_a(state, epoch=0), Request(Kind.RELEASE, owner), flaw)
    connected = host.revision > 0 and host.deadline > 0 and host.heard.session >= host.begun
    again = owner is not None and owner[0] == 0 and not host.epoch and not host.held  # its own, let go of or rebooted
    if connected and host.heard.dead != host.boot and (owner is None or again) and state.left.claims:
        yield from _ask(state, Request(Kind.CLAIM, owner, host.revision), flaw)


def _ask(state: State, request: Request, flaw: Flaw | None) -> Iterator[Step]:
    """At once, or the request is still under way when it is given up: then it takes effect later, if at all. To wait
    in between would be to do nothing, and then to ask."""
    new, done = _effect(state, state.a.boot, request, flaw)
    yield f"hosta asks etcd to {request.kind}: {done.done}", _a(new, owning=done)
    if state.left.late and state.late is None:
        late = state._replace(late=(state.a.boot, request), left=_less_by(state.left, "late"))
        yield f"hosta asks etcd to {request.kind}, and gives up waiting", late


# -- hosta: its session ------------------------------------------------------------------------------------------------


def _session(state: State, flaw: Flaw | None) -> Iterator[Step]:
    """One request at a time."""
    host = state.a
    if host.session is not None or host.stopping:
        return
    if host.revision:
        yield _keep(state, flaw)
        return
    declared = state.dead == host.boot
    if not state.left.begins or (declared and (host.held or host.step)):
        return
    request = Request(Kind.BEGIN, _revision(state.session), int(declared), LEASE)
    if declared and flaw is not Flaw.KEEPS_EPOCH:
        # hostb's claim may be on its way. So what it owned it must claim anew; nor is a claim of its own believed that
        # was sent before.
        host = host._replace(epoch=0, owning=None)
    armed = host.dog if host.dog >= 0 else PETTED
    new = state._replace(a=host._replace(dog=armed, session=request))
    yield (
        f"hosta arms its watchdog, asks etcd to {Kind.BEGIN}",
        new._replace(left=state.left._replace(begins=state.left.begins - 1)),
    )


def _keep(state: State, flaw: Flaw | None) -> Step:
    """A lease lives as long as it is kept, whatever became of the key that was on it."""
    host, session = state.a, state.session
    request = Request(Kind.KEEP, 0, 0, LEASE, "done")
    text = f"hosta asks etcd to {Kind.KEEP}, which it does"
    if session is not None and session.lease == host.revision:
        return text, _a(state, session=request)._replace(session=session._replace(ticks=LEASE))
    if flaw is Flaw.BEGUN_BLIND and state.begins != host.revision:
        return text, _a(state, session=request)  # its key went to another lease; its own has never ended
    return f"hosta asks etcd to {Kind.KEEP}: it is no more", _a(state, revision=0, deadline=0)


def _stopping(state: State, flaw: Flaw | None) -> Iterator[Step]:
    """Say 0, disarm, revoke. What it holds stays. Where etcd does not answer, the watchdog stays armed."""
    host = state.a
    yield "hosta's agent has ended", state._replace(a=_left_behind(host))
    if flaw is Flaw.DISARMED_FIRST and host.dog >= 0:
        yield "hosta disarms its watchdog, its session being about to say so", _a(state, dog=-1)
    if host.revision and host.session is None:
        yield f"hosta asks etcd to {Kind.SAY}", _a(state, session=Request(Kind.SAY, host.revision))


def _renewed(host: Holder, ticks: int, flaw: Flaw | None) -> Holder:
    """A confirmation: the deadline moves, and the watchdog is petted if that holds."""
    until = max(ticks, host.trusted)
    pets = host.dog >= 0 and (until > 0 or flaw is Flaw.LATE_PET)
    return host._replace(deadline=ticks, until=until, dog=PETTED if pets else host.dog)


def _replies(state: State, flaw: Flaw | None) -> Iterator[Step]:
    host = state.a
    if host.session is not None and host.session.done:
        text = f"hosta hears of its request to {host.session.kind}: {host.session.done}"
        yield text, _session_reply(state, host.session, flaw)
    if host.owning is not None:
        yield f"hosta hears of its request to {host.owning.kind}: {host.owning.done}", _owning_reply(state, host.owning)


def _session_reply(state: State, request: Request, flaw: Flaw | None) -> State:
    new = state.a._replace(session=None)
    if request.done != "done":
        return state._replace(a=new)
    if request.kind == Kind.SAY:
        # Disarmed, then revoked.
        session = None if state.session and state.session.lease == new.revision else state.session
        return _gone(state._replace(a=_left_behind(new._replace(dog=-1)), session=session), state.session)
    if request.kind == Kind.BEGIN:
        new = new._replace(begun=request.also, revision=request.also)
    once = request.kind == Kind.BEGIN and flaw is Flaw.ARMED_ONCE
    if new.dog < 0 and not new.stopping and not once:
        new = new._replace(dog=PETTED)  # disarmed meanwhile, nothing being held: again, before the deadline moves
    return state._replace(a=_renewed(new, request.ticks, flaw))


def _owning_reply(state: State, request: Request) -> State:
    """A write of its own is noted in the mirror, unless that knows a later one."""
    new, known = state.a._replace(owning=None), state.a.heard.owner
    if request.kind == Kind.CLAIM and request.done == "done" and (known is None or known[2] <= request.also):
        owner = (0, new.boot, request.also)
        new = new._replace(heard=new.heard._replace(owner=owner), epoch=0 if new.stopping else request.also)
    return state._replace(a=new)


# -- etcd, for hosta ---------------------------------------------------------------------------------------------------


def _etcd(state: State, flaw: Flaw | None) -> Iterator[Step]:
    host = state.a
    if state.session is not None and not state.session.ticks:
        yield "hosta's lease ends", _gone(state._replace(session=None), state.session)
    if host.session is not None and not host.session.done:
        new, done = _effect(state, host.boot, host.session, flaw)
        yield f"hosta's request to {done.kind} reaches etcd: {done.done}", _a(new, session=done)
    if state.late is not None:
        boot, request = state.late
        new, done = _effect(state._replace(late=None), boot, request, flaw)
        yield f"hosta's request to {done.kind}, long given up, reaches etcd: {done.done}", new


def _gone(state: State, session: Session | None) -> State:
    """hostb sees a session end, and remembers its last word."""
    if session is None or state.session is not None:
        return state
    return state._replace(b=state.b._replace(gone=0, last=(session.boot, session.says)))


def _effect(state: State, boot: int, request: Request, flaw: Flaw | None) -> tuple[State, Request]:
    """What etcd makes of a request, and the request with its reply."""
    new = _changed(state, boot, request, flaw)
    if new is None:
        return state, request._replace(done="refused")
    told = {Kind.CLAIM: new.epochs, Kind.BEGIN: new.begins}.get(request.kind, 0)
    return new, request._replace(done="done", also=told)


def _changed(state: State, boot: int, request: Request, flaw: Flaw | None) -> State | None:
    """None: refused."""
    if request.kind == Kind.BEGIN:
        return _begun(state, boot, request, flaw)
    if request.kind == Kind.SAY:
        return _said(state, request)
    if state.owner != request.compares:
        return None
    return state._replace(owner=None) if request.kind == Kind.RELEASE else _claimed(state, boot, request)


def _said(state: State, request: Request) -> State | None:
    if state.session is None or state.session.revision != request.compares:
        return None
    return state._replace(session=state.session._replace(says=False))


def _claimed(state: State, boot: int, request: Request) -> State | None:
    if _revision(state.session) != request.also or not state.left.claims:
        return None
    left = _less_by(state.left, "claims")
    return state._replace(owner=(0, boot, state.epochs + 1), epochs=state.epochs + 1, left=left)


def _begun(state: State, boot: int, request: Request, flaw: Flaw | None) -> State | None:
    """On a lease of its own, which must still live; the record of its own death must be as it was read."""
    changed = _revision(state.session) != request.compares and flaw is not Flaw.BEGUN_BLIND
    if changed or (state.dead == boot) != bool(request.also) or not request.ticks:
        return None
    number = state.begins + 1
    session = Session(number, boot, True, number, request.ticks)
    seen = state.b._replace(gone=-1)
    return state._replace(session=session, begins=number, dead=0, b=seen)


# -- hostb -------------------------------------------------------------------------------------------------------------


def _taker(state: State, flaw: Flaw | None) -> Iterator[Step]:
    host, owner = state.b, state.owner
    if host.proving is not None:
        yield from _proof_arrives(state, host.proving, flaw)
    if host.claiming is not None:
        yield from _claim_arrives(state, host.claiming)
    if host.holds:
        new = state._replace(b=host._replace(holds=False), owner=None)
        yield "hostb puts it down and lets go of it", new
    if not host.begun:
        yield "hostb's new agent begins its session", _b(state, begun=True)._replace(life=host.life)
        return
    if owner is not None and owner[:2] == TAKER:
        return
    if host.claiming is None and (owner is None or _is_dead(state, owner)) and state.left.claims:
        yield "hostb asks etcd to become the owner", _b(state, claiming=(owner, host.life))
    if owner is not None and host.proving is None and not host.promise and not _is_dead(state, owner):
        patience = WATCHDOG - 1 if flaw is Flaw.TOO_EARLY else WATCHDOG
        if state.session is None and host.gone >= patience and host.last == (owner[1], True):
            proof = (owner[1], state.begins, host.life)
            yield "hostb asks etcd to say that hosta is dead", _b(state, proving=proof)


def _is_dead(state: State, owner: Owner) -> bool:
    rebooted = state.session is not None and state.session.boot != owner[1]
    return rebooted or state.dead == owner[1]


def _proof_arrives(state: State, proof: tuple[int, int, int], flaw: Flaw | None) -> Iterator[Step]:
    boot, begins, life = proof
    new = _b(state, proving=None)
    between = begins != state.begins and flaw is not Flaw.PROVEN_BLIND
    if state.session is not None or between or life != state.life:
        yield "hostb's word that hosta is dead is refused", new
    else:
        yield "hostb's word that hosta is dead is in etcd", new._replace(dead=boot)


def _claim_arrives(state: State, claim: tuple[Owner | None, int]) -> Iterator[Step]:
    owner, life = claim
    new = _b(state, claiming=None)
    if owner != state.owner or life != state.life or not state.left.claims:
        yield "hostb's claim is refused", new
        return
    left = state.left._replace(claims=state.left.claims - 1)
    owned = _b(new, holds=True)._replace(owner=(*TAKER, state.epochs + 1), epochs=state.epochs + 1, left=left)
    yield "hostb becomes the owner, and adds the address", owned


# -- failsafe ----------------------------------------------------------------------------------------------------------


def _failsafe(state: State, flaw: Flaw | None) -> Iterator[Step]:
    """One more lease at a time: counted by who asks from the asking, by who promises from the promise."""
    a = state.a
    if a.alive and a.held and a.epoch and not a.asked and state.left.promises:
        left = state.left._replace(promises=state.left.promises - 1)
        yield "hosta asks hostb for a promise", _a(state, asked=LEASE)._replace(left=left)
    if a.asked and not a.granted:
        yield "hostb promises not to take it over", _b(_a(state, granted=True), promise=LEASE)
    if a.alive and a.granted and (_safe(a, flaw) or flaw is Flaw.PROMISE_REVIVES):
        until = max(a.until, a.asked)
        yield "hosta hears the promise", _a(state, trusted=a.asked, until=until, asked=0, granted=False)


# -- faults, and time --------------------------------------------------------------------------------------------------


def _faults(state: State, flaw: Flaw | None) -> Iterator[Step]:
    host, left = state.a, state.left
    if left.kills and not state.b.holds:
        new = Taker(life=state.b.life + 1, begun=False, promise=state.b.promise, proving=state.b.proving)
        kept = new._replace(promise=0) if flaw is Flaw.PROMISE_FORGOTTEN else new
        seen = kept._replace(gone=-1)
        yield "hostb's agent is killed; a new one starts", state._replace(b=seen, left=_less_by(left, "kills"))
    if not host.up:
        booted = Holder(host.boot + 1, grace=STARTING, heard=Heard(host.heard.owner))
        yield "hosta boots", state._replace(a=booted)
        return
    if left.cuts:
        yield (
            "hosta's power is cut",
            _given_up(state)._replace(a=_off(host), left=_less_by(_given_up(state).left, "cuts")),
        )
    if left.kills and host.alive:
        given = _given_up(state)
        killed = _left_behind(host)
        if killed.dog >= 0 and (killed.until or flaw is Flaw.CLOSING_PETS):
            killed = killed._replace(dog=PETTED)  # a moment ago
        yield "hosta's agent is killed", given._replace(a=killed, left=_less_by(given.left, "kills"))
    if not host.alive and left.starts:
        yield "hosta's agent starts", state._replace(a=_started(host, flaw), left=_less_by(left, "starts"))
    if host.alive and not host.stopping and left.stops:
        yield "hosta's agent is to end", _a(state, stopping=True, step=False)._replace(left=_less_by(left, "stops"))
    if host.alive and left.late:
        yield from _timeouts(state)


def _less_by(left: Bounds, which: str) -> Bounds:
    return left._replace(**{which: getattr(left, which) - 1})


def _timeouts(state: State) -> Iterator[Step]:
    """The reply is lost, or the request is still under way."""
    for field in ("session", "owning"):
        request: Request | None = getattr(state.a, field)
        if request is None or (not request.done and state.late is not None):
            continue
        late = state.late if request.done else (state.a.boot, request)
        new = _a(state, **{field: None})._replace(late=late, left=_less_by(state.left, "late"))
        yield f"hosta gives up waiting for etcd to {request.kind}", new


def _given_up(state: State) -> State:
    """What a host had sent when it ended may take effect yet: one request, within the bounds."""
    sent = state.a.session
    if sent is None or sent.done or not state.left.late or state.late is not None:
        return state
    return state._replace(late=(state.a.boot, sent), left=_less_by(state.left, "late"))


def _off(host: Holder) -> Holder:
    return Holder(host.boot, up=False, alive=False, heard=Heard(host.heard.owner))


def _left_behind(host: Holder) -> Holder:
    """Of an agent that has ended: what is held, the watchdog, the note of its deadline, what it knew of owners."""
    return Holder(host.boot, held=host.held, dog=host.dog, until=host.until, alive=False, heard=Heard(host.heard.owner))


def _started(host: Holder, flaw: Flaw | None) -> Holder:
    """It takes up the watchdog while the noted deadline holds."""
    pets = host.dog >= 0 and (host.until > 0 or flaw is Flaw.TAKEN_UP_LATE)
    return host._replace(alive=True, grace=STARTING, dog=PETTED if pets else host.dog)


def _tick(state: State, flaw: Flaw | None) -> State:
    session = state.session and state.session._replace(ticks=_less(state.session.ticks))
    late = state.late and (state.late[0], state.late[1]._replace(ticks=_less(state.late[1].ticks)))
    return state._replace(a=_older(state.a, flaw), b=_older_taker(state.b, flaw), session=session, late=late)


def _older(host: Holder, flaw: Flaw | None) -> Holder:
    if not host.up:
        return host
    pets = host.alive and (host.until > 0 or flaw is Flaw.NO_DEADLINE)
    dog = PETTED if pets and host.dog >= 0 else host.dog
    if dog == 1:
        return _off(host)  # reset
    return host._replace(
        dog=dog - 1 if dog > 0 else dog,
        until=_less(host.until),
        grace=_less(host.grace),
        deadline=_less(host.deadline),
        trusted=_less(host.trusted),
        asked=_less(host.asked),
        granted=host.granted and host.asked > 1,
        session=host.session and host.session._replace(ticks=_less(host.session.ticks)),
    )


def _older_taker(host: Taker, flaw: Flaw | None) -> Taker:
    """While it keeps a promise, the time since the other's end does not count."""
    if not host.promise and host.gone in (-1, WATCHDOG):
        return host
    waits = host.promise > 0 and flaw is not Flaw.PROMISE_BROKEN
    gone = host.gone if host.gone < 0 else 0 if waits else min(WATCHDOG, host.gone + 1)
    return host._replace(promise=0 if flaw is Flaw.PROMISE_BROKEN else _less(host.promise), gone=gone)


def _less(ticks: int) -> int:
    return ticks - 1 if ticks > 0 else 0


# -- states ------------------------------------------------------------------------------------------------------------


def _a(state: State, **changes: object) -> State:
    return state._replace(a=state.a._replace(**changes))  # type: ignore[arg-type]


def _b(state: State, **changes: object) -> State:
    return state._replace(b=state.b._replace(**changes))  # type: ignore[arg-type]


def show(state: State) -> str:
    """One line: what each host holds, hosta's watchdog and deadline, its lease in etcd, the owner, and deaths."""
    host, session = state.a, state.session
    dog = "unarmed" if host.dog < 0 else f"dog {host.dog}"
    agent = "" if host.alive else ", no agent"
    a = f"a {'HOLDS' if host.held else 'empty'}, {dog}, until {host.until}{agent}" if host.up else "a off"
    lease = "no session" if session is None else f"lease {session.ticks}"
    owner = "nobody" if state.owner is None else "ab"[state.owner[0]]
    return f"{a}; b {'HOLDS' if state.b.holds else 'empty'}; {lease}; owner {owner}" + (
        "; a dead" if state.dead else ""
    )
