"""Envoy's configuration dump as JSON: finding what is in it, and writing it as istioctl does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ambientlab.cli.proxy_config import shape
from ambientlab.cli.shapes import Shape, ShapeError

Message = dict[str, Any]
Names = tuple[str, str, str, int]

_ADMIN = "type.googleapis.com/envoy.admin.v3."
_FIELD = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_MAPS = {
    "typed_per_filter_config",
    "typed_extension_protocol_options",
    "typed_filter_metadata",
    "map",
    "dimensions",
}
"""Fields that are maps: their keys are data."""
_DATA = {"filter_metadata", "metadata", "match", "value", "json_format", "static_layer", "fields"}
"""Fields that may be Structs: nothing in them is a field of a message, unless they hold a type."""


class DumpError(Exception):
    """The dump has not what was asked for."""


class Dump:
    def __init__(self, text: str | bytes) -> None:
        """Raises DumpError for what is not a dump."""
        self.raw, read = parsed(text, shape.CONFIG_DUMP)
        self._configs: list[Message] = read.get("configs", [])

    def section(self, kind: str) -> Message:
        """All parts of one kind, e.g. `ClustersConfigDump`: a masked dump has a part for each field, and extensions
        have one for each sort of filters. Raises DumpError where there is none (istioctl/pkg/util/configdump), as in
        the dump of a ztunnel."""
        found = self._section(kind)
        if not found:
            raise DumpError(f"config dump has no configuration type {_ADMIN}{kind}")
        found.pop("@type")
        return found

    def _section(self, kind: str) -> Message:
        found: Message = {}
        for config in self._configs:
            if config.get("@type") == f"{_ADMIN}{kind}":
                for key, value in config.items():
                    both = isinstance(value, list) and isinstance(found.get(key), list)
                    found[key] = [*found[key], *value] if both else value
        return found

    def clusters(self) -> list[Message]:
        section = self.section("ClustersConfigDump")
        found = _resources(section, ("dynamic_active_clusters", "static_clusters"), lambda one: one.get("cluster"))
        if not found:
            raise DumpError("no clusters found")
        return sorted(found, key=lambda cluster: order(cluster.get("name", "")))

    def listeners(self) -> list[Message]:
        try:
            section = self.section("ListenersConfigDump")
        except DumpError as error:
            raise DumpError(f"listener dump: {error}") from None
        active = _resources(
            section, ("dynamic_listeners",), lambda one: (one.get("active_state") or {}).get("listener")
        )
        static = _resources(section, ("static_listeners",), lambda one: one.get("listener"))
        if not active + static:
            raise DumpError("no listeners found")
        return active + static

    def routes(self) -> list[Message]:
        section = self.section("RoutesConfigDump")
        lists = ("dynamic_route_configs", "static_route_configs")
        found = _resources(section, lists, lambda one: one.get("route_config"))
        if not found:
            raise DumpError("no routes found")
        return found

    def endpoints(self) -> list[Message]:
        """None where a dump has none, which only those have that were asked for them."""
        section = self._section("EndpointsConfigDump")
        lists = ("dynamic_endpoint_configs", "static_endpoint_configs")
        found = _resources(section, lists, lambda one: one.get("endpoint_config"))
        return sorted(found, key=lambda assignment: order(assignment.get("cluster_name", "")))


def parsed(text: str | bytes, read: Shape) -> tuple[Message, Message]:
    """A document of Envoy's as it is, and as it is to be read. Raises DumpError for what is none."""
    try:
        raw = json.loads(text)
        return raw, read(raw)
    except (ValueError, RecursionError, ShapeError) as error:
        raise DumpError(f"error unmarshalling config dump response from Envoy: {error}") from None


def _resources(section: Message, lists: tuple[str, ...], pick: Callable[[Message], Message | None]) -> list[Message]:
    picked = (pick(one) for name in lists for one in section.get(name) or ())
    return [{key: value for key, value in one.items() if key != "@type"} for one in picked if one]


def parse_name(name: str) -> Names | None:
    """(direction, subset, FQDN, port) of a service's cluster (pilot/pkg/model, ParseSubsetKey); None for another."""
    parts = name.split("|")
    if len(parts) < 4:
        return None
    return parts[0], parts[2], parts[3], int(parts[1]) if parts[1].isdigit() else 0


def order(name: str) -> tuple[str, str, int, str]:
    direction, subset, host, port = parse_name(name) or ("", "", name, 0)
    return host, subset, port, direction


def owner(resource: Message) -> str:
    """The object in Istio's metadata of a resource, as `name.namespace`."""
    path = resource.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("config")
    if path is None:
        return ""
    if not (isinstance(path, str) and path.startswith("/apis/networking.istio.io/")):
        return "<unknown>"
    pieces = path.split("/")
    return f"{pieces[7]}.{pieces[5]}" if len(pieces) == 8 else ""


def as_json(value: Any) -> str:
    return json.dumps(_camel(value), indent=4, ensure_ascii=False)


def as_yaml(value: Any) -> str:
    from ambientlab.cli import goyaml

    return goyaml.text(_camel(value))


def _camel(value: Any, *, is_map: bool = False, is_data: bool = False) -> Any:
    """Envoy writes the names of fields as its .proto files do, istioctl as JSON has them."""
    if isinstance(value, list):
        return [_camel(item, is_data=is_data) for item in value]
    if not isinstance(value, dict):
        return value
    is_data = is_data and "@type" not in value
    return dict(_fields(value, is_map=is_map, is_data=is_data))


def _fields(message: Message, *, is_map: bool, is_data: bool) -> Iterator[tuple[str, Any]]:
    for key, value in message.items():
        name = key
        if not (is_map or is_data) and _FIELD.fullmatch(key):
            first, *rest = key.split("_")
            name = first + "".join(part[:1].upper() + part[1:] for part in rest)
        data = is_data or (not is_map and key in _DATA and not _is_message(key, value))
        yield name, _camel(value, is_map=not is_map and key in _MAPS, is_data=data)


def _is_message(key: str, value: Any) -> bool:
    """`match`, `metadata` and `value` are also names of messages' fields."""
    if not isinstance(value, dict):
        return False
    known = {
        "match": {"prefix", "path", "safe_regex", "path_separated_prefix", "connect_matcher", "headers", "grpc"},
        "metadata": {"filter_metadata", "typed_filter_metadata"},
        "value": {"default_value", "runtime_key", "text_format_source"},
    }
    return bool(known.get(key, set()) & value.keys())
