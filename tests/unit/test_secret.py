"""A secret's file on a real file system: root's, and nobody else may touch it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.linux import Linux


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that is root's")
async def test_a_file_is_secret_while_it_is_roots_alone(tmp_path: Path) -> None:
    machine, file = Linux("hosta"), tmp_path / "key"
    assert not machine.is_secret(str(file))
    file.write_text("k" * 32)
    for mode, secret in ((0o600, True), (0o400, True), (0o640, False), (0o604, False), (0o620, False)):
        file.chmod(mode)
        assert machine.is_secret(str(file)) is secret
    file.chmod(0o600)
    os.chown(file, 1000, 0)
    assert not machine.is_secret(str(file))
