"""Injected faults: a delay and an abort are drawn for every request, each by itself, before it is passed on, and also
where the route would redirect it or answer it (Envoy, source/extensions/filters/http/fault/fault_filter.cc)."""

from __future__ import annotations

from ambientlab.mesh.decide import lots
from ambientlab.mesh.decide.answers import local_answer
from ambientlab.mesh.decide.decision import Answered, Reason
from ambientlab.mesh.decide.request import Headers, Request
from ambientlab.mesh.ir import Fault

BODY = "fault filter abort"


def drawn(fault: Fault | None, request: Request, headers: Headers = ()) -> lots.Lot[tuple[int, Answered | None]]:
    """Milliseconds of delay, and the abort that ends the request there, if any, with `headers` in its answer."""
    if fault is None:
        return lots.certain((0, None))
    delay, abort = fault.delay, fault.abort
    delays = lots.certain(0) if delay is None else lots.chance(delay.parts_per_million, delay.milliseconds, 0)
    aborts: lots.Lot[Answered | None] = lots.certain(None)
    if abort is not None:
        status = 200 if abort.grpc_status is not None else abort.http_status
        answer = local_answer(request, status, Reason.FAULT, BODY, headers, grpc_status=abort.grpc_status)
        aborts = lots.chance(abort.parts_per_million, answer, None)
    return lots.joined(delays, lambda ms: tuple((share, (ms, answer)) for share, answer in aborts))
