"""ReferenceGrant: which objects of other namespaces may refer into this one."""

from __future__ import annotations

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds.dsl import AGE, atomic, definition, obj
from ambientlab.api.objects import Object


def crd() -> Object:
    """Stored as v1beta1, the version every release of Gateway API that has the kind can read."""
    return definition(
        common.GROUP,
        "ReferenceGrant",
        "referencegrants",
        doc="Permission for objects of other namespaces to refer to objects of this one.",
        short_names=("refgrant",),
        categories=common.CATEGORIES,
        annotations=common.ANNOTATIONS,
        versions=("v1", "v1beta1"),
        storage="v1beta1",
        status=False,
        columns=(AGE,),
        fields={
            "spec!": obj(
                "Who may refer to what.",
                {
                    "from!": atomic(
                        "Who may refer.",
                        obj(
                            "Objects of one kind in one namespace.",
                            {
                                "group!": common.group("API group of the referrer; empty for the core group."),
                                "kind!": common.kind("Kind of the referrer."),
                                "namespace!": common.namespace("Namespace of the referrer."),
                            },
                        ),
                        minItems=1,
                        maxItems=16,
                    ),
                    "to!": atomic(
                        "What may be referred to.",
                        obj(
                            "Objects of one kind in this namespace.",
                            {
                                "group!": common.group(),
                                "kind!": common.kind(),
                                "name": common.object_name(
                                    "Name of the one object meant; every one of the kind if absent."
                                ),
                            },
                        ),
                        minItems=1,
                        maxItems=16,
                    ),
                },
            ),
        },
    )
