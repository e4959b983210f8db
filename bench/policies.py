"""A policy of ztunnel that changes, until its clients' new connections follow; alone, and among many.

A client connects again and again, through tunnels that stay open, and notes the moment of each turn on the monotonic
clock that every namespace of a machine shares.
"""

from __future__ import annotations

import json

from bench import route
from bench.report import Row
from bench.world import kubectl, mesh, shell

CROWD = 1000
AT_MOST = 0.2
POLICY = "/apis/security.istio.io/v1/namespaces/hello/authorizationpolicies/turns"

CLIENT = """
import http.client, time
last = ""
while True:
    connection = http.client.HTTPConnection("helloworld.hello", 5000)
    try:
        connection.request("GET", "/hello")
        connection.getresponse().read()
        now = "v2"
    except (OSError, http.client.HTTPException):
        now = "v1"
    connection.close()
    if now != last:
        last = now
        print(time.monotonic(), last, flush=True)
"""

WORLD = """
kubectl apply -n hello -f helloworld.yaml
kubectl label ns hello istio.io/dataplane-mode=ambient
kubectl wait -n hello --for=condition=Available deploy --all
"""


def rows() -> list[Row]:
    with mesh(lab=True) as paths:
        shell(WORLD)
        kubectl("apply", "-f", "-", stdin=json.dumps(_policy("turns", "hello", _denying("v2"))))
        alone = route.turns(paths, "policy change to first connection", CLIENT, POLICY, _denying, at_most=AT_MOST)
        kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": _crowd()}))
        name = f"policy change among {CROWD} to first connection"
        return [*alone, *route.turns(paths, name, CLIENT, POLICY, _denying, at_most=AT_MOST)]


def _denying(version: str) -> dict[str, object]:
    """The client's namespace, or one that nobody is of."""
    source = {"namespaces": ["test" if version == "v1" else "elsewhere"]}
    return {"spec": {"action": "DENY", "rules": [{"from": [{"source": source}]}]}}


def _crowd() -> list[dict[str, object]]:
    """One in a hundred is for the pods that the client asks."""
    found = []
    for number in range(CROWD):
        labels = {"app": "helloworld" if number % 100 == 0 else f"app-{number % 50}"}
        rules = [{"from": [{"source": {"principals": [f"cluster.local/ns/test/sa/nobody-{number}"]}}]}]
        spec = {"selector": {"matchLabels": labels}, "action": "DENY", "rules": rules}
        found.append(_policy(f"crowd-{number}", "hello", {"spec": spec}))
    return found


def _policy(name: str, namespace: str, rest: dict[str, object]) -> dict[str, object]:
    kind = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy"}
    return {**kind, "metadata": {"name": name, "namespace": namespace}, **rest}
