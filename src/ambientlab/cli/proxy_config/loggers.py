"""`log --level`: what to tell Envoy (istioctl/pkg/proxyconfig, logCmd)."""

from __future__ import annotations

import re

import click

_LEVELS = {name: name for name in ("trace", "debug", "info", "warning", "error", "critical", "off")}
_LEVELS["warn"] = "warning"
ALL = "level"


def wanted(text: str, known: str) -> dict[str, str]:
    """Levels by logger, of all of them first; `known` is Envoy's own list. Raises ClickException."""
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        if not re.search("[:=]", part):
            found = {ALL: _level(part)}
            continue
        logger, level = re.split("[:=]", part.split("::")[-1], maxsplit=1)
        if logger != ALL and logger not in known:
            raise click.ClickException(f"unrecognized logger name: {logger}")
        found[logger] = _level(level)
    return dict(sorted(found.items(), key=lambda one: one[0] != ALL))


def _level(text: str) -> str:
    if text not in _LEVELS:
        raise click.ClickException(f"unrecognized logging level: {text}")
    return _LEVELS[text]
