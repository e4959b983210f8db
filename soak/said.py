"""What proxies refuse has to be said where whoever wrote it looks: in the status of an object."""

from __future__ import annotations

import json
import time
from typing import Any

from ambientlab.api import kinds
from bench.world import ambientlab
from soak.api import Api
from soak.faults import Faults

PATIENCE = 30.0
"""Seconds from a refusal to the status that tells it."""
KINDS = (kinds.SERVICE, kinds.POD, kinds.NAMESPACE, *kinds.SHIPPED_CRDS)
TOLD = 60
"""Characters of a proxy's words that a status has at least."""


def check(api: Api, faults: Faults) -> None:
    """That each refusal there is just now is in a status."""
    deadline = time.monotonic() + PATIENCE
    while unsaid := _unsaid(api):
        if time.monotonic() > deadline:
            for words, proxy in unsaid.items():
                faults.add(f"a refusal that no status tells: {words}", proxy)
            return
        time.sleep(0.5)


def _unsaid(api: Api) -> dict[str, Any]:
    refused = {}
    for proxy in json.loads(ambientlab("istioctl", "proxy-status", "-o", "json"))["resources"]:
        for config in proxy["genericXdsConfigs"]:
            if "errorState" in config:
                refused[config["errorState"]["details"]] = proxy["node"]["id"]
    if not refused:
        return {}
    statuses = [obj.get("status") for kind in KINDS for obj in api.get(f"{kind.path}/{kind.plural}")["items"]]
    told = json.dumps(statuses, ensure_ascii=False)
    return {words: proxy for words, proxy in refused.items() if _as_told(words) not in told}


def _as_told(words: str) -> str:
    return json.dumps(words.strip().splitlines()[0], ensure_ascii=False)[1:-1][:TOLD]
