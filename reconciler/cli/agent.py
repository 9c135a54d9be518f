"""hactl agent: the service on each host. Wires the real store and the real machine to the loop, and ends in order."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from loguru import logger

from reconciler.cli import config as configuration
from reconciler.cli import local, metrics
from reconciler.cli.config import Config
from reconciler.cli.desk import connect
from reconciler.cli.errors import Code, Refused

if TYPE_CHECKING:
    from loguru import Message

    from reconciler.loop import Agent, Options

LOCK = Path("/run/hactl/agent.lock")
PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "SUCCESS": 5, "INFO": 6, "DEBUG": 7, "TRACE": 7}


def command(
    log_json: Annotated[bool, typer.Option("--log-json", help="one JSON object a line, on a terminal too")] = False,
) -> None:
    """Keep this host as etcd says. Run by systemd, as root.

    Ending it leaves the services running; only where its host is being shut down, what is automatic moves away first.
    Its options are in /etc/hactl/hactl.toml: host, endpoints, lease, resync, watchdog, watchdog_seconds, failsafe_port,
    key_file, shutdown, metrics_port (README.md, "On your hosts").

    \b
    systemctl status hactl-agent
    journalctl -fu hactl-agent
    sudo hactl agent                  (in the foreground, after systemctl stop hactl-agent)
    """
    log(log_json)
    config = check()
    with alone():
        asyncio.run(serve(config))


def check() -> Config:
    """All that can be seen to be missing before anything is touched. Raises Refused."""
    if os.geteuid() != 0:
        raise Refused(Code.NO_PERMISSION, "the agent must run as root: it mounts, promotes disks and adds addresses")
    config = configuration.load()
    if config.host is None:
        where = os.environ.get("HACTL_CONFIG") or configuration.DEFAULT
        raise Refused(Code.LACKING, f'{where} does not say which host this is: host = "hosta", as the specs call it')
    try:
        from reconciler.linux import missing
    except ImportError as e:
        raise Refused(Code.LACKING, f"the Python module {e.name} is missing on this host: pip install hactl") from e
    if lacks := missing():
        raise Refused(Code.LACKING, "\n".join(lacks))
    return config


@contextmanager
def alone(lock: Path = LOCK) -> Iterator[None]:
    """Two agents on one host would undo each other's steps. Raises Refused."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(Code.UNSAFE, "another agent runs on this host: systemctl stop hactl-agent first") from None
        yield


async def serve(config: Config) -> None:
    """Until SIGTERM or SIGINT. Raises MachineError where this host lacks something; etcd away is no reason to."""
    from reconciler.linux import Linux
    from reconciler.loop import Agent

    assert config.host is not None
    store = connect(config)
    machine = Linux(config.host)
    try:
        await machine.open()
        await keep(Agent(store, machine, options(config)), config.metrics_port)
    finally:
        await machine.close()
        await store.close()


def options(config: Config) -> Options:
    """As the configuration says."""
    from reconciler.loop import Options

    return Options(
        lease=config.lease,
        resync=config.resync,
        watchdog=config.watchdog or "",
        watchdog_seconds=config.watchdog_seconds,
        failsafe_port=config.failsafe_port,
        key_file=config.key_file,
        shutdown=config.shutdown,
    )


async def keep(agent: Agent, metrics_port: int | None = None) -> None:
    """Runs it until a signal, then lets it end in order. A bug of ours is logged with its traceback, and raised."""
    try:
        async with local.listening(agent.local.report), metrics.serving(metrics_port, lambda: measured(agent)):
            await until_told(agent.run(), agent.leave)
    except BaseExceptionGroup as e:
        logger.opt(exception=e).critical("the agent has broken down; systemd starts it again")
        raise
    await agent.stop()
    logger.info("the agent has ended; what it keeps goes on running")


def measured(agent: Agent) -> bytes:
    """Its metrics. Loaded where they are asked for, and only there."""
    from reconciler.metrics import Metrics

    return Metrics(agent.local).text()


async def _nothing() -> None:
    return


async def until_told(run: Coroutine[Any, Any, None], leave: Callable[[], Coroutine[Any, Any, None]] = _nothing) -> None:
    """Runs it until a signal, and then until `leave` has ended too; raises what it raises. A second signal changes
    nothing: ending is bounded in time."""
    task = asyncio.create_task(run)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, told.set)
    waiter = asyncio.create_task(told.wait())
    await asyncio.wait([task, waiter], return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if told.is_set():
        leaving = asyncio.create_task(leave())
        await asyncio.wait([task, leaving], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
    if task.done():
        await task
        return
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# -- logging -----------------------------------------------------------------------------------------------------------


def log(as_json: bool) -> None:
    """For people on a terminal; JSON lines where asked; else plain lines with a priority, as the journal takes them."""
    logger.remove()
    if as_json:
        logger.add(_json_sink, level="INFO", catch=True)
    elif sys.stderr.isatty():
        logger.add(sys.stderr, level="INFO", format="<dim>{time:HH:mm:ss.SSS}</dim> <level>{message}</level>")
    else:
        logger.add(_journal_sink, level="INFO", catch=True)


def _json_sink(message: Message) -> None:
    record = message.record
    line = {
        "at": record["time"].astimezone(tz=None).isoformat(timespec="milliseconds"),
        "level": record["level"].name.lower(),
        "message": record["message"],
        **{key: str(value) for key, value in record["extra"].items()},
    }
    if record["exception"] is not None:
        line["exception"] = str(message).partition("\n")[2].rstrip()
    print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)


def _journal_sink(message: Message) -> None:
    """sd-daemon(3): <priority>text"""
    record = message.record
    text = record["message"].replace("\n", " ")
    if record["exception"] is not None:
        text = str(message).rstrip()
    for line in text.splitlines() or [""]:
        print(f"<{PRIORITIES.get(record['level'].name, 6)}>{line}", file=sys.stderr, flush=True)
