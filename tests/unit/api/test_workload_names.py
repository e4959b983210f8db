"""What Istio's telemetry calls a pod."""

from __future__ import annotations

import pytest

from ambientlab.api.workload_names import WorkloadNames, workload_names

HASH = {"pod-template-hash": "5787f49bd8"}


@pytest.mark.parametrize(
    ("owner", "labels", "names"),
    [
        (None, {}, ("curl", "curl", "latest")),
        (("ReplicaSet", "web-5787f49bd8"), HASH, ("web", "web", "latest")),
        (("ReplicaSet", "web-5787f49bd8"), {}, ("web-5787f49bd8", "web-5787f49bd8", "latest")),
        (("StatefulSet", "db"), {"app": "base", "version": "v2"}, ("db", "base", "v2")),
        (("Job", "nightly-28123456"), {}, ("nightly", "nightly", "latest")),
        (("Job", "once"), {}, ("once", "once", "latest")),
        (
            None,
            {"app": "a", "app.kubernetes.io/name": "b", "service.istio.io/canonical-name": "c", "version": "1"},
            ("curl", "c", "1"),
        ),
        (None, {"app.kubernetes.io/version": "2", "version": "1"}, ("curl", "curl", "2")),
    ],
)
def test_names(owner: tuple[str, str] | None, labels: dict[str, str], names: tuple[str, str, str]) -> None:
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    pod = {"metadata": {"name": "curl", "labels": labels, "ownerReferences": owners}}
    assert workload_names(pod) == WorkloadNames(*names)
