"""The Traffic Management lab's own commands, typed into `ambientlab shell`, answer in the form the lab shows."""

from __future__ import annotations

import re
import textwrap

from support.mesh import Mesh

HASH = r"(?:[0-9a-f]{8,10}|[bcdfghjklmnpqrstvwxz2456789]{8,10})-[a-z0-9]{5}"
AGE = r"\d+(?:s|m|m\d+s)"
TEST_LABELS = "istio.io/dataplane-mode=ambient,istio.io/use-waypoint=waypoint,kubernetes.io/metadata.name=test"

DESTINATION_RULE = """\
cat > hello-dr.yaml <<'EOF'
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: hello-world-dr
  namespace: hello
spec:
  host: helloworld
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
EOF
k apply -f hello-dr.yaml
"""

VIRTUAL_SERVICE = """\
cat > hellovs.yaml <<'EOF'
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: hello-world-vs
  namespace: hello
spec:
  hosts:
  - helloworld
  http:
  - route:
    - destination:
        host: helloworld
        subset: v1
      weight: 95
    - destination:
        host: helloworld
        subset: v2
      weight: 5
EOF
k apply -f hellovs.yaml
"""

HTTP_ROUTE = """\
cat > hello-httproute-split-traffic.yaml <<'EOF'
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: hello-http-split-traffic
  namespace: hello
spec:
  parentRefs:
  - group: ""
    kind: Service
    name: helloworld
    port: 5000
  rules:
  - backendRefs:
    - name: helloworld-v1
      port: 5000
      weight: 95
    - name: helloworld-v2
      port: 5000
      weight: 5
EOF
kubectl apply -f hello-httproute-split-traffic.yaml
kubectl get httproutes -n hello
"""

# Each command, and the whole of what it prints as one regular expression per line, blanks standing for any run of them.
STEPS: list[tuple[str, str]] = [
    (
        "kubectl apply -f helloworld.yaml -n hello",
        """
        service/helloworld created
        deployment.apps/helloworld-v1 created
        deployment.apps/helloworld-v2 created
        """,
    ),
    (
        "kubectl wait -n hello --for=condition=Available deploy --all >/dev/null; kubectl get pods -n hello",
        rf"""
        NAME READY STATUS RESTARTS AGE
        helloworld-v1-{HASH} 1/1 Running 0 {AGE}
        helloworld-v2-{HASH} 1/1 Running 0 {AGE}
        """,
    ),
    (
        "kubectl get svc -n hello",
        rf"""
        NAME TYPE CLUSTER-IP EXTERNAL-IP PORT\(S\) AGE
        helloworld ClusterIP 10\.(?:9[6-9]|10\d|11[01])\.\d+\.\d+ <none> 5000/TCP {AGE}
        """,
    ),
    (DESTINATION_RULE, "destinationrule.networking.istio.io/hello-world-dr created"),
    ("kubectl get destinationrules", "No resources found in default namespace."),
    (
        "kubectl get destinationrules -n hello",
        rf"""
        NAME HOST AGE
        hello-world-dr helloworld {AGE}
        """,
    ),
    (VIRTUAL_SERVICE, "virtualservice.networking.istio.io/hello-world-vs created"),
    (
        "kubectl get virtualservice -n hello",
        rf"""
        NAME GATEWAYS HOSTS AGE
        hello-world-vs \["helloworld"\] {AGE}
        """,
    ),
    (
        "for i in {1..10}; do kubectl exec curl -n test -- curl -s helloworld.hello.svc.cluster.local:5000/hello; done",
        "\n".join([rf"Hello version: v[12], instance: helloworld-v[12]-{HASH}"] * 10),
    ),
    (
        "kubectl get ns --show-labels",
        rf"""
        NAME STATUS AGE LABELS
        default Active {AGE} kubernetes.io/metadata.name=default
        hello Active {AGE} kubernetes.io/metadata.name=hello
        httpbin Active {AGE} kubernetes.io/metadata.name=httpbin
        istio-system Active {AGE} kubernetes.io/metadata.name=istio-system
        kube-node-lease Active {AGE} kubernetes.io/metadata.name=kube-node-lease
        kube-public Active {AGE} kubernetes.io/metadata.name=kube-public
        kube-system Active {AGE} kubernetes.io/metadata.name=kube-system
        test Active {AGE} {TEST_LABELS}
        """,
    ),
    (
        "kubectl label ns hello istio.io/dataplane-mode=ambient istio.io/use-waypoint=waypoint --overwrite",
        "namespace/hello labeled",
    ),
    ("istioctl waypoint apply -n hello", "✅ waypoint hello/waypoint applied"),
    (
        "kubectl wait -n hello --for=condition=Programmed gateway/waypoint >/dev/null\n"
        "kubectl wait -n hello --for=condition=Available deploy/waypoint >/dev/null\n"
        "kubectl get deploy waypoint -n hello",
        rf"""
        NAME READY UP-TO-DATE AVAILABLE AGE
        waypoint 1/1 1 1 {AGE}
        """,
    ),
    (
        "kubectl delete virtualservice hello-world-vs -n hello --ignore-not-found\n"
        "kubectl delete destinationrule hello-world-dr -n hello --ignore-not-found",
        """
        virtualservice.networking.istio.io "hello-world-vs" deleted(?:\\ from\\ hello\\ namespace)?
        destinationrule.networking.istio.io "hello-world-dr" deleted(?:\\ from\\ hello\\ namespace)?
        """,
    ),
    ("kubectl delete virtualservice hello-world-vs -n hello --ignore-not-found", ""),
    (
        "kubectl get crd httproutes.gateway.networking.k8s.io -o name",
        "customresourcedefinition.apiextensions.k8s.io/httproutes.gateway.networking.k8s.io",
    ),
    (
        "kubectl apply -n hello -f helloworld.yaml",
        """
        service/helloworld unchanged
        deployment.apps/helloworld-v1 unchanged
        deployment.apps/helloworld-v2 unchanged
        """,
    ),
    (
        "kubectl get svc -n hello",
        rf"""
        NAME TYPE CLUSTER-IP EXTERNAL-IP PORT\(S\) AGE
        helloworld ClusterIP 10\.\d+\.\d+\.\d+ <none> 5000/TCP {AGE}
        waypoint ClusterIP 10\.\d+\.\d+\.\d+ <none> 15021/TCP,15008/TCP {AGE}
        """,
    ),
    (
        HTTP_ROUTE,
        rf"""
        httproute.gateway.networking.k8s.io/hello-http-split-traffic created
        NAME HOSTNAMES AGE
        hello-http-split-traffic {AGE}
        """,
    ),
]


def form(pattern: str) -> str:
    """The expression for lines whose blanks may be of any width; an escaped blank is one blank."""
    lines = textwrap.dedent(pattern).strip().splitlines()
    return r"\n".join(re.sub(r"(?<!\\) ", r"\\s+", line.strip()) for line in lines)


def test_the_transcript(lab: Mesh) -> None:
    for command, expected in STEPS:
        printed = "\n".join(line.rstrip() for line in lab.shell(command).text.strip().splitlines())
        assert re.fullmatch(form(expected), printed), f"{command}\n--- printed\n{printed}\n--- expected\n{expected}"
