"""hactl's entry: the list of commands, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from reconciler.cli import (
    agent,
    apply,
    dead,
    delete,
    doctor,
    drain,
    drift,
    get,
    history,
    pause,
    plan,
    set_,
    simulate,
    status,
    topics,
    watch,
)
from reconciler.cli.errors import Code, Refused
from reconciler.spec import SpecError
from reconciler.store import Denied, StoreError, StoreUnreachable
from resources.machine import MachineError

app = typer.Typer(
    name="hactl",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("status")(status.command)
app.command("plan")(plan.command)
app.command("set")(set_.command)
app.command("audit")(history.audit_command)
app.command("events")(history.events_command)
app.command("drift")(drift.command)
app.command("watch")(watch.command)
app.command("apply")(apply.command)
app.command("get")(get.command)
app.command("delete")(delete.command)
app.command("confirm-dead")(dead.command)
app.command("pause")(pause.pause_command)
app.command("resume")(pause.resume_command)
app.command("drain")(drain.drain_command)
app.command("undrain")(drain.undrain_command)
app.command("doctor")(doctor.command)
app.command("simulate")(simulate.command)
app.command("help")(topics.command)
app.command("agent")(agent.command)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"hactl {version('hactl')}")
        except PackageNotFoundError:  # run from a tree, not installed
            from reconciler.session import Options

            print(f"hactl {Options().version}")
        raise typer.Exit


@app.command("fence-peer", hidden=True)
def fence_peer() -> None:
    """DRBD's fence-peer handler; DRBD calls it."""
    from reconciler.cli.fence_peer import main

    raise typer.Exit(main())


@app.callback()
def hactl(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="and exit")] = False,
) -> None:
    """Services that move, heal and explain themselves on two hosts.

    \b
    hactl status                              what runs where, could it move now, and if not why
    hactl plan nfs primary=hostb              the steps of each host, nothing done
    hactl set nfs primary=hostb --wait        move it, and watch
    hactl simulate nfs.yaml                   what would happen if its host died now
    hactl apply -f nfs.yaml --reason "why"    make etcd say what a file says
    hactl audit nfs                           who changed what, when, from where, why
    hactl events nfs                          what the hosts did about it, step by step
    hactl drift                               what differs from what is wanted, and what was put right within a day
    hactl watch                               all of it, as it happens
    hactl pause nfs --reason "new disks"      hands off, until hactl resume nfs
    hactl drain hosta                         all services leave it: it may be rebooted
    hactl doctor                              what would fail some night; as root on a host, of that host too

    Each command's --help has more. Exit codes: 0 done, 2 wrong input, 3 not safe or not ready now, 4 etcd does not
    answer, 5 waited in vain, 6 no permission, 7 this host lacks something, 1 a bug.
    """


def main() -> None:
    """hactl ARGV…"""
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """The exit code. Whatever happens, it is said in a sentence; HACTL_DEBUG=1 adds the traceback."""
    try:
        command = typer.main.get_command(app)  # called directly: typer's own main exits with codes of its own
        with command.make_context("hactl", list(argv) or ["--help"]) as context:
            command.invoke(context)
        sys.stdout.flush()
        return Code.DONE
    except typer.Exit as e:
        return e.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more at its end
        return Code.NO_READER
    except (Exception, KeyboardInterrupt, ExceptionGroup) as e:  # noqa: BLE001 - the one place that may
        if os.environ.get("HACTL_DEBUG"):
            traceback.print_exc()
        code, text = explain(e)
        if text:
            print(text, file=sys.stderr)
        return code


def explain(e: BaseException) -> tuple[int, str]:
    """An error -> the exit code and the sentence."""
    while isinstance(e, BaseExceptionGroup):
        e = e.exceptions[0]
    match e:
        case Refused():
            return e.code, str(e)
        case KeyboardInterrupt() | typer.Abort():
            return Code.INTERRUPTED, "interrupted; what the agents do goes on (hactl status)"
        case StoreUnreachable():
            return Code.NO_ETCD, f"{e}; is it running? (systemctl status etcd; endpoints are in /etc/hactl/hactl.toml)"
        case Denied():
            return Code.NO_PERMISSION, str(e)
        case StoreError():
            return Code.NO_ETCD, str(e)
        case _:
            return _explain_more(e)


def _explain_more(e: BaseException) -> tuple[int, str]:
    match e:
        case TyperException():
            return Code.WRONG, f"{e.format_message().rstrip('.')}. Try: hactl --help"
        case SpecError():
            return Code.WRONG, str(e)
        case MachineError() | ImportError():
            return Code.LACKING, str(e)
        case PermissionError():
            return Code.NO_PERMISSION, f"{e.filename or 'it'} may not be touched by this user: {e.strerror}"
        case OSError():
            return Code.WRONG, f"{e.filename}: {e.strerror}" if e.filename else str(e)
    return Code.INTERNAL, f"this is a bug in hactl: {type(e).__name__}: {e} (HACTL_DEBUG=1 shows where)"
