"""AuthorizationPolicy: which requests are allowed."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import AGE, Printed, Schema, array, at_most_one, enum, obj, string
from ambientlab.api.objects import Object

_ACCOUNTS = string(maxLength=320)


def _source() -> Schema:
    fields: dict[str, Schema] = {}
    for name, words in {
        "IpBlocks": "addresses or ranges the request comes from",
        "Namespaces": "namespaces of the client",
        "Principals": "identities of the client, as in its certificate but without spiffe://",
        "RemoteIpBlocks": "addresses or ranges of the client, as X-Forwarded-For tells them",
        "RequestPrincipals": "issuer/subject of the request's token",
        "TrustDomains": "trust domains of the client's identity",
    }.items():
        fields[name[0].lower() + name[1:]] = common.strings(f"One of these {words}.")
        fields[f"not{name}"] = common.strings(f"None of these {words}.")
    fields["serviceAccounts"] = array("One of these service accounts of the client.", _ACCOUNTS, maxItems=16)
    fields["notServiceAccounts"] = array("None of these service accounts of the client.", _ACCOUNTS, maxItems=16)
    return obj(
        "Conditions on the client, all of which must hold.",
        fields,
        rules=[
            (
                "Cannot set serviceAccounts with namespaces or principals",
                "(has(self.serviceAccounts) || has(self.notServiceAccounts)) ? (!has(self.principals) &&\n"
                "!has(self.notPrincipals) && !has(self.namespaces) && !has(self.notNamespaces)) : true",
            )
        ],
    )


def _operation() -> Schema:
    fields: dict[str, Schema] = {}
    for name, words in {
        "Hosts": "hosts the request is for",
        "Methods": "HTTP methods",
        "Paths": "paths",
        "Ports": "ports",
    }.items():
        fields[name.lower()] = common.strings(f"One of these {words}.")
        fields[f"not{name}"] = common.strings(f"None of these {words}.")
    return obj("Conditions on the request, all of which must hold.", fields)


def _rule() -> Schema:
    return obj(
        "One set of conditions; a request matches if it meets those of from, to and when.",
        {
            "from": array(
                "Any of these clients; every one if absent.",
                obj("One set of conditions on the client.", {"source": _source()}),
                maxItems=512,
            ),
            "to": array(
                "Any of these requests; every one if absent.",
                obj("One set of conditions on the request.", {"operation": _operation()}),
            ),
            "when": array(
                "Conditions on attributes, all of which must hold.",
                obj(
                    "One condition.",
                    {
                        "key!": string("Name of the attribute."),
                        "notValues": common.strings("Values it must not have."),
                        "values": common.strings("Values of which it must have one."),
                    },
                ),
            ),
        },
    )


def crd() -> Object:
    spec = obj(
        "What is wanted.",
        common.targeted(
            {
                "action": enum("What becomes of requests that match.", "ALLOW", "DENY", "AUDIT", "CUSTOM"),
                "provider": obj(
                    "Who decides, for action CUSTOM.", {"name": string("Name of an extension provider of the mesh.")}
                ),
                "rules": array("Which requests match: those that match any of these.", _rule(), maxItems=512),
            }
        ),
        rules=common.ONE_TARGETING,
        oneOf=at_most_one("provider"),
    )
    return common.security(
        "AuthorizationPolicy",
        "authorizationpolicies",
        "ap",
        doc="Which requests to a service or a workload are allowed.",
        spec=spec,
        columns=(Printed("Action", ".spec.action", doc="What becomes of requests that match."), AGE),
    )
