"""What the mesh has to say about objects, as their statuses: from the index, in Istio's words."""

from __future__ import annotations

from ambientlab.mesh.status.statuses import Statuses

__all__ = ["Statuses"]
