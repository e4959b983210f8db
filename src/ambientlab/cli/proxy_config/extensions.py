"""`ecds` (istioctl/pkg/writer/envoy/configdump/ecds.go)."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.cli.proxy_config.dump import Dump

HEADER = ["ECDS NAME", "TYPE"]
_PREFIX = "type.googleapis.com/"


def rows(dump: Dump) -> Iterator[list[str]]:
    found = [one.get("ecds_filter") or {} for one in dump.section("EcdsConfigDump").get("ecds_filters") or ()]
    kinds = [
        ((one.get("typed_config") or {}).get("@type", "").removeprefix(_PREFIX), one.get("name", ""))
        for one in found
        if one
    ]
    for kind, name in sorted(kinds):
        yield [name, kind]
