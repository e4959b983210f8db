"""`secret` (istioctl/pkg/writer/compare/sds). Envoy never shows a private key; certificates are public."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from urllib.parse import urlsplit

from ambientlab.cli.proxy_config.dump import Message

HEADER = ["RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"]
WITH_TRUST_DOMAIN = [*HEADER, "TRUST DOMAIN"]
_LISTS = {"dynamic_warming_secrets": "WARMING", "dynamic_active_secrets": "ACTIVE"}


def rows(section: Message, now: datetime) -> tuple[list[str], list[list[str]]]:
    """The header and the rows: trust domains are shown if every secret has one."""
    found = [
        [secret.get("name", ""), *_described(secret.get("secret") or {}, state, now)]
        for name, state in _LISTS.items()
        for secret in section.get(name) or ()
    ]
    if found and all(row[-1] for row in found):
        return WITH_TRUST_DOMAIN, found
    return HEADER, [row[:-1] for row in found]


def _described(secret: Message, state: str, now: datetime) -> list[str]:
    from cryptography import x509
    from cryptography.x509.oid import ExtensionOID

    chain = ((secret.get("tls_certificate") or {}).get("certificate_chain") or {}).get("inline_bytes")
    root = ((secret.get("validation_context") or {}).get("trusted_ca") or {}).get("inline_bytes")
    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(chain or root or ""))
    except ValueError:
        return ["", state, "false", "", "", "", ""]
    extensions = {one.oid: one.value for one in certificate.extensions}
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    authority = isinstance(constraints, x509.BasicConstraints) and constraints.ca
    names = extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    uris = (
        names.get_values_for_type(x509.UniformResourceIdentifier)
        if isinstance(names, x509.SubjectAlternativeName)
        else []
    )
    after, before = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    return [
        "CA" if authority else "Cert Chain",
        state,
        str(before < now.astimezone(UTC) < after).lower(),
        f"{certificate.serial_number:032x}",
        *(f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (after, before)),
        next((urlsplit(uri).netloc for uri in uris if uri.startswith("spiffe://")), ""),
    ]
