"""Pods and pod templates (pkg/apis/core/validation)."""

from __future__ import annotations

import re
from typing import Any

from ambientlab.api.fielderrors import Errors, child, duplicate, forbidden, invalid, key, not_found, required, show
from ambientlab.api.objects import Object
from ambientlab.api.validation import meta, scalars

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_TERMINATION_POLICIES = ("FallbackToLogsOnError", "File")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_ENV_NAME = re.compile(r"[ -<>-~]+")
_ENV_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_CHANGED = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod(obj: Object, old: Object | None, errors: Errors) -> None:
    pod_spec(obj.get("spec") or {}, "spec", errors)
    if old is not None and _fixed(obj["spec"]) != _fixed(old["spec"]):
        errors.append(forbidden("spec", _CHANGED))


def _fixed(spec: Object) -> str:
    """The part of a pod's spec that no update may change; the scheduler's binding and debugging aside."""
    containers = {
        field: [{name: value for name, value in one.items() if name != "image"} for one in spec.get(field) or ()]
        for field in ("containers", "initContainers")
    }
    free = ("activeDeadlineSeconds", "tolerations", "nodeName", "ephemeralContainers", "terminationGracePeriodSeconds")
    return show({name: value for name, value in spec.items() if name not in free} | containers)


def template(value: Object, path: str, errors: Errors) -> None:
    metadata = value.get("metadata") or {}
    meta.check_labels(metadata.get("labels") or {}, child(path, "metadata.labels"), errors)
    meta.check_annotations(metadata.get("annotations") or {}, child(path, "metadata.annotations"), errors)
    pod_spec(value.get("spec") or {}, child(path, "spec"), errors)


def pod_spec(spec: Object, path: str, errors: Errors) -> None:
    volumes = _volumes(spec.get("volumes") or [], child(path, "volumes"), errors)
    host_network = bool(spec.get("hostNetwork"))
    names: set[str] = set()
    if not spec.get("containers"):
        errors.append(required(child(path, "containers")))
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for index, one in enumerate(spec.get(field) or ()):
            where = f"{child(path, field)}[{index}]"
            _container(one, where, volumes, host_network, errors)
            if one.get("name") in names:
                errors.append(duplicate(child(where, "name"), one["name"]))
            elif one.get("name"):
                names.add(one["name"])
    _host_ports(spec.get("containers") or [], child(path, "containers"), errors)
    for field in ("hostPID", "hostIPC"):
        if spec.get(field):
            errors.append(forbidden(child(path, field), "disallowed by cluster policy"))
    scalars.one_of(child(path, "restartPolicy"), spec.get("restartPolicy"), _RESTART_POLICIES, errors)
    scalars.one_of(child(path, "dnsPolicy"), spec.get("dnsPolicy"), _DNS_POLICIES, errors)
    for field in ("terminationGracePeriodSeconds",):
        scalars.not_negative(child(path, field), spec.get(field), errors)
    if (deadline := spec.get("activeDeadlineSeconds")) is not None and not 1 <= deadline < 1 << 31:
        errors.append(
            invalid(child(path, "activeDeadlineSeconds"), deadline, "must be between 1 and 2147483647, inclusive")
        )
    meta.check_labels(spec.get("nodeSelector") or {}, child(path, "nodeSelector"), errors)
    for field, rule in (
        ("serviceAccountName", meta.dns_subdomain),
        ("nodeName", meta.dns_subdomain),
        ("hostname", meta.dns_label),
        ("subdomain", meta.dns_label),
        ("priorityClassName", meta.dns_subdomain),
    ):
        if spec.get(field):
            meta.check(child(path, field), spec[field], rule, errors)


def _container(value: Object, path: str, volumes: set[str], host_network: bool, errors: Errors) -> None:
    if not value.get("name"):
        errors.append(required(child(path, "name")))
    else:
        meta.check(child(path, "name"), value["name"], meta.dns_label, errors)
    image = value.get("image") or ""
    if not image:
        errors.append(required(child(path, "image")))
    elif image != image.strip():
        errors.append(invalid(child(path, "image"), image, "must not have leading or trailing whitespace"))
    _ports(value.get("ports") or [], child(path, "ports"), host_network, errors)
    _env(value.get("env") or [], child(path, "env"), errors)
    _mounts(value.get("volumeMounts") or [], child(path, "volumeMounts"), volumes, errors)
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if field in value:
            _probe(value[field], child(path, field), errors, once=field != "readinessProbe")
    lifecycle = value.get("lifecycle") or {}
    for hook in ("postStart", "preStop"):
        if hook in lifecycle:
            _handler(lifecycle[hook], child(path, f"lifecycle.{hook}"), (*_HANDLERS[:3], "sleep"), errors)
    _resources(value.get("resources") or {}, child(path, "resources"), errors)
    if (value.get("securityContext") or {}).get("privileged"):
        # As an API server without --allow-privileged answers: the node's own proxy alone may do more than a container.
        errors.append(forbidden(child(path, "securityContext.privileged"), "disallowed by cluster policy"))
    scalars.one_of(child(path, "imagePullPolicy"), value.get("imagePullPolicy"), _PULL_POLICIES, errors)
    scalars.one_of(
        child(path, "terminationMessagePolicy"), value.get("terminationMessagePolicy"), _TERMINATION_POLICIES, errors
    )


def _ports(ports: list[Object], path: str, host_network: bool, errors: Errors) -> None:
    names: set[str] = set()
    for index, one in enumerate(ports):
        where = f"{path}[{index}]"
        if name := one.get("name"):
            if problems := scalars.port_name(name):
                errors.extend(invalid(child(where, "name"), name, problem) for problem in problems)
            elif name in names:
                errors.append(duplicate(child(where, "name"), name))
            names.add(name)
        if not one.get("containerPort"):
            errors.append(required(child(where, "containerPort")))
        else:
            scalars.port(child(where, "containerPort"), one["containerPort"], errors)
        if one.get("hostPort"):
            scalars.port(child(where, "hostPort"), one["hostPort"], errors)
            if host_network and one["hostPort"] != one.get("containerPort"):
                detail = "must match `containerPort` when `hostNetwork` is true"
                errors.append(invalid(child(where, "hostPort"), one["hostPort"], detail))
        scalars.one_of(child(where, "protocol"), one.get("protocol"), _PROTOCOLS, errors)


def _host_ports(containers: list[Object], path: str, errors: Errors) -> None:
    taken: set[str] = set()
    for at, container in enumerate(containers):
        for index, one in enumerate(container.get("ports") or ()):
            if not one.get("hostPort"):
                continue
            claim = f"{one.get('protocol', 'TCP')}/{one.get('hostIP', '')}/{one['hostPort']}"
            if claim in taken:
                errors.append(duplicate(f"{path}[{at}].ports[{index}].hostPort", claim))
            taken.add(claim)


def _env(variables: list[Object], path: str, errors: Errors) -> None:
    for index, one in enumerate(variables):
        where = f"{path}[{index}]"
        name = one.get("name") or ""
        if not name:
            errors.append(required(child(where, "name")))
        elif not _ENV_NAME.fullmatch(name):
            errors.append(invalid(child(where, "name"), name, _ENV_TEXT))
        source = one.get("valueFrom")
        if source is None:
            continue
        if one.get("value"):
            errors.append(invalid(child(where, "valueFrom"), "", "may not be specified when `value` is not empty"))
        if not source:
            detail = (
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
            )
            errors.append(invalid(child(where, "valueFrom"), "", detail))
        elif len(source) > 1:
            detail = "may not have more than one field specified at a time"
            errors.append(invalid(child(where, "valueFrom"), "", detail))


def _mounts(mounts: list[Object], path: str, volumes: set[str], errors: Errors) -> None:
    seen: set[str] = set()
    for index, one in enumerate(mounts):
        where = f"{path}[{index}]"
        if not one.get("name"):
            errors.append(required(child(where, "name")))
        elif one["name"] not in volumes:
            errors.append(not_found(child(where, "name"), one["name"]))
        target = one.get("mountPath") or ""
        if not target:
            errors.append(required(child(where, "mountPath")))
        elif target in seen:
            errors.append(invalid(child(where, "mountPath"), target, "must be unique"))
        elif ".." in (one.get("subPath") or "").split("/"):
            errors.append(invalid(child(where, "subPath"), one["subPath"], "must not contain '..'"))
        seen.add(target)


def _volumes(volumes: list[Object], path: str, errors: Errors) -> set[str]:
    names: set[str] = set()
    for index, one in enumerate(volumes):
        where = f"{path}[{index}]"
        name = one.get("name") or ""
        if not name:
            errors.append(required(child(where, "name")))
        else:
            meta.check(child(where, "name"), name, meta.dns_label, errors)
            if name in names:
                errors.append(duplicate(child(where, "name"), name))
        names.add(name)
        sources = [field for field in one if field != "name"]
        if not sources:
            errors.append(required(where, "must specify a volume type"))
        for extra in sources[1:]:
            errors.append(forbidden(child(where, extra), "may not specify more than 1 volume type"))
        for source, field in (("secret", "secretName"), ("configMap", "name")):
            if source in one and not one[source].get(field):
                errors.append(required(child(where, f"{source}.{field}")))
    return names


def _probe(probe: Object, path: str, errors: Errors, *, once: bool) -> None:
    _handler(probe, path, _HANDLERS, errors)
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        scalars.not_negative(child(path, field), probe.get(field), errors)
    if once and probe.get("successThreshold", 1) != 1:
        errors.append(invalid(child(path, "successThreshold"), probe["successThreshold"], "must be 1"))


def _handler(handler: Object, path: str, known: tuple[str, ...], errors: Errors) -> None:
    found = [field for field in known if field in handler]
    if not found:
        errors.append(required(path, "must specify a handler type"))
    for extra in found[1:]:
        errors.append(forbidden(child(path, extra), "may not specify more than 1 handler type"))
    action: Any = handler.get(found[0]) if found else None
    if not isinstance(action, dict):
        return
    where = child(path, found[0])
    match found[0]:
        case "exec":
            if not action.get("command"):
                errors.append(required(child(where, "command")))
        case "httpGet":
            if not action.get("path"):
                errors.append(required(child(where, "path")))
            scalars.port_or_name(child(where, "port"), action.get("port", 0), errors)
            scalars.one_of(child(where, "scheme"), action.get("scheme"), ("HTTP", "HTTPS"), errors)
        case "tcpSocket":
            scalars.port_or_name(child(where, "port"), action.get("port", 0), errors)
        case "grpc":
            scalars.port(child(where, "port"), action.get("port", 0), errors)


def _resources(resources: Object, path: str, errors: Errors) -> None:
    limits = resources.get("limits") or {}
    for field in ("limits", "requests"):
        for name, text in (resources.get(field) or {}).items():
            where = key(child(path, field), name)
            meta.check(where, name, meta.qualified_name, errors)
            value = scalars.quantity(text)
            if value is None:
                errors.append(invalid(where, text, "must be a valid quantity"))
                continue
            if value < 0:
                errors.append(invalid(where, text, scalars.NOT_NEGATIVE))
            limit = scalars.quantity(limits.get(name, "")) if field == "requests" else None
            if limit is not None and value > limit:
                detail = f"must be less than or equal to {name} limit of {limits[name]}"
                errors.append(invalid(child(path, "requests"), text, detail))
