"""Objects through all stages of the mesh, compared with what is on file, and fed to a real Envoy.

`cases/X.in.yaml` is laid over the world its header names; `X.ir.yaml`, `X.xds.yaml` and `X.status.yaml` are what comes
out. AMBIENTLAB_REFRESH_GOLDENS=1 writes them anew, to be read before they are committed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.dataplane.bootstrap import runtime
from ambientlab.dataplane.envoy import binary
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.index import MeshIndex, index
from ambientlab.mesh.ir import Protocol
from ambientlab.mesh.plain import plain
from ambientlab.mesh.serve.ca import CertificateAuthority
from ambientlab.mesh.status import Statuses
from ambientlab.mesh.xds.proxies import Proxies
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, NODE_PROXY, ROUTES, Resources
from support.envoy import as_json

HERE = Path(__file__).parent
CASES = sorted(path.name.removesuffix(".in.yaml") for path in HERE.glob("cases/*.in.yaml"))
REFRESH = bool(os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = {(r.api_version, r.kind): r for r in (*kinds.CORE, *kinds.SHIPPED_CRDS)}
ALL = ("workloads", "services", "waypoints", "clusters", "ztunnel", "listeners", "plaintext", "extensions")
"""What a case may ask to be shown in full: `# show: services, clusters`, or `# show: everything`. `clusters` are those
of waypoints, with the policies behind them, unless it asks for `ztunnel` as well; `plaintext` are the listeners for
plain connections to pods."""
TYPES = {"clusters": CLUSTER, "endpoints": ENDPOINTS, "listeners": LISTENER, "routes": ROUTES, "extensions": EXTENSION}


class Case:
    def __init__(self, name: str) -> None:
        text = (HERE / "cases" / f"{name}.in.yaml").read_text()
        header = dict(line[2:].split(": ", 1) for line in text.splitlines()[1:3] if line.startswith("# "))
        self.name = name
        show = header.get("show", "")
        self.show = frozenset(ALL if show == "everything" else filter(None, show.split(", ")))
        found: dict[tuple[str, str, str, str], Object] = {}
        for source in ((HERE / "worlds" / f"{header['world']}.yaml").read_text(), text):
            for obj in yaml.safe_load_all(source):
                meta = obj["metadata"]
                found[(obj["apiVersion"], obj["kind"], meta.get("namespace", ""), meta["name"])] = obj
        self.objects = [(KINDS[(api_version, kind)], obj) for (api_version, kind, _, _), obj in found.items()]
        listed: dict[Resource, list[Object]] = {}
        for resource, obj in self.objects:
            listed.setdefault(resource, []).append(obj)
        self.index: MeshIndex = index(listed)

    def proxies(self) -> Iterator[tuple[str, Resources]]:
        yield "ztunnel", self._proxies.told(NODE_PROXY)
        for key in sorted(self.index.mesh.waypoints):
            yield f"waypoint {key}", self._proxies.told(key)

    @cached_property
    def _proxies(self) -> Proxies:
        proxies = Proxies(self.index.graph, self.index.mesh)
        self.serve(proxies)
        self.index.settle()
        return proxies

    def serve(self, proxies: Proxies) -> None:
        """All waypoints that there are in the end, and the node proxy with all pods that are captured then."""
        for w in self.index.mesh.workloads.values():
            if w.protocol is Protocol.HBONE and not w.name.startswith("waypoint"):
                netns = f"/run/netns/{w.name}"
                pod = Captured(w.uid, w.namespace, w.name, w.ip, netns, w.identity, ip6=w.second_ip)
                proxies.ztunnel.captured.set(w.key, pod)
        for key in self.index.mesh.waypoints:
            proxies.waypoints.served.set(key, key)

    def compare(self, stage: str, value: Any) -> None:
        path = HERE / "cases" / f"{self.name}.{stage}.yaml"
        pure = json.loads(json.dumps(value))
        if REFRESH:
            path.write_text(yaml.safe_dump(pure, sort_keys=True, width=120))
        assert yaml.safe_load(path.read_text()) == pure


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_ir(case: Case) -> None:
    mesh = case.index.mesh
    routes = {f"{host}:{port}": plain(table) for (host, port), table in mesh.routes.items()}
    routes |= {f"{host}:{port} (TCP)": plain(route) for (host, port), route in mesh.tcp_routes.items()}
    guards = {f"{waypoint} {host}".rstrip(): plain(guard) for (waypoint, host), guard in mesh.guards.items()}
    result: dict[str, Any] = {
        "workloads": {str(key): plain(value) for key, value in mesh.workloads.items()},
        "services": {key: plain(value) for key, value in mesh.services.items()},
        "waypoints": {str(key): plain(value) for key, value in mesh.waypoints.items()},
        "routes": routes,
    }
    if guards:
        result["guards"] = guards
    if "clusters" in case.show:
        result["policies"] = {
            "|".join((service.host, str(port), subset)): plain(policy)
            for service in mesh.services.values()
            for port, subset, policy in service.policies
        }
    if mesh.authorizations:
        result["authorizations"] = {str(key): plain(value) for key, value in mesh.authorizations.items()}
        enforced = {str(pod): [str(policy.key) for policy in some] for pod, some in mesh.enforced.items()}
        result["enforced"] = {pod: some for pod, some in enforced.items() if some}
    deciding = {"routes", "guards", "policies", "authorizations", "enforced"}
    case.compare("ir", {title: value for title, value in result.items() if title in case.show | deciding})


def test_xds(case: Case) -> None:
    case.compare("xds", {name: shown(resources, case, name) for name, resources in case.proxies()})


def test_status(case: Case) -> None:
    statuses = Statuses(case.index)
    case.index.settle()
    wanted = statuses.wanted(NOW)
    status = {f"{resource.kind} {key}": value for (resource, key), value in wanted.items() if value}
    findings = [plain(diagnostic) for diagnostic in case.index.diagnostics()]
    case.compare("status", {"status": status, "diagnostics": findings})


def test_envoy_accepts(case: Case, tmp_path: Path) -> None:
    for number, (name, resources) in enumerate(case.proxies()):
        bootstrap = tmp_path / f"{number}.json"
        bootstrap.write_text(json.dumps(combined(resources)))
        command = [str(binary()), "--mode", "validate", "--config-path", str(bootstrap), "-l", "error"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


def test_one_by_one_in_any_order_is_as_all_at_once(case: Case) -> None:
    """What is derived forgets nothing that it depends on: not while objects come, nor when some go and come back."""
    choice = random.Random(case.name)
    built = MeshIndex()
    proxies, statuses = Proxies(built.graph, built.mesh), Statuses(built)
    case.serve(proxies)
    objects = choice.sample(case.objects, len(case.objects))
    again = choice.sample(objects, len(objects) // 2)
    for change, some in ((built.put, objects), (built.remove, again), (built.put, again)):
        for resource, obj in some:
            change(resource, obj)
            built.settle()
    at_once = Statuses(case.index)
    case.index.settle()
    assert built.diagnostics() == case.index.diagnostics()
    assert statuses.wanted(NOW) == at_once.wanted(NOW)
    for name, resources in case.proxies():
        key = NODE_PROXY if name == "ztunnel" else next(k for k in case.index.mesh.waypoints if name.endswith(f" {k}"))
        assert proxies.told(key) == resources


def shown(resources: Resources, case: Case, proxy: str) -> dict[str, Any]:
    """All of the routes and the endpoints; of what hardly depends on the case only the names, unless asked for."""
    result: dict[str, Any] = {}
    clusters = proxy != "ztunnel" or "ztunnel" in case.show
    for title, kind in TYPES.items():
        if kind in (ENDPOINTS, ROUTES) or (title in case.show and (kind != CLUSTER or clusters)):
            result[title] = {name: as_json(message) for name, message in resources.get(kind, {}).items()}
        elif kind == LISTENER and "plaintext" in case.show:
            found = {name: as_json(message) for name, message in resources[kind].items() if name.startswith("inplain|")}
            result[title] = found or sorted(resources[kind])
        elif kind == EXTENSION:
            # a place in a chain that has nothing to do says nothing
            found = {name: as_json(message)["typed_config"] for name, message in resources.get(kind, {}).items()}
            if found := {name: config for name, config in found.items() if set(config) - {"@type", "stat_prefix"}}:
                result[title] = found
        else:
            result[title] = sorted(resources[kind])
    return result


def combined(resources: Resources) -> dict[str, Any]:
    """One bootstrap with everything inline, because `--mode validate` asks no control plane for anything."""
    routes = {name: as_json(message) for name, message in resources[ROUTES].items()}
    extensions = {name: as_json(message)["typed_config"] for name, message in resources.get(EXTENSION, {}).items()}
    listeners = [
        inline(as_json(message), routes, extensions, in_cluster=False) for message in resources[LISTENER].values()
    ]
    for port, listener in enumerate(listeners, 20000):
        # without their namespaces, the listeners of different pods would be in each other's way
        address = listener.get("address", {}).get("socket_address", {})
        if address.pop("network_namespace_filepath", None):
            address["port_value"] = port
    clusters = []
    for name, message in resources[CLUSTER].items():
        cluster = inline(as_json(message), routes, extensions, in_cluster=True)
        if cluster.get("type") == "EDS":
            assert name in resources[ENDPOINTS], f"{name} would wait for endpoints"
            del cluster["eds_cluster_config"]
            cluster |= {"type": "STATIC", "load_assignment": as_json(resources[ENDPOINTS][name])}
        clusters.append(cluster)
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    clusters.insert(
        0,
        {
            "name": "xds-grpc",
            "type": "STATIC",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
            "load_assignment": {"cluster_name": "xds-grpc"},
        },
    )
    internal = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
    return {
        "node": {"id": "test", "cluster": "test"},
        "static_resources": {"listeners": listeners, "clusters": clusters},
        "bootstrap_extensions": [{"name": "internal", "typed_config": {"@type": internal}}],
        "dynamic_resources": {"ads_config": ADS},
        "layered_runtime": runtime(),
    }


def inline(value: Any, routes: Mapping[str, Any], extensions: Mapping[str, Any], *, in_cluster: bool) -> Any:
    if isinstance(value, list):
        return [inline(item, routes, extensions, in_cluster=in_cluster) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: inline(item, routes, extensions, in_cluster=in_cluster) for key, item in value.items()}
    for key in FILES & result.keys():
        if "filename" in result[key]:
            result[key] = {"inline_string": files()[key]}
    if result.pop("config_discovery", None):
        result["typed_config"] = extensions[result["name"]]
    if "rds" in result:
        result["route_config"] = routes[result.pop("rds")["route_config_name"]]
    if "ads" in result and in_cluster:
        # a static cluster's secrets are asked for before there is an aggregated stream, and Envoy 1.40 crashes
        del result["ads"]
        result["api_config_source"] = ADS
    return result


FILES = frozenset({"certificate_chain", "private_key", "trusted_ca", "crl"})
"""What a policy may name a file of the waypoint for, which is not there when a configuration is validated."""


@cache
def files() -> Mapping[str, str]:
    ca = CertificateAuthority.create()
    svid = ca.issue("spiffe://cluster.local/ns/hello/sa/client")
    crl = x509.CertificateRevocationListBuilder(x509.Name([]), NOW, NOW + timedelta(days=1)).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )
    return {
        "certificate_chain": svid.chain_pem.decode(),
        "private_key": svid.key_pem.decode(),
        "trusted_ca": ca.root_pem.decode(),
        "crl": crl.public_bytes(serialization.Encoding.PEM).decode(),
    }


ADS: Mapping[str, Any] = {
    "api_type": "DELTA_GRPC",
    "transport_api_version": "V3",
    "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
}
