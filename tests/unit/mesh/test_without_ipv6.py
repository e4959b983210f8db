"""A machine without IPv6: nothing of it reaches a proxy, which would refuse it, and objects that ask are told."""

from __future__ import annotations

from ambientlab.api.kinds import POD, SERVICE, SERVICEENTRY, WORKLOADENTRY
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key
from ambientlab.mesh.xds.proxies import Proxies
from ambientlab.mesh.xds.types import NODE_PROXY


def built(*, ipv6: bool) -> MeshIndex:
    index = MeshIndex(ipv6=ipv6)
    pod = {
        "metadata": {
            "name": "web",
            "namespace": "hello",
            "labels": {"app": "web"},
            "annotations": {"ambient.istio.io/redirection": "enabled"},
        },
        "spec": {},
        "status": {"podIP": "10.244.0.5", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    entry = {
        "kind": "ServiceEntry",
        "metadata": {"name": "api", "namespace": "hello"},
        "spec": {
            "hosts": ["api.example.com"],
            "addresses": ["192.0.2.1", "2001:db8::1", "2001:db8:1::/64"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [{"address": "10.0.0.1"}, {"address": "2001:db8::2"}],
        },
    }
    outside = {
        "kind": "WorkloadEntry",
        "metadata": {"name": "vm", "namespace": "hello"},
        "spec": {"address": "2001:db8::3"},
    }
    service = {
        "metadata": {"name": "web", "namespace": "hello"},
        "spec": {"clusterIPs": ["10.96.0.9", "fd00:10:96::9"], "ports": [{"port": 80}]},
    }
    index.put(POD, pod)
    index.put(SERVICE, service)
    index.put(SERVICEENTRY, entry)
    index.put(WORKLOADENTRY, outside)
    index.settle()
    return index


def told(index: MeshIndex, *, ipv6: bool) -> str:
    proxies = Proxies(index.graph, index.mesh, ipv6=ipv6)
    pod = Captured("u", "hello", "web", "10.244.0.5", "/run/netns/web", "spiffe://cluster.local/ns/hello/sa/default")
    proxies.ztunnel.captured.set(Key("hello", "web"), pod)
    index.settle()
    everything = proxies.told(NODE_PROXY).values()
    return "\n".join(f"{name} {message}" for some in everything for name, message in some.items())


def test_no_address_of_it_is_known() -> None:
    index = built(ipv6=False)
    service = index.mesh.services["api.example.com"]
    assert (service.vips, service.networks) == (("192.0.2.1",), ())
    assert [endpoint.address for endpoint in service.endpoints] == ["10.0.0.1"]
    assert index.mesh.services["web.hello.svc.cluster.local"].vips == ("10.96.0.9",)
    assert "::" not in told(index, ipv6=False).replace("spiffe://", "")
    said = {(one.field, one.message) for one in index.diagnostics()}
    for number in (1, 2):
        field = f"spec.addresses[{number}]"
        assert (field, f"{field} is not supported by ambientlab: this machine has no IPv6") in said
    assert any(field == "spec.endpoints[1].address" for field, _ in said)


def test_with_it_they_are() -> None:
    index = built(ipv6=True)
    service = index.mesh.services["api.example.com"]
    assert (service.vips, service.networks) == (("192.0.2.1", "2001:db8::1"), ("2001:db8:1::/64",))
    assert "vip|[2001:db8::1]:80" in told(index, ipv6=True)
    assert not [one for one in index.diagnostics() if one.field.startswith("spec.")]
