"""Which connections there were in the last minutes, by what ztunnel has logged of them: src/proxy/metrics.rs of
istio/ztunnel has the fields of its access log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import orjson

from ambientlab.api.kinds import POD
from ambientlab.api.objects import labels_of
from ambientlab.host.kubeapi import KubeApi, path
from ambientlab.mesh.explain import Unseen
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key, Mesh, names
from ambientlab.mesh.plan import Connection

MINUTES = 5
_LINES = 5000
_MOST_LOGS = 100
_FIELD = re.compile(r'([a-z_.]+)=(?:"([^"]*)"|(\S+))')


def connections(api: KubeApi, index: MeshIndex, before: Mesh) -> tuple[list[Connection], list[Unseen]]:
    """Those that came about, by client, service and port, and whose logs could not be read. Raises ApiError."""
    pods = [key for key, pod in sorted(index.sources[POD].items()) if labels_of(pod).get("app") == "ztunnel"][
        :_MOST_LOGS
    ]
    asked = f"sinceSeconds={MINUTES * 60}&tailLines={_LINES}"
    replies = api.get([f"{path(POD, key)}/log?{asked}" for key in pods])
    counted: dict[tuple[Key, str, int], int] = {}
    unseen = []
    for key, reply in zip(pods, replies, strict=True):
        if reply.status != 200:
            why = "not permitted" if reply.status == 403 else f"the API answers {reply.status}"
            unseen.append(Unseen(f"connections of the last minutes, in the log of {key}", why))
            continue
        for place in _placed(reply.body.decode(errors="replace").splitlines(), before):
            counted[place] = counted.get(place, 0) + 1
    return [Connection(*place, count) for place, count in sorted(counted.items())], unseen


def _placed(lines: Iterable[str], mesh: Mesh) -> Iterator[tuple[Key, str, int]]:
    by_address = {vip: service.host for service in mesh.services.values() for vip in service.vips}
    for line in lines:
        found = _fields(line)
        client = Key(found.get("src.namespace", ""), found.get("src.workload", ""))
        workload = mesh.workloads.get(client)
        # both ends log a connection within the mesh; the client's end knows what it asked for
        wanted = "outbound" if workload is not None and workload.captured else "inbound"
        if workload is None or "error" in found or found.get("direction") != wanted:
            continue
        if (place := _service(mesh, client.namespace, found, by_address)) is not None:
            yield client, *place


def _fields(line: str) -> Mapping[str, str]:
    """Of a line about a connection, as ztunnel writes it or, told to by LOG_FORMAT, as JSON (src/telemetry.rs); none of
    another."""
    if line.startswith("{"):
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            return {}
        return {name: str(value) for name, value in found.items()} if found.get("scope") == "access" else {}
    if "\taccess\t" not in line and " access " not in line:
        return {}
    return {name: quoted or plain for name, quoted, plain in _FIELD.findall(line)}


def _service(
    mesh: Mesh, namespace: str, found: Mapping[str, str], by_address: Mapping[str, str]
) -> tuple[str, int] | None:
    """The service that a client in `namespace` called and its port: by its own address, as what goes to a waypoint has
    it, or by that of a pod."""
    address, _, port = (found.get("dst.hbone_addr") or found.get("dst.addr", "")).rpartition(":")
    if not port.isdecimal():
        return None
    if (host := by_address.get(address.strip("[]"))) is not None:
        return host, int(port)
    service = names.meant(namespace, found.get("dst.service", ""), mesh.services.get)
    ends = service.endpoints if service is not None else ()
    numbers = (number for end in ends for number, target in end.ports if target == int(port))
    number = next(numbers, None)
    return None if service is None or number is None else (service.host, number)
