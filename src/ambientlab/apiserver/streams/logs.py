"""pods/log: a container's log as plain text, followed for as long as the client stays."""

from __future__ import annotations

import asyncio
import logging
import time

from aiohttp import web

from ambientlab.api.errors import StatusError
from ambientlab.api.kubelet import Kubelet
from ambientlab.api.objects import Object
from ambientlab.apiserver.streams.options import log_options

logger = logging.getLogger(__name__)

FIRST_CHUNK_SECONDS = 0.1


async def handle_log(request: web.Request, kubelet: Kubelet, pod: Object) -> web.StreamResponse:
    """GET pods/log. Raises StatusError before the response starts.

    The application must cancel handlers whose client is gone (aiohttp `handler_cancellation`): a follower of a silent
    log writes nothing and would never notice.
    """
    options = log_options(request.query, pod, now=time.time())
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    if not pod["spec"].get("nodeName"):  # nothing has run yet: an empty log (registry/core/pod LogLocation)
        await response.prepare(request)
        return response
    chunks = kubelet.logs(pod, options)
    first = asyncio.ensure_future(anext(chunks, b""))
    try:
        # A refusal comes with the first chunk, and then it can still be an HTTP status; but a silent log that is
        # followed must not keep the client waiting for the response's head.
        await asyncio.wait((first,), timeout=FIRST_CHUNK_SECONDS)
        if first.done():
            first.result()
        await response.prepare(request)
        await response.write(await first)
        async for chunk in chunks:
            await response.write(chunk)
    except StatusError as error:
        if not response.prepared:
            raise
        logger.warning("log of %s broke off: %s", request.path, error.message)
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await chunks.aclose()
    return response
