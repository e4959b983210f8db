"""EndpointSlices and Endpoints: which pods serve a Service, where, and whether they are ready."""

from ambientlab.api.kinds import DEPLOYMENT, ENDPOINTS, ENDPOINTSLICE, NODE, POD, SERVICE
from ambientlab.api.objects import labels_of, name
from support.cluster_world import deployment, pod, service


def slices(cluster, of="web"):
    return [
        one
        for one in cluster.client.list(ENDPOINTSLICE, "hello")
        if labels_of(one).get("kubernetes.io/service-name") == of
    ]


def conditions(cluster, of="web"):
    """Pod name -> (ready, serving, terminating)."""
    return {
        endpoint["targetRef"]["name"]: tuple(endpoint["conditions"][key] for key in ("ready", "serving", "terminating"))
        for one in slices(cluster, of)
        for endpoint in one.get("endpoints") or ()
    }


def ports(piece):
    return [(port.get("name", ""), port["protocol"], port["port"]) for port in piece.get("ports") or ()]


async def web(cluster, called, **spec):
    await cluster.create(POD, pod(called, {"app": "web"}, **spec))


async def test_a_service_without_pods_has_an_empty_slice(cluster):
    await cluster.create(SERVICE, service(selector={"app": "web"}))
    (piece,) = slices(cluster)
    assert name(piece).startswith("web-")
    assert piece["addressType"] == "IPv4"
    assert not piece.get("endpoints")
    assert labels_of(piece)["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    assert piece["metadata"]["ownerReferences"][0]["name"] == "web"


async def test_the_life_of_an_endpoint(cluster):
    await cluster.create(SERVICE, service(selector={"app": "web"}, ports=[{"port": 80, "targetPort": 5000}]))
    await web(cluster, "one")
    assert conditions(cluster) == {}  # no address yet
    await cluster.run_pods(ready=False)
    assert conditions(cluster) == {"one": (False, False, False)}
    await cluster.run_pods()
    assert conditions(cluster) == {"one": (True, True, False)}
    (piece,) = slices(cluster)
    (endpoint,) = piece["endpoints"]
    assert endpoint["addresses"] == [cluster.client.get(POD, "one", "hello")["status"]["podIP"]]
    assert endpoint["nodeName"] == "ambientlab"
    assert endpoint["targetRef"]["uid"] == cluster.client.get(POD, "one", "hello")["metadata"]["uid"]
    assert ports(piece) == [("", "TCP", 5000)]
    await cluster.delete(POD, "one")
    assert conditions(cluster) == {"one": (False, True, True)}
    await cluster.run_pods()
    assert conditions(cluster) == {}


async def test_each_family_has_slices_of_its_own(cluster):
    families = {"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack"}
    await cluster.create(SERVICE, service(selector={"app": "web"}, **families))
    await web(cluster, "one")
    await cluster.run_pods()
    here = [each["ip"] for each in cluster.client.get(POD, "one", "hello")["status"]["podIPs"]]
    found = {piece["addressType"]: piece["endpoints"][0]["addresses"] for piece in slices(cluster)}
    assert found == {"IPv4": here[:1], "IPv6": here[1:]}
    (subset,) = cluster.client.get(ENDPOINTS, "web", "hello")["subsets"]
    assert [each["ip"] for each in subset["addresses"]] == here[1:], "the older form knows the first family"
    vips = cluster.client.get(SERVICE, "web", "hello")["spec"].get("clusterIPs")
    own = {"clusterIPs": vips[:1]} if vips else {}
    await cluster.change(SERVICE, "web", {"spec": {"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack", **own}})
    assert [piece["addressType"] for piece in slices(cluster)] == ["IPv6"]


async def test_pods_come_in_and_leave_by_their_labels(cluster):
    await cluster.create(SERVICE, service(selector={"app": "web"}))
    await web(cluster, "one")
    await cluster.run_pods()
    await cluster.change(POD, "one", {"metadata": {"labels": {"app": "retired"}}})
    assert conditions(cluster) == {}
    await cluster.change(POD, "one", {"metadata": {"labels": {"app": "web"}}})
    assert list(conditions(cluster)) == ["one"]
    await cluster.change(SERVICE, "web", {"spec": {"selector": {"app": "other"}}})
    assert conditions(cluster) == {}


async def test_a_finished_pod_serves_nothing(cluster):
    await cluster.create(SERVICE, service(selector={"app": "web"}))
    await web(cluster, "one")
    await cluster.run_pods()
    await cluster.change(POD, "one", {"status": {"phase": "Succeeded"}}, subresource="status")
    assert conditions(cluster) == {}


async def test_a_named_port_is_looked_up_in_each_pod(cluster):
    await cluster.create(
        SERVICE, service(selector={"app": "web"}, ports=[{"name": "http", "port": 80, "targetPort": "web"}])
    )
    for called, number in (("one", 8080), ("two", 9090)):
        container = {"name": "app", "image": "x", "ports": [{"name": "web", "containerPort": number}]}
        await web(cluster, called, containers=[container])
    await web(cluster, "three")
    await cluster.run_pods()
    found = sorted(
        (ports(piece), [one["targetRef"]["name"] for one in piece["endpoints"]]) for piece in slices(cluster)
    )
    assert found == [
        ([], ["three"]),
        ([("http", "TCP", 8080)], ["one"]),
        ([("http", "TCP", 9090)], ["two"]),
    ]


async def test_headless_and_tolerant_of_pods_that_are_not_ready(cluster):
    draft = service(selector={"app": "web"}, clusterIP="None", publishNotReadyAddresses=True)
    await cluster.create(SERVICE, draft)
    await web(cluster, "one", hostname="zero", subdomain="web")
    await cluster.run_pods(ready=False)
    assert conditions(cluster) == {"one": (True, False, False)}
    (piece,) = slices(cluster)
    assert labels_of(piece)["service.kubernetes.io/headless"] == ""
    assert piece["endpoints"][0]["hostname"] == "zero"


async def test_more_than_a_hundred_endpoints_take_more_slices(cluster):
    await cluster.create(SERVICE, service(selector={"app": "web"}))
    await cluster.create(DEPLOYMENT, deployment(replicas=120))
    await cluster.run_pods()
    assert sorted(len(piece["endpoints"]) for piece in slices(cluster)) == [20, 100]
    assert len(conditions(cluster)) == 120


async def test_a_change_rewrites_the_slice_it_has(cluster):
    await cluster.create(SERVICE, service(selector={"app": "web"}))
    (before,) = slices(cluster)
    await web(cluster, "one")
    await cluster.run_pods()
    await cluster.change(SERVICE, "web", {"metadata": {"labels": {"team": "a"}}})
    (after,) = slices(cluster)
    assert name(after) == name(before)
    assert labels_of(after)["team"] == "a"


async def test_a_slice_somebody_deletes_or_changes_comes_back(cluster):
    await cluster.create(SERVICE, service(selector={"app": "web"}))
    await web(cluster, "one")
    await cluster.run_pods()
    await cluster.delete(ENDPOINTSLICE, name(slices(cluster)[0]))
    assert list(conditions(cluster)) == ["one"]
    await cluster.change(ENDPOINTSLICE, name(slices(cluster)[0]), {"endpoints": []})
    assert list(conditions(cluster)) == ["one"]


async def test_services_without_a_selector_are_left_to_others(cluster):
    await cluster.create(SERVICE, service("external"))
    await cluster.create(SERVICE, service("alias", {"app": "web"}, type="ExternalName", externalName="example.org"))
    mine = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "external-1",
            "namespace": "hello",
            "labels": {"kubernetes.io/service-name": "external"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.0.1"]}],
        "ports": [],
    }
    await cluster.create(ENDPOINTSLICE, mine)
    await web(cluster, "one")
    await cluster.run_pods()
    assert [name(piece) for piece in cluster.client.list(ENDPOINTSLICE, "hello")] == ["external-1"]
    assert list(cluster.client.list(ENDPOINTS, "hello")) == []


async def test_the_old_form_says_the_same(cluster):
    ports = [{"name": "http", "port": 80, "targetPort": 5000}]
    await cluster.create(SERVICE, service(selector={"app": "web"}, ports=ports))
    assert not cluster.client.get(ENDPOINTS, "web", "hello").get("subsets")
    for called in ("one", "two"):
        await web(cluster, called)
    await cluster.run_pods(only=lambda pod: name(pod) == "one")
    await cluster.run_pods(ready=False, only=lambda pod: name(pod) == "two")
    (subset,) = cluster.client.get(ENDPOINTS, "web", "hello")["subsets"]
    assert [one["targetRef"]["name"] for one in subset["addresses"]] == ["one"]
    assert [one["targetRef"]["name"] for one in subset["notReadyAddresses"]] == ["two"]
    assert [(port["name"], port["port"]) for port in subset["ports"]] == [("http", 5000)]
    await cluster.delete(SERVICE, "web")
    assert cluster.client.get(ENDPOINTS, "web", "hello") is None
    assert slices(cluster) == []


async def test_what_does_not_concern_endpoints_writes_nothing(cluster):
    await cluster.create(SERVICE, service(selector={"app": "web"}))
    await web(cluster, "one")
    await cluster.run_pods()
    before = [piece["metadata"]["resourceVersion"] for piece in slices(cluster)]
    await cluster.change(POD, "one", {"metadata": {"annotations": {"note": "x"}}})
    await cluster.change(SERVICE, "web", {"metadata": {"annotations": {"note": "x"}}})
    assert [piece["metadata"]["resourceVersion"] for piece in slices(cluster)] == before


async def test_endpoints_tell_where_they_are_and_whom_to_serve_first(cluster):
    await cluster.create(SERVICE, service(selector={"app": "web"}))
    await web(cluster, "one")
    await cluster.run_pods()

    def said():
        (piece,) = slices(cluster)
        (endpoint,) = piece["endpoints"]
        return endpoint.get("zone"), endpoint.get("hints")

    assert said() == (None, None)
    node = cluster.client.get(NODE, "ambientlab")
    metadata = {**node["metadata"], "labels": {"topology.kubernetes.io/zone": "z1"}}
    await cluster.client.update(NODE, {**node, "metadata": metadata})
    await cluster.settle()
    assert said() == ("z1", None)
    for wanted, hints in (
        ("PreferClose", {"forZones": [{"name": "z1"}]}),
        ("PreferSameNode", {"forNodes": [{"name": "ambientlab"}]}),
    ):
        await cluster.change(SERVICE, "web", {"spec": {"trafficDistribution": wanted}})
        assert said() == ("z1", hints)
        await cluster.run_pods(ready=False)
        assert said() == ("z1", None), "nobody is sent to who is not ready"
        await cluster.run_pods()
        assert said() == ("z1", hints)


async def test_a_service_leaves_alone_what_belongs_to_a_namesake_of_before(cluster):
    """Garbage collection takes it, and endpoints put into it would go with it."""
    owner = {"apiVersion": "v9", "kind": "Unseen", "name": "web", "uid": "of-before", "controller": True}
    labels = {
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    metadata = {"name": "web-old", "namespace": "hello", "labels": labels, "ownerReferences": [owner]}
    piece = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
    old = await cluster.create(ENDPOINTSLICE, {**piece, "addressType": "IPv4", "endpoints": [], "ports": []})
    made = await cluster.create(SERVICE, service(selector={"app": "web"}))
    await web(cluster, "one")
    await cluster.run_pods()
    assert cluster.client.get(ENDPOINTSLICE, "web-old", "hello") == old
    (own,) = [one for one in slices(cluster) if name(one) != "web-old"]
    assert own["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert [endpoint["targetRef"]["name"] for endpoint in own["endpoints"]] == ["one"]
