"""Every story runs twice: over a small fake of the API, and over the API server and its store."""

import pytest

from ambientlab.api.crds import shipped
from ambientlab.api.kinds import CORE, SHIPPED_CRDS
from ambientlab.api.registry import Registry
from ambientlab.apiserver.client import LocalClient
from ambientlab.apiserver.verbs import Verbs
from ambientlab.store.store import Store
from support.cluster_world import Cluster, custom_resource, running
from support.fake_client import FakeClient
from support.manual_clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=["fake", "apiserver"])
async def cluster(request, clock, tmp_path):
    if request.param == "fake":
        served = [*CORE, *SHIPPED_CRDS]
        async with running(Cluster(FakeClient(clock), clock, lambda: served, served.append)) as cluster:
            yield cluster
        return
    store = Store(tmp_path / "store.db")
    store.open()
    registry = Registry()

    def serve(resource):
        registry.put_crd(custom_resource(resource))

    for crd in shipped():
        registry.put_crd(crd)
    client = LocalClient(Verbs(store, registry, clock=clock.now, families=("IPv4", "IPv6")))
    try:
        async with running(Cluster(client, clock, registry.resources, serve)) as cluster:
            yield cluster
    finally:
        await store.close()
