"""What is spoilt gets as far as it can."""

from __future__ import annotations

import json
import random
from contextlib import suppress

from soak.objects import STATUS, Objects


def test_statuses_are_written_as_such() -> None:
    objects, written, in_files = Objects(random.Random(1)), [], []
    for _ in range(800):
        sample, request = objects.request()
        if "/status" in request.path:
            with suppress(ValueError):  # some are no JSON
                obj = json.loads(request.body)
                written.append(obj.get("status"))
                assert request.method == "PATCH" or obj.get("spec") == sample.object.get("spec")
    for text in objects.documents(250).split("\n---\n"):
        in_files.append(json.loads(text).get("status"))
    for statuses in (written, in_files):
        assert sum(isinstance(status, dict) and len(STATUS.keys() & status.keys()) > 2 for status in statuses) > 10
