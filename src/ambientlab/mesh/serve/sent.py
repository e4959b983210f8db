"""What a proxy is to run, in the form in which Envoy dumps what it does run, for `istioctl proxy-status POD`.

Secrets are no part of it.
"""

from __future__ import annotations

from importlib import import_module

from google.protobuf.message import Message

from ambientlab.mesh.session import Config, Session
from ambientlab.mesh.xds.types import CLUSTER, LISTENER, ROUTES


def sent(session: Session) -> list[Message]:
    # imported when it is needed: few proxies are ever asked about
    shared = import_module("envoy.admin.v3.config_dump_shared_pb2")
    clusters, listeners, routes = shared.ClustersConfigDump(), shared.ListenersConfigDump(), shared.RoutesConfigDump()

    for config in _ordered(session, CLUSTER):
        clusters.dynamic_active_clusters.add(version_info=config.version, cluster=config.body)
    for name, config in sorted(session.wanted(LISTENER).items()):
        state = shared.ListenersConfigDump.DynamicListenerState(version_info=config.version, listener=config.body)
        listeners.dynamic_listeners.add(name=name, active_state=state)
    for config in _ordered(session, ROUTES):
        routes.dynamic_route_configs.add(version_info=config.version, route_config=config.body)
    return [clusters, listeners, routes]


def _ordered(session: Session, type_url: str) -> list[Config]:
    return [config for _, config in sorted(session.wanted(type_url).items())]
