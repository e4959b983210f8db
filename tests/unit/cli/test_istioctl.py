"""`istioctl` without a cluster: how it reads a command line, what it calls wrong, and with which exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from ambientlab.cli import istioctl
from ambientlab.cli.istio import istiod
from ambientlab.cli.istio.command import Cluster, Command, Group, boolean, early
from ambientlab.cli.pods import Pod


def run(*arguments: str) -> str:
    return CliRunner().invoke(istioctl.cli, arguments).output


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None, name
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands(istioctl.cli)), ids=" ".join)
def test_every_command_explains_itself_and_takes_the_flags_of_the_root(path: tuple[str, ...]) -> None:
    text = run(*path, "--help")
    assert f"Usage: {' '.join(('istioctl', *path))} " in text
    assert "--istioNamespace TEXT" in text.partition("Global Flags:")[2]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["foo"], 64, 'unknown command "foo" for "istioctl"\nRun \'istioctl --help\' for usage.'),
        (["versoin"], 64, 'unknown command "versoin" for "istioctl"\n\nDid you mean this?\n\tversion\n'),
        (["x", "foo"], 64, 'unknown command "foo" for "istioctl experimental"'),
        (["waypoint", "foo"], 1, 'unknown subcommand "foo"'),
        (["dash", "foo"], 1, 'unknown dashboard "foo"'),
        (["kube-inject"], 1, "`kube-inject` is not part of this istioctl: nothing here runs sidecars\n"),
        (["x", "precheck"], 1, "`precheck` is not part of this istioctl: a mesh comes with its Istio, "),
        (
            ["x", "authz", "check", "-f", "/nowhere"],
            1,
            "failed to get config dump from file /nowhere: open /nowhere: no s",
        ),
        (
            ["waypoint", "list", "-c", "/nowhere"],
            1,
            "failed to setup client: stat /nowhere: no such file or directory\n",
        ),
        (
            ["waypoint", "apply", "--waypoint-timeout", "x"],
            64,
            'invalid argument "x" for "--waypoint-timeout" flag: time: invalid duration "x"\n',
        ),
        (["pc", "listener", "a", "--port", "x"], 64, 'invalid argument "x" for "--port" flag: strconv.ParseInt: pars'),
        (["validate", "a.yaml"], 64, 'unknown command "a.yaml" for "istioctl validate"\n'),
        (["validate"], 1, "error: you must specify resources by --filename.\n"),
        (["ps", "--foo"], 64, "unknown flag: --foo"),
        (["ps", "-z"], 64, "unknown shorthand flag: 'z' in -z"),
        (["waypoint", "generate", "--for"], 64, "flag needs an argument: --for"),
        (["version", "--remote=maybe"], 64, 'invalid argument "maybe" for "--remote" flag: strconv.ParseBool: '),
        (["version", "-o=text", "--remote=false"], 1, "--output must be 'yaml' or 'json'"),
        (["uninstall"], 1, "at least one of the --revision (or --set revision=<revision>), --filename or --purge"),
        (["tag", "set"], 1, "must provide a tag for modification"),
        (["tag", "set", "a", "b"], 1, "must provide a single tag for creation"),
        (["tag", "set", "a"], 1, 'required flag(s) "revision" not set'),
        (["dashboard", "proxy"], 1, "specify a pod or --selector"),
        (["dashboard", "proxy", "a", "-l", "a=b"], 1, "name cannot be provided when a selector is specified"),
        (["d", "controlz", "a", "-r", "b"], 1, "only one of name, --selector, or --revision can be specified"),
    ],
)
def test_what_makes_no_sense(arguments: list[str], code: int, words: str) -> None:
    command = [sys.executable, "-m", "ambientlab.cli.istioctl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"Error: {words}")


@pytest.mark.parametrize("arguments", [["ps"], ["analyze"], ["zc", "workload"]])
def test_a_context_that_is_not_there(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("contexts: [{name: one, context: {}}]")
    command = [sys.executable, "-m", "ambientlab.cli.istioctl", *arguments, "--context", "two"]
    command += ["-c", str(tmp_path / "kubeconfig")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, 'Error: failed to setup client: context "two" does not exist\n')


def test_version_without_a_cluster_is_the_clients() -> None:
    command = [sys.executable, "-m", "ambientlab.cli.istioctl", "version", "-c", "/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "client version: 1.31.0\n"
    why = "failed to setup client: stat /nowhere: no such file or directory"
    assert done.stderr == f"Istio is not present in the cluster: {why}\n"


def test_a_namespace_is_one_part_of_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(cluster: Cluster, pod: Pod, path: str) -> bytes:
        asked.append(path)
        return b"[]"

    monkeypatch.setattr(istiod, "instances", lambda cluster, revision: [Pod("istiod", "istio-system")])
    monkeypatch.setattr(istiod, "ask", ask)
    assert istiod.syncz(Cluster(), "\u00e9 &a=b/") == {"istiod": []}
    assert asked == ["debug/syncz?namespace=%C3%A9%20%26a%3Db%2F"]


def test_without_a_command_it_says_what_there_is() -> None:
    done = subprocess.run([sys.executable, "-m", "ambientlab.cli.istioctl"], capture_output=True, text=True, check=True)
    assert "Prints out build version information" in done.stdout


@early(click.option("-o", "--output"), boolean("-w", "--wait", help="Wait."))
@click.group(cls=Group)
def root() -> None: ...


@root.command(cls=Command)
@boolean("-a", "--also", help="What the group does not know.")
@boolean("-w", "--wait", default=True, help="Wait.")
@click.option("-o", "--output", default="")
@click.argument("name", default="")
@click.pass_obj
def where(cluster: Cluster, also: bool, wait: bool, output: str, name: str) -> None:
    wait = wait and not also
    click.echo(
        f"{cluster.context} {cluster.given} {cluster.istio_namespace} {cluster.impersonated} {wait} {output} {name}"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-n a where --context c", "c a istio-system () True  "),
        ("where -n a --context=c -i mesh", "c a mesh () True  "),
        ("-n a where -n b", "None b istio-system () True  "),
        ("where --wait=false x", "None  istio-system () False  x"),
        ("where --wait x", "None  istio-system () True  x"),
        ("where -w=F -o=json", "None  istio-system () False json "),
        ("where -a=true", "None  istio-system () False  "),
        ("-o=json --wait=false where x", "None  istio-system () False json x"),
        ("-ojson -w where -w=0 -o yaml", "None  istio-system () False yaml "),
        ("--vklog=9 where --kubeclient-timeout 5s", "None  istio-system () True  "),
        (
            "where --as me --as-group a --as-group b",
            "None  istio-system ('--as=me', '--as-group=a', '--as-group=b') True  ",
        ),
    ],
)
def test_flags_are_read_as_pflag_reads_them(line: str, expected: str) -> None:
    assert CliRunner().invoke(root, line.split()).output == f"{expected}\n"


def test_help_is_a_command_too() -> None:
    assert run("help", "zc", "workload") == run("zc", "workload", "--help")
    assert run("help") == run("--help")


def test_what_stands_before_a_command_is_the_commands() -> None:
    assert yaml.safe_load(run("waypoint", "--name=w", "generate"))["metadata"] == {"name": "w"}
    done = CliRunner().invoke(istioctl.cli, ["pc", "-o", "json", "log", "deploy/x"])
    assert "Error: --output is not applicable for this command" in done.output


def test_shells_complete_what_is_typed() -> None:
    """Not by the second name that click knows a boolean by."""
    assert "_ISTIOCTL_COMPLETE=zsh_complete" in run("completion", "zsh")
    assert "_ISTIOCTL_COMPLETE=bash_complete" in run("completion", "bash")

    def completed(typed: str) -> list[str]:
        asked = {"COMP_WORDS": f"istioctl {typed}", "COMP_CWORD": "2", "_ISTIOCTL_COMPLETE": "bash_complete"}
        command = [sys.executable, "-m", "ambientlab.cli.istioctl"]
        done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert completed("analyze --use") == ["plain,--use-kube"]
    assert completed("analyze --no") == []


def test_waypoint_generate_prints_a_gateway() -> None:
    text = run("waypoint", "generate", "-n", "hello", "--for", "all", "--name", "w", "-r", "canary")
    assert yaml.safe_load(text) == {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {
            "labels": {"istio.io/rev": "canary", "istio.io/waypoint-for": "all"},
            "name": "w",
            "namespace": "hello",
        },
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    }


def test_waypoint_refuses_what_istioctl_refuses() -> None:
    valid = "failed to create gateway: invalid traffic type: x. Valid options are: [all none service workload]"
    assert valid in run("waypoint", "generate", "--for", "x")
    assert "'none' is a reserved value" in run("waypoint", "generate", "--name", "none")
    assert "must specify a waypoint name or delete all" in run("waypoint", "delete")
    assert "cannot specify waypoint names" in run("waypoint", "delete", "a", "--all")


FINE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d}
spec: {host: helloworld}
"""
WARNED = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: hello}
spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}, {route: [{destination: {host: a}}]}]}
"""
WRONG = """
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {ports: [{name: web, port: 80}, {name: http-web, port: 81}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d}
spec: {host: a, subset: []}
"""


def validate(*files: str, stdin: str = "") -> tuple[int, str]:
    arguments = [argument for file in files for argument in ("-f", file)]
    command = [sys.executable, "-m", "ambientlab.cli.istioctl", "validate", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_validate(tmp_path: Path) -> None:
    fine, warned, wrong = (tmp_path / name for name in ("fine.yaml", "warned.yaml", "wrong.yaml"))
    for path, text in ((fine, FINE), (warned, WARNED), (wrong, WRONG)):
        path.write_text(text)
    assert validate("-", stdin=FINE) == (0, "validation succeed\n")
    unused = "virtualService rule #1 not used (only the last rule can have no matches)"
    warning = f'"{warned}" has warnings: \n\t* VirtualService/hello/v: {unused}\n\n'
    assert validate(str(fine), str(warned)) == (0, f'"{fine}" is valid\n{warning}')
    code, said = validate(str(tmp_path))
    assert code == 1
    assert warning in said
    assert "Error: 2 errors occurred:\n\t* DestinationRule/default/d: " in said
    assert 'unknown field "spec.subset"' in said
    assert 'port "web" does not follow the Istio naming convention. See https://istio.io/' in said
    assert "http-web" not in said


def test_validate_takes_a_file_by_whatever_name_and_tells_what_cannot_be_read(tmp_path: Path) -> None:
    windows, binary, absent = tmp_path / "rules", tmp_path / "binary.yaml", tmp_path / "absent"
    windows.write_bytes(b"\xef\xbb\xbf" + f"{FINE}---{FINE}".replace("\n", "\r\n").encode())
    assert validate(str(windows)) == (0, f'"{windows}" is valid\n')
    binary.write_bytes(b"kind: \xff\n")
    assert validate(str(windows), str(absent), str(binary)) == (
        1,
        "Error: 2 errors occurred:\n"
        f'\t* cannot stat file "{absent}": stat {absent}: no such file or directory\n'
        f"\t* failed to decode file {binary}:  it is no text: byte 0xff is no UTF-8\n\n\n",
    )
    name = "x" * 5000
    assert f"stat {name}: file name too long" in validate(name)[1]


SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: s, namespace: a}
spec:
  ports:
  - {name: u, port: 1, protocol: UDP}
  - {name: x, port: 2, appProtocol: kubernetes.io/h2c}
  - {name: g, port: 3, appProtocol: grpc}
---
apiVersion: v1
kind: Service
metadata: {name: t, namespace: a}
spec: {ports: [{port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: own, namespace: istio-system}
spec: {ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: a}
spec:
  selector: {matchLabels: {app: d}}
  template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: curl}]}}
"""


def test_validate_asks_what_ports_carry_and_what_pods_are() -> None:
    code, said = validate("-", stdin=SERVICES)
    ops = "https://istio.io/v1.31/docs/ops"
    telemetry = 'deployment "d/a:" may not provide Istio metrics and telemetry labels: map["app":"d"].'
    assert said == (
        f"{telemetry} See {ops}/deployment/requirements/\n"
        "Error: 2 errors occurred:\n"
        '\t* Service/a/s: service "s/a/:" doesn\'t follow Istio protocol selection. This is not recommended, See '
        f"{ops}/configuration/traffic-management/protocol-selection/\n"
        '\t* Service/a/t: service "t/a/:" has an unnamed port. This is not recommended, See '
        f"{ops}/deployment/requirements/\n\n\n"
    )
    assert code == 1
