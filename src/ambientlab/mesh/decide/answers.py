"""What a proxy answers itself."""

from __future__ import annotations

from ambientlab.mesh.decide.decision import Answered, Reason
from ambientlab.mesh.decide.request import Headers, Request
from ambientlab.mesh.ir import Destination

_GRPC = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_UNKNOWN = 2


def local_answer(
    request: Request,
    status: int,
    reason: Reason,
    body: str = "",
    headers: Headers = (),
    *,
    grpc_status: int | None = None,
    destination: Destination | None = None,
) -> Answered:
    """To a request of gRPC, and to none else, the status is 200, and a status of gRPC says what is wrong (Envoy,
    source/common/http/utility.cc, sendLocalReply; source/common/grpc/status.cc, httpToGrpcStatus)."""
    if request.grpc:
        code = _GRPC.get(status, _UNKNOWN) if grpc_status is None else grpc_status
        return Answered(200, reason, "", headers, code, destination)
    return Answered(status, reason, body, headers, None, destination)
