"""YAML as sigs.k8s.io/yaml writes it, in which istioctl prints.

Both it and PyYAML are made after libyaml, so that little differs: double quotes around text that would be read as
something else, blocks for text of several lines, and keys in the order in which people count.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_TEXT = "tag:yaml.org,2002:str"
_NO_OTHER = (_TEXT, "tag:yaml.org,2002:yaml", "tag:yaml.org,2002:value")
"""What PyYAML alone tells from text: `*` and the like, and `=`."""
_RESOLVER: Any = yaml.resolver.Resolver()


class _Dumper(yaml.SafeDumper):
    pass


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    if style is None and _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) not in _NO_OTHER:
        style = '"'
    return dumper.represent_scalar(_TEXT, text, style=style)


def _mapping(dumper: yaml.SafeDumper, value: dict[str, Any]) -> yaml.MappingNode:
    found = sorted(value.items(), key=lambda each: _counted(str(each[0])))
    return dumper.represent_mapping("tag:yaml.org,2002:map", found)


def _counted(key: str) -> list[tuple[int, str]]:
    """9 is before 10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", key)]


_Dumper.add_representer(str, _string)
_Dumper.add_representer(dict, _mapping)


def text(value: Any) -> str:
    written: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return written
