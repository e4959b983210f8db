"""What a refusal has to be: a Status of Kubernetes with a code of the client's fault, that names the field at fault."""

from __future__ import annotations

import re
from typing import Any

from soak.api import Answer

WEBHOOK = re.compile(r'admission webhook "[^"]+" denied the request: .')
"""An API server passes on a webhook's refusal, and Istio's gives no reason (k8s.io/apiserver,
pkg/admission/plugin/webhook/errors/statuserror.go)."""


def failed(answer: Answer) -> bool:
    """Whether it is said to be the server's fault."""
    return answer.status >= 500 and not _of_the_future(answer)


def complaint(answer: Answer) -> str:
    """What is wrong with an answer to a whole request, "" if nothing is."""
    if answer.status == 0:
        return "no answer"
    if failed(answer):
        return f"answered {answer.status}"
    if answer.status < 400:
        return ""
    status = answer.json()
    if not isinstance(status, dict) or status.get("kind") != "Status":
        return f"{answer.status} without a Status"
    if status.get("code") != answer.status or status.get("status") != "Failure":
        return f"{answer.status} with another code in its Status"
    if not status.get("message") or not (status.get("reason") or WEBHOOK.match(status["message"])):
        return f"{answer.status} without a reason or a message"
    if status.get("reason") == "Invalid" and not _named(status):
        return "Invalid without a field"
    return ""


def _of_the_future(answer: Answer) -> bool:
    """Kubernetes takes a resource version that is still to come for one that it has to wait for."""
    status = answer.json()
    if not isinstance(status, dict):
        return False
    causes = status.get("details", {}).get("causes", [])
    return answer.status == 504 and any(cause.get("reason") == "ResourceVersionTooLarge" for cause in causes)


def _named(status: dict[str, Any]) -> bool:
    """A JSON patch that does not apply has its place in the message."""
    causes = status.get("details", {}).get("causes", [])
    return bool(causes) and all(
        cause.get("message") and (cause.get("field") or cause.get("reason") == "UnexpectedServerResponse")
        for cause in causes
    )
