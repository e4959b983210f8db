"""What is wrong with a mesh, as findings with codes that programs can rely on.

An analyser looks at an index and yields findings; those here read what the index and `mesh.explain` know already.
"""

from __future__ import annotations

from ambientlab.mesh.analysis import backends, codes, outsiders, policies, ports, routes, said, shutout, waypoints
from ambientlab.mesh.analysis.finding import Analyser, Code, Finding, Registry, Severity, analyse

__all__ = ["ANALYSERS", "CODES", "Analyser", "Code", "Finding", "Registry", "Severity", "analyse"]

ANALYSERS: tuple[Analyser, ...] = (
    said.analyse,
    waypoints.analyse,
    ports.analyse,
    routes.nobody,
    routes.weights,
    policies.analyse,
    shutout.analyse,
    outsiders.analyse,
    backends.analyse,
)
"""Ambientlab's own."""

CODES = codes.REGISTRY.codes
"""Theirs, by id."""
