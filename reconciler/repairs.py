"""Repairs that succeed and are undone again: a budget for each part, then a fight that is named and waited out. Pure.

A part that drifts is put right at once, so often in a window. What is undone once more is fought over: something else
manages it. Then only *bringing back* waits, longer each time; what this host may not hold is put down at once, always.
A fight is over when the part has stayed right for the window, or when the spec, the role or the owner changes.

What drifted along with what carries it (all that is in a container that stops) is no drift of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from reconciler.act import Ran
from reconciler.observe import Snapshot
from reconciler.ownership import Verdict, View
from reconciler.plan import asked, carries
from reconciler.records import Status
from reconciler.restarts import elsewhere
from reconciler.spec import Repairs
from resources.kind import AnyPart, Role, Step

FIRST_WAIT, LAST_WAIT = 30.0, 300.0  # seconds; doubled from one to the other

Key = tuple[object, ...]


@dataclass(frozen=True)
class Call:
    """A part that calls for a repair: the steps, and why, as a clause. `own`: nothing that carries it calls too."""

    part: AnyPart
    reason: str
    steps: tuple[Step, ...]
    own: bool

    @property
    def up(self) -> bool:
        """Is something to be brought back? Else it is only put down."""
        return any(not step.down for step in self.steps)


@dataclass(frozen=True)
class Fight:
    """Over one part. `due`: monotonic, when it is brought back next; `tried`: put right since `due` was set; `told`:
    how often it was put right and in how many seconds, as last told: what is told changes as rarely as `due`."""

    reason: str
    up: bool
    first: float
    count: int
    waits: int = 0
    due: float = 0.0
    tried: bool = True
    told: tuple[int, float] = (0, 0.0)

    @property
    def longest(self) -> float:
        """Seconds of this wait, at most."""
        return float(min(LAST_WAIT, FIRST_WAIT * 2 ** min(self.waits - 1, 10)))


@dataclass(frozen=True)
class Past:
    """Of one part: is it right, since when; did it drift of its own; when it was put right, within the window."""

    right: bool = True
    since: float = 0.0
    own: bool = True
    put_right: tuple[float, ...] = ()
    fight: Fight | None = None


@dataclass(frozen=True)
class Ledger:
    """What a worker remembers of a service's repairs, by part id. `key`: what it holds for."""

    key: Key = ()
    parts: Mapping[str, Past] = field(default_factory=dict)

    def fights(self) -> dict[str, Fight]:
        """Those under way."""
        return {id: past.fight for id, past in self.parts.items() if past.fight is not None}


def key(view: View, verdict: Verdict) -> Key:
    """A ledger holds for one spec, role and owner; with the owner gone a standby must not wait to be warm."""
    return view.revision, verdict.role, view.owner, view.alone


def calls(snapshot: Snapshot, role: Role, dropped: frozenset[str]) -> tuple[Call, ...]:
    """The parts that call for a repair, in the order in which they come up."""
    found: list[Call] = []
    for part, wanted, steps in asked(snapshot, role, dropped):
        if steps:
            own = not any(before.up and carries(snapshot, before.part, part) for before in found)
            found.append(Call(part, _why(snapshot, part, wanted, steps), tuple(steps), own))
    return tuple(found)


def _why(snapshot: Snapshot, part: AnyPart, wanted: Role, steps: Sequence[Step]) -> str:
    conditions = part.kind.conditions(part.spec, wanted, snapshot.seen[part.id])
    listed = sorted(conditions, key=lambda one: not one.broken)
    return listed[0].reason if listed else f"{_called(part)}: {steps[0].reason}"


def looked(
    before: Ledger,
    snapshot: Snapshot,
    calls: Sequence[Call],
    budget: Repairs,
    now: float,
    chance: Callable[[], float],
) -> Ledger:
    """After a look. `chance`: between 0 and 1, asked when a wait begins. What cannot be read stays as it was."""
    parts = dict(before.parts)
    wrong = {call.part.id: call for call in calls}
    for part, _ in snapshot.known():
        past = parts.get(part.id)
        if call := wrong.get(part.id):
            parts[part.id] = _wrong(past or Past(), call, budget, now, chance)
        elif past is not None:
            parts[part.id] = _right(past, budget, now)
    return Ledger(before.key, parts)


def _right(past: Past, budget: Repairs, now: float) -> Past:
    if not past.right:
        past = replace(past, right=True, since=now, own=True)
    over = past.fight is not None and now - past.since >= budget.within
    return Past(since=past.since) if over else past


def _wrong(past: Past, call: Call, budget: Repairs, now: float, chance: Callable[[], float]) -> Past:
    if past.right:
        past = replace(past, right=False, since=now, own=call.own)
    if not past.own:
        return past
    fight = past.fight
    if fight is None:
        recent = tuple(at for at in past.put_right if now - at < budget.within)
        if len(recent) < budget.times:
            return replace(past, put_right=recent)
        fight = Fight(call.reason, call.up, recent[0], len(recent), due=now)
    if fight.tried and now >= fight.due:
        told = (fight.count, now - fight.first)
        fight = replace(fight, reason=call.reason, up=call.up, waits=fight.waits + 1, tried=False, told=told)
        fight = replace(fight, due=now + fight.longest * (0.5 + chance() / 2))
    return replace(past, put_right=(), fight=fight)


def ran(before: Ledger, calls: Iterable[Call], done: Iterable[Ran], now: float) -> Ledger:
    """After a pass: the parts all of whose steps were run and succeeded have been put right."""
    succeeded = {one.step for one in done if not one.failed}
    parts = dict(before.parts)
    for call in calls:
        past = parts.get(call.part.id)
        if past is None or not past.own or not succeeded.issuperset(call.steps):
            continue
        if past.fight is None:
            parts[call.part.id] = replace(past, put_right=(*past.put_right, now))
        else:
            fight = replace(past.fight, count=past.fight.count + 1, tried=True)
            parts[call.part.id] = replace(past, fight=fight)
    return Ledger(before.key, parts)


def withheld(ledger: Ledger, calls: Iterable[Call], now: float) -> frozenset[str]:
    """The ids of the parts whose repair waits. Never one that is only put down."""
    pasts = [(call, ledger.parts.get(call.part.id)) for call in calls if call.up]
    return frozenset(
        call.part.id for call, past in pasts if past and past.own and past.fight is not None and now < past.fight.due
    )


def quiet(ledger: Ledger, calls: Iterable[Call]) -> frozenset[Step]:
    """Steps that are not told each time: what is fought over and put down again and again."""
    fights = ledger.fights()
    return frozenset(step for call in calls if call.part.id in fights and not call.up for step in call.steps)


def next_look(ledger: Ledger, budget: Repairs, now: float) -> float | None:
    """Seconds until a wait or a fight may be over; None without a fight."""
    pasts = [(past, past.fight) for past in ledger.parts.values() if past.fight is not None]
    ends = [past.since + budget.within if past.right else fight.due for past, fight in pasts]
    left = [at - now for at in ends if at > now]
    return min(left, default=None)


# -- in words ----------------------------------------------------------------------------------------------------------


def begun(before: Ledger, after: Ledger, snapshot: Snapshot, budget: Repairs) -> list[tuple[str, str]]:
    """The parts that have just come to be fought over, and why that is thought."""
    new = [part for part in snapshot.parts if part.id in after.fights() and part.id not in before.fights()]
    return [(_called(part), said(part, after.parts[part.id], budget)) for part in new]


def named(status: Status, ledger: Ledger, snapshot: Snapshot, view: View, verdict: Verdict) -> Status:
    """The status with the fight in it, as long as that lasts. A deleted service that is down is down."""
    fought = [part for part in snapshot.parts if part.id in ledger.fights()]
    if not fought or status.state not in ("Ready", "Drift", "Starting", "Standby"):
        return status
    if view.manifest.metadata.deleted and status.state == "Standby":
        return status
    first, *more = fought
    reason = said(first, ledger.parts[first.id], view.manifest.spec.repairs)
    reason += f"; fought over too: {', '.join(_called(part) for part in more)}" if more else ""
    return status.model_copy(update={"state": "Stalled", "reason": reason + _way_out(view, verdict)})


def said(part: AnyPart, past: Past, budget: Repairs) -> str:
    """address 192.0.2.10/24 is missing on eth0 again, put back 5 times in 41 s: something else manages it (…)"""
    fight = past.fight
    assert fight is not None
    (times, seconds), rivals = fight.told, f"{part.kind.contested} ({part.kind.rivals}?)"
    often = f"{'once' if times == 1 else f'{times} times'} in {seconds:.0f} s"
    if not fight.up:
        return f"{fight.reason} time and again, put down {often} and from now on each time: {rivals}"
    if not past.right:
        return f"{fight.reason} again, put back {often}: {rivals}; next try within {_minutes(fight.longest)}"
    return f"{_called(part)} was put back {often}: {rivals}; it is there, and must stay for {_minutes(budget.within)}"


def _way_out(view: View, verdict: Verdict) -> str:
    if verdict.note:
        return f"; {verdict.note}"
    host = elsewhere(view) if verdict.epoch and view.owner is not None else ""
    return f"; end that, or move it: hactl set {view.manifest.metadata.name} primary={host}" if host else ""


def _called(part: AnyPart) -> str:
    return part.id.replace("/", " ", 1)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{ceil(seconds / 60)}m"
