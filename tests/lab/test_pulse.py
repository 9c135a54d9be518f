"""What tells a guest that stood still from a host that is at fault (examples/lab/tools/pulse.py)."""

from __future__ import annotations

import os
import signal
import time

import pytest

from examples.lab import rig
from examples.lab.tools.pulse import Guest
from tests.lab.conftest import Lab

STANDS = 5.0  # seconds


def stop_and_go(what: str) -> None:
    """The witness: etcd goes on without it."""
    kernel = Guest("witness", "192.0.2.3", rig.RUN).processes()[0]
    if what == "frozen":
        rig.lab("power", "witness", "freeze")
        time.sleep(STANDS)
        rig.lab("power", "witness", "thaw")
    else:
        os.kill(kernel, signal.SIGSTOP)
        time.sleep(STANDS)
        os.kill(kernel, signal.SIGCONT)


@pytest.mark.parametrize("what", ["frozen", "of itself"])
def test_a_guest_that_stands_still_is_noticed_and_one_that_was_frozen_is_not(lab: Lab, what: str) -> None:
    began = time.time()
    stop_and_go(what)
    rig.on("witness", "true")
    time.sleep(2)
    assert bool(rig.stood_still(began)) is (what == "of itself"), rig.seen()
