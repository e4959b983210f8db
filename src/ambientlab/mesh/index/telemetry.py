"""Telemetries: which apply to a waypoint and a service, and what they come to together (pilot/pkg/model/telemetry.go).

From the widest scope to the narrowest: of the root namespace, of the waypoint's, of the service's, the oldest that is
for the whole namespace each; then those that name the Gateway, the class or the service. Providers are those that every
mesh has: `envoy` for logs, and `prometheus`, which is the default, for metrics. A waypoint is a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ambientlab.api import attributes
from ambientlab.api.kinds import TELEMETRY
from ambientlab.api.objects import Object
from ambientlab.flow.collection import Collection, Context, Graph
from ambientlab.mesh.index import meshconfig, targets
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored, unsupported
from ambientlab.mesh.index.findings import Said, of_readings
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.targets import Target
from ambientlab.mesh.index.waypoints import WaypointGateway
from ambientlab.mesh.ir import EVERYTHING, Key, MetricChange, Telemetry

_LOGS, _METRICS = "envoy", "prometheus"
_NAMES = {
    "REQUEST_COUNT": "istio_requests_total",
    "REQUEST_DURATION": "istio_request_duration_milliseconds",
    "REQUEST_SIZE": "istio_request_bytes",
    "RESPONSE_SIZE": "istio_response_bytes",
    "TCP_OPENED_CONNECTIONS": "istio_tcp_connections_opened_total",
    "TCP_CLOSED_CONNECTIONS": "istio_tcp_connections_closed_total",
    "TCP_SENT_BYTES": "istio_tcp_sent_bytes_total",
    "TCP_RECEIVED_BYTES": "istio_tcp_received_bytes_total",
    "GRPC_REQUEST_MESSAGES": "istio_request_messages_total",
    "GRPC_RESPONSE_MESSAGES": "istio_response_messages_total",
}
"""As generateStatsConfig has them."""
_SERVER = ("CLIENT_AND_SERVER", "SERVER")


@dataclass(frozen=True, slots=True)
class LogRule:
    providers: tuple[str, ...]
    for_servers: bool
    disabled: bool
    expression: str


@dataclass(frozen=True, slots=True)
class Override:
    """For servers. `metrics` are the names they are served under; `everything` is set if the rule is for all."""

    metrics: tuple[str, ...]
    everything: bool
    disabled: bool | None
    labels: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class MetricRule:
    providers: tuple[str, ...]
    overrides: tuple[Override, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A Telemetry, read. `order` sorts by creation, then by name."""

    key: Key
    order: tuple[str, str]
    selects: bool
    targets: tuple[Target, ...]
    logs: tuple[LogRule, ...]
    metrics: tuple[MetricRule, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def namespace_wide(self) -> bool:
        return not (self.selects or self.targets)


def read(key: Key, obj: Object) -> Reading:
    reader = _Reader(ObjectRef(TELEMETRY.kind, *key))
    spec = obj.get("spec") or {}
    logs = tuple(reader.log(rule, f"spec.accessLogging[{i}]") for i, rule in enumerate(spec.get("accessLogging") or ()))
    metrics = tuple(reader.metric(rule, f"spec.metrics[{i}]") for i, rule in enumerate(spec.get("metrics") or ()))
    return Reading(
        key,
        (obj["metadata"].get("creationTimestamp", ""), f"{key.name}.{key.namespace}"),
        bool((spec.get("selector") or {}).get("matchLabels")),
        targets.targets(obj),
        logs,
        metrics,
        tuple(reader.notes),
    )


@dataclass(slots=True)
class _Reader:
    ref: ObjectRef
    notes: list[Diagnostic] = field(default_factory=list)

    def log(self, rule: Mapping[str, Any], path: str) -> LogRule:
        providers = self._providers(rule, _LOGS, path)
        if not providers:
            why = "it names no provider, and the mesh has no default one for logs: the wider scope's is meant, if any"
            self.notes.append(ignored(self.ref, path, why))
        expression = (rule.get("filter") or {}).get("expression", "")
        found = attributes.trouble(expression) if expression else ""
        if found:
            # a filter that cannot be evaluated lets nothing through; one that Envoy refuses would keep all else back
            self.notes.append(ignored(self.ref, f"{path}.filter", f"it has no value, nothing is logged: {found}"))
        mode = (rule.get("match") or {}).get("mode", _SERVER[0])
        return LogRule(providers, mode in _SERVER, bool(rule.get("disabled") or found), expression)

    def metric(self, rule: Mapping[str, Any], path: str) -> MetricRule:
        overrides = (self._override(o, f"{path}.overrides[{i}]") for i, o in enumerate(rule.get("overrides") or ()))
        return MetricRule(self._providers(rule, _METRICS, path), tuple(o for o in overrides if o is not None))

    def _override(self, override: Mapping[str, Any], path: str) -> Override | None:
        match = override.get("match") or {}
        if match.get("mode", _SERVER[0]) not in _SERVER:
            self.notes.append(ignored(self.ref, f"{path}.match.mode", "a waypoint is a server, and no client"))
            return None
        custom = match.get("customMetric")
        if custom:
            self.notes.append(ignored(self.ref, f"{path}.match.customMetric", f"no proxy has a metric {custom}"))
        everything = not custom and match.get("metric", "ALL_METRICS") == "ALL_METRICS"
        named = () if custom else (_NAMES[match["metric"]],) if not everything else tuple(_NAMES.values())
        labels = sorted((override.get("tagOverrides") or {}).items())
        return Override(
            named,
            everything,
            override.get("disabled"),
            tuple(self._label(name, tag, f"{path}.tagOverrides{{{name}}}") for name, tag in labels),
        )

    def _label(self, name: str, tag: Mapping[str, Any], path: str) -> tuple[str, str | None]:
        served = re.sub(r"\W", "_", name, flags=re.ASCII)
        if tag.get("operation") == "REMOVE":
            return served, None
        value = tag.get("value", "")
        found = attributes.trouble(value)
        if not found and "%" not in value and value.isprintable():
            return served, value
        if found and attributes.trouble(value, istios=True):
            self.notes.append(ignored(self.ref, path, f"the expression has no value, the label is `unknown`: {found}"))
        else:
            self.notes.append(unsupported(self.ref, path, "the label is `unknown`"))
        return served, ""

    def _providers(self, rule: Mapping[str, Any], known: str, path: str) -> tuple[str, ...]:
        names = tuple(provider["name"] for provider in rule.get("providers") or ())
        for name in names:
            if name.lower() != known:
                why = f'of the mesh\'s extension providers, "{name}" is none that waypoints can be given here'
                self.notes.append(unsupported(self.ref, f"{path}.providers", why))
        return names


def combined(readings: Iterable[Reading], *, logs: bool = True) -> Telemetry:
    """`readings` from the widest to the narrowest scope. `logs`: what the mesh's own configuration says."""
    kept = list(readings)
    log, log_filter = _logs([reading.logs for reading in kept if reading.logs], otherwise=logs)
    metrics, changes = _metrics([rule for reading in kept for rule in reading.metrics])
    return Telemetry(log, log_filter, metrics, changes)


def _logs(levels: list[tuple[LogRule, ...]], *, otherwise: bool) -> tuple[bool, str]:
    """mergeLogs. `otherwise`: the mesh's own setting, which holds where no provider that is known is left."""
    in_scope: set[str] = set()
    filters: dict[str, str] = {}
    for level in levels:
        named = {name: rule.expression for rule in level if rule.for_servers for name in rule.providers}
        filters |= named
        in_scope = {*named} or in_scope
    decided: dict[str, bool] = {}
    parent: tuple[str, ...] = ()
    for rule in chain.from_iterable(levels):
        parent = rule.providers or parent
        if rule.for_servers:
            decided |= {name: not rule.disabled for name in parent if name in in_scope}
    known = {name: logs for name, logs in decided.items() if name.lower() == _LOGS}
    if not known:
        return otherwise, ""
    name = next((name for name, logs in known.items() if logs), None)
    return (False, "") if name is None else (True, filters.get(name, ""))


def _metrics(rules: list[MetricRule]) -> tuple[bool, tuple[MetricChange, ...]]:
    """mergeMetrics, for servers."""
    in_scope = next((rule.providers for rule in reversed(rules) if rule.providers), (_METRICS,))
    parent: tuple[str, ...] = (_METRICS,)
    counted = not rules
    disabled: dict[str, bool] = {}
    labels: dict[str, dict[str, str | None]] = {}
    everything_off = False
    for rule in rules:
        parent = rule.providers or parent
        if not any(name.lower() == _METRICS and name in in_scope for name in parent):
            continue
        counted = True
        for override in rule.overrides:
            if override.everything and override.disabled:
                everything_off = True
                continue
            everything_off = False
            for metric in override.metrics:
                if override.disabled is not None:
                    disabled[metric] = override.disabled
                labels.setdefault(metric, {}).update(override.labels)
    if not counted or everything_off:
        return False, ()
    changes = (
        MetricChange(metric, disabled.get(metric, False), tuple(sorted(labels.get(metric, {}).items())))
        for metric in sorted({*disabled, *labels})
    )
    return True, tuple(change for change in changes if change.disabled or change.labels)


class Telemetries:
    """The collections of Telemetries, derived within the graph of everything else."""

    def __init__(
        self,
        graph: Graph,
        source: Collection[Key, Object],
        mesh_config: Collection[Key, meshconfig.Config],
        gateways: Collection[Key, WaypointGateway],
        shapes: Collection[str, Shape],
        root: str,
    ) -> None:
        self.readings: Collection[Key, Reading] = graph.derive(
            "Telemetries read", source, lambda _, key, obj: {key: read(key, obj)}
        )
        by_namespace = self.readings.index(lambda key, _: (key.namespace,))

        def of(ctx: Context, waypoint: Key, shape: Shape | None) -> Telemetry:
            def within(namespace: str) -> list[Reading]:
                return sorted(ctx.select(by_namespace, namespace), key=lambda reading: reading.order)

            home = waypoint.namespace if shape is None else shape.key.namespace
            scopes = dict.fromkeys((root, waypoint.namespace, home))
            wide = (next((one for one in within(scope) if one.namespace_wide), None) for scope in scopes)
            wanted = {targets.every_waypoint(root), targets.gateway(waypoint)}
            if shape is not None:
                wanted.add(targets.service(shape.kind, shape.key))
            attached = (one for one in within(home) if wanted & {*one.targets})
            config = ctx.fetch(mesh_config, meshconfig.KEY)
            logs = config is None or meshconfig.logs(config)
            return combined([*(one for one in wide if one is not None), *attached], logs=logs)

        def of_waypoint(ctx: Context, key: Key, _: WaypointGateway) -> Mapping[tuple[Key, str], Telemetry]:
            found = of(ctx, key, None)
            return {} if found == EVERYTHING else {(key, ""): found}

        def of_service(ctx: Context, host: str, shape: Shape) -> Mapping[tuple[Key, str], Telemetry]:
            found = {(waypoint, host): of(ctx, waypoint, shape) for waypoint in shape.binding.waypoints}
            return {place: value for place, value in found.items() if value != EVERYTHING}

        self.wanted: Collection[tuple[Key, str], Telemetry] = graph.join(
            "telemetry",
            graph.derive("telemetry of waypoints", gateways, of_waypoint),
            graph.derive("telemetry of services", shapes, of_service),
        )

    def said(self) -> list[Said]:
        return [of_readings(self.readings)]
