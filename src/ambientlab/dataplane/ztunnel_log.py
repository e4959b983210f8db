"""What the node proxy writes, on its way to the log: lines as ztunnel has them, and what they tell about connections.

Most lines are as they should be and pass untouched. Those with a MARK (`mesh.xds.access_log`) hold what went wrong, in
Envoy's terms, or leave to be looked up what only an address tells, as ztunnel looks up both ends of every connection;
and reports of connections that are open are no part of the log, nor is what enters a tunnel, which tells of it. Errors
are those of istio/ztunnel, src/proxy.rs, src/proxy/{inbound,inbound_passthrough,outbound,pool}.rs and src/tls.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from ipaddress import ip_address
from typing import NamedTuple, Protocol

from ambientlab.cluster import PROXY_PORTS
from ambientlab.mesh.ir import SELF_CALL
from ambientlab.mesh.xds.access_log import FAILURE, HANDSHAKE, LIVE, MARK, TUNNEL, UNKNOWN, no_workload
from ambientlab.mesh.xds.access_log import service_field as service_text
from ambientlab.mesh.xds.access_log import workload_fields as workload_text
from ambientlab.mesh.xds.messages import CONNECT_TIMEOUT_MS

_MARK, _LIVE = MARK.encode(), LIVE.encode()
_NAMELESS = b"  src.identity="
"""Of a tunnel whose other end is not a node proxy, which would have said whom it is for."""

DNS_SCOPE = "dns"
_NOT_MODULES = ("access", DNS_SCOPE)
"""Scopes that ztunnel names apart from its modules."""
_INTO_TUNNEL = f" dst.addr={TUNNEL}".encode()
_DIRECTION, _OUTBOUND = b'direction="', b'outbound"'
_FAILED = f' error="{MARK}'.encode()
_TUNNEL_ENDED = b"delayed_connect_error:_Invalid_argument"
"""What Envoy says of a connection to an internal listener whose other end has gone before it began
(source/extensions/io_socket/user_space/io_handle_impl.cc, connect and getOption)."""

_COMPLETE, _WELL = b"\taccess\tconnection complete\t", b"\tinfo\t"

_CUT_SCOPE = b"\tproxy::connection_manager\t"
_CUT = re.compile(rb"^(\S+)\t\w+\tproxy::connection_manager\tconnection (\S+):\d+\((\S+)\)->(\S+) .* closed because")
_CUT_END = re.compile(
    rb"^(\S+)\tinfo(\taccess\tconnection complete\tsrc\.addr=(\S+):\d+ .*?dst\.addr=(\S+) (?:dst\.hbone_addr=(\S+) )?"
    rb'.*direction="inbound" .*duration="(\d+)ms")\n$'
)
_CUT_ERROR = "connection closed due to policy change"
_CUTS_KEPT = 10_000
"""Places: one policy may end all connections of a mesh at once."""

_LOST_SCOPE = b"\tenvoy config\tfinal pre-worker listener init for listener "
_LOST = re.compile(rb"^\S+\terror" + _LOST_SCOPE + rb"'(.+)' failed: (.*)$", re.MULTILINE)
"""A listener that Envoy accepted, and took away because it could not listen (source/common/listener_manager/
listener_manager_impl.cc, doFinalPreWorkerListenerInit)."""

_ERRNO = {
    "Network is unreachable": 101,
    "Connection reset by peer": 104,
    "Connection timed out": 110,
    "Connection refused": 111,
    "No route to host": 113,
}
_TIMED_OUT = "deadline has elapsed"
_TARGET = re.compile(r"(.+):([1-9][0-9]{0,4})")
_REFUSED_TUNNEL = re.compile(r"tunnel_response:(\d+)")
_NAMES = re.compile(r"certificate_SANs_are_\[(.*?)\]")
_IDENTITY = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)")
_ALERT = re.compile(r"ALERT_(\w+?):")
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNEXPECTED_MESSAGE", "INVALID_OUTER_RECORD")


_Place = tuple[bytes, bytes, bool]
"""Of a connection into a pod: the client's address, what it called, and whether by a tunnel."""


class Names(Protocol):
    """What the mesh knows of an address."""

    def trust_domain(self) -> str:
        """That of its own workloads."""
        ...

    def workload(self, ip: str) -> tuple[str, str] | None:
        """Name and namespace of what has the address."""
        ...

    def service(self, ip: str, port: int) -> str:
        """The host of a service that a workload's port belongs to, or ""."""
        ...


class Levels:
    """Which lines are shown. Levels are set as by ztunnel's /logging (src/admin.rs, src/telemetry.rs)."""

    _ORDER = ("off", "error", "warn", "info", "debug", "trace")
    _SEPARATOR = re.compile("(?<!:):(?!:)")
    DEFAULT = "info"

    def __init__(self) -> None:
        self._default = self.DEFAULT
        self._scopes: dict[str, str] = {}

    def __str__(self) -> str:
        """The directives in force."""
        return ",".join([*(f"{scope}={level}" for scope, level in sorted(self._scopes.items())), self._default])

    @property
    def everything(self) -> bool:
        """Whether there is nothing that is not shown."""
        return not self._scopes and self._ORDER.index(self._default) >= self._ORDER.index(self.DEFAULT)

    def set(self, text: str, *, reset: bool = False) -> None:
        """`level`, or `scope=level` or `scope:level`, separated by commas. Raises ValueError for anything else, and
        changes nothing."""
        default, scopes = (self.DEFAULT, {}) if reset else (self._default, dict(self._scopes))
        for clause in filter(None, text.split(",")):
            scope, sign, level = self._SEPARATOR.sub("=", clause).rpartition("=")
            if level not in self._ORDER or bool(sign) != bool(scope):
                raise ValueError(f"level {clause} is invalid")
            if scope:
                scopes[scope] = level
            else:
                default = level
        self._default, self._scopes = default, scopes

    def shows(self, level: str, scope: str) -> bool:
        """Of the scopes that a line's begins with, the longest counts (tracing-subscriber, filter::Targets). Those
        of ztunnel's own modules begin with its name, which lines leave out."""
        whole = scope if scope in _NOT_MODULES else f"ztunnel::{scope}"
        about = [known for known in self._scopes if whole.startswith(known)]
        wanted = self._scopes[max(about, key=len)] if about else self._default
        return self._ORDER.index(level) <= self._ORDER.index(wanted)


class Failure(NamedTuple):
    """What Envoy says of a connection that came to nothing. `policy` is the reason for which policies refuse it."""

    flags: str
    code: str
    policy: str
    reason: str
    target: str
    method: str


class Error(NamedTuple):
    """`early`: before there was enough to say of the connection for a whole line."""

    text: str
    early: bool = False


class ZtunnelLog:
    """One run of the node proxy. `told` gets the complete lines about connections, `live` reports of open ones, and
    `lost` names of listeners that the proxy has taken away, with its words."""

    def __init__(
        self,
        names: Names,
        levels: Levels,
        told: Callable[[bytes], None] = lambda lines: None,
        live: Callable[[str, str, bytes], None] = lambda began, target, fields: None,
        lost: Callable[[str, str], None] = lambda listener, why: None,
    ) -> None:
        self._names = names
        self._levels = levels
        self._told = told
        self._live = live
        self._lost = lost
        self._rest = b""
        self._nowhere = b""
        self._cut: dict[_Place, list[float]] = {}

    def __call__(self, data: bytes) -> bytes:
        """What goes to the log of `data`, of which the last line may be unfinished."""
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        return self.of_lines(whole + newline)

    def of_lines(self, lines: bytes) -> bytes:
        """The same for lines that are none of Envoy's, wherever it is in one of its own."""
        if _MARK in lines or _NAMELESS in lines or _INTO_TUNNEL in lines or self._nowhere:
            lines = b"".join(map(self._finished, lines.splitlines(keepends=True)))
        if self._cut or _CUT_SCOPE in lines:
            lines = b"".join(map(self._after_cuts, lines.splitlines(keepends=True)))
        if _LOST_SCOPE in lines:
            for listener, why in _LOST.findall(lines):
                self._lost(listener.decode(), why.decode(errors="replace"))
        if lines:
            self._told(lines)
        if not self._levels.everything:
            lines = b"".join(line for line in lines.splitlines(keepends=True) if self._shown(line))
        return lines

    def _finished(self, line: bytes) -> bytes:
        if _INTO_TUNNEL in line and _is_told_elsewhere(line):
            return b""
        if line.startswith(_LIVE):
            began, target, fields = line[len(_LIVE) :].split(b"\t", 2)
            named = self._named(fields.decode(errors="replace"))
            self._live(began.decode(), target.decode(errors="replace").removeprefix("-"), named.encode())
            return b""
        if self._nowhere and _COMPLETE in line:
            nowhere, self._nowhere = self._nowhere, b""
            if _WELL in line and _ends(line) == nowhere:
                return b""
        if _MARK not in line and _NAMELESS not in line:
            return line
        text = line.decode(errors="replace")
        before, found, error = text.rpartition(f' error="{MARK}')
        if not found:
            return self._named(text).encode()
        failure = Failure(*error.removesuffix('"\n').split(MARK)[: len(FAILURE)])
        if failure.method == HANDSHAKE and failure.reason in ("", "-"):
            return b""
        if failure.method in ("", "-"):
            self._nowhere = _ends(line)
        return self._failed(self._named(before), failure).encode()

    def _after_cuts(self, line: bytes) -> bytes:
        """A connection that `policywatcher` cuts, which it has said, ends for Envoy as any other."""
        if found := _CUT.match(line):
            moment, client, identity, target = found.groups()
            self._cut.setdefault((client, target, identity != b"None"), []).append(_seconds(moment))
            if len(self._cut) > _CUTS_KEPT:
                del self._cut[next(iter(self._cut))]
        elif found := _CUT_END.match(line):
            moment, rest, client, target, hbone, duration = found.groups()
            began, place = _seconds(moment) - int(duration) / 1000, (client, hbone or target, hbone is not None)
            for cut in self._cut.get(place, ()):
                if began < cut:
                    self._cut[place].remove(cut)
                    if not self._cut[place]:
                        del self._cut[place]
                    return b'%s\terror%s error="%s"\n' % (moment, rest, _CUT_ERROR.encode())
        return line

    def _named(self, text: str) -> str:
        """With what is known of the ends, in place of marks and of names that nobody told."""
        if UNKNOWN in text:
            source, destination = _address(text, "src.addr"), _address(text, "dst.addr")
            text = text.replace(UNKNOWN, self._source(source[0]), 1)
            text = text.replace(UNKNOWN, self._service(*destination), 1)
        elif _NAMELESS.decode() in text:
            named = f" {self._source(_address(text, 'src.addr')[0])}{_NAMELESS.decode().lstrip()}"
            text = text.replace(_NAMELESS.decode(), named, 1)
        return text

    def _source(self, ip: str) -> str:
        found = self._names.workload(ip)
        return "" if found is None else f"{workload_text('src', *found)} "

    def _service(self, ip: str, port: int) -> str:
        host = self._names.service(ip, port)
        return service_text(host) if host else ""

    def _failed(self, text: str, failure: Failure) -> str:
        error = _error(text, failure, self._names.trust_domain())
        if not error.early:
            return f'{text} error="{error.text}"\n'
        moment = text.partition("\t")[0]
        inbound = 'direction="inbound"' in text
        destination = failure.target if failure.target and not inbound else _field(text, "dst.addr")
        ends = f"src.addr={_field(text, 'src.addr')} dst.addr={destination}"
        direction = "inbound" if inbound else "outbound"
        return f'{moment}\twarn\taccess\tconnection failed\t{ends} direction="{direction}" error="{error.text}"\n'

    def _shown(self, line: bytes) -> bool:
        columns = line.decode(errors="replace").split("\t", 3)
        return len(columns) < 4 or self._levels.shows(columns[1], columns[2])


def _is_told_elsewhere(line: bytes) -> bool:
    """Of a connection that enters a tunnel: by the tunnel. Peers have no say in that: what they send is in lines about
    the other direction, and before these end. That the tunnel has failed at once, it has told as well."""
    end = line.rpartition(_DIRECTION)[2]
    return end.startswith(_OUTBOUND) and (_FAILED not in line or _TUNNEL_ENDED in end)


def _ends(line: bytes) -> bytes:
    """What a line says of both ends of its connection."""
    return line.partition(_COMPLETE)[2].partition(b"bytes_sent=")[0]


def _error(text: str, failure: Failure, trust_domain: str) -> Error:
    flags = set(failure.flags.split(","))
    if failure.method == HANDSHAKE:
        return Error(f"tls handshake error: {_handshake(failure.reason, trust_domain)}", early=True)
    if failure.policy:
        return Error(f"connection closed due to policy rejection: {failure.policy}")
    if 'direction="inbound"' in text:
        return _inbound_error(text, failure, flags)
    if flags & {"NC", "NR"}:
        return Error(f"no service for target address: {failure.target}", early=True)
    if flags & {"UH", "UO"}:
        return Error(f"no healthy upstream: {failure.target}", early=True)
    if status := _REFUSED_TUNNEL.search(failure.reason):
        return Error(f"http status: {_status(int(status[1]))}")
    if "TLS_error" in failure.reason:
        return Error(f"io error: {_certificate(failure.reason, _quoted(text, 'dst.identity'))}")
    tunnelled = "dst.hbone_addr=" in text
    if tunnelled and not failure.reason:
        if not _has_timed_out(text):  # the server has closed what was, for its client, open already
            return Error("h2 failed: broken pipe")
        return Error(f"connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: {_TIMED_OUT}")
    return Error(f"io error: {_cause(failure.reason)}")


def _inbound_error(text: str, failure: Failure, flags: set[str]) -> Error:
    if failure.method not in ("", "-", "CONNECT"):
        return Error(f"expected method CONNECT, got {failure.method}", early=True)
    refused = not failure.reason and not flags - {"-", ""}
    if failure.code == "400" or (failure.code == "503" and refused):
        if error := _target_error(_address(text, "dst.addr")[0], failure.target):
            return Error(error, early=True)
        return Error(no_workload(_quoted(text, "dst.identity"), _quoted(text, "dst.workload")), early=True)
    return Error(f"connection failed: {_cause(failure.reason)}")


def _target_error(here: str, target: str) -> str:
    """What is wrong with that for which a tunnel to `here` was asked; "" if nothing is."""
    if not (parts := _TARGET.fullmatch(target)):
        return f"no valid authority pseudo header: {target}"
    try:
        asked = ip_address(parts[1].strip("[]"))
    except ValueError:
        return f"no service or workload for hostname: {parts[1]}"
    if asked != ip_address(here):
        return f"ip mismatch: {here} != {asked}"
    return SELF_CALL if int(parts[2]) in PROXY_PORTS else ""


def _cause(reason: str) -> str:
    """As the operating system's errors read in Rust."""
    for words, number in _ERRNO.items():
        if words in reason.replace("_", " "):
            return f"{words} (os error {number})"
    return reason or _TIMED_OUT


def _has_timed_out(text: str) -> bool:
    """Envoy gives no reason for that."""
    return int(_quoted(text, "duration").removesuffix("ms") or 0) >= CONNECT_TIMEOUT_MS * 0.9


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return f"{code} <unknown status code>"


def _certificate(reason: str, expected: str) -> str:
    """As rustls puts what it has against a peer's certificate. Which names that has, Envoy tells or does not."""
    if "SAN_" in reason:
        names = _NAMES.search(reason)
        got = f", got {names[1].replace(',_', ',')}" if names else ""
        text = f"identity verification error: peer did not present the expected SAN ({expected}){got}"
        return f"invalid peer certificate: Other(OtherError({text}))"
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return f"invalid peer certificate: {_fault(reason)}"
    return reason


def _handshake(reason: str, trust_domain: str) -> str:
    """As Rust shows the errors of a server's handshake."""
    if "PEER_DID_NOT_RETURN_A_CERTIFICATE" in reason:
        error = "NoCertificatesPresented"
    elif "SAN_" in reason:
        error = f"InvalidCertificate(Other(OtherError({_stranger(reason, trust_domain)})))"
    elif "CERTIFICATE_VERIFY_FAILED" in reason:
        error = f"InvalidCertificate({_fault(reason)})"
    elif alert := _ALERT.search(reason):
        error = f"AlertReceived({''.join(word.capitalize() for word in alert[1].split('_'))})"
    elif any(word in reason for word in _NOT_TLS):
        error = "InvalidMessage(InvalidContentType)"
    else:
        return reason
    return f"Custom {{ kind: InvalidData, error: {error} }}"


def _stranger(reason: str, trust_domain: str) -> str:
    """A client whose certificate is of no identity in the trust domain, with those identities that it has."""
    names = _NAMES.search(reason)
    shown = (_IDENTITY.fullmatch(name) for name in (names[1].split(",_") if names else ()))
    identities = [
        f'Spiffe {{ trust_domain: "{one[1]}", namespace: "{one[2]}", service_account: "{one[3]}" }}'
        for one in shown
        if one is not None
    ]
    return f'SanTrustDomainError("{trust_domain}", [{", ".join(identities)}])'


def _fault(reason: str) -> str:
    """Of a certificate. Where an authority has the name of the mesh's and another key, ztunnel says BadSignature; Envoy
    tells that only of authorities without a key identifier."""
    if "expired" in reason:
        return "Expired"
    if "not_yet_valid" in reason:
        return "NotValidYet"
    return "BadSignature" if "signature_failure" in reason else "UnknownIssuer"


def _seconds(moment: bytes) -> float:
    return datetime.fromisoformat(moment.decode().replace("Z", "+00:00")).timestamp()


def _field(text: str, name: str) -> str:
    return text.partition(f"{name}=")[2].partition(" ")[0]


def _quoted(text: str, name: str) -> str:
    return text.partition(f'{name}="')[2].partition('"')[0]


def _address(text: str, name: str) -> tuple[str, int]:
    ip, _, port = _field(text, name).rpartition(":")
    return ip.strip("[]"), int(port) if port.isdigit() else 0
