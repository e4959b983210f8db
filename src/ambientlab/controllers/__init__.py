"""The control loops of a cluster and of a mesh's installation, each a reconciler in a module of its own."""

from __future__ import annotations

from typing import Any

from ambientlab.api.client import Client
from ambientlab.api.errors import StatusError
from ambientlab.controllers.base import Options, lost_race
from ambientlab.controllers.claims import ClaimController
from ambientlab.controllers.daemonset import DaemonSetController
from ambientlab.controllers.deployment import DeploymentController
from ambientlab.controllers.endpoints import EndpointsController
from ambientlab.controllers.endpointslice import EndpointSliceController
from ambientlab.controllers.events import EventExpiry, Recorder
from ambientlab.controllers.garbage import GarbageCollector
from ambientlab.controllers.gateway import GatewayController
from ambientlab.controllers.gatewayclass import GatewayClassController
from ambientlab.controllers.ipallocate import IPAllocator
from ambientlab.controllers.namespace import NamespaceController
from ambientlab.controllers.replicaset import ReplicaSetController
from ambientlab.controllers.scheduler import Scheduler
from ambientlab.controllers.serviceaccount import ServiceAccountController
from ambientlab.controllers.world import World
from ambientlab.flow.reconcile import Controller, Reconciler

__all__ = ["Options", "all_controllers"]


def all_controllers(client: Client, options: Options) -> list[Controller[Any]]:
    """Every control loop, not started. The shipped CRDs are served already: the gateway loops watch their objects.

    The host calls `start()` on each and `await stop()` on each in reverse, or runs each one's `run()` as a task.
    """
    clock = options.clock
    recorder = Recorder(client, clock)
    world = World(client, options.resources)
    reconcilers: list[Reconciler[Any]] = [
        ServiceAccountController(client, options.cluster_root, options.mesh_roots),
        GatewayClassController(client, clock),
        GatewayController(client, recorder),
        IPAllocator(client),
        DeploymentController(client, recorder, clock),
        Scheduler(client, recorder, clock),
        ClaimController(client, recorder),
        EndpointSliceController(client, clock),
        EndpointsController(client),
        NamespaceController(client, world, clock),
        GarbageCollector(client, world),
        EventExpiry(client, clock),
        recorder,
    ]
    # Why a pod could not be created is in an event of theirs already, where its owner will look.
    workloads: list[Reconciler[Any]] = [
        ReplicaSetController(client, recorder, clock),
        DaemonSetController(client, recorder, clock),
    ]
    return [
        *[Controller(one, quiet=lost_race, clock=clock) for one in reconcilers],
        *[Controller(one, quiet=lambda error: isinstance(error, StatusError), clock=clock) for one in workloads],
    ]
