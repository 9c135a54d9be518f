"""A scenario: a directory that tells what a cluster is, what happens to it and when, and the log that is expected.

    cluster.yaml    manifests, as a user writes them
    agents.yaml     where there is one: how a host's agent is run, by host (reconciler.session.Options)
    story           lines of `SECONDS COMMAND WORD…`, from the first moment when every service is Ready; # is a comment
    expected.log    what happened: everything in the world that changed, and what each host said of each service

Rules 1 to 3 hold throughout; at the end every service must be Ready on its primary and stay so, unless the story's last
line is `SECONDS end`. Commands: the functions below, `_` written as `-`. For people to read: see tests/sim/scenarios.
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import yaml

from reconciler.records import Event, Status, parse
from reconciler.session import Options
from reconciler.sim import hands
from reconciler.sim.client import PAUSE
from reconciler.sim.cluster import Broken, Cluster, play
from reconciler.sim.machine import EPOCH
from reconciler.spec import Manifest, validate
from reconciler.store import ROOT, StoreError

STAYS = 60.0  # seconds that all must stay Ready at the end

Command = Callable[..., Awaitable[None] | None]


@dataclass(frozen=True)
class Line:
    """One of the story."""

    at: float
    command: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join([self.command, *self.words])


@dataclass(frozen=True)
class Scenario:
    """What a directory says."""

    name: str
    manifests: tuple[Manifest, ...]
    story: tuple[Line, ...]
    options: Mapping[str, Options] = field(default_factory=dict)
    pause: float = PAUSE  # seconds between a client's writes


def load(directory: Path) -> Scenario:
    """Raises ValueError for a line that is none, SpecError for a manifest that is none."""
    documents = yaml.safe_load_all((directory / "cluster.yaml").read_text())
    manifests = tuple(validate(document) for document in documents if document)
    story = read((directory / "story").read_text())
    agents = directory / "agents.yaml"
    said = yaml.safe_load(agents.read_text()) if agents.exists() else {}
    return Scenario(directory.name, manifests, story, {host: Options(**fields) for host, fields in said.items()})


def read(story: str) -> tuple[Line, ...]:
    """The lines of a story. Raises ValueError."""
    return tuple(_line(text) for text in story.splitlines() if text.split("#")[0].strip())


def fault(text: str) -> Line:
    """`10s power hosta off`. Raises ValueError."""
    return _line(re.sub(r"^\s*([\d.]+)s\b", r"\1", text))


def _line(text: str) -> Line:
    at, command, *words = shlex.split(text, comments=True)
    if not hasattr(hands, _function(command)):
        known = ", ".join(sorted(name.replace("_", "-") for name, _ in inspect.getmembers(hands, inspect.isfunction)))
        raise ValueError(f"{text!r}: there is no {command}; there are: {known}")
    return Line(float(at), command, tuple(words))


def _function(command: str) -> str:
    return command.replace("-", "_")


def tell(scenario: Scenario, seed: int) -> list[str]:
    """Run it; the log. Raises Broken with the line of the story at which it broke."""

    async def story(cluster: Cluster) -> list[str]:
        await cluster.until_ready()
        began = cluster.now
        for line in scenario.story:
            try:
                await cluster.run(max(0.0, began + line.at - cluster.now))
                if line.command == "end":
                    return log_of(cluster, began)
                await do(cluster, line)
            except Broken as e:
                raise Broken(f"{scenario.name}, seed {seed}, at {line.at:g} {line}: {e}") from e
        await cluster.until_ready()
        log = log_of(cluster, began)
        await cluster.run(STAYS)
        await cluster.until_ready(within=1)
        return log

    return play(story, scenario.manifests, seed, options=scenario.options, pause=scenario.pause)


async def do(cluster: Cluster, line: Line) -> None:
    """What the line says, now. Raises Broken."""
    cluster.world.happened("*", str(line))
    command: Command = getattr(hands, _function(line.command))
    try:
        done = command(cluster, *line.words)
        if done is not None:
            await done
    except (hands.NotThere, StoreError) as e:
        cluster.world.happened("*", f"{line}: {e}")


# -- the log -----------------------------------------------------------------------------------------------------------


def log_of(cluster: Cluster, since: float) -> list[str]:
    """`SECONDS HOST WHAT`, by time; `*` are the lines of the story."""
    found = [*cluster.world.log, *_said(cluster), *_decided(cluster)]
    lines = sorted((at, number, host, text) for number, (at, host, text) in enumerate(found) if at >= since)
    return [f"{at - since:7.1f} {host:6} {text}" for at, _, host, text in lines]


def _said(cluster: Cluster) -> Iterable[tuple[float, str, str]]:
    """What hosts said of services, whenever it was something else."""
    before: dict[str, tuple[str, str]] = {}
    for change in cluster.etcd.keys.since(f"{ROOT}status/", 0):
        status = parse(Status, change.entry.value) if change.entry else None
        if status is None or before.get(change.key) == (status.state, status.reason):
            continue
        before[change.key] = (status.state, status.reason)
        service, host = change.key.split("/")[-2:]
        reason = f": {status.reason}" if status.reason else ""
        yield cluster.etcd.keys.when(change.revision), host, f"says {service} is {status.state}{reason}"


def _decided(cluster: Cluster) -> Iterable[tuple[float, str, str]]:
    for change in cluster.etcd.keys.since(f"{ROOT}events/", 0):
        event = parse(Event, change.entry.value) if change.entry else None
        if event is not None and event.kind == "decision":
            service = change.key.split("/")[-2]
            reason = f": {event.reason}" if event.reason else ""
            at = (datetime.fromisoformat(event.at) - EPOCH).total_seconds()
            yield (
                at - cluster.world.hosts[event.host].clock_error,
                event.host,
                f"decides {service} {event.text}{reason}",
            )


def comparable(log: Iterable[str]) -> dict[str, list[str]]:
    """A log without what may change with every edit of the code: times, the order between hosts, and the order of what
    goes side by side."""
    hosts: dict[str, list[list[str]]] = {}
    for line in log:
        _, host, text = line.split(None, 2)
        text = re.sub(r"\d+(\.\d+)? (s|%)", r"\2", text)
        runs = hosts.setdefault(host, [])
        if runs and runs[-1][0].split()[-1] == text.split()[-1]:
            runs[-1].append(text)
        else:
            runs.append([text])
    return {host: [text for run in runs for text in sorted(run)] for host, runs in hosts.items()}
