"""Lines of the node proxy on their way to the log: some pass, some are finished there, some are for others."""

from __future__ import annotations

import pytest

from ambientlab.dataplane.ztunnel_log import Levels, ZtunnelLog
from ambientlab.mesh.xds.access_log import FAILURE, LIVE, MARK, UNKNOWN

TIME = "2026-01-02T03:04:05.000006Z"
SOURCE = 'src.addr=10.244.0.3:40000 src.workload="curl" src.namespace="test" src.identity="spiffe://t/ns/test/sa/curl" '
TARGET = 'dst.workload="app" dst.namespace="hello" dst.identity="spiffe://t/ns/hello/sa/app" '
OUT = f'{SOURCE}dst.addr=10.244.0.4:15008 dst.hbone_addr=10.244.0.4:80 {TARGET}direction="outbound" '
PLAIN = f'{SOURCE}dst.addr=1.2.3.4:80 direction="outbound" '
IN = f'{SOURCE}dst.addr=10.244.0.4:15008 dst.hbone_addr=10.244.0.4:80 {TARGET}direction="inbound" '
END = 'bytes_sent=1 bytes_recv=2 duration="3ms"'


UNVERIFIED = "TLS_error:|4:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed"


class Mesh:
    """`Names` of one workload and one service."""

    def trust_domain(self) -> str:
        return "cluster.local"

    def workload(self, ip: str) -> tuple[str, str] | None:
        return ("curl", "test") if ip == "10.244.0.3" else None

    def service(self, ip: str, port: int) -> str:
        return "app.hello.svc.cluster.local" if (ip, port) == ("10.244.0.4", 80) else ""


def line(fields: str, level: str = "info", error: str = "") -> str:
    return f"{TIME}\t{level}\taccess\tconnection complete\t{fields}{END}{error}\n"


def failed(fields: str, **given: str) -> str:
    error = "".join(MARK + given.get(name, "") for name in FAILURE)
    return line(fields, "error", f' error="{error}"')


def through(*lines: str, levels: Levels | None = None) -> str:
    return ZtunnelLog(Mesh(), levels or Levels())("".join(lines).encode()).decode()


def test_what_is_as_it_should_be_passes_untouched_and_whole() -> None:
    log = ZtunnelLog(Mesh(), Levels())
    text = line(OUT).encode()
    assert log(text[:50]) == b""
    assert log(text[50:] + text[:10]) == text
    assert log(text[10:]) == text


def test_listeners_that_envoy_has_taken_away_are_told() -> None:
    lost: list[tuple[str, str]] = []
    log = ZtunnelLog(Mesh(), Levels(), lost=lambda *said: lost.append(said))
    said = "final pre-worker listener init for listener"
    lines = [f"{TIME}\terror\tenvoy config\t{said} '{name}|ns/a' failed: cannot listen()\n" for name in ("out", "in")]
    forged = line(OUT, error=f"\tenvoy config\t{said} 'out|ns/b' failed: x")
    whole = "".join([lines[0], line(IN), forged, lines[1]]).encode()
    assert log(whole[:-9]) + log(whole[-9:]) == whole
    assert lost == [("out|ns/a", "cannot listen()"), ("in|ns/a", "cannot listen()")]


@pytest.mark.parametrize(
    ("fields", "given", "error"),
    [
        (PLAIN, {"flags": "UF", "reason": "delayed connect error: Connection refused"},
         "io error: Connection refused (os error 111)"),
        (PLAIN, {"flags": "UF", "reason": "immediate connect error: Network is unreachable"},
         "io error: Network is unreachable (os error 101)"),
        (PLAIN, {"flags": "UF,URX"}, "io error: deadline has elapsed"),
        (OUT, {"flags": "UF,URX"}, "h2 failed: broken pipe"),
        (OUT, {"flags": "UF", "reason": "delayed connect error: Connection refused"},
         "io error: Connection refused (os error 111)"),
        (OUT, {"flags": "UF", "reason": "tunnel_response:401"}, "http status: 401 Unauthorized"),
        (OUT, {"flags": "UF", "reason": "tunnel_response:400"}, "http status: 400 Bad Request"),
        (OUT, {"flags": "UF", "reason": "tunnel_response:503"}, "http status: 503 Service Unavailable"),
        (OUT, {"flags": "UF", "reason": "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED"},
         "io error: invalid peer certificate: UnknownIssuer"),
        (OUT, {"flags": "UF", "reason": "TLS_error:|1:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_matcher,"
          "_certificate_SANs_are_[spiffe://t/ns/x/sa/y]:TLS_error_end"},
         "io error: invalid peer certificate: Other(OtherError(identity verification error: peer did not present the "
         "expected SAN (spiffe://t/ns/hello/sa/app), got spiffe://t/ns/x/sa/y))"),
        (IN, {"flags": "-", "code": "401", "policy": "explicitly denied by: hello/no"},
         "connection closed due to policy rejection: explicitly denied by: hello/no"),
        (IN, {"flags": "-", "code": "401", "policy": "allow policies exist, but none allowed"},
         "connection closed due to policy rejection: allow policies exist, but none allowed"),
        (IN, {"flags": "UF", "code": "503", "reason": "delayed_connect_error:_Connection_refused", "method": "CONNECT"},
         "connection failed: Connection refused (os error 111)"),
    ],
)  # fmt: skip
def test_what_went_wrong_is_said_in_ztunnels_words(fields: str, given: dict[str, str], error: str) -> None:
    assert through(failed(fields, **given)) == line(fields, "error", f' error="{error}"')


def test_what_led_nowhere_is_said_once() -> None:
    """Envoy says it twice, the second time as if it had ended well."""
    log = ZtunnelLog(Mesh(), Levels())
    twice = failed(OUT, flags="UF", reason="delayed connect error: Connection refused") + line(OUT)
    elsewhere = line(OUT.replace(":40000", ":40001"))
    once = log(twice.encode()) + log((line(OUT) + twice).encode()) + log(elsewhere.encode())
    refused = line(OUT, "error", ' error="io error: Connection refused (os error 111)"')
    assert once.decode() == refused + line(OUT) + refused + elsewhere
    early = log((failed(PLAIN, flags="UH", target="10.96.0.9:80") + line(OUT)).encode()).decode()
    assert early.endswith(line(OUT)), "another connection"


def test_what_enters_a_tunnel_is_told_there() -> None:
    open_: list[tuple[str, str, bytes]] = []
    log = ZtunnelLog(Mesh(), Levels(), live=lambda *report: open_.append(report))
    into = PLAIN.replace("1.2.3.4:80", "envoy://connect_originate/10.244.0.4:80")
    report = f"{LIVE}1.000000\t10.244.0.4:80\t{into}bytes_sent=1 bytes_recv=2\n"
    assert log((line(into) + line(OUT) + report + line(PLAIN)).encode()).decode() == line(OUT) + line(PLAIN)
    assert open_ == []
    by_cluster = into.replace(" direction=", " ip|10.244.0.4direction=")
    assert log((line(by_cluster) + line(PLAIN)).encode()).decode() == line(PLAIN)
    assert "error=" in through(failed(into, flags="UF")), "nothing that failed goes untold"
    for entering in (into, by_cluster):
        ended = failed(entering, flags="UF", reason="delayed_connect_error:_Invalid_argument")
        assert through(ended) == "", "the tunnel has told why"
    forged = IN.replace(' src.namespace="test"', f' src.namespace="test" {into.rstrip()}')
    assert through(line(forged)) == line(forged), "its source is what a peer says"


def test_of_connections_that_tunnels_came_of_no_handshake_is_told() -> None:
    assert through(failed(IN, method="TLS"), line(IN)) == line(IN)


def test_a_port_of_tunnels_that_does_not_answer_hints_at_a_network_policy() -> None:
    slow = failed(OUT, flags="UF,URX").replace('"3ms"', '"10001ms"')
    hint = "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: deadline has elapsed"
    assert f'duration="10001ms" error="{hint}"' in through(slow)


@pytest.mark.parametrize(
    ("fields", "given", "destination", "error"),
    [
        (PLAIN, {"flags": "UH", "target": "10.96.0.9:80"}, "10.96.0.9:80", "no healthy upstream: 10.96.0.9:80"),
        (PLAIN, {"flags": "NC", "target": "10.96.0.9:80"}, "10.96.0.9:80",
         "no service for target address: 10.96.0.9:80"),
        (IN, {"flags": "-", "code": "400", "target": "10.244.0.9:80", "method": "CONNECT"}, "10.244.0.4:15008",
         "ip mismatch: 10.244.0.4 != 10.244.0.9"),
        (IN, {"flags": "-", "code": "503", "target": "10.244.0.4:15006", "method": "CONNECT"}, "10.244.0.4:15008",
         "attempted recursive call to ourselves"),
        (IN, {"flags": "-", "code": "503", "target": "app.hello:80", "method": "CONNECT"}, "10.244.0.4:15008",
         "no service or workload for hostname: app.hello"),
        (IN, {"flags": "-", "code": "503", "target": "10.244.0.4:80", "method": "CONNECT"}, "10.244.0.4:15008",
         "failed to fetch information about local workload: app.hello (app)"),
        (IN, {"flags": "-", "code": "400", "target": "10.244.0.4:080", "method": "CONNECT"}, "10.244.0.4:15008",
         "no valid authority pseudo header: 10.244.0.4:080"),
        (IN, {"flags": "-", "code": "400", "method": "GET"}, "10.244.0.4:15008", "expected method CONNECT, got GET"),
        (IN, {"method": "TLS", "reason": "TLS_error:|3:SSL:SSLV3_ALERT_CERTIFICATE_UNKNOWN:TLS_error_end"},
         "10.244.0.4:15008",
         "tls handshake error: Custom { kind: InvalidData, error: AlertReceived(CertificateUnknown) }"),
        (IN, {"method": "TLS", "reason": "TLS_error:|2:SSL:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE"},
         "10.244.0.4:15008", "tls handshake error: Custom { kind: InvalidData, error: NoCertificatesPresented }"),
        (IN, {"method": "TLS", "reason": f"{UNVERIFIED}:_certificate_has_expired"}, "10.244.0.4:15008",
         "tls handshake error: Custom { kind: InvalidData, error: InvalidCertificate(Expired) }"),
        (IN, {"method": "TLS", "reason": f"{UNVERIFIED}:_certificate_is_not_yet_valid"}, "10.244.0.4:15008",
         "tls handshake error: Custom { kind: InvalidData, error: InvalidCertificate(NotValidYet) }"),
        (IN, {"method": "TLS", "reason": f"{UNVERIFIED}:_SAN_matcher,_certificate_SANs_are_[spiffe://a.b/ns/x/sa/y]:"},
         "10.244.0.4:15008",
         "tls handshake error: Custom { kind: InvalidData, error: InvalidCertificate(Other(OtherError("
         'SanTrustDomainError("cluster.local", [Spiffe { trust_domain: "a.b", namespace: "x", service_account: "y" }])'
         "))) }"),
        (IN, {"method": "TLS", "reason": f"{UNVERIFIED}:_SAN_matcher,_certificate_SANs_are_[https://a.b/ns/x/sa/y]:"},
         "10.244.0.4:15008",
         "tls handshake error: Custom { kind: InvalidData, error: InvalidCertificate(Other(OtherError("
         'SanTrustDomainError("cluster.local", [])))) }'),
    ],
)  # fmt: skip
def test_what_is_refused_early_has_a_short_line(
    fields: str, given: dict[str, str], destination: str, error: str
) -> None:
    direction = "inbound" if "inbound" in fields else "outbound"
    assert through(failed(fields, **given)) == (
        f"{TIME}\twarn\taccess\tconnection failed\tsrc.addr=10.244.0.3:40000 dst.addr={destination} "
        f'direction="{direction}" error="{error}"\n'
    )


def test_what_a_changed_policy_cuts_ends_as_an_error() -> None:
    cut = (
        "2026-01-02T03:04:05.000004Z\tinfo\tproxy::connection_manager\tconnection 10.244.0.3:9({})->10.244.0.4:80 "
        "(Kubernetes//Pod/hello/app) closed because it's no longer allowed after a policy update\n"
    )
    tunnelled, plain = cut.format("spiffe://t/ns/test/sa/curl"), cut.format("None")
    ended = line(IN, "error", ' error="connection closed due to policy change"')
    assert through(tunnelled, line(OUT), line(IN), line(IN)) == "".join((tunnelled, line(OUT), ended, line(IN)))
    assert through(plain, line(IN)) == plain + line(IN), "another connection"
    later = line(IN).replace('"3ms"', '"0ms"')
    assert through(tunnelled, later) == tunnelled + later, "it began when it was allowed again"


def test_of_all_that_a_policy_cuts_at_once_each_ends_as_an_error() -> None:
    cut = (
        "2026-01-02T03:04:05.000004Z\tinfo\tproxy::connection_manager\tconnection 10.244.0.{}:9(None)->10.244.0.4:80 "
        "(Kubernetes//Pod/hello/app) closed because it's no longer allowed after a policy update\n"
    )
    plain = 'src.addr=10.244.0.{}:40000 dst.addr=10.244.0.4:80 dst.workload="app" direction="inbound" '
    clients = [client for client in range(1, 251) for _ in range(2)]
    said = through(*map(cut.format, clients), *(line(plain.format(client)) for client in clients))
    assert said.count('error="connection closed due to policy change"') == len(clients)


def test_ends_are_looked_up_where_only_their_address_is_known() -> None:
    plain = (
        f'src.addr=10.244.0.3:40000 {UNKNOWN}dst.addr=10.244.0.4:80 {UNKNOWN}dst.workload="app" direction="inbound" '
    )
    assert through(line(plain)) == line(
        'src.addr=10.244.0.3:40000 src.workload="curl" src.namespace="test" dst.addr=10.244.0.4:80 '
        'dst.service="app.hello.svc.cluster.local" dst.workload="app" direction="inbound" '
    )
    stranger = plain.replace("10.244.0.3", "10.244.0.99").replace("4:80", "4:81")
    assert through(line(stranger)) == line(
        'src.addr=10.244.0.99:40000 dst.addr=10.244.0.4:81 dst.workload="app" direction="inbound" '
    )
    tunnelled = 'src.addr=10.244.0.3:1  src.identity="x" dst.addr=10.244.0.4:15008 '
    assert 'src.workload="curl" src.namespace="test" src.identity="x"' in through(line(tunnelled), line(OUT))


def test_reports_of_open_connections_are_not_part_of_the_log() -> None:
    told: list[bytes] = []
    open_: list[tuple[str, str, bytes]] = []
    log = ZtunnelLog(Mesh(), Levels(), told.append, lambda *report: open_.append(report))
    report = f"{LIVE}1700000000.5\t10.96.0.9:80\t{OUT}bytes_sent=1 bytes_recv=2\n"
    assert log((line(PLAIN) + report).encode()).decode() == line(PLAIN)
    assert told == [line(PLAIN).encode()]
    assert open_ == [("1700000000.5", "10.96.0.9:80", f"{OUT}bytes_sent=1 bytes_recv=2\n".encode())]


def test_levels_choose_what_is_shown_and_nothing_is_lost_for_others() -> None:
    levels, told = Levels(), list[bytes]()
    log = ZtunnelLog(Mesh(), levels, told.append)
    bad = failed(PLAIN, flags="UF", reason="Connection refused")
    assert str(levels) == "info"
    levels.set("error")
    assert log((line(OUT) + bad).encode()).count(b"\n") == 1
    levels.set("access=off")
    assert log(bad.encode()) == b""
    assert str(levels) == "access=off,error"
    levels.set("access:debug,info")
    assert levels.everything is False
    levels.set("", reset=True)
    assert (str(levels), levels.everything) == ("info", True)
    assert len(b"".join(told).splitlines()) == 3


@pytest.mark.parametrize(
    ("levels", "access", "cut"),
    [
        ("ztunnel::proxy:off", True, False),
        ("ztunnel::proxy=off", True, False),
        ("proxy=off", True, True),
        ("off,ztunnel::proxy:info", False, True),
        ("ztunnel=off", True, False),
        ("ztunnel=off,ztunnel::proxy::connection_manager=info", True, True),
        ("access:warn", False, True),
    ],
)
def test_scopes_are_about_all_that_begins_with_them(levels: str, access: bool, cut: bool) -> None:
    shown = Levels()
    shown.set(levels)
    assert (shown.shows("info", "access"), shown.shows("info", "proxy::connection_manager")) == (access, cut)


@pytest.mark.parametrize("text", ["loud", "access=loud", "=info"])
def test_other_levels_are_refused(text: str) -> None:
    levels = Levels()
    with pytest.raises(ValueError, match="is invalid"):
        levels.set(text)
    assert str(levels) == "info"
