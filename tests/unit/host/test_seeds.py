"""What a mesh begins with is put into the store as it is, so it must be what reading it from a request would give."""

from __future__ import annotations

from ambientlab.api import admit, crds, kinds
from ambientlab.api.objects import Object, copy
from ambientlab.api.registry import Registry
from ambientlab.host import seeds


def test_everything_shipped_is_as_decoding_gives_it() -> None:
    registry = Registry()
    shipped = [(kinds.CUSTOMRESOURCEDEFINITION, crd) for crd in crds.shipped()]
    for resource, obj in [*shipped, *seeds.namespaces(), *seeds.services(), *seeds.istio()]:
        assert admit.conform(registry, resource, copy(obj), "Strict") == (obj, [])


def ztunnel() -> Object:
    [found] = (obj for _, obj in seeds.istio() if obj["metadata"]["name"] == "ztunnel" and "spec" in obj)
    return found


def test_a_ztunnel_that_does_not_become_ready_is_begun_anew() -> None:
    """What a kubelet does with such a probe is tested in tests/unit/agent/test_probes.py."""
    [container] = ztunnel()["spec"]["template"]["spec"]["containers"]
    startup = container["startupProbe"]
    assert startup["httpGet"] == container["readinessProbe"]["httpGet"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 30


def test_one_ztunnel_ends_before_the_next_begins() -> None:
    """Kubernetes' default for DaemonSets: maxSurge 0, maxUnavailable 1. docs/limits.md says so."""
    assert "updateStrategy" not in ztunnel()["spec"]
