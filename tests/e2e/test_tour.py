"""docs/tour.md is what its commands print, typed one after the other into the lab's shell.

AMBIENTLAB_REFRESH_GOLDENS=1 writes the outputs anew, to be read before they are committed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from support.mesh import Mesh

PAGE = Path(__file__).parents[2] / "docs/tour.md"
BLOCK = re.compile(r"^```(yaml|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIFFERENT = (
    (r"-(?:[0-9a-f]{8,10}|[bcdfghjklmnpqrstvwxz2456789]{8,10})-[a-z0-9]{5}\b", "-NAME"),
    (r"\b(ztunnel|istio-cni-node)-[a-z0-9]{5}\b", r"\1-NAME"),
    (r"\b10\.\d+\.\d+\.\d+\b", "IP"),
    (r",?\bfd00:[0-9a-f:]+\b", ""),
    (r"█+", "BAR"),
    (r"(?<![\w.])\d+(?:\.\d+)?(?:e-\d+)?\b", "N"),
)
"""What differs from one run to the next; numbers are compared by none but the exact tests of the commands."""
SURE = " --significance 0.000001"
"""A true split is called false in one of a million runs."""
EXITS = {"ambientlab traffic --from test/curl helloworld.hello:5000/hello --expect v1=95,v2=5": 1} | {
    "ambientlab analyze -n hello": 79,
    "ambientlab plan -f waypoint.yaml": 2,
}
"""Of those that have something to say."""


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a console, and what it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


def alike(text: str) -> str:
    for pattern, word in DIFFERENT:
        text = re.sub(pattern, word, text)
    return " ".join(text.split())


def test_the_tour_is_what_its_commands_print(lab: Mesh) -> None:
    work = lab.root / "state/ambientlab/ambientlab/work"
    text = PAGE.read_text()

    def played(block: re.Match[str]) -> str:
        if block[1] == "yaml":
            name = re.match(r"# (\S+)", block[2])
            assert name is not None
            (work / name[1]).write_text(block[2])
            return block[0]
        lines = []
        for command, _ in commands(block[2]):
            sure = SURE if command.startswith("ambientlab traffic") else ""
            done = lab.shell(command + sure)
            assert done.code == EXITS.get(command, 0), done.text
            printed = done.text.replace("Below p=1e-06", "Below p=0.001")
            lines.append(f"$ {command}\n{printed}")
        return f"```console\n{''.join(lines)}```"

    now = BLOCK.sub(played, text)
    if os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"):
        PAGE.write_text(now)
    told, said = ([printed for _, block in BLOCK.findall(page) for printed in commands(block)] for page in (text, now))
    if not os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"):
        assert [(command, alike(printed)) for command, printed in said] == [
            (command, alike(printed)) for command, printed in told
        ]
