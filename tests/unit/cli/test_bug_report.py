"""What a bug report takes, and where it goes."""

from __future__ import annotations

import math
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import click
import pytest
import yaml
from click.testing import CliRunner

from ambientlab.cli.istio.bug_report import Step, Times, _analyzed, _moment, _objects, _written, selection
from ambientlab.cli.istio.command import Cluster
from ambientlab.cli.istioctl import cli
from ambientlab.host import tools
from ambientlab.host.kubectl import Kubectl, KubectlError

POD: dict[str, Any] = {
    "metadata": {
        "namespace": "hello",
        "name": "waypoint-5b8-x7k",
        "labels": {"app": "w"},
        "annotations": {"note": "abc"},
        "ownerReferences": [{"name": "waypoint-5b8"}],
    }
}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", True),
        ("hello", True),
        ("h*,other", True),
        ("other", False),
        ("hello/waypoint", True),
        ("hello/other", False),
        ("//way*", True),
        ("//other", False),
        ("///app=w", True),
        ("///app=v", False),
        ("///tier=*", False),
        ("////note=a*", True),
        ("/////istio-proxy", True),
        ("/////discovery", False),
    ],
)
def test_selections(text: str, chosen: bool) -> None:
    assert selection(text).chooses(POD, "istio-proxy") is chosen


@pytest.mark.parametrize(
    ("text", "words"), [("a/b/c/d", "selection d, must have format key=value"), ("a/b/c/d=e/f=g/h/i", "more than six")]
)
def test_bad_selections(text: str, words: str) -> None:
    with pytest.raises(click.ClickException, match=words):
        selection(text)


def test_entries_after_the_end_are_left_out() -> None:
    end = _moment("end-time", "2026-11-25T12:00:00Z")
    times = Times(60.0, None, end, 7)
    assert times.flags == ["--since-time=2026-11-25T11:59:00+00:00", "--tail=7", "--timestamps"]
    text = "2026-11-25T11:59:59.123456789Z in\u2028time\n2026-11-25T12:00:00.5Z too late\n2026-11-25 what else\n"
    assert times.admitted(text) == "in\u2028time\nwhat else"


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(click.ClickException, match="bad format for end-time: 12:00, expect RFC3339"):
        _moment("end-time", "12:00")


def test_a_kind_that_is_not_there_hides_no_other() -> None:
    class Cluster:
        def list(self, resource: str, namespace: str | None = None) -> list[dict[str, Any]]:
            if "tcproutes" in resource:
                raise KubectlError('error: the server doesn\'t have a resource type "tcproutes"')
            return [{"kind": resource}]

    [step] = [one for one in _objects(cast("Kubectl", Cluster()), "mesh") if one.path == "cluster/gateway-api.yaml"]
    text = step.fetch()
    assert "# tcproutes: error: the server doesn't have a resource type" in text
    assert {"gatewayclasses", "httproutes"} < {obj["kind"] for obj in yaml.safe_load_all(text) if obj}


def test_the_archive_goes_where_it_is_to_whatever_disk_it_is_written_on(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        _written([Step("a", lambda: "text")], Path(memory), tmp_path / "b.tar.gz", math.inf)
        assert not list(Path(memory).iterdir())
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        assert archive.getnames() == ["bug-report/a"]


def test_a_cluster_that_does_not_answer_keeps_nobody_beyond_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\ncase "$*" in "get pods -A"*) echo \'{"items": []}\';; *) exec sleep 60;; esac\n')
    kubectl.chmod(0o755)
    monkeypatch.setattr(tools, "kubectl", lambda: kubectl)
    done = CliRunner().invoke(cli, ["bug-report", "--timeout", "1s", "--output-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    with tarfile.open(tmp_path / "bug-report.tar.gz") as archive:
        told = archive.extractfile("bug-report/errors")
        assert told is not None
        first, *others = told.read().decode().splitlines()
    assert first == "versions: kubectl get did not end in time"
    assert {line.partition(": ")[2] for line in others} == {"no time was left"}


def test_an_analysis_that_does_not_end_is_left_out() -> None:
    cluster = Cluster()
    cluster.until = time.monotonic()
    with pytest.raises(KubectlError, match="istioctl analyze did not end in time"):
        _analyzed(cluster)
