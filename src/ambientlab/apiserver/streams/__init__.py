"""Streams between kubectl and a pod: exec, attach, log and port-forward.

Each handler takes the request, the kubelet and the pod as stored. It raises `StatusError` for what it refuses, and
returns once the stream is over. The application must be run with aiohttp's `handler_cancellation=True`.
"""

from ambientlab.apiserver.streams.logs import handle_log
from ambientlab.apiserver.streams.portforward import handle_portforward
from ambientlab.apiserver.streams.remotecommand import handle_attach, handle_exec

__all__ = ["handle_attach", "handle_exec", "handle_log", "handle_portforward"]
