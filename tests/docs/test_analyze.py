"""docs/analyze.md says what the command says. AMBIENTLAB_REFRESH_GOLDENS=1 writes what it shows anew."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from ambientlab import labs
from ambientlab.cli.analyze import command
from ambientlab.cli.analyze.command import EXIT_FOUND, analyze
from ambientlab.cli.output import EXIT_FAILURE
from ambientlab.cli.reading import EXIT_BAD_INPUT
from support import pages
from support.istio_pods import istio
from support.object_server import Answer, ObjectServer, answers
from support.typed_lab import LAB, TypedLab, after

PAGE = Path(__file__).parents[2] / "docs/analyze.md"
CONSOLE = re.compile(r"^```console\n\$ (ambientlab analyze[^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONFIGURED: dict[str, Answer] = {
    "/api/v1/namespaces/istio-system/configmaps/istio": (
        200,
        {"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": "{}"}},
    )
}
SHOWN = (
    "Look at what really happens",
    "The same split as an HTTPRoute",
    "Both Services",
    "Without the label",
    "Deploy two versions of one service",
)
"""The states of the lab, one for each time it is shown."""


@pytest.fixture(scope="module")
def states() -> dict[str, TypedLab]:
    """The cluster after each step."""
    return {title: after(title) for title in SHOWN}


def test_what_is_shown_is_what_the_command_says(
    states: dict[str, TypedLab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in every_file().items():
        (tmp_path / name).write_text(content)
    pages = iter(SHOWN)

    def shown(match: re.Match[str]) -> str:
        typed, arguments = states[next(pages)], match[1].split()[2:]
        server = ObjectServer(answers([*typed.cluster(), *istio()]) | CONFIGURED)
        paths = SimpleNamespace(kubeconfig=server.kubeconfig(tmp_path))
        monkeypatch.setattr(command, "running_paths", lambda _: paths)
        try:
            said = CliRunner().invoke(analyze, arguments).stdout
        finally:
            server.close()
        return f"```console\n$ {match[1]}\n{said}```"

    page = CONSOLE.sub(shown, PAGE.read_text())
    if os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page
    assert next(pages, None) is None


def every_file() -> dict[str, str]:
    return after(labs.load(LAB).steps[-1].title).files


def test_every_option_and_exit_code_is_explained() -> None:
    table = "\n".join(pages.rows(PAGE, "Options"))
    for parameter in analyze.params:
        assert any(f"`{name}`" in table for name in parameter.opts), parameter.name
    codes = [str(code) for code in (0, EXIT_FAILURE, 2, EXIT_BAD_INPUT, EXIT_FOUND)]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == codes


def test_every_field_of_the_json_is_explained(states: dict[str, TypedLab], tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(every_file()["hellovs.yaml"] + "\n---\nkind: HTTPRoute\n")
    typed = states["Look at what really happens"]
    served = answers(typed.cluster())
    served["/apis/security.istio.io/v1/authorizationpolicies"] = (403, {})
    server = ObjectServer(served)
    try:
        flags = ["--kubeconfig", str(server.kubeconfig(tmp_path)), "-o", "json", "-f", str(broken)]
        document = json.loads(CliRunner().invoke(analyze, flags).stdout)
    finally:
        server.close()
    assert pages.fields([document]) == pages.told(PAGE)
