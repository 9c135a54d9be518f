"""Specs: what the user wants. Text -> validated models, with errors that name the field and the fix.

First in the flow: spec → observe → plan → act → status. Pure. A service's own fields come from the kinds
(`resources.registry`); JSON Schemas of all of it are in crds-like-specs/.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, create_model, model_validator

from reconciler import modes
from resources.kind import Model, Service
from resources.registry import KINDS
from resources.words import Ip, Name, Seconds, once

API_VERSION = "hactl/v1"


class SpecError(Exception):
    """A spec that is none. `problems`: (path of the field, sentence with the fix), in the order of the text."""

    def __init__(self, problems: list[tuple[tuple[str | int, ...], str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{dotted(path)}: {sentence}" if path else sentence for path, sentence in problems))


def dotted(path: Iterable[str | int]) -> str:
    """spec.disks[0].mount"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


class Restarts(Model):
    """Of a service whose checks fail though all of it runs: `times` within that many seconds, then it is moved once
    where `failover` is automatic, then left Stalled."""

    times: Annotated[int, Field(ge=0, le=100)] = 3
    within: Seconds = 600


class Repairs(Model):
    """Of a part that drifts, is put right and drifts again: `times` within that many seconds at once, then it is fought
    over. Bringing it back waits, for longer each time (5 minutes at most), until it has stayed right for `within`."""

    times: Annotated[int, Field(ge=1, le=100)] = 5
    within: Seconds = 300


class After(Model):
    """Another service that is to be Ready on some host before this one is brought up; `within` so many seconds, then
    it is brought up all the same."""

    service: Name
    within: Annotated[float, Field(gt=0, le=600)] = 60


def _listed(value: Any) -> Any:
    """One may stand for a list of one."""
    return [value] if isinstance(value, dict) else value


class ServiceFields(Service):
    """What every service has, whatever it is made of."""

    hosts: Annotated[tuple[Name, ...], Field(min_length=1, description="where it may run, preferred first")]
    primary: Annotated[Name | None, Field(description="the host that should be active; by default the first")] = None
    mode: Annotated[
        Literal["exclusive", "everywhere", "follows"],
        Field(
            description="exclusive: on one host at a time; everywhere: on all of hosts at once, with no owner; "
            "follows: on the one where its engine leads"
        ),
    ] = "exclusive"
    failover: Annotated[Literal["manual", "automatic"], Field(description="who decides after a host's death")] = (
        "manual"
    )
    restarts: Annotated[Restarts, Field(description="what to do when its checks fail")] = Restarts()
    repairs: Annotated[Repairs, Field(description="of each part, until something else is seen to manage it")] = (
        Repairs()
    )
    after: Annotated[
        tuple[After, ...],
        BeforeValidator(_listed, json_schema_input_type=After | tuple[After, ...]),
        AfterValidator(once(lambda one: one.service)),
        Field(description="services to be Ready before this one is brought up, for a time; never for safety"),
    ] = ()
    deadline: Annotated[Seconds, Field(description="seconds a move may take before it reverts")] = 120

    @model_validator(mode="after")
    def _agrees(self) -> ServiceFields:
        if len(set(self.hosts)) < len(self.hosts):
            raise ValueError("hosts names a host twice")
        if self.primary is not None and self.primary not in self.hosts:
            raise ValueError(f"primary is {self.primary}, which is not one of hosts: {', '.join(self.hosts)}")
        modes.check(self)
        return self

    @property
    def automatic(self) -> bool:
        """Is it taken over without a human?"""
        return self.failover == "automatic" or self.mode == modes.FOLLOWS

    @property
    def wanted(self) -> str:
        """The host that should be active; of a service that is everywhere, the first of them."""
        return self.primary or self.hosts[0]


def _kind_fields() -> dict[str, Any]:
    return {name: field for kind in KINDS for name, field in kind.fields.items()}


if TYPE_CHECKING:
    ServiceSpec = ServiceFields
else:
    ServiceSpec = create_model("ServiceSpec", __base__=ServiceFields, **_kind_fields())


class Fencing(Model):
    """A fence agent of ClusterLabs' fence-agents. `secret` is the name of a root-only file on the hosts."""

    agent: Annotated[str, Field(pattern=r"^fence_[a-z0-9_]+$")]
    options: dict[str, str] = Field(default_factory=dict)
    secret: Name | None = None


class Order(Model):
    """A human's, that holds until another takes it back: when, who, why."""

    at: str
    by: str
    why: str = ""

    def __str__(self) -> str:
        """by eva since 2026-11-24T07:02:11Z (new disks)"""
        return f"by {self.by} since {self.at[:19].removesuffix('Z')}Z{f' ({self.why})' if self.why else ''}"


class Drain(Order):
    """`hactl drain` was said: this host is no target of moves and takeovers until `hactl undrain`."""


class HostSpec(Model):
    """A machine that runs an agent. `drain` is written by hactl, never by hand."""

    addresses: tuple[Ip, ...] = ()
    fencing: Fencing | None = None
    drain: Drain | None = None


class Deletion(Model):
    """`hactl delete` was said: the agents put it down, then the owner forgets it."""

    at: str
    by: str


class Pause(Order):
    """`hactl pause` was said: hands off until `hactl resume`."""


class Metadata(Model):
    """`deleted` and `paused` are written by hactl, never by hand."""

    name: Name
    deleted: Deletion | None = None
    paused: Pause | None = None


class ServiceManifest(Model):
    """A service as a user writes it and as it stands in etcd."""

    apiVersion: Literal["hactl/v1"]
    kind: Literal["Service"]
    metadata: Metadata
    spec: ServiceSpec


class HostManifest(Model):
    """A host as a user writes it and as it stands in etcd."""

    apiVersion: Literal["hactl/v1"]
    kind: Literal["Host"]
    metadata: Metadata
    spec: HostSpec = HostSpec()


Manifest = ServiceManifest | HostManifest
MANIFESTS: Mapping[str, type[ServiceManifest] | type[HostManifest]] = {"Service": ServiceManifest, "Host": HostManifest}


def validate(document: Any) -> Manifest:
    """A parsed document -> a manifest. Raises SpecError."""
    if not isinstance(document, dict):
        raise SpecError([((), "a manifest is a mapping with apiVersion, kind, metadata and spec")])
    model = MANIFESTS.get(str(document.get("kind")))
    if model is None:
        known = ", ".join(MANIFESTS)
        raise SpecError([(("kind",), f"is {document.get('kind')!r}; there are: {known}")])
    try:
        return model.model_validate(document)
    except ValidationError as e:
        raise SpecError([(_path(problem), _sentence(problem, model)) for problem in e.errors()]) from e


def parse(text: str) -> Manifest:
    """What stands in etcd (JSON) -> a manifest. Raises SpecError, whatever the text is."""
    try:
        return validate(json.loads(text))
    except (ValueError, RecursionError) as e:
        raise SpecError([((), f"is not JSON: {e}")]) from e


@lru_cache(maxsize=1024)
def parse_service(text: str) -> ServiceManifest:
    """Like `parse`, for a key under /hactl/services/. Every pass reads it; it is frozen, so once is enough."""
    manifest = parse(text)
    if not isinstance(manifest, ServiceManifest):
        raise SpecError([(("kind",), "is Host, where a Service belongs")])
    return manifest


def to_json(document: Mapping[str, Any]) -> str:
    """A manifest as it stands in etcd: one line, readable as it is."""
    return json.dumps(document, ensure_ascii=False)


def _path(problem: Any) -> tuple[str | int, ...]:
    return tuple(part for part in problem["loc"] if part not in ("__root__",))


def _sentence(problem: Any, model: type[Model]) -> str:
    """pydantic's finding in the operator's words."""
    match problem["type"]:
        case "extra_forbidden":
            known = fields_at(model, problem["loc"][:-1])
            return f"there is no such field{nearest(str(problem['loc'][-1]), known)}"
        case "missing":
            return "is missing"
        case "value_error":
            return str(problem["ctx"]["error"])
        case "literal_error":
            return f"is {problem['input']!r}; it can be {problem['ctx']['expected'].replace(chr(39), '')}"
        case _:
            shown = problem["input"] if isinstance(problem["input"], str | int | float | bool) else None
            said = problem["msg"].removeprefix("Input ").rstrip(".")
            return f"{said}, not {shown!r}" if shown is not None else said


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean deadline?`, or the list of what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(known)}" if known else ""


def fields_at(model: Any, path: Iterable[str | int]) -> list[str]:
    """The names of the fields that a model knows at a path, following lists and optional models."""
    for part in path:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(part)
        model = _inner_model(field.annotation) if field else None
    return list(getattr(model, "model_fields", {}))


def _inner_model(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _inner_model(argument):
            return found
    return None
