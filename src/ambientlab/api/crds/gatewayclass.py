"""GatewayClass: which controller serves the Gateways of a class."""

from __future__ import annotations

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds.dsl import AGE, Printed, definition, keyed, obj, string
from ambientlab.api.objects import Object


def crd() -> Object:
    waiting = common.pending("Accepted")
    return definition(
        common.GROUP,
        "GatewayClass",
        "gatewayclasses",
        doc="A class of Gateways, and the controller that serves them.",
        namespaced=False,
        short_names=("gc",),
        categories=common.CATEGORIES,
        annotations=common.ANNOTATIONS,
        versions=("v1", "v1beta1"),
        storage="v1",
        columns=(
            Printed("Controller", ".spec.controllerName"),
            Printed("Accepted", '.status.conditions[?(@.type=="Accepted")].status'),
            AGE,
            Printed("Description", ".spec.description", priority=1),
        ),
        fields={
            "spec!": obj(
                "What the class is.",
                {
                    "controllerName!": common.controller_name(
                        "Name of the controller, as domain/path.", immutable=True
                    ),
                    "description": string("A few words for people.", maxLength=64),
                    "parametersRef": obj(
                        "An object with settings for the controller.",
                        {
                            "group!": common.group(),
                            "kind!": common.kind(),
                            "name!": common.object_name(),
                            "namespace": common.namespace("Namespace of the referent, if it has one."),
                        },
                    ),
                },
            ),
            "status": obj(
                "What the controller says of it.",
                {
                    "conditions": common.conditions(default=waiting),
                    "supportedFeatures": keyed(
                        "Features of Gateway API that the controller supports.",
                        "name",
                        obj("One feature.", {"name!": string("Name of the feature.")}),
                        maxItems=64,
                    ),
                },
                default={"conditions": waiting},
            ),
        },
    )
