"""What a start loads: half of the time of `up` is imports, so that whatever comes in by an import is meant to."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Start:
    """`packages` from elsewhere that `module` loads, those that they load themselves included; at most `modules` in
    all, the standard library's aside, and of them `messages` of protobuf, each of which costs about 0.2 ms."""

    module: str
    packages: frozenset[str]
    modules: int
    messages: int = 0


CONTRACTS = "msgspec typing_extensions"
WEB = "aiohttp aiohappyeyeballs aiosignal attr brotlicffi frozenlist idna multidict orjson propcache uvloop yaml yarl"
MESH = "cryptography envoy google grpc udpa validate xds"

STARTS = (
    Start("ambientlab.cli.mesh", frozenset({"click"}), 25),
    Start("ambientlab.host.launcher", frozenset(CONTRACTS.split()), 32),
    Start("ambientlab.host.daemon", frozenset(f"{CONTRACTS} {WEB} {MESH}".split()), 872, messages=112),
    *[
        Start(f"ambientlab.cli.{command}", frozenset({"click"}), 25)
        for command in ("traffic", "explain.command", "analyze.command", "plan.command", "istio.command")
    ],
)


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.module)
def test_a_start_loads_what_it_is_meant_to(start: Start) -> None:
    code = f"import sys; before = set(sys.modules); import {start.module}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names}
    foreign = {name.split(".")[0] for name in loaded if "cython" not in name} - {"ambientlab"}
    assert {name for name in foreign if not name.startswith("_")} <= start.packages
    assert len(loaded) <= start.modules
    assert sum(name.endswith("_pb2") for name in loaded) <= start.messages


def test_scripts_keep_what_python_compiles() -> None:
    """So that they run, and measure, what an installation does."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    code = '. scripts/lib/setup.sh; echo "${PYTHONDONTWRITEBYTECODE-nothing}"'
    done = subprocess.run(["sh", "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "nothing\n"
