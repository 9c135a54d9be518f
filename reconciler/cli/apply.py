"""hactl apply: what the files say becomes what etcd says, three-way, one transaction a manifest."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from reconciler import modes
from reconciler.cli import manifests, relations
from reconciler.cli.desk import Desk, at_desk, until_committed
from reconciler.cli.errors import Code, Refused, refuse
from reconciler.cli.manifests import Loaded, Problem
from reconciler.cli.merge import differences, merge, plain
from reconciler.cli.options import Reason
from reconciler.cli.scene import Scene, look
from reconciler.spec import Manifest, ServiceManifest, SpecError, parse, to_json, validate
from reconciler.store import Entry, StoreError, Txn, applied_key, host_key, service_key

NOTHING = "Nothing was changed."
RETRY = 5000  # ms between attempts while etcd is away


@dataclass(frozen=True)
class Options:
    """Of one call."""

    dry_run: bool = False
    reason: str = ""


def command(
    file: Annotated[list[Path], typer.Option("--file", "-f", help="a file, a directory of *.yaml, or - for stdin")],
    check: Annotated[bool, typer.Option("--check", help="validate only; asks no etcd")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="go on applying as the files change")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would change, change nothing")] = False,
    reason: Reason = "",
) -> None:
    """Make etcd say what manifests say.

    What a file does not change since it was last applied stays as it stands in etcd: after
    `hactl set nfs primary=hostb` an edit of another field does not move nfs back. A broken file changes nothing.

    \b
    hactl apply -f nfs.yaml --reason "two more disks"
    hactl apply -f /etc/hactl/site --watch
    hactl apply -f nfs.yaml --check
    """
    options = Options(dry_run, reason)
    if watch:
        at_desk(lambda desk: _watch(desk, file, options))
        return
    loaded = load_all(file)
    if check:
        for one in loaded:
            print(f"{one} is valid ({one.file}:{one.line})")
        return
    at_desk(lambda desk: apply_all(desk, loaded, options))


def load_all(paths: Sequence[Path]) -> list[Loaded]:
    """Raises Refused with every problem of every file, a line each."""
    loaded, problems = manifests.load(paths)
    if problems:
        raise Refused(Code.WRONG, "\n".join([*map(str, problems), NOTHING]))
    return loaded


async def apply_all(desk: Desk, loaded: Sequence[Loaded], options: Options, *, quiet: bool = False) -> None:
    """One after the other, a line each (quiet: only where something changed). Raises Refused, StoreError."""
    scene = await look(desk.store)
    _refuse_before(scene, loaded)
    for one in loaded:
        _warn(scene, one, loaded)
        said = await until_committed(lambda one=one: _apply(desk, one, options), str(one))  # type: ignore[misc]
        if not (quiet and said == "unchanged"):
            print(f"{one} {said}{' (dry run: nothing was changed)' if options.dry_run else ''}", flush=True)


def _refuse_before(scene: Scene, loaded: Sequence[Loaded]) -> None:
    """All that can be seen to be wrong is, before the first of several is changed."""
    problems = []
    services = scene.service_manifests()
    for one in loaded:
        try:
            merged = _valid(_merged(one, *(scene.entry(key) for key in _keys(one))))
        except SpecError as e:
            problems.append(Problem(one.file, one.line, f"{one}, with what stands in etcd: {e}"))
            continue
        if isinstance(merged, ServiceManifest):
            services[merged.metadata.name] = merged
    problems += _apart(services, loaded)
    if problems:
        raise Refused(Code.WRONG, "\n".join([*map(str, problems), NOTHING]))


def _apart(services: Mapping[str, ServiceManifest], loaded: Sequence[Loaded]) -> list[Problem]:
    """What the services that are named say of each other, and does not go together."""
    files = {one.key[1]: one for one in loaded if one.key[0] == "service"}
    said = {}
    for name, why in relations.problems(services, files):
        at = files.get(name) or next(iter(files.values()))
        said[f"{name}: {why}"] = Problem(at.file, at.line, f"service/{name}: {why}")
    return list(said.values())


def _warn(scene: Scene, one: Loaded, loaded: Sequence[Loaded]) -> None:
    if not isinstance(one.manifest, ServiceManifest):
        return
    known = {*scene.services(), *(other.manifest.metadata.name for other in loaded if other.manifest.kind == "Service")}
    for after in one.manifest.spec.after:
        if after.service not in known:
            print(f"warning: {one} waits for service {after.service}, and there is none of that name", file=sys.stderr)
    here = {other.manifest.metadata.name for other in loaded if other.manifest.kind == "Host"}
    for host in one.manifest.spec.hosts:
        if host not in here and not scene.has_host(host):
            print(f"warning: {one} names host {host}, of which there is no manifest (kind: Host)", file=sys.stderr)


def _keys(one: Loaded) -> tuple[str, str]:
    kind, name = one.key
    return (service_key if kind == "service" else host_key)(name), applied_key(kind, name)


async def _apply(desk: Desk, one: Loaded, options: Options) -> str | None:
    """What was done, in words; None when somebody else was faster."""
    key, applied = _keys(one)
    entry, before = await desk.store.get(key), await desk.store.get(applied)
    stands, merged = _stands(entry), _merged(one, entry, before)
    if stands is not None and merged["metadata"].get("deleted"):
        raise Refused(Code.UNSAFE, f"{one} is being deleted; apply it again when it is gone (hactl status)")
    if why := _unsafe(one, stands, merged):
        raise refuse(Code.UNSAFE, why)
    words = _words(stands, merged)
    said = to_json(plain(one.manifest))
    if options.dry_run or (words == "unchanged" and before is not None and before.value == said):
        return words
    puts = {applied: (said, 0)} | ({key: (to_json(merged), 0)} if words != "unchanged" else {})
    unchanged = {key: entry.revision if entry else 0, applied: before.revision if before else 0}
    did = f"apply {one.file}" + (": the file now says what stood already" if words == "unchanged" else "")
    audit = desk.audit(str(one), did, before=_spec(stands), after=merged.get("spec"), why=options.reason)
    return None if await desk.commit(Txn(unchanged, puts), audit) is None else words


def _unsafe(one: Loaded, stands: Mapping[str, Any] | None, merged: Mapping[str, Any]) -> str:
    """Why it may not become so while the service is there, or ""."""
    before, after = (str((_spec(each) or {}).get("mode", "")) for each in (stands, merged))
    return modes.refusal(one.key[1], before, after) if one.key[0] == "service" else ""


def _stands(entry: Entry | None) -> dict[str, Any] | None:
    """The manifest in etcd; what is not one counts for nothing, and is replaced."""
    with suppress(SpecError):
        return plain(parse(entry.value)) if entry else None
    return None


def _merged(one: Loaded, entry: Entry | None, before: Entry | None) -> dict[str, Any]:
    """Raises SpecError when file and etcd do not go together."""
    base = json.loads(before.value) if before else None
    return plain(_valid(merge(base, plain(one.manifest), _stands(entry))))


def _valid(document: Mapping[str, Any]) -> Manifest:
    return validate(dict(document))


def _words(stands: Mapping[str, Any] | None, merged: Mapping[str, Any]) -> str:
    if stands is None:
        return "created"
    changes = differences(_spec(stands), merged.get("spec"))
    paused = "; it is paused, so this is done when it is resumed" if merged["metadata"].get("paused") else ""
    return f"changed: {', '.join(changes)}{paused}" if changes else "unchanged"


def _spec(document: Mapping[str, Any] | None) -> Any:
    return document.get("spec") if document is not None else None


# -- --watch -----------------------------------------------------------------------------------------------------------


async def _watch(desk: Desk, paths: Sequence[Path], options: Options) -> None:
    """For ever. A broken file is named and changes nothing; the others are applied. etcd away: again after a while."""
    from watchfiles import Change, awatch

    said: set[str] = set()
    done = await _apply_good(desk, paths, options, said, quiet=False)

    def only(_: object, path: str) -> bool:
        return manifests.is_manifest(Path(path))

    async for changes in awatch(*paths, watch_filter=only, rust_timeout=RETRY, yield_on_timeout=True):
        _say_gone(path for change, path in sorted(changes) if change is Change.deleted)
        if changes or not done:
            done = await _apply_good(desk, paths, options, said, quiet=True)


def _say_gone(deleted: Iterable[str]) -> None:
    for path in deleted:
        if not Path(path).exists():  # an editor that writes anew deletes first
            print(f"{path} is gone; what it named stays as it is (hactl delete)", flush=True)


async def _apply_good(desk: Desk, paths: Sequence[Path], options: Options, said: set[str], *, quiet: bool) -> bool:
    """Was it done? False: etcd did not answer, so it must be tried again. `said`: problems that were said already."""
    try:
        loaded, problems = manifests.load(paths)
        broken = {problem.file for problem in problems}
        for problem in problems:
            if str(problem) not in said:
                print(problem, file=sys.stderr, flush=True)
        said.clear()
        said.update(map(str, problems))
        await apply_all(desk, [one for one in loaded if one.file not in broken], options, quiet=quiet)
    except Refused as e:
        print(e, file=sys.stderr, flush=True)
    except StoreError as e:
        print(f"{e}; trying again", file=sys.stderr, flush=True)
        return False
    return True
