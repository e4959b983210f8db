"""A proxy given a whole configuration in place of another."""

from __future__ import annotations

from ambientlab.mesh.serve.connection import Connection
from ambientlab.mesh.session import Config
from ambientlab.mesh.xds.types import Resources


def tell(connection: Connection, now: Resources, before: Resources) -> dict[str, set[str]]:
    """The names of what became different, by type."""
    for type_url in {*before, *now}:
        old, new = before.get(type_url, {}), now.get(type_url, {})
        for name in {*old, *new}:
            if old.get(name) != new.get(name):
                connection.stage(type_url, name, Config.of(new[name]) if name in new else None)
    return connection.push()
