"""`istioctl analyze` over files alone: formats, thresholds, suppressions and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ambientlab.cli import istioctl
from ambientlab.cli.istio.analyze import Line

PAGE = "https://istio.io/v1.31/docs/reference/config/analysis"
FILE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: versions}
spec:
  hosts: [helloworld]
  http:
  - route: [{destination: {host: helloworld, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db, namespace: data}
spec: {host: db, trafficPolicy: {tls: {mode: SIMPLE}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: none}
spec: {host: helloworld, trafficPolicy: {loadBalancer: {simple: SOMETIMES}}}
"""
MISSING = 'Referenced host+subset in destinationrule not found: "helloworld+v1"'
UNVERIFIED = (
    "DestinationRule data/db in namespace data has TLS mode set to SIMPLE but no caCertificates are set to validate"
    " server identity for host: db"
)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "all.yaml"
    path.write_text(FILE)
    return str(path)


def analyze(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ambientlab.cli.istioctl", "analyze", "--use-kube=false", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)


def test_what_istio_refuses_is_said_in_its_words_one_by_one() -> None:
    text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: SPEC\n"
    done = analyze("-n", "a", "-", stdin=text.replace("SPEC", '{host: "", subsets: [{name: ""}]}'))
    assert done.stdout.splitlines() == [
        "Error [IST0106] (DestinationRule a/d -:1) Schema validation error: empty domain name not allowed",
        "Error [IST0106] (DestinationRule a/d -:1) Schema validation error: subset name cannot be empty",
    ]


def test_files_of_windows_and_files_that_are_none(tmp_path: Path) -> None:
    windows, binary = tmp_path / "rules.yaml", tmp_path / "binary.yaml"
    windows.write_bytes(b"\xef\xbb\xbf" + FILE.replace("\n", "\r\n").encode())
    binary.write_bytes(b"kind: \xff\n")
    assert analyze(str(windows)).stdout.startswith(f"Error [IST0101] (VirtualService default/versions {windows}:8) ")
    done = analyze(str(binary))
    assert done.stderr == (
        f"Error(s) adding files: {binary}:1: it is no text: byte 0xff is no UTF-8\n"
        "No validation issues found when analyzing namespace: default (but 1 file could not be parsed).\n"
        "Error: Some files couldn't be parsed.\n"
    )
    assert done.returncode == 65
    name = "x" * 5000
    assert analyze(name).stderr == f"Error: stat {name}: file name too long\n"


def test_lines_say_where_in_a_file(file: str) -> None:
    done = analyze(file)
    first, second = done.stdout.splitlines()
    assert first == f"Error [IST0101] (VirtualService default/versions {file}:8) {MISSING}"
    assert second.startswith(f"Error [IST0106] (DestinationRule default/none {file}:15) Schema validation error: ")
    assert "SOMETIMES" in second
    assert done.returncode == 79
    assert done.stderr == (
        "Error: Analyzers found issues when analyzing namespace: default.\n"
        f"See {PAGE} for more information about causes and resolutions.\n"
    )


def test_namespaces_are_chosen(file: str) -> None:
    # what names no namespace is in the one that is analyzed
    found = analyze("-n", "data", file).stdout
    assert f"Error [IST0101] (VirtualService data/versions {file}:8) {MISSING}\n" in found
    assert f"Warning [IST0128] (DestinationRule data/db {file}:13) {UNVERIFIED}\n" in found
    assert UNVERIFIED not in analyze(file).stdout
    found = analyze("-A", file).stdout
    assert [line.split("]")[0] for line in found.splitlines()] == [
        "Error [IST0101",
        "Error [IST0106",
        "Warning [IST0128",
    ]


def test_documents(file: str) -> None:
    done = analyze("-A", "-o", "json", "--output-threshold=Error", file)
    [found, refused] = json.loads(done.stdout)
    assert found == {
        "code": "IST0101",
        "documentationUrl": f"{PAGE}/ist0101/?ref=istioctl-analyze",
        "level": "Error",
        "message": MISSING,
        "origin": "VirtualService default/versions",
        "reference": f"{file}:8",
    }
    assert done.returncode == 0
    assert yaml.safe_load(analyze("-A", "-o", "yaml", "--output-threshold=Error", file).stdout) == [found, refused]


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [
        (["-n", "data", "-S", "IST0101=*", "-S", "IST0106=*"], 0, ["IST0128"]),
        (["-n", "data", "-S", "IST0101=*", "-S", "IST0106=*", "--failure-threshold=warning"], 79, ["IST0128"]),
        (["-S", "IST0101=VirtualService versions.default", "-S", "IST0106=DestinationRule default/none"], 0, []),
        (["-S", "IST0101=VirtualService *.other"], 79, ["IST0101", "IST0106"]),
        (["--analyzer", "virtualservice.GatewayAnalyzer", "-S", "IST0106=*"], 0, []),
    ],
)
def test_what_is_shown_and_what_it_ends_with(file: str, arguments: list[str], code: int, shown: list[str]) -> None:
    done = analyze(*arguments, file)
    assert (done.returncode, [line.partition("[")[2][:7] for line in done.stdout.splitlines() if line]) == (code, shown)


def test_nothing_is_wrong(file: str) -> None:
    fine = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
    done = analyze("-", stdin=fine)
    assert (done.returncode, done.stdout) == (0, "\n")
    assert done.stderr == "✔ No validation issues found when analyzing -.\n"
    suppressed = analyze("-S", "IST0101=*", "-S", "IST0106=*", file, "-", stdin=fine)
    assert suppressed.stderr == f"✔ No validation issues found when analyzing:\n  - {file}\n  - -\n"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [\n")
    (tmp_path / "notes.txt").write_text("a: [")
    done = analyze(str(tmp_path))
    assert done.returncode == 65
    assert f"Skipping file {tmp_path}/notes.txt, recognized file extensions are: [.json .yaml .yml]\n" in done.stderr
    assert f"Error(s) adding files: {tmp_path}/a.yaml:2: it is no YAML" in done.stderr
    assert (
        "namespace: default (but 1 file could not be parsed).\nError: Some files couldn't be parsed.\n" in done.stderr
    )
    assert analyze("--ignore-unknown", str(tmp_path)).returncode == 0
    assert analyze("nowhere.yaml").stderr == "Error: stat nowhere.yaml: no such file or directory\n"
    assert analyze("--meshConfigFile", "mesh.yaml", str(tmp_path)).stderr.endswith(
        "open mesh.yaml: no such file or directory\n"
    )


@pytest.mark.parametrize("config", ["defaultProviders: [x]", "since: 2026-13-45", "- a", "[", ""])
def test_a_mesh_configuration_may_be_anything(config: str, tmp_path: Path) -> None:
    """What says nothing of use is passed over, as by istioctl."""
    (tmp_path / "mesh.yaml").write_text(config)
    telemetry = "metadata: {name: t, namespace: a}\nspec: {accessLogging: [{disabled: false}]}\n"
    text = f"apiVersion: telemetry.istio.io/v1\nkind: Telemetry\n{telemetry}"
    flags = ["analyze", "--use-kube=false", "-n", "a", "--meshConfigFile", str(tmp_path / "mesh.yaml")]
    done = CliRunner().invoke(istioctl.cli, [*flags, "-"], input=text)
    assert "[IST0157]" in done.stdout, done


@pytest.mark.parametrize(
    ("text", "words"),
    [("- a\n", "it is no object"), ("hello\n", "it is no object"), ("metadata: {name: x}\n", "apiVersion not set, ki")],
)
def test_what_is_no_object_cannot_be_read(text: str, words: str) -> None:
    done = analyze("-", stdin=text)
    assert (done.returncode, done.stdout) == (65, "\n")
    assert done.stderr.startswith(f"Error(s) adding files: -:1: {words}")


def test_nothing_has_nothing_wrong_with_it(tmp_path: Path) -> None:
    words = "✔ No validation issues found when analyzing namespace: default.\n"
    for none in ([], [str(tmp_path)]):
        assert (analyze(*none).returncode, analyze(*none).stderr) == (0, words)


def test_colours_that_are_asked_for_are_written_to_a_pipe_too(file: str) -> None:
    assert analyze("--color", file).stdout.startswith("\x1b[1;31mError\x1b[0m [IST0101]")
    assert "\x1b" not in analyze(file).stdout


def test_a_terminal_is_shown_what_objects_say_and_does_not_obey_it() -> None:
    said = "type=Accepted, reason=No, message=\x1b]0;title\x07."
    text = Line("IST0171", "Warning", said, "HTTPRoute", "a", "r").text()
    assert text == r"Warning [IST0171] (HTTPRoute a/r) type=Accepted, reason=No, message=\x1b]0;title\x07."


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-o", "xml"], 64, "xml not a valid option for format. See istioctl analyze --help"),
        (["--output-threshold", "Bad"], 64, 'invalid argument "Bad" for "--output-threshold" flag: invalid level opti'),
        (["--timeout", "soon"], 64, 'invalid argument "soon" for "--timeout" flag: time: invalid duration "soon"\n'),
        (["-v=maybe"], 64, 'invalid argument "maybe" for "-v, --verbose" flag: strconv.ParseBool: parsing "maybe": '),
        (["-S", "IST0101"], 1, "IST0101 is not a valid suppression value. See istioctl analyze --help"),
    ],
)
def test_what_makes_no_sense(file: str, arguments: list[str], code: int, words: str) -> None:
    done = analyze(*arguments, file)
    assert (done.returncode, done.stderr.startswith(f"Error: {words}")) == (code, True), done.stderr


def test_analyzers_are_listed_and_told(file: str) -> None:
    listed = analyze("-L").stdout
    assert "* auth.AuthorizationPoliciesAnalyzer:\n    Checks the validity of authorization policies\n" in listed
    told = analyze("-v", file).stderr
    skipped, _, run = told.partition("Executed analyzers:\n")
    assert "\t virtualservice.DestinationHostAnalyzer\n" in skipped
    assert "\t virtualservice.DestinationRuleAnalyzer\n" in run


def test_an_unknown_code_is_told(file: str) -> None:
    words = "Warning: Supplied message code 'IST9999' is an unknown message code and will not have any effect.\n"
    assert analyze("-S", "IST9999=*", file).stderr.startswith(words)
