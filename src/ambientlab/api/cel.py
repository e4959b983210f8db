"""CEL rules of CRDs (`x-kubernetes-validations`), behind an interface: the evaluator is young."""

from __future__ import annotations

from typing import Any, Protocol


class Program(Protocol):
    """A compiled rule."""

    def evaluate(self, self_: Any, old_self: Any = None) -> Any:
        """The value; raises `CelError` where evaluation fails."""
        ...


class CelError(Exception):
    """A rule that does not compile, or cannot be evaluated on this value."""


def compile(rule: str) -> Program:
    """Compiled on first use and cached. Raises CelError."""
    raise NotImplementedError
