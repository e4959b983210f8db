"""Sends requests from inside a pod by `kubectl exec`: with the driver where there is a Python, otherwise with curl."""

from __future__ import annotations

import re
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from urllib.parse import SplitResult, urlsplit

import msgspec
import orjson

from ambientlab.traffic import curl
from ambientlab.traffic.answers import SHOWN, Answer, Requests

Kubectl = Callable[[Sequence[str]], list[str]]
"""Arguments to the whole command."""

_NO_PROGRAM = re.compile(r"(?!Error from server \(NotFound\)).*(not found|no such file)", re.IGNORECASE)
"""What a line says in which a container's runtime, a shell or this one reports it: not that the pod is missing."""
_KUBECTLS = ("Defaulted container", "command terminated with exit code")
"""Beginnings of lines that say nothing about the program."""
_UNKNOWN_HOST = "cannot resolve the host"
"""How the driver begins to say so."""
_OLD_CURL = "unknown --write-out variable"
"""What one says that does not know `%header{}` (https://curl.se/docs/manpage.html#-w)."""
_MOST = 10_000_000
"""Requests of a curl that is stopped after its time."""
_GRACE = 30.0
"""Seconds for kubectl to begin and to end, beyond what the requests were given."""
_CURL_PROBLEMS = {6: "unknown host", 7: "refused", 28: "timeout", 52: "empty reply", 56: "reset"}


class TrafficError(Exception):
    """No requests could be sent; the message says why, in one line."""


class UnknownHostError(TrafficError):
    """The pod knows no address of the host."""


def url_of(text: str) -> SplitResult:
    """Raises ValueError for what is no URL of http or https."""
    url = urlsplit(text if "://" in text else f"http://{text}")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"{text!r} is not a URL such as http://helloworld.hello:5000/hello")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname  # the only place for a bracket
    if re.search(r"[\s#\[\]{}]|[^\x21-\x7e]", url.geturl().replace(host, "", 1)):
        raise ValueError(f"{text!r} has characters that a URL must have percent-encoded")
    _ = url.port  # a ValueError of its own
    return url


def send(
    kubectl: Kubectl,
    requests: Requests,
    *,
    header: str = "",
    body: bool = True,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Answer]:
    """Yields the answers as they come. `header` is one of each response to tell, and without `body` no bodies are
    needed. `variables` is kubectl's environment, if not this process's. Raises TrafficError; what has been answered by
    then has been yielded."""

    def start(*argv: str, stdin: str = "") -> _Exec:
        return _Exec(kubectl, requests, argv, stdin, variables)

    if urlsplit(requests.url).scheme == "http":
        process = start("python3", "-I", "-S", "-", plan(requests, header, body), stdin=driver())
        if requests.seconds:
            limit = requests.seconds + requests.patience + _GRACE
            process.stop_after(limit, f"{requests.source} had not sent them all after {limit:g} s")
        began = False
        for line in process.lines():
            began = True
            yield _answer(line, requests)
        if (said := process.complaint()) == "" or began or not _NO_PROGRAM.match(said):
            if said:
                raise _refusal(said, requests)
            return
    yield from _by_curl(start, requests, header, body)


def _answer(line: str, requests: Requests) -> Answer:
    """What a pod says is what anybody may have written."""
    try:
        return msgspec.json.decode(line, type=Answer)
    except msgspec.MsgspecError:
        raise TrafficError(f"what {requests.source} has as python3 tells no answers: {line.strip()[:60]!r}") from None


def _by_curl(start: Callable[..., _Exec], requests: Requests, header: str, body: bool) -> Iterator[Answer]:
    if body and requests.parallel > 1:
        raise TrafficError(
            f"{requests.source} has no python3, and curl shows no bodies of parallel requests: "
            "send one at a time (-c 1) or count --by status"
        )
    if requests.reuse and requests.parallel > 1:
        raise TrafficError(
            f"{requests.source} has no python3, and curl's parallel requests share connections: use -c 1"
        )
    token = secrets.token_hex(8)
    headers = [*requests.headers, *([] if requests.reuse else [("Connection", "close")])]
    argv = curl.command(
        requests.url,
        requests.number or _MOST,
        token,
        headers=headers,
        parallel=requests.parallel,
        patience=requests.patience,
        header=header,
    )
    argv[1:1] = ["-N", "-X", requests.method] if requests.method != "HEAD" else ["-N", "-I", "-o", "/dev/null"]
    if requests.rate:
        argv[1:1] = ["--rate", f"{max(1, round(requests.rate * 60))}/m"]
    process = start(*argv)
    if requests.seconds:
        process.stop_after(requests.seconds)
    text, at, began = "", 0.0, False
    pace = 1 / requests.rate if requests.rate else 0.0
    for line in process.lines():
        text += line
        if not line.startswith(token):
            continue
        for report in curl.parse(text, token):
            began = True
            if report.status and not requests.reuse and report.connections != 1:
                raise TrafficError("a request used the connection of another, so they tell nothing about connections")
            problem = _CURL_PROBLEMS.get(report.problem, f"curl {report.problem}") if not report.status else ""
            yield Answer(at, report.seconds, report.status, problem, report.service, report.header, report.body[:SHOWN])
            at += max(report.seconds / requests.parallel, pace)  # curl does not tell
        text = ""
    if (said := process.complaint()) and not began:
        raise _refusal(said, requests)
    if not began and _OLD_CURL in process.said:
        raise TrafficError(f"the curl of {requests.source} is older than 7.83, and tells too little of its requests")


def plan(requests: Requests, header: str, body: bool) -> str:
    url = urlsplit(requests.url)
    return orjson.dumps(
        {
            "host": url.hostname,
            "port": url.port or 80,
            "method": requests.method,
            "target": (url.path or "/") + (f"?{url.query}" if url.query else ""),
            "headers": requests.headers,
            "number": requests.number,
            "seconds": requests.seconds,
            "rate": requests.rate,
            "parallel": requests.parallel,
            "reuse": requests.reuse,
            "patience": requests.patience,
            "header": header,
            "body": SHOWN if body else 0,
        }
    ).decode()


def driver() -> str:
    return resources.files(__package__).joinpath("driver.py").read_text(encoding="utf-8")


def _refusal(said: str, requests: Requests) -> TrafficError:
    if said.startswith(_UNKNOWN_HOST):
        return UnknownHostError(said)
    if _NO_PROGRAM.match(said):
        return TrafficError(f"{requests.source} has neither python3 nor curl: name another pod with --from")
    return TrafficError(re.sub(r"^(Error from server \(\w+\)|error): ", "", said))


class _Exec:
    """A program in the pod, and what it prints."""

    def __init__(
        self, kubectl: Kubectl, requests: Requests, argv: Sequence[str], stdin: str, variables: Mapping[str, str] | None
    ) -> None:
        namespace, pod = requests.source.split("/")
        container = ["-c", requests.container] if requests.container else []
        command = kubectl(["exec", *(["-i"] if stdin else []), "-n", namespace, pod, *container, "--", *argv])
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=None if variables is None else dict(variables),
        )
        self.said = ""  # on stderr
        self._stopped: str | None = None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(stdin)

    def lines(self) -> Iterator[str]:
        """Ends the program if the reader stops earlier than it."""
        assert self._process.stdout is not None
        try:
            yield from self._process.stdout
        finally:
            self._process.stdout.close()
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._listener.join()

    def stop_after(self, seconds: float, complaint: str = "") -> None:
        """`complaint` is what there is to say of it then."""

        def stop() -> None:
            self._stopped = complaint
            self._process.terminate()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()

    def complaint(self) -> str:
        """What it had to say when it failed, "" if it did not; of a program that has ended."""
        if self._process.returncode == 0:
            return ""
        if self._stopped is not None:
            return self._stopped
        lines = [line for line in self.said.strip().splitlines() if not line.startswith(_KUBECTLS)]
        ended = f"it ended with {self._process.returncode}"
        return next(filter(_NO_PROGRAM.match, lines), lines[-1] if lines else ended)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            self.said = stderr.read()
