"""Changes drawn at random: what they do to any request is told, and of what is the same nothing is."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ambientlab.api.objects import Object
from ambientlab.mesh.decide import Request, by_answer, by_workload, decide
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key
from ambientlab.mesh.plan import Aspect, Difference, compare
from ambientlab.mesh.plan.aspects import facets
from ambientlab.mesh.plan.differences import differences
from support import route_worlds
from support.decisions import CURL, indexed, world
from support.drawn_routes import NAMESPACE

WORLD = route_worlds.world("10.1.2")
CLIENTS = (CURL, Key(NAMESPACE, "v1"))
AT_RANDOM = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
REFUSALS = {Aspect.POLICY, Aspect.TOKENS}


def mesh_of(objects: list[Object]) -> MeshIndex:
    return indexed(*WORLD, *copy.deepcopy(objects))


def aspects(some: Iterable[Difference]) -> frozenset[Aspect]:
    return frozenset(difference.aspect for difference in some)


@seed(1)
@AT_RANDOM
@given(route_worlds.objects(), route_worlds.objects(), st.lists(route_worlds.request(), min_size=5, max_size=5))
def test_what_differs_for_a_request_is_told(before: list[Object], after: list[Object], requests: list[Request]) -> None:
    old, new = mesh_of(before), mesh_of(after)
    found = [e for e in compare(old.mesh, new.mesh, old.domain).effects if e.target.startswith("app.")]
    for client in CLIENTS:
        told = [aspects(e.differences) for e in found if any(client in some.members for some in e.clients)]
        for request in requests:
            was, becomes = (decide(index.mesh, client, request) for index in (old, new))
            if any(was.distribution(name) != becomes.distribution(name) for name in (by_answer, by_workload)):
                assert told, (client, request)
            differing = aspects(differences(facets(old.mesh, was), facets(new.mesh, becomes)))
            if differing & REFUSALS:
                # a policy that changes is told for one request of each kind, whichever route it meets
                assert differing <= frozenset().union(*told), (client, request, differing)
            elif differing:
                assert differing in told, (client, request, differing)


@seed(1)
@settings(AT_RANDOM, max_examples=10)
@given(route_worlds.objects())
def test_of_the_same_nothing_is_told(objects: list[Object]) -> None:
    old, new = mesh_of(objects), mesh_of(objects)
    assert compare(old.mesh, new.mesh, old.domain).effects == ()


def test_no_pod_stands_for_others_at_its_own_address() -> None:
    """What it says to itself meets no policy, so that nothing would seem to change for those it stands for."""
    nobody = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "nobody", "namespace": "hello"},
        "spec": {},
    }
    old, new = indexed(*world()), indexed(*world(), nobody)
    found = [effect for effect in compare(old.mesh, new.mesh, old.domain).effects if effect.pods]
    clients = [(effect.pods[0], some) for effect in found for some in effect.clients]
    assert any(called in some.members for called, some in clients)
    assert all(called != some.one for called, some in clients)
