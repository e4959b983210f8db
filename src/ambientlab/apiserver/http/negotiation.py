"""The form of an answer: JSON, YAML, or JSON seen as a Table or as metadata alone.

kubernetes.io/docs/reference/using-api/api-concepts, "resource representations" and "receiving resources as Tables".
Kubernetes protobuf is read but not written: whoever accepts it accepts JSON besides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson
import yaml

from ambientlab.api.errors import StatusError

JSON = "application/json"
YAML = "application/yaml"
_WRITTEN = {"*/*": JSON, "application/*": JSON, JSON: JSON, YAML: YAML, "application/vnd.kubernetes.protobuf": ""}


@dataclass(frozen=True, slots=True)
class Form:
    media_type: str = JSON
    view: Literal["", "Table", "PartialObjectMetadata"] = ""


def choose(accept: str) -> Form:
    """The first form asked for that we can give. Raises 406."""
    if not accept or accept == "*/*":
        return Form()
    only_binary = False
    for item in accept.split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        written = _WRITTEN.get(media_type)
        if written is None:
            continue
        if not written:
            only_binary = True
            continue
        wanted = dict(part.partition("=")[::2] for part in parameters)
        view = wanted.get("as", "")
        if not view or wanted.get("g") != "meta.k8s.io":
            if not view:
                return Form(written)
            continue
        if wanted.get("v") != "v1":
            continue
        if view == "Table":
            return Form(written, "Table")
        if view in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return Form(written, "PartialObjectMetadata")
    offered = "application/json, application/yaml"
    detail = " (protobuf is accepted in requests only)" if only_binary else ""
    raise StatusError(406, "NotAcceptable", f"only the following media types are accepted: {offered}{detail}")


def dump(value: Any, form: Form) -> bytes:
    """`value` may hold `orjson.Fragment`s."""
    encoded = orjson.dumps(value)
    return encoded if form.media_type == JSON else to_yaml(encoded)


def to_yaml(encoded: bytes) -> bytes:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(orjson.loads(encoded), Dumper=dumper, default_flow_style=False, allow_unicode=True)
    return text.encode()
