"""docs/clusters.md: its ClusterRoles are what the commands need, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from ambientlab.api.kinds import CONFIGMAP
from ambientlab.host.listing import LISTED
from support.gate import Permission, permissions

PAGE = Path(__file__).parents[2] / "docs/clusters.md"


def test_the_readers_role_permits_what_is_read_and_no_more() -> None:
    role, _ = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    wanted = {Permission(resource.group, resource.plural, "list") for resource in LISTED}
    assert permissions(yaml.safe_load(role)) == wanted | {Permission(CONFIGMAP.group, CONFIGMAP.plural, "get")}
