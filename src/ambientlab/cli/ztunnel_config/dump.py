"""ztunnel's configuration dump: the parts that istioctl knows, in the form that istioctl gives them.

istioctl reads the dump into Go structs and writes those (writer/ztunnel/configdump/api.go): fields that it does not
know are lost, fields that are missing appear with Go's zero values, unless they are marked `omitempty`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ambientlab.cli import shapes
from ambientlab.cli.shapes import ShapeError, within

Message = dict[str, Any]
Convert = Callable[[Any], Any]


class DumpError(Exception):
    """What was read is not a dump of ztunnel."""


@dataclass(frozen=True, slots=True)
class _Field:
    convert: Convert
    omit_empty: bool = False

    def omits(self, made: Any) -> bool:
        """What may be anything is an interface in Go, and empty only where there is nothing at all."""
        return self.omit_empty and (made is None if self.convert is _any else not made)


def _text(value: Any) -> Any:
    return "" if value is None else shapes.text(value)


def _number(value: Any) -> Any:
    return 0 if value is None else shapes.number(value)


def _flag(value: Any) -> Any:
    return value is not None and shapes.boolean(value)


def _any(value: Any) -> Any:
    return value


def _list(convert: Convert) -> Convert:
    return _pointer(shapes.each(convert))


def _map(convert: Convert) -> Convert:
    return _pointer(lambda value: dict(sorted(shapes.values(convert)(value).items())))


def _struct(fields: Mapping[str, Convert | _Field]) -> Convert:
    known = {name: one if isinstance(one, _Field) else _Field(one) for name, one in fields.items()}

    def convert(value: Any) -> Message:
        given = {} if value is None else shapes.struct(value)
        found = ((name, within(f".{name}", one.convert, given.get(name)), one) for name, one in known.items())
        return {name: made for name, made, one in found if not one.omits(made)}

    return convert


def _pointer(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _optional(convert: Convert) -> _Field:
    return _Field(convert, omit_empty=True)


_texts = _list(_text)
_gateway = _optional(_pointer(_struct({"destination": _text})))
_match = _struct({name: _optional(_text) for name in ("Exact", "Suffix", "Prefix")} | {"Presence": _optional(_any)})
_account = _struct({"namespace": _text, "serviceAccount": _text})
_policy_match = _struct(
    {
        f"{prefix}{name[:1].upper() if prefix else name[:1]}{name[1:]}": _optional(_list(of))
        for name, of in (
            ("namespaces", _match),
            ("principals", _match),
            ("sourceIps", _text),
            ("destinationIps", _text),
            ("destinationPorts", _number),
            ("serviceAccounts", _account),
        )
        for prefix in ("", "not")
    }
)
_workload = _struct(
    {
        "uid": _text,
        "workloadIps": _texts,
        "waypoint": _gateway,
        "networkGateway": _gateway,
        **dict.fromkeys(
            ("protocol", "name", "namespace", "serviceAccount", "workloadName", "workloadType", "canonicalName"), _text
        ),
        "canonicalRevision": _text,
        "clusterId": _text,
        "trustDomain": _optional(_text),
        "locality": _struct(dict.fromkeys(("region", "zone", "subzone"), _optional(_text))),
        "node": _text,
        "network": _optional(_text),
        "status": _text,
        "hostname": _text,
        "capacity": _number,
        "applicationTunnel": _struct({"protocol": _text, "port": _optional(_any)}),
        "authorizationPolicies": _optional(_texts),
    }
)
_endpoint = _struct({"workloadUid": _text, "service": _text, "address": _optional(_text), "port": _map(_number)})
_load_balancer = _struct({"mode": _text, "routingPreferences": _texts, "healthPolicy": _text})
_service = _struct(
    {
        "name": _text,
        "namespace": _text,
        "hostname": _text,
        "vips": _texts,
        "cidrVips": _optional(_list(_any)),
        "ports": _map(_number),
        "loadBalancer": _optional(_pointer(_load_balancer)),
        "waypoint": _gateway,
        "endpoints": _map(_pointer(_endpoint)),
        "subjectAltNames": _optional(_texts),
        "ipFamilies": _text,
        "canonical": _optional(_flag),
        "visibility": _optional(_text),
    }
)
_policy = _struct(
    {
        **dict.fromkeys(("name", "namespace", "scope", "action"), _text),
        "rules": _list(_list(_list(_pointer(_policy_match)))),
    }
)
_certificate = _struct(dict.fromkeys(("pem", "serialNumber", "validFrom", "expirationTime"), _text))
_certificates = _struct(
    {"identity": _text, "state": _text, "certChain": _list(_certificate), "rootCerts": _list(_certificate)}
)
_connection = _struct(dict.fromkeys(("src", "originalDst", "actualDst", "protocol"), _text))
_state = _struct(
    {
        "state": _optional(_text),
        "connections": _struct({"inbound": _list(_connection), "outbound": _list(_connection)}),
        "info": _struct(dict.fromkeys(("name", "namespace", "trustDomain", "serviceAccount"), _text)),
    }
)


class Dump:
    """`raw` is the dump as it was read. Workloads, services and policies are in the order of the dump."""

    def __init__(self, text: str | bytes) -> None:
        """Raises DumpError for what is no dump."""
        try:
            self.raw: Message = shapes.struct(json.loads(text))
            self.workloads = _each(self.raw, "workloads", _workload)
            self.services = _each(self.raw, "services", _service)
            self.policies = _each(self.raw, "policies", _policy)
            self.certificates = _each(self.raw, "certificates", _certificates)
            self.states = _each(self.raw, "workloadState", _state) or _each(self.raw, "workloadstate", _state)
        except (ValueError, RecursionError, ShapeError) as error:
            raise DumpError(f"error unmarshalling config dump response from ztunnel: {error}") from None


def _each(raw: Message, name: str, convert: Convert) -> list[Message]:
    """Of a list, or, as older versions had it, of a mapping."""
    found = raw.get(name)
    if isinstance(found, dict):
        return list(within(f".{name}", shapes.values(convert), found).values())
    return [] if found is None else within(f".{name}", shapes.each(convert), found)
