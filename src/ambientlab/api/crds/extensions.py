"""WasmPlugin and TrafficExtension: filters of the user's own (extensions/v1alpha1)."""

from __future__ import annotations

from collections.abc import Mapping

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import (
    AGE,
    Rules,
    Schema,
    any_object,
    array,
    at_most_one,
    definition,
    enum,
    int32,
    integer,
    keyed,
    obj,
    string,
)
from ambientlab.api.objects import Object


def _url(*schemes: str) -> Schema:
    known = ", ".join(f'"{scheme}"' for scheme in ("", *schemes))
    rule = (
        f"isURL(self) ? (url(self).getScheme() in [{known}]) : "
        f'(isURL("http://" + self) &&\nurl("http://" + self).getScheme() in [{known}])'
    )
    return string(
        "Where the module is; an image of a registry if it has no scheme.",
        minLength=1,
        rules=[("url must have schema one of [http, https, file, oci]", rule)],
    )


def _wasm(*schemes: str) -> Mapping[str, Schema]:
    """The fields of a module; Istio's two kinds name the schemes in different order."""
    variable = obj(
        "One variable.",
        {
            "name!": string("Its name.", maxLength=256, minLength=1),
            "value": string("Its value.", maxLength=2048),
            "valueFrom": enum("Where the value is from.", "INLINE", "HOST"),
        },
        rules=[
            (
                "value may only be set when valueFrom is INLINE",
                '(has(self.valueFrom) ? self.valueFrom : "") != "HOST" || !has(self.value)',
            )
        ],
    )
    return {
        "failStrategy": enum("What happens when the module fails.", "FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"),
        "imagePullPolicy": enum("When to fetch an image.", "UNSPECIFIED_POLICY", "IfNotPresent", "Always"),
        "imagePullSecret": string("A Secret with credentials for the registry.", maxLength=253, minLength=1),
        "pluginConfig": any_object("Configuration that is handed to the module."),
        "pluginName": string("Name of the plugin within the module.", maxLength=256, minLength=1),
        "sha256": string("Hash of the module.", pattern="(^$|^[a-f0-9]{64}$)"),
        "type": enum("The kind of filter.", "UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"),
        "url!": _url(*schemes),
        "verificationKey": string("A public key for the module's signature."),
        "vmConfig": obj(
            "The module's machine.",
            {"env": keyed("Environment variables.", "name", variable, maxItems=256)},
        ),
    }


def _matches() -> Schema:
    port = obj("One port.", {"number!": integer("Its number.", minimum=1, maximum=65535)})
    return array(
        "The traffic it is for; all of it if absent.",
        obj(
            "One kind of traffic.",
            {
                "mode": enum("Whose side.", "UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"),
                "ports": keyed("The ports.", "number", port),
            },
        ),
    )


def _placed(unspecified: str) -> Mapping[str, Schema]:
    return {
        "match": _matches(),
        "phase": enum("Where among Istio's own filters.", unspecified, "AUTHN", "AUTHZ", "STATS"),
        "priority": int32("The order within the phase; higher ones first.", nullable=True),
    }


def _extension(kind: str, plural: str, *, doc: str, spec: Schema) -> Object:
    return definition(
        "extensions.istio.io",
        kind,
        plural,
        doc=doc,
        categories=("istio-io", "extensions-istio-io"),
        versions=("v1alpha1",),
        storage="v1alpha1",
        columns=(AGE,),
        fields={"spec!": spec, "status": common.status()},
    )


def wasm_plugin() -> Object:
    fields = common.targeted({**_placed("UNSPECIFIED_PHASE"), **_wasm("http", "https", "oci", "file")})
    return _extension(
        "WasmPlugin",
        "wasmplugins",
        doc="A WebAssembly module in proxies.",
        spec=obj("The module, and where it is.", fields, rules=common.ONE_TARGETING),
    )


def traffic_extension() -> Object:
    rules: Rules = [
        (
            "only one of targetRefs or selector can be set",
            "(has(self.selector) ? 1 : 0) + (has(self.targetRefs) ? 1 : 0) <= 1",
        ),
        ("exactly one of wasm or lua must be set", "has(self.wasm) != has(self.lua)"),
    ]
    return _extension(
        "TrafficExtension",
        "trafficextensions",
        doc="A WebAssembly module or Lua code in proxies.",
        spec=obj(
            "The extension, and where it is.",
            {
                **_placed("UNSPECIFIED"),
                "lua": obj("Lua code.", {"inlineCode!": string("The code itself.", maxLength=65536, minLength=1)}),
                "selector": common.workload_selector("The workloads it is for, by their labels."),
                "targetRefs": common.target_refs("The objects it is for."),
                "wasm": obj("A WebAssembly module.", _wasm("http", "https", "file", "oci")),
            },
            oneOf=at_most_one("wasm", "lua"),
            rules=rules,
        ),
    )
