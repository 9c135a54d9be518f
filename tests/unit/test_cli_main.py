"""Whatever goes wrong is one sentence and a documented exit code, never a traceback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli import agent, config, desk, screen
from reconciler.cli.agent import alone, until_told
from reconciler.cli.errors import Code, Refused
from reconciler.cli.main import app, explain, run
from reconciler.session import Options
from reconciler.spec import SpecError
from reconciler.store import Denied, StoreUnreachable
from resources.machine import Unavailable

ROOT = Path(__file__).resolve().parents[2]
NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Refused(Code.UNSAFE, "no"), Code.UNSAFE, "no"),
        (SpecError([(("spec", "x"), "is missing")]), Code.WRONG, "spec.x: is missing"),
        (StoreUnreachable("etcd did not answer"), Code.NO_ETCD, "etcd did not answer"),
        (Denied("etcd refuses user eva"), Code.NO_PERMISSION, "etcd refuses user eva"),
        (Unavailable("libvirtd does not answer"), Code.LACKING, "libvirtd does not answer"),
        (PermissionError(13, "Permission denied", "/x"), Code.NO_PERMISSION, "/x"),
        (FileNotFoundError(2, "No such file or directory", "/x"), Code.WRONG, "/x"),
        (KeyboardInterrupt(), Code.INTERRUPTED, "interrupted"),
        (ZeroDivisionError("division by zero"), Code.INTERNAL, "this is a bug in hactl: ZeroDivisionError"),
        (ExceptionGroup("several", [StoreUnreachable("gone")]), Code.NO_ETCD, "gone"),
    ],
)
def test_every_error_has_its_code(error: BaseException, code: Code, said: str) -> None:
    found, text = explain(error)
    assert found == code
    assert text.startswith(said)
    assert "\n" not in text


def test_every_code_is_documented() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text()
    for code in Code:
        assert f"\n| {code.value} | " in text


def test_every_command_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in app.registered_commands:
        if command.hidden or command.name is None:
            continue
        assert run([command.name, "--help"]) == 0
        out = capsys.readouterr().out
        assert f"hactl {command.name}" in out.partition("\n")[2], f"{command.name} shows no example"
        assert "```" not in out


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        ([], 0, ""),
        (["--help"], 0, ""),
        (["--version"], 0, ""),
        (["stauts"], 2, "status"),
        (["set", "nfs"], 2, "KEY=VALUE"),
        (["set", "nfs", "primary=hostb", "--timeout", "soon"], 2, "--timeout"),
        (["apply", "-f", "/nowhere.yaml"], 2, "/nowhere.yaml: there is no such file"),
        (["apply", "-f", "examples", "--check"], 0, ""),
        (["delete", "pod/x", "--yes"], 2, "there is no kind pod"),
    ],
)
def test_the_command_line(
    argv: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HACTL_ENDPOINTS", NOBODY_LISTENS)
    assert run(argv) == code
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) <= 2


def hactl(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """As a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "reconciler.cli", *argv],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_etcd_that_is_down_is_named() -> None:
    done = hactl("status", HACTL_ENDPOINTS=NOBODY_LISTENS)
    assert (done.returncode, done.stdout) == (Code.NO_ETCD, "")
    assert "127.0.0.1:9" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_has_gone_is_no_error() -> None:
    script = "import sys; from reconciler.cli.main import run; sys.exit(run(['apply', '-f', 'examples', '--check']))"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as one:
        assert one.stdout is not None
        assert one.stderr is not None
        one.stdout.close()
        assert one.stderr.read() == b""
        assert one.wait(30) == Code.NO_READER


def test_starting_is_fast_since_little_is_loaded() -> None:
    script = (
        "import sys, reconciler.cli.main;"
        "print([m for m in ('grpc', 'libvirt', 'pyroute2', 'watchfiles', 'rich.console') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- configuration -----------------------------------------------------------------------------------------------------


def loaded(tmp_path: Path, text: str, **environ: str) -> config.Config:
    (tmp_path / "hactl.toml").write_text(text)
    return config.load({"HACTL_CONFIG": str(tmp_path / "hactl.toml"), **environ})


def test_a_configuration(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, 'host = "hosta"\nendpoints = ["http://192.0.2.1:2379"]\nlease = 9\n[tls]\nca = "/etc/ca"\n'
    )
    assert (found.host, found.endpoints, found.lease, found.resync) == ("hosta", ("http://192.0.2.1:2379",), 9, 30)
    assert agent.options(found) == Options(lease=9)
    guarded = loaded(tmp_path, 'endpoints = ["http://a:1"]\nwatchdog = "/dev/watchdog1"\nwatchdog_seconds = 10\n')
    assert agent.options(guarded) == Options(watchdog="/dev/watchdog1", watchdog_seconds=10)
    assert found.metrics_port is None
    assert loaded(tmp_path, 'endpoints = ["http://a:1"]\nmetrics_port = 9717\n').metrics_port == 9717
    assert found.tls is not None
    assert found.tls.ca == "/etc/ca"
    instead = loaded(tmp_path, 'endpoints = ["http://192.0.2.1:2379"]', HACTL_ENDPOINTS="http://a:1, http://b:2")
    assert instead.endpoints == ("http://a:1", "http://b:2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("host = ", "is not TOML"),
        ('hots = "hosta"', "hots: there is no such field; did you mean host?"),
        ("[tls]\nkeys = 'x'", "tls.keys: there is no such field; did you mean key?"),
        ("lease = 1", "lease: should be greater than or equal to 3"),
        ('host = "a/b"', "host: 'a/b' is not a name"),
        ("", "names no endpoints"),
    ],
)
def test_a_configuration_that_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Refused) as caught:
        loaded(tmp_path, text)
    assert caught.value.code is Code.LACKING
    assert said in str(caught.value)
    assert "hactl.toml" in str(caught.value)


def test_a_configuration_that_is_not_there() -> None:
    with pytest.raises(Refused, match=r"there is no /nowhere\.toml") as caught:
        config.load({"HACTL_CONFIG": "/nowhere.toml", "HACTL_ENDPOINTS": NOBODY_LISTENS})
    assert caught.value.code is Code.LACKING


# -- who, the agent's lock, the screen ---------------------------------------------------------------------------------


def test_who_and_whence() -> None:
    assert desk.who({"SUDO_USER": "eva", "LOGNAME": "root"}) == "eva"
    assert desk.who({})
    assert desk.whence({"SSH_CONNECTION": "192.0.2.77 50022 192.0.2.3 22"}).endswith(" (ssh from 192.0.2.77)")
    assert "(" not in desk.whence({})


def test_one_agent_a_host(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "agent.lock"
    with alone(lock), pytest.raises(Refused, match="another agent"), alone(lock):
        raise AssertionError("two agents")
    with alone(lock):
        pass


async def test_the_agent_is_ended_by_a_signal_and_not_by_itself() -> None:
    ended = asyncio.Event()

    async def runs() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
    await until_told(runs())
    assert ended.is_set()


async def test_an_agent_that_breaks_down_says_why() -> None:
    async def runs() -> None:
        raise StoreUnreachable("it broke")

    with pytest.raises(StoreUnreachable, match="it broke"):
        await until_told(runs())


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7500, "2h 5m"), (266400, "3d 2h")]
)
def test_age(seconds: float, said: str) -> None:
    assert screen.age(seconds) == said


def test_a_table_is_never_wrapped_for_a_pipe_and_neatly_for_a_terminal() -> None:
    rows = [("A", "B", "C", "NOTE"), ("a", "long one", "c", "word " * 20)]
    assert len(screen.table(rows)) == 2
    wrapped = screen.table(rows, 60)
    assert all(len(line) <= 60 for line in wrapped)
    assert all(line.startswith(" " * 16 + "word") for line in wrapped[2:])


@pytest.mark.parametrize("as_json", [True, False])
def test_the_agent_logs_a_line_each(as_json: bool) -> None:
    script = (
        "from reconciler.cli.agent import log; from loguru import logger;"
        f"log({as_json}); logger.bind(service='nfs').warning('a\\nb {{}}', 7)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    if as_json:
        said = json.loads(line)
        assert (said["level"], said["message"], said["service"]) == ("warning", "a\nb 7", "nfs")
    else:
        assert line == "<4>a b 7"
