"""API objects to IR: what the mesh is, and what is to be said about the objects that ask for it."""

from __future__ import annotations

from ambientlab.mesh.index.credentials import CredentialError
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.graph import ANALYSED, RESOURCES, MeshIndex, index

__all__ = ["ANALYSED", "RESOURCES", "CredentialError", "Diagnostic", "MeshIndex", "ObjectRef", "index"]
