from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.apiserver.streams.options import StreamOptions, choose_container, log_options, require_host

NOW = 1_000_000.0


def a_pod(*containers: str, **spec: Any) -> Object:
    return {"metadata": {"name": "web"}, "spec": {"containers": [{"name": name} for name in containers], **spec}}


def refusal(query: dict[str, str], pod: Object | None = None) -> StatusError:
    with pytest.raises(StatusError) as caught:
        log_options(query, pod or a_pod("app"), now=NOW)
    return caught.value


def test_log_options() -> None:
    query = {"follow": "true", "tailLines": "5", "sinceSeconds": "60", "limitBytes": "10", "timestamps": "true"}
    options = log_options(query, a_pod("app"), now=NOW)
    assert (options.container, options.follow, options.previous) == ("app", True, False)
    assert (options.tail_lines, options.since, options.limit_bytes, options.timestamps) == (5, NOW - 60, 10, True)
    assert log_options({"sinceTime": "1970-01-02T00:00:00Z"}, a_pod("app"), now=NOW).since == 86400
    assert log_options({}, a_pod("app"), now=NOW).since == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"tailLines": "-1"}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": "0"}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0"}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ({"stream": "Stdout"}, "stream: Forbidden: may not be specified"),
        (
            {"sinceSeconds": "1", "sinceTime": "1970-01-02T00:00:00Z"},
            ": Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        (
            {"tailLines": "-1", "limitBytes": "0"},
            "[tailLines: Invalid value: -1: must be greater than or equal to 0, "
            "limitBytes: Invalid value: 0: must be greater than 0]",
        ),
    ],
)
def test_invalid_log_options(query: dict[str, str], message: str) -> None:
    error = refusal(query)
    assert (error.code, error.reason, error.kind) == (422, "Invalid", "PodLogOptions")
    assert error.message == f'PodLogOptions "web" is invalid: {message}'


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"tailLines": "many"}, 'strconv.ParseInt: parsing "many": invalid syntax'),
        ({"tailLines": ""}, 'strconv.ParseInt: parsing "": invalid syntax'),
        ({"tailLines": "9" * 19}, f'strconv.ParseInt: parsing "{"9" * 19}": value out of range'),
        ({"tailLines": "9" * 5000}, "value out of range"),
        ({"sinceTime": "yesterday"}, 'parsing time "yesterday"'),
        ({"sinceTime": "2026-13-01T00:00:00Z"}, 'parsing time "2026-13-01T00:00:00Z"'),
    ],
)
def test_unreadable_log_options(query: dict[str, str], message: str) -> None:
    error = refusal(query)
    assert (error.code, error.reason) == (400, "BadRequest")
    assert message in error.message


@given(st.dictionaries(st.sampled_from(["tailLines", "sinceTime", "sinceSeconds", "limitBytes", "follow"]), st.text()))
def test_no_query_raises_anything_but_a_status(query: dict[str, str]) -> None:
    with contextlib.suppress(StatusError):
        log_options(query, a_pod("app"), now=NOW)


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("", True), ("1", True), ("False", False), ("0", False)]
)
def test_flags_as_the_api_reads_them(value: str, expected: bool) -> None:
    assert StreamOptions.parse({"stdout": "1", "stdin": value}).stdin is expected


def test_a_terminal_has_no_stderr() -> None:
    assert not StreamOptions.parse({"stdout": "true", "stderr": "true", "tty": "true"}).stderr


def test_at_least_one_stream() -> None:
    with pytest.raises(StatusError, match="at least 1 of stdin, stdout, stderr"):
        StreamOptions.parse({"tty": "true"})


def test_choice_of_container() -> None:
    pod = a_pod("app", "sidecar", initContainers=[{"name": "init"}], ephemeralContainers=[{"name": "debug"}])
    assert choose_container(a_pod("app"), "") == "app"
    for name in ("app", "sidecar", "init", "debug"):
        assert choose_container(pod, name) == name
    for chosen, message in [
        ("nope", "container nope is not valid for pod web"),
        (
            "",
            "a container name must be specified for pod web, choose one of: [app sidecar] "
            "or one of the init containers: [init]",
        ),
    ]:
        with pytest.raises(StatusError) as caught:
            choose_container(pod, chosen)
        assert (caught.value.code, caught.value.message) == (400, message)


def test_a_pod_without_a_node() -> None:
    with pytest.raises(StatusError, match="pod web does not have a host assigned"):
        require_host(a_pod("app"))
