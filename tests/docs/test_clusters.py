"""docs/clusters.md: its ClusterRoles are what the commands need, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from ambientlab.api.kinds import CONFIGMAP, ISTIOGATEWAY
from ambientlab.host.listing import LISTED
from support.gate import Permission, permissions

PAGE = Path(__file__).parents[2] / "docs/clusters.md"


def test_the_readers_role_permits_what_is_read_and_no_more() -> None:
    role, planner, _ = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    wanted = {Permission(resource.group, resource.plural, "list") for resource in (*LISTED, ISTIOGATEWAY)}
    config = Permission(CONFIGMAP.group, CONFIGMAP.plural, "get")
    assert permissions(yaml.safe_load(role)) == wanted | {config}
    assert permissions(yaml.safe_load(planner)) == {each._replace(verb="get") for each in wanted} | {config}
