"""Claims of storage, of which there is none: they wait, the pods that mount them too, and both say why."""

import pytest

from ambientlab.api.kinds import PERSISTENTVOLUMECLAIM, POD
from support.cluster_world import pod

MOUNTS = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]


def claim(**spec):
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "hello"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec},
    }


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, ("Normal", "FailedBinding", "no persistent volumes available for this claim and no storage class is set")),
        (
            {"storageClassName": "fast"},
            ("Warning", "ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found'),
        ),
    ],
)
async def test_a_claim_waits_and_says_why(cluster, spec, told):
    await cluster.create(PERSISTENTVOLUMECLAIM, claim(**spec))
    assert await cluster.events("data") == [told]
    await cluster.delete(PERSISTENTVOLUMECLAIM, "data")
    assert cluster.client.get(PERSISTENTVOLUMECLAIM, "data", "hello") is None


async def test_a_pod_that_mounts_one_is_not_scheduled(cluster):
    def refused():
        waiting = cluster.client.get(POD, "db", "hello")
        assert "nodeName" not in waiting["spec"]
        return cluster.condition(waiting, "PodScheduled")["message"]

    await cluster.create(POD, pod("db", volumes=MOUNTS))
    missing = '0/1 nodes are available: persistentvolumeclaim "data" not found.'
    assert refused() == missing
    await cluster.create(PERSISTENTVOLUMECLAIM, claim())
    unbound = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    assert refused() == unbound
    assert await cluster.events("db") == [("Warning", "FailedScheduling", why) for why in (missing, unbound)]
    await cluster.delete(PERSISTENTVOLUMECLAIM, "data")
    assert refused() == missing
