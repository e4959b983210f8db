"""Cross-origin requests: preflights that a proxy answers itself, and what it adds to other responses (Envoy,
source/extensions/filters/http/cors/cors_filter.cc). Only routes that pass requests on have a say in them."""

from __future__ import annotations

from ambientlab.mesh.decide import matching
from ambientlab.mesh.decide.decision import Answered, Reason
from ambientlab.mesh.decide.headers import NOTHING
from ambientlab.mesh.decide.request import Request
from ambientlab.mesh.ir import Cors, HeaderChange


def is_preflight(request: Request) -> bool:
    return request.method == "OPTIONS" and all(_one(request, n) for n in ("origin", "access-control-request-method"))


def preflight(cors: Cors | None, request: Request) -> Answered | None:
    """The answer, if the request asks what is allowed and the destination is not to say so itself."""
    origin, asked = _one(request, "origin"), _one(request, "access-control-request-method")
    if cors is None or not is_preflight(request):
        return None
    allowed = _allowed(cors, origin)
    if not allowed and cors.forward_unmatched:
        return None
    told = [("access-control-allow-origin", origin)] if allowed else []
    if cors.credentials:
        told.append(("access-control-allow-credentials", "true"))
    if cors.methods:
        told.append(("access-control-allow-methods", asked if cors.methods == ("*",) else ",".join(cors.methods)))
    if cors.headers:
        wanted = _one(request, "access-control-request-headers")
        told.append(("access-control-allow-headers", wanted if cors.headers == ("*",) else ",".join(cors.headers)))
    if cors.max_age_s is not None:
        told.append(("access-control-max-age", str(cors.max_age_s)))
    if allowed and cors.exposed_headers:
        told.append(("access-control-expose-headers", ",".join(cors.exposed_headers)))
    return Answered(200, Reason.PREFLIGHT, "", tuple(told))


def response_change(cors: Cors | None, request: Request) -> HeaderChange:
    """What the response to a cross-origin request tells the browser, in place of what the destination says."""
    origin = _one(request, "origin")
    if cors is None or not origin or not _allowed(cors, origin):
        return NOTHING
    told = [("access-control-allow-origin", origin)]
    if cors.credentials:
        told.append(("access-control-allow-credentials", "true"))
    if cors.exposed_headers:
        told.append(("access-control-expose-headers", ",".join(cors.exposed_headers)))
    return HeaderChange(set=tuple(told))


def _allowed(cors: Cors, origin: str) -> bool:
    """Whoever allows `*` allows all."""
    return any(matching.holds(wanted, "*") or matching.holds(wanted, origin) for wanted in cors.origins)


def _one(request: Request, name: str) -> str:
    return ",".join(request.values(name))
