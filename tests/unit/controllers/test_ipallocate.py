"""Addresses of ServiceEntries' hosts."""

from ambientlab.api.kinds import SERVICEENTRY


def entry(called="api", *hosts, labels=None, **spec):
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    made = {
        "apiVersion": SERVICEENTRY.api_version,
        "kind": "ServiceEntry",
        "metadata": {"name": called, "namespace": "hello", "labels": labels or {}},
        "spec": {"hosts": list(hosts) or [f"{called}.example.com"], "ports": ports, "resolution": "DNS", **spec},
    }
    return made


def addresses(cluster, called="api"):
    found = (cluster.client.get(SERVICEENTRY, called, "hello").get("status") or {}).get("addresses") or []
    return [(item["host"], item["value"]) for item in found]


async def test_each_host_gets_an_address_of_each_family(cluster):
    await cluster.create(SERVICEENTRY, entry("api", "a.example.com", "b.example.com"))
    assert addresses(cluster) == [
        ("a.example.com", "240.240.0.1"),
        ("a.example.com", "2001:2::1"),
        ("b.example.com", "240.240.0.2"),
        ("b.example.com", "2001:2::2"),
    ]


async def test_addresses_stay_when_hosts_come_and_go_and_are_not_used_again(cluster):
    await cluster.create(SERVICEENTRY, entry("api", "a.example.com", "b.example.com"))
    await cluster.change(SERVICEENTRY, "api", {"spec": {"hosts": ["b.example.com", "c.net"]}})
    assert [pair for pair in addresses(cluster) if ":" not in pair[1]] == [
        ("b.example.com", "240.240.0.2"),
        ("c.net", "240.240.0.3"),
    ]
    await cluster.delete(SERVICEENTRY, "api")
    await cluster.create(SERVICEENTRY, entry("next"))
    assert addresses(cluster, "next")[0] == ("next.example.com", "240.240.0.4")


async def test_who_gets_none(cluster):
    opted_out = {"networking.istio.io/enable-autoallocate-ip": "false"}
    await cluster.create(SERVICEENTRY, entry("none", resolution="NONE"))
    await cluster.create(SERVICEENTRY, entry("own", addresses=["192.0.2.1"]))
    await cluster.create(SERVICEENTRY, entry("opted", labels=opted_out))
    endpoints = [{"address": "a.example.com"}]
    await cluster.create(SERVICEENTRY, entry("wild", "*.example.com", endpoints=endpoints))
    assert [addresses(cluster, name) for name in ("none", "own", "opted", "wild")] == [[], [], [], []]
    await cluster.create(SERVICEENTRY, entry("dynamic", "*.example.org", resolution="DYNAMIC_DNS"))
    assert addresses(cluster, "dynamic")[0] == ("*.example.org", "240.240.0.1")


async def test_an_address_that_a_user_chose_is_given_up(cluster):
    await cluster.create(SERVICEENTRY, entry("api"))
    await cluster.create(SERVICEENTRY, entry("own", addresses=["240.240.0.1", "240.240.0.2"]))
    assert addresses(cluster)[0] == ("api.example.com", "240.240.0.3")


async def test_what_somebody_else_writes_there_is_no_address(cluster):
    """Neither for this entry nor for others."""
    await cluster.create(SERVICEENTRY, entry("api"))
    for rubbish in ("x", ["x", 1, {"host": ["api.example.com"], "value": {}}]):
        await cluster.change(SERVICEENTRY, "api", {"status": {"addresses": rubbish}}, subresource="status")
        assert addresses(cluster)[0][0] == "api.example.com"
    await cluster.create(SERVICEENTRY, entry("odd", resolution="NONE"))
    await cluster.change(SERVICEENTRY, "odd", {"status": {"addresses": ["x", 1]}}, subresource="status")
    await cluster.create(SERVICEENTRY, entry("next", addresses=["192.0.2.1"]))
    await cluster.create(SERVICEENTRY, entry("last"))
    assert addresses(cluster, "last")[0][0] == "last.example.com"
