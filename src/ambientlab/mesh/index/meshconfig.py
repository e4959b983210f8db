"""The mesh's configuration: the key `mesh` of ConfigMap `istio` in the root namespace, as in Istio.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.api.parse import yaml_value
from ambientlab.cluster import DOMAIN, ROOT_NAMESPACE, TRUST_DOMAIN
from ambientlab.flow.collection import Collection, Context, Graph, Source
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, unsupported
from ambientlab.mesh.ir import THE_MESH, Key, TrustDomains

KEY = Key(ROOT_NAMESPACE, "istio")
"""What the configuration is filed under, whatever its ConfigMap is called."""
_STDOUT = "/dev/stdout"
_TRUST = "trustDomain", "trustDomainAliases"
_FOLLOWED = {"accessLogFile", "accessLogEncoding", "accessLogFormat", "extensionProviders", "rootNamespace", *_TRUST}
_INSTALLED: Mapping[str, Any] = {
    "defaultProviders": {"metrics": ["prometheus"]},
    "enablePrometheusMerge": True,
    "serviceScopeConfigs": [
        {
            "servicesSelector": {
                "matchExpressions": [{"key": "istio.io/global", "operator": "In", "values": ["true"]}]
            },
            "scope": "GLOBAL",
        }
    ],
}
_OF_PROXIES: Mapping[str, Any] = {
    "discoveryAddress": None,
    "image": None,
    "proxyMetadata": {"ISTIO_META_ENABLE_HBONE": "true"},
}
"""What an installation of the ambient profile writes by itself, and what of it is for proxies (defaultConfig): None
stands for any value. Nobody asked for it, and here it is so anyway (templates/configmap.yaml and
files/profile-ambient.yaml in manifests/charts/istio-control/istio-discovery)."""
DRAIN = "drainDuration"
_OF_WAYPOINTS = (DRAIN,)
_WHOLE_SECONDS = re.compile(r"[1-9][0-9]{0,8}s")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Home:
    """Where a mesh keeps what is for all of it: the ConfigMap of its configuration, and the root namespace, whose
    policies and rules are for every namespace; and the cluster's domain, which Services are named under."""

    config: Key = KEY
    root: str = ROOT_NAMESPACE
    domain: str = DOMAIN


HOME = Home()


def home(config: Key, config_map: Object | None, domain: str = DOMAIN) -> Home:
    """The root namespace is istiod's own unless the configuration names another (rootNamespace)."""
    root = read(config_map).get("rootNamespace") if config_map is not None else None
    return Home(config, root if isinstance(root, str) and root else config.namespace, domain)


def read(config_map: Object) -> Config:
    """Empty if it is no mapping."""
    return _parsed(config_map)[0]


def _parsed(config_map: Object) -> tuple[Config, str]:
    """The second is why it says nothing."""
    try:
        config = yaml_value((config_map.get("data") or {}).get("mesh") or "")
    except ValueError as error:
        return {}, " ".join(str(error).split())
    if config is not None and not isinstance(config, dict):
        return {}, f"it is a {type(config).__name__}, not a mapping"
    why = _trust_problem(config or {}) or _drain_problem(config or {})
    return ({}, why) if why else (config or {}, "")


def _trust_problem(config: Config) -> str:
    """Istio's words (pkg/config/validation/agent/validation.go, validateTrustDomainConfig)."""
    own, aliases = config.get("trustDomain", TRUST_DOMAIN), config.get("trustDomainAliases") or []
    if not isinstance(own, str) or not isinstance(aliases, list) or not all(isinstance(one, str) for one in aliases):
        return "trustDomain is a string, trustDomainAliases a list of strings"
    if why := _domain_problem(own):
        return f"trustDomain: {why}"
    wrong = ((at, alias, why) for at, alias in enumerate(aliases) if (why := _domain_problem(alias)))
    return "; ".join(f"trustDomainAliases[{at}], domain `{alias}` : {why}" for at, alias, why in wrong)


def proxy_config(config: Config) -> Mapping[str, Any]:
    """What of the proxies' defaults is followed, as the variable PROXY_CONFIG of a waypoint has it: what the annotation
    proxy.istio.io/config says of it comes before (pilot/pkg/model/proxy_config.go, EffectiveProxyConfig, and
    pilot/cmd/pilot-agent/config/config.go)."""
    defaults = config.get("defaultConfig")
    return {name: defaults[name] for name in _OF_WAYPOINTS if name in defaults} if isinstance(defaults, dict) else {}


def drain_seconds(written: object) -> int:
    """Raises ValueError for what Istio refuses (ValidateDrainDuration, in the same file)."""
    if not isinstance(written, str) or not _WHOLE_SECONDS.fullmatch(written):
        raise ValueError(f"invalid drain duration {written}: it is whole seconds, as in 45s")
    return int(written[:-1])


def _drain_problem(config: Config) -> str:
    try:
        drain_seconds(proxy_config(config).get(DRAIN, "1s"))
    except ValueError as error:
        return f"defaultConfig.{DRAIN}: {error}"
    return ""


def _domain_problem(domain: str) -> str:
    """ValidateTrustDomain."""
    if not domain:
        return "empty domain name not allowed"
    labels = domain.removesuffix(".").split(".")
    return "" if all(map(_LABEL.fullmatch, labels)) else f'trust domain name "{domain}" invalid'


def trust(config: Config) -> TrustDomains:
    return TrustDomains(config.get("trustDomain", TRUST_DOMAIN), tuple(config.get("trustDomainAliases") or ()))


def trust_domains(graph: Graph, configs: Collection[Key, Config]) -> Collection[str, TrustDomains]:
    """Under THE_MESH, whether it is configured or not."""
    meshes: Source[str, str] = graph.source("the mesh")
    meshes.set(THE_MESH, THE_MESH)
    return graph.derive("trust domains", meshes, lambda ctx, mesh, _: {mesh: trust(ctx.fetch(configs, KEY) or {})})


def trust_of(ctx: Context, domains: Collection[str, TrustDomains]) -> TrustDomains:
    return ctx.fetch(domains, THE_MESH) or TrustDomains()


def take_up(configs: Source[Key, Config], config_map: Object) -> None:
    """Under `KEY`, what holds: one that is invalid leaves the last in force, and the defaults where there was none
    ("invalid mesh config, using last known state", pkg/config/mesh/meshwatcher/collection.go)."""
    config, why = _parsed(config_map)
    if not why or KEY not in configs:
        configs.set(KEY, config)


def problems(graph: Graph, config_maps: Collection[Key, Object], config: Key) -> Collection[Key, str]:
    """Why nothing is read of the ConfigMap `config`, if there is something that cannot be."""

    def problem(_: object, key: Key, obj: Object) -> Mapping[Key, str]:
        return {key: why} if key == config and (why := _parsed(obj)[1]) else {}

    return graph.derive("what is wrong with the mesh's configuration", config_maps, problem)


def unreadable(config: Key, why: str) -> Diagnostic:
    message = f"data.mesh is invalid, and the mesh goes on with what it said before: {why}"
    return Diagnostic(ObjectRef("ConfigMap", *config), "Invalid", message, field="data.mesh")


def logs(config: Config) -> bool:
    """Whether what passes a proxy is logged where no Telemetry says so."""
    return bool(config.get("accessLogFile"))


def diagnostics(home: Home, config: Config) -> Iterator[Diagnostic]:
    ref = ObjectRef("ConfigMap", *home.config)
    asked = {f"{name}": value for name, value in config.items() if name not in _FOLLOWED}
    if isinstance(proxies := asked.get("defaultConfig"), dict):
        own = {name: value for name, value in proxies.items() if _OF_PROXIES.get(name, ()) not in (None, value)}
        own = {name: value for name, value in own.items() if name not in _OF_WAYPOINTS}
        asked |= {f"defaultConfig.{name}": value for name, value in own.items()}
        del asked["defaultConfig"]
    for name, value in sorted(asked.items(), key=lambda item: item[0]):
        if value != _INSTALLED.get(name):
            yield unsupported(ref, f"mesh.{name}")
    if config.get("rootNamespace", home.root) != home.root:
        yield unsupported(ref, "mesh.rootNamespace", f"it is always {home.root}")
    if config.get("accessLogFile", _STDOUT) not in ("", _STDOUT):
        yield unsupported(ref, "mesh.accessLogFile", f"proxies log to {_STDOUT}")
    if config.get("accessLogEncoding", "TEXT") != "TEXT":
        yield unsupported(ref, "mesh.accessLogEncoding", "logs are text")
    if config.get("accessLogFormat"):
        yield unsupported(ref, "mesh.accessLogFormat", "logs have Istio's default format")
