"""RequestAuthentication: which tokens of requests are valid."""

from __future__ import annotations

from typing import Any

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import Schema, array, boolean, obj, string
from ambientlab.api.objects import Object


def _filled(doc: str, **more: Any) -> Schema:
    return array(doc, string(minLength=1), **more)


def _jwks_uri() -> Schema:
    return string(
        "URL of the keys that tokens are signed with.",
        maxLength=2048,
        minLength=1,
        rules=[("url must have scheme http:// or https://", 'url(self).getScheme() in ["http", "https"]')],
    )


def _rule() -> Schema:
    return obj(
        "Tokens of one issuer.",
        {
            "audiences": _filled("Audiences of which a token must have one."),
            "forwardOriginalToken": boolean("Whether the token stays in the request that is passed on."),
            "fromCookies": _filled("Cookies to look for a token in."),
            "fromHeaders": array(
                "Headers to look for a token in.",
                obj(
                    "One header.",
                    {
                        "name!": string("Name of the header.", minLength=1),
                        "prefix": string("What comes before the token."),
                    },
                ),
            ),
            "fromParams": _filled("Query parameters to look for a token in."),
            "issuer": string("Who issues the tokens.", minLength=1),
            "jwks": string("The keys that tokens are signed with, as a JSON Web Key Set."),
            "jwks_uri": _jwks_uri(),
            "jwksUri": _jwks_uri(),
            "outputClaimToHeaders": array(
                "Claims that are copied into headers of the request.",
                obj(
                    "One claim.",
                    {
                        "claim!": string("Name of the claim.", minLength=1),
                        "header!": string("Name of the header.", minLength=1, pattern="^[-_A-Za-z0-9]+$"),
                    },
                ),
            ),
            "outputPayloadToHeader": string("Header that gets the payload of a valid token."),
            "spaceDelimitedClaims": _filled("Claims that are lists, separated by spaces.", maxItems=64),
            "timeout": common.duration("How long fetching the keys may take."),
        },
        rules=[
            (
                "only one of jwks or jwksUri can be set",
                "(has(self.jwksUri) ? 1 : 0) + (has(self.jwks_uri) ? 1 : 0) + (has(self.jwks) ? 1 : 0) <= 1",
            )
        ],
    )


def crd() -> Object:
    spec = obj(
        "What is wanted.",
        common.targeted({"jwtRules": array("The issuers whose tokens are valid.", _rule(), maxItems=4096)}),
        rules=common.ONE_TARGETING,
    )
    return common.security(
        "RequestAuthentication",
        "requestauthentications",
        "ra",
        doc="Which tokens that requests carry are valid.",
        spec=spec,
        columns=(),
    )
