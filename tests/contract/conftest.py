"""Every test that takes `site` runs twice: on the simulated etcd and on a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.members import Members
from tests.contract.sites import Real, Simulated, Site


@pytest.fixture(scope="session")
def members() -> Iterator[Members]:
    """Three real ones, started once."""
    cluster = Members()
    yield cluster
    cluster.end()


@pytest.fixture(params=["sim", "etcd"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    prefix = f"/hactl/{request.node.name.replace('[', '-').rstrip(']')}/"
    if request.param == "sim":
        yield Simulated(prefix)
        return
    cluster: Members = request.getfixturevalue("members")
    yield Real(prefix, cluster)
    cluster.heal()
