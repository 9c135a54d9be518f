"""hactl simulate: the command. What it does is in `simulated`, loaded when it is asked for: hosts run without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Seconds = Annotated[float, typer.Option("--for", min=1, metavar="SECONDS", help="how long to look on after the last")]


def command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="manifests of services and hosts")],
    faults: Annotated[
        list[str] | None, typer.Option("--fault", help="`10s power hosta off`; by default the first primary dies")
    ] = None,
    seconds: Seconds = 120,
    watchdog: Annotated[float, typer.Option(min=0, help="seconds of every host's watchdog; 0: there is none")] = 0,
    lease: Annotated[float, typer.Option(min=3, max=300, help="seconds, as in hactl.toml")] = 15,
    failsafe: Annotated[bool, typer.Option(help="do the hosts share a key for promises?")] = False,
    seed: Annotated[int, typer.Option(help="another chance of how long things take")] = 1,
) -> None:
    """Show what would happen to these services. Nothing is done: hosts, DRBD, etcd and clients are simulated.

    All is well at 0s; then come the faults. Seconds and the order within a host are about right, not exact.

    \b
    hactl simulate nfs.yaml                                        the host of its primary dies at 10s
    hactl simulate hosts.yaml nfs.yaml --watchdog 30               with a watchdog in each host
    hactl simulate nfs.yaml --fault "10s link hosta lan down" --fault "90s link hosta lan up"
    hactl simulate nfs.yaml --fault "5s set nfs primary=hostb"

    \b
    power HOST off|on      freeze HOST      thaw HOST      link HOST lan|replication down|up      shutdown HOST
    kill-agent HOST        stop-agent HOST  start-agent HOST       member HOST|witness|all killed|stopped|up
    destroy HOST DOMAIN    unit HOST DOMAIN UNIT failed    fault HOST "mount /srv" fail|hang|none    confirm-dead HOST
    """
    from reconciler.cli import simulated
    from reconciler.session import Options

    options = Options(lease=lease, watchdog="/dev/watchdog" if watchdog else "", watchdog_seconds=watchdog)
    simulated.show(files, faults or [], seconds, options, failsafe=failsafe, seed=seed)
