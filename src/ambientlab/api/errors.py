"""Failures as the Kubernetes API reports them (metav1.Status)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ambientlab.api.objects import Object


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of `details.causes`: a field path, what is wrong with it, and the machine-readable reason."""

    reason: str
    message: str
    field: str = ""


class StatusError(Exception):
    """A request the API refuses. `code` is the HTTP status, `reason` metav1.StatusReason."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        group: str = "",
        kind: str = "",
        name: str = "",
        uid: str = "",
        causes: tuple[Cause, ...] = (),
        retry_after_seconds: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.group = group
        self.kind = kind
        self.name = name
        self.uid = uid
        self.causes = causes
        self.retry_after_seconds = retry_after_seconds

    def to_status(self) -> Object:
        details: dict[str, Any] = {}
        for key in ("name", "group", "kind", "uid"):
            if value := getattr(self, key):
                details[key] = value
        if self.causes:
            details["causes"] = [
                {"reason": c.reason, "message": c.message, **({"field": c.field} if c.field else {})}
                for c in self.causes
            ]
        if self.retry_after_seconds:
            details["retryAfterSeconds"] = self.retry_after_seconds
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details:
            status["details"] = details
        return status
