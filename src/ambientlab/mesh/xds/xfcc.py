"""Who the client is, told to the application in the header x-forwarded-client-cert.

The inner connection has no certificate that Envoy could take it from, so that Envoy only takes away what the client put
there. As in Istio, a waypoint that is asked to puts there what the tunnel's end knows.
"""

from __future__ import annotations

from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutation

from ambientlab.mesh.xds.messages import PEER_PRINCIPAL


def client_identity() -> HeaderMutation:
    result = HeaderMutation()
    header = result.mutations.request_mutations.add().append
    header.header.key = "x-forwarded-client-cert"
    header.header.value = f"URI=%FILTER_STATE({PEER_PRINCIPAL}:PLAIN)%"
    header.append_action = header.OVERWRITE_IF_EXISTS_OR_ADD
    return result
