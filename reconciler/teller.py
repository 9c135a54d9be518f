"""What a worker tells: steps with their seconds, decisions, drift. To the log and, as events, to etcd."""

from __future__ import annotations

from typing import Literal

from reconciler import drift
from reconciler.act import Ran
from reconciler.publish import Publisher
from reconciler.records import Event, stamp
from resources.machine import Machine


class Teller:
    """Of one service."""

    def __init__(self, name: str, machine: Machine, publisher: Publisher) -> None:
        self._name, self._machine, self._publisher = name, machine, publisher

    def step(self, ran: Ran, epoch: int) -> None:
        """It is over, for better or worse."""
        text = f"could not {ran.step}" if ran.failed else ran.step.done
        kind: Literal["failed", "step"] = "failed" if ran.failed else "step"
        self._tell(kind, text, epoch, reason=ran.failed or ran.step.reason, seconds=ran.seconds)

    def decision(self, text: str, epoch: int, reason: str = "") -> None:
        """Something was decided, and why."""
        self._tell("decision", text, epoch, reason=reason)

    def drift(self, news: drift.News, epoch: int, by: tuple[str, ...] = ()) -> None:
        """It has appeared; or it is gone, put right by these steps."""
        kind: Literal["drift", "repaired"] = "drift" if news.lasted is None else "repaired"
        wrong = news.wrong
        event = self._event(
            kind, wrong.reason if kind == "drift" else f"no longer: {wrong.reason}", epoch, seconds=news.lasted
        ).model_copy(
            update={
                "resource": news.resource,
                "reason": _unsaid(wrong) if kind == "drift" else ", ".join(by),
                "expected": wrong.expected or None,
                "observed": wrong.observed or None,
                "cause": wrong.cause or None,
                "by": list(by) or None,
            }
        )
        self._publisher.event(self._name, event)

    def _tell(
        self,
        kind: Literal["step", "failed", "decision"],
        text: str,
        epoch: int,
        *,
        reason: str = "",
        seconds: float | None = None,
    ) -> None:
        self._publisher.event(self._name, self._event(kind, text, epoch, reason=reason, seconds=seconds))

    def _event(
        self,
        kind: Literal["step", "failed", "decision", "drift", "repaired"],
        text: str,
        epoch: int,
        *,
        reason: str = "",
        seconds: float | None = None,
    ) -> Event:
        return Event(
            at=stamp(self._machine.utc()),
            host=self._machine.host,
            kind=kind,
            text=text,
            reason=reason,
            seconds=None if seconds is None else round(seconds, 3),
            epoch=epoch or None,
        )


def _unsaid(wrong: drift.Wrong) -> str:
    """Its cause, where the clause has not said so already."""
    return "" if wrong.cause in wrong.reason else wrong.cause
