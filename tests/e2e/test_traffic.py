"""What Istio ambient does with traffic policy, seen by a client in the mesh: `kubectl exec`, real proxies.

The tests of this module walk one mesh through the lab's states, in order (`walk`). Splits are judged by an exact test
at the significance of `support.splits`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.hello_rules import SPLIT
from support.mesh import Mesh
from support.splits import fits
from support.waiting import eventually

pytestmark = pytest.mark.walk

HELLO = "http://helloworld.hello.svc.cluster.local:5000/hello"
HTTPBIN = "http://httpbin.httpbin.svc.cluster.local:8000/get"
LABELS = ["istio.io/dataplane-mode=ambient", "istio.io/use-waypoint=waypoint"]
EVEN = {"v1": 50.0, "v2": 50.0}
CODE = ["-o", "/dev/null", "-w", "%{http_code}\\n"]
TIMED = ["-o", "/dev/null", "-w", "%{http_code} %{time_total}\\n"]
AT_ONCE = ["--parallel", "--parallel-immediate", "--parallel-max", "20"]


def version(line: str) -> str:
    found = re.match(r"Hello version: (v\d)", line)
    return found[1] if found else line


def versions(lab: Mesh, count: int = 200) -> list[str]:
    return [version(line) for line in lab.sample(HELLO, count)]


def codes(lab: Mesh, url: str, count: int, *arguments: str) -> list[str]:
    return lab.sample(url, count, *CODE, *arguments)


def route(**weights: int) -> str:
    backends = "".join(f"\n    - {{name: helloworld-{name}, port: 5000, weight: {n}}}" for name, n in weights.items())
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: split, namespace: hello}}
spec:
  parentRefs: [{{group: "", kind: Service, name: helloworld, port: 5000}}]
  rules:
  - backendRefs:{backends}
"""


def fault(fault: str, match: str = "") -> str:
    plain = "\n  - route: [{destination: {host: httpbin}}]" if match else ""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: fault, namespace: httpbin}}
spec:
  hosts: [httpbin]
  http:
  - fault: {fault}
    {match or "name: all"}
    route: [{{destination: {{host: httpbin}}}}]{plain}
"""


def in_force(httpbin: Mesh, spec: str) -> None:
    """A fault in the place of one that cannot be taken for it, and no request meets that any more."""
    httpbin.apply(fault("{abort: {httpStatus: 555, percentage: {value: 100}}}"))
    eventually(lambda: codes(httpbin, HTTPBIN, 1) == ["555"], "fault of before")
    httpbin.apply(fault(spec))
    eventually(lambda: codes(httpbin, HTTPBIN, 1) != ["555"], "end of it")


def starts(lab: Mesh, namespace: str) -> dict[str, tuple[str, int]]:
    """Pod -> (when its container started, how often it was restarted)."""
    found = {}
    for pod in lab.json("get", "pods", "-n", namespace)["items"]:
        status = pod["status"]["containerStatuses"][0]
        found[pod["metadata"]["name"]] = (status["state"]["running"]["startedAt"], status["restartCount"])
    return found


def unenrolled(lab: Mesh) -> None:
    """Wait until ztunnel has let go of hello's pods: `kubectl wait` knows no absence, so this asks again."""
    eventually(
        lambda: (
            "ambient.istio.io/redirection" not in lab.kubectl("get", "pods", "-n", "hello", "-l", "app", "-o", "yaml")
        ),
        "pods that are not enrolled",
    )


@pytest.fixture(scope="module")
def httpbin(lab: Mesh) -> Iterator[Mesh]:
    lab.kubectl("apply", "-n", "httpbin", "-f", lab.manifest("httpbin.yaml"))
    lab.kubectl("label", "ns", "httpbin", *LABELS)
    lab.ambientlab("istioctl", "waypoint", "apply", "-n", "httpbin", "--wait")
    lab.kubectl("wait", "-n", "httpbin", "--for=condition=Available", "deploy", "--all")
    yield lab
    lab.kubectl("delete", "virtualservice", "fault", "-n", "httpbin", "--ignore-not-found")


def test_without_a_waypoint_l7_policy_changes_nothing(hello: Mesh) -> None:
    fits(versions(hello), EVEN)
    hello.apply(SPLIT)
    for policy in ("virtualservice/split", "destinationrule/subsets"):
        hello.kubectl("wait", "-n", "hello", "--for=condition=ambientlab.io/Finding", policy)
    fits(versions(hello), EVEN)


def test_the_split_is_per_connection(hello: Mesh) -> None:
    """Ten requests that share a connection go where its first went; ztunnel balances connections."""
    script = 'i=0; while [ $i -lt 12 ]; do curl -sS "$0?[1-10]" | sort | uniq -c; i=$((i+1)); done'
    out = hello.kubectl("exec", "curl", "-n", "test", "--", "sh", "-c", script, HELLO)
    groups = out.splitlines()
    assert len(groups) == 12, out
    assert all(int(line.split()[0]) == 10 for line in groups), out


def test_ambient_alone_is_hbone_between_identities_and_still_even(hello: Mesh) -> None:
    before = starts(hello, "hello")
    hello.kubectl("label", "ns", "hello", LABELS[0])
    annotation = r"jsonpath={.metadata.annotations.ambient\.istio\.io/redirection}=enabled"
    hello.kubectl("wait", "-n", "hello", f"--for={annotation}", "pod", "--all")
    fits(versions(hello), EVEN)
    logged = hello.kubectl("logs", "-n", "istio-system", "ds/ztunnel", "--tail=20")
    assert 'src.identity="spiffe://cluster.local/ns/test/sa/default"' in logged
    assert 'dst.identity="spiffe://cluster.local/ns/hello/sa/default"' in logged
    assert re.search(r"dst\.addr=10\.244\.\d+\.\d+:15008 dst\.hbone_addr=10\.244\.\d+\.\d+:5000", logged)
    assert starts(hello, "hello") == before, "running pods were enrolled, not restarted"


def test_a_waypoint_honours_virtual_service_and_destination_rule(hello: Mesh) -> None:
    before = starts(hello, "hello")
    hello.kubectl("label", "ns", "hello", LABELS[1])
    applied = hello.ambientlab("istioctl", "waypoint", "apply", "-n", "hello", "--wait")
    assert applied.out == "✅ waypoint hello/waypoint applied\n✅ waypoint hello/waypoint is ready!\n"
    gateway = hello.json("get", "gateway", "waypoint", "-n", "hello")
    programmed = next(each for each in gateway["status"]["conditions"] if each["type"] == "Programmed")
    assert programmed["status"] == "True"
    assert programmed["message"].endswith("waypoint.hello.svc.cluster.local:15008")
    service = hello.json("get", "service", "waypoint", "-n", "hello")
    assert {"type": "IPAddress", "value": service["spec"]["clusterIP"]} in gateway["status"]["addresses"]
    bound = "--for=jsonpath={.status.conditions[?(@.type=='istio.io/WaypointBound')].status}=True"
    hello.kubectl("wait", "-n", "hello", bound, "service/helloworld")
    fits(versions(hello, 400), {"v1": 95.0, "v2": 5.0})
    now = starts(hello, "hello")
    assert {pod: now[pod] for pod in before} == before


def test_an_http_route_to_missing_services_answers_500(hello: Mesh) -> None:
    hello.kubectl("delete", "virtualservice/split", "destinationrule/subsets", "-n", "hello")
    fits(versions(hello), EVEN)
    hello.apply(route(v1=95, v2=5))
    resolved = "jsonpath={.status.parents[0].conditions[?(@.type=='ResolvedRefs')].reason}"
    hello.kubectl("wait", "-n", "hello", f"--for={resolved}=BackendNotFound", "httproute/split")
    fits(codes(hello, HELLO, 50), {"500": 100.0})
    hello.kubectl("expose", "deployment", "helloworld-v1", "-n", "hello", "--port=5000")
    fits(codes(hello, HELLO, 300), {"200": 95.0, "500": 5.0})
    hello.kubectl("expose", "deployment", "helloworld-v2", "-n", "hello", "--port=5000")
    hello.kubectl("wait", "-n", "hello", f"--for={resolved}=ResolvedRefs", "httproute/split")
    fits(versions(hello, 400), {"v1": 95.0, "v2": 5.0})


@pytest.mark.parametrize(
    "weights", [{"v1": 20, "v2": 80}, {"v1": 1, "v2": 1}, {"v1": 100, "v2": 0}, {"v1": 0, "v2": 7}]
)
def test_other_weights(hello: Mesh, weights: dict[str, int]) -> None:
    hello.apply(route(**weights))
    fits(versions(hello), {name: 100 * weight / sum(weights.values()) for name, weight in weights.items()})


def test_three_ways(hello: Mesh) -> None:
    image = "docker.io/istio/examples-helloworld-v3:1.0"
    hello.kubectl("create", "deployment", "helloworld-v3", "-n", "hello", "--image", image, "--port=5000")
    hello.kubectl("expose", "deployment", "helloworld-v3", "-n", "hello", "--port=5000")
    hello.kubectl("wait", "-n", "hello", "--for=condition=Available", "deploy/helloworld-v3")
    hello.apply(route(v1=50, v2=30, v3=20))
    fits(versions(hello, 300), {"v1": 50.0, "v2": 30.0, "v3": 20.0})


def test_all_weights_zero_answer_500(hello: Mesh) -> None:
    hello.apply(route(v1=0, v2=0))
    fits(codes(hello, HELLO, 30), {"500": 100.0})


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ("{abort: {httpStatus: 503, percentage: {value: 30}}}", {"503": 30.0, "200": 70.0}),
        ("{abort: {httpStatus: 418, percentage: {value: 100}}}", {"418": 100.0}),
        ("{abort: {httpStatus: 503, percentage: {value: 0.1}}}", {"503": 0.1, "200": 99.9}),
        ("{abort: {httpStatus: 503}}", {"200": 100.0}),
        ("{delay: {fixedDelay: 9s}}", {"200": 100.0}),
    ],
    ids=["30 %", "100 %", "0.1 %", "abort without percentage", "delay without percentage"],
)
def test_aborts(httpbin: Mesh, given: str, shares: dict[str, float]) -> None:
    in_force(httpbin, given)
    fits(codes(httpbin, HTTPBIN, 300, "-m", "5"), shares)


def test_the_body_of_an_abort(httpbin: Mesh) -> None:
    httpbin.apply(fault("{abort: {httpStatus: 503, percentage: {value: 100}}}"))
    assert httpbin.curl(HTTPBIN) == "fault filter abort"
    httpbin.kubectl("wait", "-n", "httpbin", "--for=condition=Ready", "pod", "--all")
    logged = httpbin.kubectl("logs", "-n", "httpbin", "deploy/waypoint", "--tail=1")
    assert " 503 FI " in logged


def test_a_delay_holds_back_its_share(httpbin: Mesh) -> None:
    httpbin.apply(fault("{delay: {fixedDelay: 0.4s, percentage: {value: 50}}}"))
    taken = httpbin.sample(HTTPBIN, 60, *TIMED, *AT_ONCE)
    assert {line.split()[0] for line in taken} == {"200"}
    fits(["late" if float(line.split()[1]) >= 0.4 else "at once" for line in taken], {"late": 50.0, "at once": 50.0})


def test_a_delay_for_one_in_a_thousand(httpbin: Mesh) -> None:
    in_force(httpbin, "{delay: {fixedDelay: 2s, percentage: {value: 0.1}}}")
    taken = httpbin.sample(HTTPBIN, 300, *TIMED, *AT_ONCE)
    assert {line.split()[0] for line in taken} == {"200"}
    fits(["late" if float(line.split()[1]) >= 2 else "at once" for line in taken], {"late": 0.1, "at once": 99.9})


def test_delay_and_abort_throw_dice_of_their_own(httpbin: Mesh) -> None:
    httpbin.apply(
        fault("{delay: {fixedDelay: 0.4s, percentage: {value: 50}}, abort: {httpStatus: 418, percentage: {value: 50}}}")
    )
    taken = httpbin.sample(HTTPBIN, 80, *TIMED, *AT_ONCE)
    kinds = [f"{line.split()[0]} {'late' if float(line.split()[1]) >= 0.4 else 'at once'}" for line in taken]
    fits(kinds, {f"{code} {when}": 25.0 for code in ("200", "418") for when in ("late", "at once")})


def test_a_fault_for_some_users_only(httpbin: Mesh) -> None:
    match = "match: [{headers: {end-user: {exact: jason}}}]"
    httpbin.apply(fault("{abort: {httpStatus: 500, percentage: {value: 100}}}", match))
    fits(codes(httpbin, HTTPBIN, 30, "-H", "end-user: jason"), {"500": 100.0})
    fits(codes(httpbin, HTTPBIN, 30, "-H", "end-user: anna"), {"200": 100.0})
    fits(codes(httpbin, HTTPBIN, 30), {"200": 100.0})


def test_without_the_label_it_is_even_again_and_no_other_service_notices(hello: Mesh, httpbin: Mesh) -> None:
    """httpbin's clients keep asking, on one connection and on new ones, while hello changes around them."""
    httpbin.kubectl("delete", "virtualservice", "fault", "-n", "httpbin", "--ignore-not-found")
    fits(codes(httpbin, HTTPBIN, 3), {"200": 100.0})
    before = starts(hello, "hello") | starts(hello, "httpbin")
    ask = (
        'rm -f /tmp/stop; while [ ! -e /tmp/stop ]; do curl -sS -m 10 -o /dev/null -w "%{http_code}\\n" "$0"; '
        'curl -sS -m 10 -o /dev/null -w "%{http_code}\\n" "$0?[1-5]"; done'
    )
    with hello.background("exec", "curl", "-n", "test", "--", "sh", "-c", ask, HTTPBIN) as asking:
        hello.apply(route(v1=100, v2=0))
        fits(versions(hello, 40), {"v1": 100.0})
        hello.kubectl("label", "ns", "hello", "istio.io/use-waypoint-")
        hello.kubectl("label", "ns", "hello", "istio.io/dataplane-mode-")
        unenrolled(hello)
        hello.kubectl("delete", "deployment,service", "helloworld-v3", "-n", "hello")
        fits(versions(hello), EVEN)
        hello.kubectl("exec", "curl", "-n", "test", "--", "touch", "/tmp/stop")
        answers = asking.finish()
    assert len(answers) > 50
    assert set(answers) == {"200"}, {answer: answers.count(answer) for answer in set(answers)}
    after = starts(hello, "hello") | starts(hello, "httpbin")
    assert {pod: after[pod] for pod in before if "v3" not in pod} == {p: s for p, s in before.items() if "v3" not in p}
