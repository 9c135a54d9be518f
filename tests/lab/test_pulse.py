"""What tells a guest that stood still from a host that is at fault (examples/lab/tools/pulse.py)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from examples.lab import rig
from examples.lab.tools.pulse import Guest
from tests.lab.conftest import Lab

STANDS = 5.0  # seconds


def test_a_guest_that_stands_still_is_noticed_and_one_that_was_frozen_is_not(lab: Lab) -> None:
    """The witness: etcd goes on without it."""
    kernel = Guest("witness", "192.0.2.3", Path("/run/hactl-lab")).processes()[0]
    for what in ("of itself", "frozen"):
        began = time.time()
        if what == "frozen":
            rig.lab("power", "witness", "freeze")
        else:
            os.kill(kernel, signal.SIGSTOP)
        time.sleep(STANDS)
        if what == "frozen":
            rig.lab("power", "witness", "thaw")
        else:
            os.kill(kernel, signal.SIGCONT)
        rig.until("it goes on", lambda: rig.on("witness", "true", check=False) == "")
        time.sleep(2)
        assert bool(rig.stood_still(began)) is (what != "frozen"), rig.seen()
