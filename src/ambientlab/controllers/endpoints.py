"""Endpoints of Services with a selector: the older form, one object a Service, which many scripts still read."""

from __future__ import annotations

from ambientlab.api.endpoints import Endpoint, Groups, families, group, is_headless, selects
from ambientlab.api.kinds import ENDPOINTS, POD, SERVICE
from ambientlab.api.objects import Object, labels_of, name, namespace, uid
from ambientlab.controllers.base import Key, delete_quietly
from ambientlab.controllers.endpointgroups import ServiceWatcher
from ambientlab.controllers.owners import is_deleting

HEADLESS = "service.kubernetes.io/headless"
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"


class EndpointsController(ServiceWatcher):
    name = "endpoints"

    async def reconcile(self, key: Key) -> None:
        service = self._client.get(SERVICE, key.name, key.namespace)
        old = self._client.get(ENDPOINTS, key.name, key.namespace)
        if service is None or is_deleting(service):
            if old is not None and labels_of(old).get(MANAGED_BY) == MANAGER:
                await delete_quietly(self._client, ENDPOINTS, old)
            return
        if not selects(service):
            return
        labels = {**labels_of(service), MANAGED_BY: MANAGER}
        if is_headless(service):
            labels[HEADLESS] = ""
        subsets = _subsets(group(service, self._client.list(POD, key.namespace), families(service)[0]))
        draft = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": key.name, "namespace": key.namespace, "labels": labels},
            **({"subsets": subsets} if subsets else {}),
        }
        if old is None:
            await self._client.create(ENDPOINTS, draft)
        elif (old.get("subsets") or [], labels_of(old)) != (subsets, labels):
            metadata = {**old["metadata"], "labels": labels}
            await self._client.update(ENDPOINTS, {**draft, "metadata": metadata})


def _subsets(groups: Groups) -> list[Object]:
    subsets = []
    for ports, endpoints in groups.items():
        ready = [_address(one) for one in endpoints if one.ready]
        waiting = [_address(one) for one in endpoints if not one.ready and not one.terminating]
        if ready or waiting:
            subsets.append(
                {
                    **({"addresses": ready} if ready else {}),
                    **({"notReadyAddresses": waiting} if waiting else {}),
                    "ports": [
                        {
                            **({"name": port.name} if port.name else {}),
                            "port": port.number,
                            "protocol": port.protocol,
                            **({"appProtocol": port.app_protocol} if port.app_protocol else {}),
                        }
                        for port in ports
                    ],
                }
            )
    return subsets


def _address(endpoint: Endpoint) -> Object:
    pod = endpoint.pod
    node = pod["spec"].get("nodeName")
    return {
        "ip": endpoint.address,
        **({"nodeName": node} if node else {}),
        "targetRef": {"kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod)},
    }
