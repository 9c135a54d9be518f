"""Agents of a simulation log to nobody: its own timeline tells what happened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger.disable("reconciler")
    yield
    logger.enable("reconciler")
