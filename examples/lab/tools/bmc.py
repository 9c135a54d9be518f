#!/usr/bin/env python3
"""The board management controllers of the lab's hosts, all in one: what a fence agent talks to, whatever a host does.

    bmc.py ADDRESS PORT SECRET LAB      for ever; SECRET: a file, LAB: the program that has the power functions

One line in, `SECRET ACTION HOST` with ACTION on, off or status; one line out: `ok`, `on`, `off`, or `error: …`. `ok`
comes only once it is so. Runs in the lab's own network namespace, standard library only.
"""

from __future__ import annotations

import hmac
import socketserver
import subprocess
import sys
from pathlib import Path

PATIENCE = 10.0  # seconds for a caller to say what it wants
CUTS = 50.0  # seconds for the lab to do it
STATES = {"on": "on", "frozen": "on", "off": "off"}


class Bmc(socketserver.ThreadingTCPServer):
    """One thread a caller: a power cut that waits for another command of the lab holds up no question."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, where: tuple[str, int], secret: str, lab: str) -> None:
        super().__init__(where, Caller)
        self.secret, self.lab = secret, lab

    def answer(self, line: str) -> str:
        """To one line of a caller."""
        secret, _, wanted = line.partition(" ")
        action, _, host = wanted.partition(" ")
        if not hmac.compare_digest(secret.encode(), self.secret.encode()):
            return "error: wrong password"
        if action not in ("on", "off", "status"):
            return "error: the action is on, off or status"
        try:
            done = subprocess.run(
                [self.lab, "power", host, action],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=CUTS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"error: {action} of {host} takes longer than {CUTS:.0f} s"
        said = done.stdout.strip()
        if done.returncode:
            return f"error: {(done.stderr or done.stdout).strip()}".replace("\n", " ")
        return STATES.get(said, f"error: {said}") if action == "status" else "ok"


class Caller(socketserver.StreamRequestHandler):
    timeout = PATIENCE
    server: Bmc

    def handle(self) -> None:
        line = self.rfile.readline(300).decode(errors="replace").strip()
        self.wfile.write(f"{self.server.answer(line)}\n".encode())


def main() -> None:
    address, port, secret, lab = sys.argv[1:5]
    with Bmc((address, int(port)), Path(secret).read_text().strip(), lab) as bmc:
        bmc.serve_forever()


if __name__ == "__main__":
    main()
