"""What clients saw of each service in each phase, as a page: docs/site.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

from examples.lab import site

PAGE = """# A whole site, as its clients see it

Written by `HACTL_WRITE_MATRIX=1 make site-test`, not by hand: every example of `examples/` at once on the two hosts of
the lab, each with its real daemon, and clients on the witness that use it all the time, with what their users have:
psql, pgbench, ldapadd, dig, tftp, curl, git, hg, ssh, an NFS mount, DHCP, BOOTP (examples/lab/tools/site_client.py).

A cell is the longest time in that phase without an acknowledged use, in seconds. It contains the client's own pace and
waits: "started, all is well" is what a use takes while nothing happens, on a machine where three hosts share two cores.
What has a primary has it on the host that is drained, cut and shut down; of servers on both hosts a client knows both.

{table}

While its host was shut down, root logged in on the other {logins} times for `hactl status`: {median:.1f} s each in the
median, {longest:.1f} s at most. That host asked no server of names, users or homes for anything, by its packets.
{remarks}
At the end everything that was acknowledged was compared with what is there: {verdict}.
"""


class Matrix:
    """Of one run."""

    def __init__(self, clients: site.Clients) -> None:
        self._clients = clients
        self._phases: dict[str, tuple[float, float]] = {}
        self.logins: list[float] = []  # seconds of each, in the morning
        self.remarks: list[str] = []  # sentences, on what went another way than usual

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = self._clients.now()
        yield
        self._phases[name] = began, self._clients.now()
        print(f"{name}: {self._clients.outages(*self._phases[name])}")  # for a run that does not come to its end

    def page(self, found: Mapping[str, Mapping[str, Any]]) -> str:
        outages = {name: self._clients.outages(*when) for name, when in self._phases.items()}
        head = ["service", "mode", *outages, "acknowledged", "lost"]
        rows = [
            [
                name,
                "everywhere" if name in site.EVERYWHERE else "exclusive" if name in site.EXCLUSIVE else "follows",
                *(f"{seen[name]:.1f}" for seen in outages.values()),
                str(found[name]["uses"]),
                str(len(found[name]["lost"])),
            ]
            for name in site.USED
        ]
        table = "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
        bad = [name for name, one in found.items() if one["lost"] or one["wrong"]]
        return PAGE.format(
            table=table,
            logins=len(self.logins),
            median=median(self.logins),
            longest=max(self.logins),
            remarks="".join(f"{each}\n" for each in self.remarks),
            verdict=f"not all is there: {', '.join(bad)}" if bad else "all is there",
        )
