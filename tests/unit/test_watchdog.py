"""What is asked of a watchdog device before it is opened, which arms it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.linux.watchdog import cannot_be_stopped


@pytest.mark.parametrize(
    ("device", "says", "stays"),
    [
        ("/dev/watchdog", "1\n", True),
        ("/dev/watchdog0", "1\n", True),
        ("/dev/watchdog0", "0\n", False),
        ("/dev/watchdog1", "1\n", False),
    ],
)
def test_a_watchdog_that_can_never_be_disarmed_is_known(tmp_path: Path, device: str, says: str, stays: bool) -> None:
    (tmp_path / "watchdog0").mkdir()
    (tmp_path / "watchdog0" / "nowayout").write_text(says)
    assert cannot_be_stopped(device, tmp_path) is stays
