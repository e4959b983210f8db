"""Istio's own Gateway: servers at the edge of the mesh (networking/v1alpha3/gateway.proto)."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import Schema, array, boolean, enum, mapping, obj, string
from ambientlab.api.objects import Object

_VERSIONS = ("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")


def _one_of(message: str, *fields: str) -> tuple[str, str]:
    """`message` names the fields in Istio's words, which do not always name the ones it looks at."""
    count = " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields)
    return f"only one of {message} can be set", f"{count} <= 1"


def server_tls(doc: str) -> Schema:
    certificate = {
        "caCertificates": string("File with certificates of authorities."),
        "privateKey": string("File with the private key."),
        "serverCertificate": string("File with the certificate."),
    }
    return obj(
        doc,
        {
            "caCertCredentialName": string("Secret or ConfigMap with certificates of authorities."),
            "caCertificates": string("File with certificates of authorities."),
            "caCrl": string("File with revoked certificates."),
            "cipherSuites": common.strings("Cipher suites."),
            "credentialName": string("Secret with the certificate."),
            "credentialNames": array("Secrets with certificates.", {"type": "string"}, minItems=1, maxItems=2),
            "httpsRedirect": boolean("Whether plain HTTP is redirected."),
            "insecureSkipVerify": boolean("Whether certificates are taken as they are.", nullable=True),
            "maxProtocolVersion": enum("Newest version.", *_VERSIONS),
            "minProtocolVersion": enum("Oldest version.", *_VERSIONS),
            "mode": enum(
                "Who ends TLS, and who shows a certificate.",
                *("PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"),
            ),
            "privateKey": string("File with the private key."),
            "serverCertificate": string("File with the certificate."),
            "subjectAltNames": common.strings("Names of clients."),
            "tlsCertificates": array("Certificates.", obj("One certificate.", certificate), minItems=1, maxItems=2),
            "verifyCertificateHash": common.strings("Hashes of clients' certificates."),
            "verifyCertificateSpki": common.strings("Hashes of clients' public keys."),
        },
        rules=[
            _one_of("credentialNames or tlsCertificates", "tlsCertificates", "credentialNames"),
            _one_of("credentialName or credentialNames", "credentialName", "credentialNames"),
            _one_of("credentialName or tlsCertificates", "credentialNames", "tlsCertificates"),
        ],
    )


def crd() -> Object:
    port = {
        "name!": string("Its name."),
        "number!": common.uint32("Its number."),
        "protocol!": string("What is spoken on it."),
        "targetPort": common.uint32("Port of the proxy."),
    }
    server = {
        "bind": string("Address to listen on."),
        "defaultEndpoint": string("Where everything goes."),
        "hosts!": common.strings("Hosts it serves, each with or without a namespace before it."),
        "name": string("Name of the server."),
        "port!": obj("The port it listens on.", port),
        "tls": server_tls("How it speaks TLS."),
    }
    return common.networking(
        "Gateway",
        "gateways",
        "gw",
        doc="Servers at the edge of the mesh.",
        columns=(),
        spec=obj(
            "The servers, and the proxies that run them.",
            {
                "selector": mapping("Labels of the proxies' pods.", {"type": "string"}),
                "servers": array("The servers.", obj("One server.", server)),
            },
        ),
    )
