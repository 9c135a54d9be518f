"""After: what a spec says of it, what is held back meanwhile, and services that would wait for each other."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.afters import held_back, leads_back
from reconciler.cli.relations import problems
from reconciler.observe import Snapshot
from reconciler.spec import SpecError
from resources.container import ContainerKind, ContainerSpec
from resources.kind import Part
from resources.machine import Container
from resources.unit import UnitKind, UnitSeen, UnitSpec
from tests.unit.support import manifest


def test_one_or_a_list_and_a_minute_where_nothing_is_said() -> None:
    one = manifest(after={"service": "ldap", "within": 10})
    assert [(each.service, each.within) for each in one.spec.after] == [("ldap", 10)]
    more = manifest(after=[{"service": "ldap"}, {"service": "dns"}])
    assert [(each.service, each.within) for each in more.spec.after] == [("ldap", 60), ("dns", 60)]


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        ({"service": "ldap", "within": 0}, "greater than 0"),
        ({"service": "ldap", "within": 601}, "less than or equal to 600"),
        ({"servis": "ldap"}, "did you mean service?"),
        ([{"service": "ldap"}, {"service": "ldap"}], "lists ldap twice"),
        ("ldap", "valid tuple"),
    ],
)
def test_what_it_cannot_be_is_refused(after: Any, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        manifest(after=after)
    assert sentence in str(caught.value)


def test_a_warm_container_is_not_held_back() -> None:
    container = Part(ContainerKind(), ContainerSpec(domain="nfs"))
    cold = Part(ContainerKind(), ContainerSpec(domain="git", warm=False))
    unit = Part(UnitKind(), UnitSpec(unit="a.service", domain="nfs"))
    stopped = Container(defined=True, running=False)
    snapshot = Snapshot((container, cold, unit), {container.id: stopped, cold.id: stopped, unit.id: UnitSeen()})
    assert held_back(snapshot, frozenset()) == {cold.id, unit.id}
    assert held_back(snapshot, frozenset({container.id})) == {container.id, cold.id, unit.id}


def test_who_would_wait_for_himself() -> None:
    after = {"dns": ["ldap"], "ldap": ["nfs", "web"], "nfs": ["dns"], "web": [], "a": ["a"], "b": ["c"], "c": ["c"]}
    assert leads_back("dns", "ldap", lambda name: after.get(name, []))
    assert leads_back("a", "a", lambda name: after.get(name, []))
    assert not leads_back("dns", "web", lambda name: after.get(name, []))
    assert not leads_back("b", "c", lambda name: after.get(name, []))
    assert not leads_back("dns", "none", lambda name: after.get(name, []))


def test_a_loop_is_refused_when_it_is_applied() -> None:
    dns, ldap = manifest("dns", after={"service": "ldap"}), manifest("ldap", after={"service": "dns"})
    said = "after: ldap waits in the end for dns itself: take one of the two out"
    assert problems({"dns": dns, "ldap": ldap}, ["dns"]) == [("dns", said)]
    assert problems({"dns": dns, "ldap": manifest("ldap")}, ["dns", "ldap"]) == []
    own = manifest("dns", after={"service": "dns"})
    assert "dns waits in the end for dns itself" in problems({"dns": own}, ["dns"])[0][1]
