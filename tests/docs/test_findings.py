"""docs/findings.md is made of the codes and their examples. AMBIENTLAB_REFRESH_GOLDENS=1 writes it anew."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

from ambientlab.mesh.analysis import CODES, Code, istio
from ambientlab.mesh.analysis.together import LEFT_OUT, SAME
from support.findings import HERE, found

PAGE = Path(__file__).parents[2] / "docs/findings.md"
HEAD = """# Findings

What [`ambientlab analyze`](analyze.md) finds, by codes that keep their meaning. Each has an example that has the
finding and one that has not, which the tests hold to it. They are what is applied to a cluster in which the namespace
`hello` is in ambient mode and uses its waypoint `waypoint`; the Service `helloworld` stands for the pods of two
versions, and `helloworld-v1` and `helloworld-v2` for those of one each. A client `curl` in the namespace `test` is in
the mesh; `httpbin` in the namespace `httpbin` is not.

| code | severity | |
|---|---|---|
"""


OF_ISTIO = """Istio's own messages, as `istioctl analyze` has them, are findings too: in its words, with its codes and
pages. Where a code above says the same of an object, it is shown alone, since it says what to type. IST0102 is left to
istioctl: that a namespace is not in the mesh is nothing wrong with it."""


def test_the_page_is_what_the_codes_are() -> None:
    index = "".join(
        f"| [{code.id}](#{code.id.lower()}) | {code.severity} | {code.title} |\n" for code in CODES.values()
    )
    page = HEAD + index + "".join(map(section, CODES.values())) + of_istio()
    if os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page


def of_istio() -> str:
    rows = [row(code) for code in istio.CODES.values() if code not in LEFT_OUT]
    heads = ["| code | severity | | also |", "|---|---|---|---|"]
    return "\n".join(["", "## Istio's own", "", textwrap.fill(OF_ISTIO, 120), "", *heads, *rows, ""])


def row(code: Code) -> str:
    ours = SAME.get(code, ())
    same = "any" if len(ours) == len(CODES) else ", ".join(f"[{each.id}](#{each.id.lower()})" for each in ours)
    return f"| [{code.id}]({code.documentation}) | {code.severity} | {code.title} | {same} |"


def section(code: Code) -> str:
    return "\n".join(
        ["", f"## {code.id}", "", f"**{code.title}** ({code.severity}, `{code.name}`)", "", *body(code), ""]
    )


def body(code: Code) -> Iterator[str]:
    yield textwrap.fill(code.why, 120)
    yield from ("", "With this", "", "```yaml", (HERE / f"{code.id}.bad.yaml").read_text().rstrip(), "```", "")
    [finding] = found(f"{code.id}.bad")
    field = f", `{finding.field}`" if finding.field else ""
    yield f"`analyze` says of {finding.object}{field}: {finding.message.rstrip('.')}."
    for remedy in finding.remedies:
        yield from ("", "```sh", f"# {remedy.purpose}", *remedy.commands, "```")
    yield from (
        "",
        "Nothing is found with this:",
        "",
        "```yaml",
        (HERE / f"{code.id}.good.yaml").read_text().rstrip(),
        "```",
    )
