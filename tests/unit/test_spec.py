"""Specs: what is wrong is said by field and with the fix, and nothing else is ever raised, whatever the text."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.spec import (
    HostManifest,
    ServiceManifest,
    SpecError,
    dotted,
    nearest,
    parse,
    parse_service,
    to_json,
    validate,
)
from resources.kind import take_apart
from resources.registry import KINDS
from tests.unit.support import manifest

WHOLE: dict[str, Any] = {
    "apiVersion": "hactl/v1",
    "kind": "Service",
    "metadata": {"name": "nfs"},
    "spec": {
        "hosts": ["hosta", "hostb"],
        "primary": "hosta",
        "mode": "exclusive",
        "failover": "manual",
        "deadline": 120,
        "container": {"domain": "nfs"},
        "disks": [
            {"resource": "nfs-home", "mount": "/export/home"},
            {"resource": "nfs-state", "mount": "/var/lib/nfs", "fstype": "ext4", "options": ["noatime"]},
        ],
        "addresses": [
            {"address": "192.0.2.10/24", "interface": "eth0"},
            {"address": "2001:db8::10/64", "interface": "eth0"},
        ],
        "units": ["rpcbind.service", "nfs-server.service"],
        "checks": [{"tcp": 2049}],
        "gates": [{"ping": ["192.0.2.1"], "attempts": [5, 10, 30]}],
    },
}


def test_the_manifest_of_the_design_comes_apart_into_its_parts_in_order() -> None:
    found = validate(WHOLE)
    assert isinstance(found, ServiceManifest)
    assert [part.id for part in take_apart(found.spec, KINDS)] == [
        "disk/nfs-home",
        "disk/nfs-state",
        "container/nfs",
        "mount//export/home",
        "mount//var/lib/nfs",
        "unit/rpcbind.service",
        "unit/nfs-server.service",
        "address/192.0.2.10/24",
        "address/2001:db8::10/64",
        "check/tcp 2049",
        "gate/ping 192.0.2.1",
    ]


def test_a_host_is_a_manifest_too() -> None:
    fencing = {"agent": "fence_ipmilan", "options": {"ip": "192.0.2.201"}, "secret": "hosta-bmc"}
    found = validate(
        {
            "apiVersion": "hactl/v1",
            "kind": "Host",
            "metadata": {"name": "hosta"},
            "spec": {"addresses": ["192.0.2.1"], "fencing": fencing},
        }
    )
    assert isinstance(found, HostManifest)
    assert found.spec.addresses == ("192.0.2.1",)


def test_what_is_not_said_has_a_default() -> None:
    spec = manifest(container=None).spec
    assert (spec.wanted, spec.mode, spec.failover, spec.deadline) == ("hosta", "exclusive", "manual", 120)


def test_a_spec_outlives_its_way_through_etcd() -> None:
    found = parse_service(to_json(WHOLE))
    assert parse_service(to_json(found.model_dump(mode="json", exclude_none=True))) == found
    assert "\n" not in to_json(WHOLE)


@pytest.mark.parametrize(
    ("fields", "path", "sentence"),
    [
        ({"hosts": []}, "spec.hosts", "at least 1 item"),
        ({"hosts": ["hosta", "hosta"]}, "spec", "hosts names a host twice"),
        ({"primary": "hostc"}, "spec", "primary is hostc, which is not one of hosts: hosta, hostb"),
        ({"hosts": ["host/a"]}, "spec.hosts[0]", "'host/a' is not a name: small letters, digits and '-' only"),
        ({"hosts": ["../etc"]}, "spec.hosts[0]", "is not a name"),
        ({"hosts": ["-a"]}, "spec.hosts[0]", "is not a name"),
        ({"hosts": ["a" * 64]}, "spec.hosts[0]", "63 at most"),
        ({"mode": "sometimes"}, "spec.mode", "is 'sometimes'; it can be exclusive"),
        ({"failover": "auto"}, "spec.failover", "is 'auto'; it can be manual or automatic"),
        ({"deadline": 0}, "spec.deadline", "should be greater than 0, not 0"),
        ({"deadline": "soon"}, "spec.deadline", "should be a valid number"),
        ({"deadlin": 60}, "spec.deadlin", "there is no such field; did you mean deadline?"),
        ({"adresses": []}, "spec.adresses", "did you mean addresses?"),
        ({"zzz": 1}, "spec.zzz", "there is no such field; there are: addresses, after, checks, container,"),
        ({"container": {"name": "nfs"}}, "spec.container.name", "there is no such field; there are: domain, of"),
        (
            {"container": {}},
            "spec.container",
            "a container is a domain of its own, {domain: NAME}, or another",
        ),
        ({"container": {"domain": "nfs", "of": "dns"}}, "spec.container", "or another service's, {of: SERVICE}"),
        (
            {"container": {"of": "dns"}, "disks": [{"resource": "r", "mount": "/a", "where": "host"}]},
            "spec",
            "disk r is to be mounted before the container starts (where: host), and that is another service's, of: dns",
        ),
        ({"disks": [{"resource": "r", "mont": "/a"}]}, "spec.disks[0].mont", "did you mean mount?"),
        ({"disks": [{"mount": "/a"}]}, "spec.disks[0].resource", "is missing"),
        ({"disks": [{"resource": "-r"}]}, "spec.disks[0].resource", "is not a DRBD resource's name"),
        ({"disks": [{"resource": "a/b"}]}, "spec.disks[0].resource", "is not a DRBD resource's name"),
        (
            {"disks": [{"resource": "r", "mount": "a"}]},
            "spec.disks[0].mount",
            "is not an absolute path: begin it with /",
        ),
        ({"disks": [{"resource": "r", "mount": "/a/../b"}]}, "spec.disks[0].mount", "has a '..' in it"),
        ({"disks": [{"resource": "r", "mount": "/a\nb"}]}, "spec.disks[0].mount", "no control characters"),
        ({"disks": [{"resource": "r", "options": ["a b"]}]}, "spec.disks[0].options[0]", "is not a mount option"),
        ({"disks": [{"resource": "r", "options": ["a,b"]}]}, "spec.disks[0].options[0]", "is not a mount option"),
        ({"disks": [{"resource": "r"}, {"resource": "r"}]}, "spec.disks", "lists volume 0 of r twice"),
        (
            {"disks": [{"resource": "r", "mount": "/a/"}, {"resource": "s", "mount": "//a"}]},
            "spec.disks",
            "lists /a twice: write it once",
        ),
        ({"addresses": [{"address": "192.0.2.10"}]}, "spec.addresses[0].address", "write it as 192.0.2.10/24"),
        ({"addresses": [{"address": "192.0.2.300/24"}]}, "spec.addresses[0].address", "is not an IPv4 or IPv6 address"),
        (
            {"addresses": [{"address": "fe80::1%eth0/64"}]},
            "spec.addresses[0].address",
            "write that as the field interface",
        ),
        (
            {"addresses": [{"address": "192.0.2.10/24", "interface": "an interface"}]},
            "spec.addresses[0].interface",
            "is not an interface's name",
        ),
        (
            {"addresses": [{"address": "2001:db8::10/64"}, {"address": "2001:DB8:0::10/128"}]},
            "spec.addresses",
            "lists 2001:db8::10 twice",
        ),
        ({"units": ["nfs-server"]}, "spec.units[0]", "give its whole name, such as nfs-server.service"),
        ({"units": ["--now.service"]}, "spec.units[0]", "is not a unit"),
        ({"units": ["a.service", "b.service", "a.service"]}, "spec.units", "lists a.service twice: write it once"),
        ({"checks": [{"tcp": 70000}]}, "spec.checks[0].tcp", "should be less than or equal to 65535, not 70000"),
        ({"checks": [{"tcp": 80}, {"tcp": 80, "timeout": 9}]}, "spec.checks", "lists tcp 80 twice"),
        ({"checks": [{"http": "ftp://a/"}]}, "spec.checks[0].http", "should match pattern"),
        ({"gates": [{"ping": []}]}, "spec.gates[0].ping", "at least 1 item"),
    ],
)
def test_what_is_wrong_is_said_by_field_and_with_the_fix(fields: dict[str, Any], path: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        manifest(**fields)
    found = [(dotted(where), said) for where, said in caught.value.problems]
    assert [where for where, said in found if sentence in said] == [path], found


@pytest.mark.parametrize(
    ("document", "path", "sentence"),
    [
        (None, "", "a manifest is a mapping with apiVersion, kind, metadata and spec"),
        ([WHOLE], "", "a manifest is a mapping"),
        ({}, "kind", "is None; there are: Service, Host"),
        ({**WHOLE, "kind": "Deployment"}, "kind", "is 'Deployment'; there are: Service, Host"),
        ({**WHOLE, "apiVersion": "v2"}, "apiVersion", "is 'v2'; it can be hactl/v1"),
        ({**WHOLE, "metadata": {"name": "a/b"}}, "metadata.name", "'a/b' is not a name"),
        ({**WHOLE, "metadata": {"nam": "a"}}, "metadata.nam", "did you mean name?"),
        ({**WHOLE, "spek": {}}, "spek", "did you mean spec?"),
        ({**WHOLE, "spec": []}, "spec", "dictionary"),
    ],
)
def test_a_document_that_is_no_manifest_is_told_so(document: Any, path: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        validate(document)
    found = [(dotted(where), said) for where, said in caught.value.problems]
    assert [where for where, said in found if sentence in said] == [path], found


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        manifest(deadline=0, units=["x"], zzz=1)
    assert len(caught.value.problems) == 3
    assert "spec.units[0]: 'x' is not a unit" in str(caught.value)


def test_a_choice_is_told_by_its_field_without_the_models_inner_names() -> None:
    with pytest.raises(SpecError) as caught:
        manifest(gates=[{"ping": ["192.0.2.1"], "need": "most"}])
    assert str(caught.value) == "spec.gates[0].need: is 'most'; it can be all, any or a number of addresses"


@pytest.mark.parametrize(
    "text", ["", "{", "nonsense", '{"kind": NaN}', "[" * 100_000, '{"a": ' * 100_000, "9" * 10_000]
)
def test_what_is_no_json_is_told_so(text: str) -> None:
    with pytest.raises(SpecError):
        parse(text)


def test_a_host_where_a_service_belongs_is_refused() -> None:
    host = {"apiVersion": "hactl/v1", "kind": "Host", "metadata": {"name": "a"}}
    with pytest.raises(SpecError, match="kind: is Host, where a Service belongs"):
        parse_service(json.dumps(host))


def test_the_nearest_word_is_offered_or_all_of_them() -> None:
    assert nearest("primry", ["primary", "hosts"]) == "; did you mean primary?"
    assert nearest("x", ["primary", "hosts"]) == "; there are: hosts, primary"
    assert nearest("x", []) == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
KNOWN = st.sampled_from(sorted(WHOLE["spec"]))


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_arbitrary_json_is_a_manifest_or_a_spec_error(document: Any) -> None:
    with suppress(SpecError):
        validate(document)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KNOWN, JSON, max_size=3))
def test_a_manifest_with_arbitrary_values_is_one_or_a_spec_error(fields: dict[str, Any]) -> None:
    with suppress(SpecError):
        parse(to_json({**WHOLE, "spec": {**WHOLE["spec"], **fields}}))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_one_value_anywhere_in_a_manifest_may_be_anything(data: st.DataObject) -> None:
    document = json.loads(json.dumps(WHOLE))
    at: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(JSON)
    with suppress(SpecError):
        validate(document)


@given(st.text(max_size=200))
def test_arbitrary_text_is_a_manifest_or_a_spec_error(text: str) -> None:
    with pytest.raises(SpecError):
        parse(text)
