"""ReferenceGrants: who may refer across namespaces."""

from __future__ import annotations

from ambientlab.api.kinds import GATEWAY_GROUP
from ambientlab.api.objects import Object
from ambientlab.flow.collection import Collection, Context
from ambientlab.mesh.index.diagnostics import ObjectRef
from ambientlab.mesh.ir import Key


class Grants:
    def __init__(self, grants: Collection[Key, Object]) -> None:
        self._by_namespace = grants.index(lambda key, _: (key.namespace,))

    def allowed(self, ctx: Context, source: ObjectRef, target: Key) -> bool:
        """Whether a route may refer to a Service of another namespace (gateway-api, ReferenceGrantSpec)."""
        for grant in ctx.select(self._by_namespace, target.namespace):
            spec = grant["spec"]
            froms = any(
                f.get("group") == GATEWAY_GROUP
                and f.get("kind") == source.kind
                and f.get("namespace") == source.namespace
                for f in spec.get("from") or []
            )
            tos = any(
                t.get("group", "") == "" and t.get("kind") == "Service" and t.get("name") in (None, "", target.name)
                for t in spec.get("to") or []
            )
            if froms and tos:
                return True
        return False
