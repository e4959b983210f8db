"""Envoy's HTTP filter that holds a chain of others (envoy/extensions/filters/http/filter_chain/v3/filter_chain.proto).

The published Python package has no messages for this one of Envoy 1.40, so they are described here, as far as they are
used.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message

_PACKAGE = "envoy.extensions.filters.http.filter_chain.v3"


def _described() -> FileDescriptorProto:
    file = FileDescriptorProto(
        name=f"{_PACKAGE.replace('.', '/')}/filter_chain.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[TypedExtensionConfig.DESCRIPTOR.file.name],
    )
    chain = file.message_type.add(name="FilterChain").field.add(name="filters", number=1)
    chain.label, chain.type = chain.LABEL_REPEATED, chain.TYPE_MESSAGE
    chain.type_name = f".{TypedExtensionConfig.DESCRIPTOR.full_name}"
    config = file.message_type.add(name="FilterChainConfig").field.add(name="default_filter_chain", number=1)
    config.label, config.type = config.LABEL_OPTIONAL, config.TYPE_MESSAGE
    config.type_name = f".{_PACKAGE}.FilterChain"
    return file


_POOL = descriptor_pool.Default()
_POOL.Add(_described())
FilterChainConfig = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.FilterChainConfig"))


def filter_chain(filters: Iterable[TypedExtensionConfig]) -> Message:
    """Of none, it lets everything pass; Envoy takes no chain that is there and empty."""
    result = FilterChainConfig()
    for each in filters:
        result.default_filter_chain.filters.append(each)  # type: ignore[attr-defined]  # known at run time only
    return result
