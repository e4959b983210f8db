"""What `explain` expects of requests, told apart as `traffic` tells their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ambientlab.cli import reading

if TYPE_CHECKING:
    from ambientlab.host.kubectl import Kubectl
    from ambientlab.mesh.decide import Result
    from ambientlab.traffic.answers import Requests


def predicted(kubectl: Kubectl, requests: Requests, by: str) -> Mapping[str, float]:
    """Shares in percent; none where pods have no label that names their version, or `by` asks for what they alone know.
    Raises ApiError and AskedError."""
    from ambientlab.mesh.decide import decide
    from ambientlab.mesh.explain import named, request

    if by not in ("version", "instance"):
        return {}
    asked = request(requests.url, requests.method, [f"{name}: {value}" for name, value in requests.headers])
    with reading.api(kubectl.context, kubectl.kubeconfig) as api:
        index, _ = reading.read(api)
    asker = named(index, requests.source)
    decision = decide(index.mesh, asker.key, asked, domain=index.domain, node=asker.node)
    shares = decision.distribution(lambda result: _name(result, by))
    return {} if "" in shares else {name: float(100 * share) for name, share in shares.items()}


def _name(result: Result, by: str) -> str:
    """As `Answer` has it; "" for what cannot be known."""
    from ambientlab.mesh.decide import Answered, Delivered
    from ambientlab.traffic.expectations import NO_ANSWER

    if isinstance(result, Delivered):
        workload = result.endpoint.workload
        if workload is None:
            return ""
        return workload.name if by == "instance" else dict(workload.labels).get("version", "")
    return f"HTTP {result.status}" if isinstance(result, Answered) else NO_ANSWER
