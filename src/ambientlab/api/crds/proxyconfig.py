"""ProxyConfig: how proxies are started (networking/v1beta1/proxy_config.proto)."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import int32, mapping, obj, string
from ambientlab.api.objects import Object


def crd() -> Object:
    return common.networking(
        "ProxyConfig",
        "proxyconfigs",
        doc="How the proxies of a namespace or of some workloads are started.",
        versions=("v1beta1",),
        columns=(),
        spec=obj(
            "What differs from the mesh's defaults.",
            {
                "concurrency": int32("Worker threads; 0 for one a core.", minimum=0, nullable=True),
                "environmentVariables": mapping("Environment variables.", string(maxLength=2048)),
                "image": obj("The proxy's image.", {"imageType": string("Its variant, such as distroless.")}),
                "selector": common.workload_selector("The workloads; all of the namespace if absent."),
            },
        ),
    )
