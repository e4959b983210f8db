"""Families of IP of Services, as in clusters of one and of two."""

from __future__ import annotations

from typing import Any

import pytest

from ambientlab.api.errors import StatusError
from ambientlab.apiserver.addresses import Addresses, inherit
from ambientlab.apiserver.families import IPV4, IPV6

BOTH = (IPV4, IPV6)
HERE = "10.96.7.7"
THERE = "fd00:10:96::77"


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "spec": {"type": "ClusterIP", "selector": {"app": "s"}, "ports": [], **spec}}


def made(cluster: tuple[str, ...], **spec: Any) -> dict[str, Any]:
    wanted = service(**spec)
    Addresses(configured=cluster).allocate(wanted)
    found: dict[str, Any] = wanted["spec"]
    return found


def updated(cluster: tuple[str, ...], old: dict[str, Any], **spec: Any) -> dict[str, Any]:
    addresses = Addresses(configured=cluster)
    before = {"metadata": {"name": "s"}, "spec": old}
    addresses.hold(before)
    after = service(**spec)
    inherit(after, before)
    addresses.allocate(after, before)
    found: dict[str, Any] = after["spec"]
    return found


def families(spec: dict[str, Any]) -> tuple[str, ...]:
    """Of what was asked and given, which must agree."""
    ips = [IPV6 if ":" in ip else IPV4 for ip in spec["clusterIPs"] if ip != "None"]
    assert ips in ([], spec["ipFamilies"])
    assert spec["clusterIP"] == spec["clusterIPs"][0]
    return (spec["ipFamilyPolicy"], *spec["ipFamilies"])


@pytest.mark.parametrize(
    ("cluster", "spec", "expected"),
    [
        (BOTH, {}, ("SingleStack", IPV4)),
        (BOTH, {"ipFamilyPolicy": "PreferDualStack"}, ("PreferDualStack", IPV4, IPV6)),
        (BOTH, {"ipFamilyPolicy": "RequireDualStack"}, ("RequireDualStack", IPV4, IPV6)),
        (BOTH, {"ipFamilies": [IPV6]}, ("SingleStack", IPV6)),
        (BOTH, {"ipFamilies": [IPV6], "ipFamilyPolicy": "PreferDualStack"}, ("PreferDualStack", IPV6, IPV4)),
        (BOTH, {"clusterIP": THERE}, ("SingleStack", IPV6)),
        (BOTH, {"clusterIP": "None"}, ("SingleStack", IPV4)),
        (BOTH, {"clusterIP": "None", "ipFamilyPolicy": "PreferDualStack"}, ("PreferDualStack", IPV4, IPV6)),
        (BOTH, {"clusterIP": "None", "selector": {}}, ("RequireDualStack", IPV4, IPV6)),
        ((IPV4,), {"ipFamilyPolicy": "PreferDualStack"}, ("PreferDualStack", IPV4)),
        ((IPV4,), {"clusterIP": "None", "selector": {}}, ("RequireDualStack", IPV4, IPV6)),
    ],
)
def test_new_services(cluster: tuple[str, ...], spec: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert families(made(cluster, **spec)) == expected


def test_addresses_of_ones_own_choice() -> None:
    chosen = {"clusterIP": HERE, "clusterIPs": [HERE, THERE], "ipFamilyPolicy": "RequireDualStack"}
    assert made(BOTH, **chosen)["clusterIPs"] == [HERE, THERE]


NOT_CONFIGURED = 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'


@pytest.mark.parametrize(
    ("cluster", "spec", "message"),
    [
        ((IPV4,), {"ipFamilies": [IPV6]}, NOT_CONFIGURED),
        (
            (IPV4,),
            {"clusterIP": THERE},
            f'spec.clusterIPs[0]: Invalid value: ["{THERE}"]: IPv6 is not configured on this cluster',
        ),
        (
            (IPV4,),
            {"ipFamilyPolicy": "RequireDualStack"},
            'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack '
            "services",
        ),
        (
            BOTH,
            {"ipFamilies": [IPV4, IPV6]},
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when "
            "multiple IP families are specified",
        ),
        (
            BOTH,
            {"clusterIP": "fd00:10:97::1"},
            'spec.clusterIPs: Invalid value: ["fd00:10:97::1"]: failed to allocate IP fd00:10:97::1: the provided IP '
            "(fd00:10:97::1) is not in the valid range. The range of valid IPs is fd00:10:96::/112",
        ),
    ],
)
def test_what_a_cluster_does_not_have(cluster: tuple[str, ...], spec: dict[str, Any], message: str) -> None:
    with pytest.raises(StatusError) as refused:
        made(cluster, **spec)
    assert refused.value.message == f'Service "s" is invalid: {message}'


def test_an_address_is_taken_however_it_is_written() -> None:
    addresses = Addresses(configured=BOTH)
    addresses.hold(service(clusterIP=THERE, clusterIPs=[THERE]))
    for other in ("fd00:10:96:0::77", "FD00:10:96::77"):
        with pytest.raises(StatusError, match="provided IP is already allocated"):
            addresses.allocate(service(clusterIP=other))


def test_a_service_gets_and_gives_back_its_second_address() -> None:
    single = made(BOTH)
    both = updated(BOTH, single, ipFamilyPolicy="RequireDualStack")
    assert families(both) == ("RequireDualStack", IPV4, IPV6)
    assert both["clusterIP"] == single["clusterIP"]
    assert updated(BOTH, both, ipFamilyPolicy="RequireDualStack") == both, "nothing asked for, nothing changed"
    back = updated(BOTH, both, **{**both, "ipFamilyPolicy": "SingleStack"})
    assert (families(back), back["clusterIPs"]) == (("SingleStack", IPV4), single["clusterIPs"])
    less = {**both, "clusterIPs": both["clusterIPs"][:1]}
    with pytest.raises(StatusError, match="must be 'SingleStack' to release the secondary cluster IP"):
        updated(BOTH, both, **less)


def test_a_cluster_that_gets_another_family_changes_no_service() -> None:
    preferring = made((IPV4,), ipFamilyPolicy="PreferDualStack")
    assert updated(BOTH, preferring, **preferring) == preferring
    gone = made(BOTH, ipFamilyPolicy="PreferDualStack")
    assert updated((IPV4,), gone, **gone) == gone
