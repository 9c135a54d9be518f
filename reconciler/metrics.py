"""Metrics: what this agent knows, as Prometheus asks for it. Read at the moment of asking; nothing is decided by them.

Each host tells what it sees itself: of a service that is Standby here, its owner's agent tells the rest. All names and
what they mean are in this file; examples/prometheus/hactl-alerts.yaml uses them. Loaded only where `metrics_port` is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from reconciler import drift
from reconciler.local import Local
from reconciler.ownership import View
from reconciler.records import State, Status
from reconciler.spec import SpecError
from resources.kind import Role

FRESH = 0.5  # of a lease: renewals are a third of it apart

HOST = {
    "hactl_session_connected": "1 while this agent's session surely stands",
    "hactl_session_age_seconds": "since the sending of the last renewal that etcd confirmed",
    "hactl_session_left_seconds": "until this agent stops believing in its session, unless it is renewed",
    "hactl_safe_left_seconds": "for how long nobody may take over automatic services of this host",
    "hactl_etcd_reachable": "1 while etcd has told this agent all and confirms the session's renewals",
    "hactl_watchdog_seconds": "until this host is reset without its agent; 0: no watchdog guards it",
}
SERVICE = {
    "hactl_service_wanted": "1 where the spec wants the service on this host",
    "hactl_service_look_age_seconds": "since the last look at the service began",
    "hactl_service_could_move": "1 where another host could take over now what this host owns; only its owner tells",
    "hactl_drifts_open": "how much differs from the spec at this moment, and no plan of ours explains it",
    "hactl_half_switched": "1 while some of the service's disks are Primary here and others are not",
}
COUNTED = {  # by kind of event
    "drift": ("hactl_drifts", "drifts that appeared"),
    "repaired": ("hactl_repairs", "drifts that are gone"),
    "step": ("hactl_steps", "steps that succeeded"),
    "failed": ("hactl_step_failures", "steps that failed"),
}
STATE, ROLE, MARKED = "hactl_service_state", "hactl_service_role", "hactl_copies_marked"
PASSES = "hactl_pass_seconds"


class Metrics(Collector):
    """Of one agent."""

    def __init__(self, local: Local) -> None:
        self._local = local

    def text(self) -> bytes:
        """The exposition format, with what Linux knows of this process."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        yield from (_gauge(name, HOST[name], value) for name, value in self._host().items())
        names = self._local.mirror.services()
        yield from self._counted(names)
        yield HistogramMetricFamily(
            PASSES,
            "how long passes over a service took",
            buckets=list(self._local.publisher.counts.passes()),
            sum_value=self._local.publisher.counts.seconds,
        )
        yield from self._services(names)

    def _host(self) -> dict[str, float]:
        session, now = self._local.session, self._local.machine.monotonic()
        age = max(0.0, now - session.renewed)
        fresh = bool(session.revision) and age <= FRESH * session.lease
        return {
            "hactl_session_connected": session.connected,
            "hactl_session_age_seconds": age,
            "hactl_session_left_seconds": session.left,
            "hactl_safe_left_seconds": max(0.0, session.safe_until - now),
            "hactl_etcd_reachable": fresh and self._local.mirror.synced.is_set(),
            "hactl_watchdog_seconds": self._local.guard.seconds,
        }

    def _counted(self, names: Iterable[str]) -> Iterator[Metric]:
        for kind, (metric, what) in COUNTED.items():
            family = CounterMetricFamily(metric, f"{what}, since this agent began", labels=["service"])
            for name in names:
                family.add_metric([name], self._local.publisher.counts.events[name, kind])
            yield family

    def _services(self, names: Iterable[str]) -> Iterator[Metric]:
        state = GaugeMetricFamily(STATE, "1 for the state that this host sees it in", labels=["service", "state"])
        role = GaugeMetricFamily(ROLE, "1 for what this host owes it", labels=["service", "role"])
        marked = GaugeMetricFamily(MARKED, "its disks whose copies there lack writes", labels=["service", "host"])
        single = {metric: GaugeMetricFamily(metric, what, labels=["service"]) for metric, what in SERVICE.items()}
        for name in names:
            status, view = self._local.publisher.said(name), self._view(name)
            for metric, value in self._service(name, view, status).items():
                single[metric].add_metric([name], value)
            _one_of(state, name, get_args(State), status.state if status is not None else "")
            _one_of(role, name, list(Role), status.role if status is not None else "")
            for host in view.manifest.spec.hosts if view else ():
                marked.add_metric([name, host], len(view.marked(host)) if view else 0)
        yield from (state, role, marked, *single.values())

    def _service(self, name: str, view: View | None, status: Status | None) -> Mapping[str, float]:
        host, drifts = self._local.machine.host, status.drifts if status is not None else {}
        found: dict[str, float] = {
            "hactl_drifts_open": len(drifts),
            "hactl_half_switched": drift.DISKS in drifts,
        }
        if (looked := self._local.looked(name)) is not None:
            found["hactl_service_look_age_seconds"] = max(0.0, self._local.machine.monotonic() - looked)
        if view is not None:
            found["hactl_service_wanted"] = host == view.wanted
            if view.owner is not None and view.owner.host == host:
                others = [other for other in view.manifest.spec.hosts if other != host]
                found["hactl_service_could_move"] = any(not view.target_obstacles(other) for other in others)
        return found

    def _view(self, name: str) -> View | None:
        try:
            return self._local.mirror.view(name)
        except SpecError:
            return None


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _one_of(family: GaugeMetricFamily, service: str, words: Iterable[str], now: str) -> None:
    for word in words:
        family.add_metric([service, word], word == now)
