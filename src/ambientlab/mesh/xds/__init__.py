"""The mesh as Envoy resources: protobuf messages, derived from the IR in collections. Pure.

`proxies.Proxies` has those of every proxy. What a change leaves equal stays the identical message.
"""

from __future__ import annotations
