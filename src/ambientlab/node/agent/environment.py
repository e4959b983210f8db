"""The environment, command line and identity files of a container. Pure.

Rules: kubernetes.io "Define Dependent Environment Variables", "Service environment variables", "DNS for Services and
Pods"; pkg/kubelet/envvars and pkg/kubelet/network/dns for what they leave open.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from ambientlab.api import objects
from ambientlab.api.numbers import INT64
from ambientlab.api.objects import Object

Lookup = Callable[[str, str], Object | None]
"""(kind, name) -> the ConfigMap or Secret of the pod's namespace."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

TAR_OPTIONS = "--no-same-owner"
"""For `kubectl cp`, which unpacks with the tar inside: a node knows one user, so files can belong to nobody else."""


class ConfigError(Exception):
    """Something a container refers to is missing: CreateContainerConfigError, tried again when it appears."""


_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` becomes the variable's value, or stays as it is without one; `$$` is a literal `$`."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else env.get(name, match[0])

    return _REFERENCE.sub(value, text)


def service_variables(services: Iterable[Object]) -> dict[str, str]:
    """Host and ports of each service with a cluster address, in Docker-link form as well."""
    env: dict[str, str] = {}
    for service in services:
        ip = service["spec"].get("clusterIP") or "None"
        ports = service["spec"].get("ports") or ()
        if ip == "None" or not ports:
            continue
        prefix = objects.name(service).upper().replace("-", "_")
        env[f"{prefix}_SERVICE_HOST"] = ip
        env[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        first = ports[0]
        env[f"{prefix}_PORT"] = f"{first.get('protocol', 'TCP').lower()}://{ip}:{first['port']}"
        for port in ports:
            number, protocol = str(port["port"]), port.get("protocol", "TCP")
            if name := port.get("name"):
                env[f"{prefix}_SERVICE_PORT_{name.upper().replace('-', '_')}"] = number
            link = f"{prefix}_PORT_{number}_{protocol}"
            env[link] = f"{protocol.lower()}://{ip}:{number}"
            env |= {f"{link}_PROTO": protocol.lower(), f"{link}_PORT": number, f"{link}_ADDR": ip}
    return env


def container_variables(pod: Object, container: Object, base: Mapping[str, str], lookup: Lookup) -> dict[str, str]:
    """`envFrom` and `env` over `base` (image, HOSTNAME and service variables). Raises ConfigError."""
    env = dict(base)
    for source in container.get("envFrom") or ():
        for key, value in _all_of(source, lookup).items():
            env[source.get("prefix", "") + key] = value
    for variable in container.get("env") or ():
        if source := variable.get("valueFrom"):
            if (found := _value_from(pod, container, source, lookup)) is not None:
                env[variable["name"]] = found
        else:
            env[variable["name"]] = expand(variable.get("value") or "", env)
    return env


def _all_of(source: Object, lookup: Lookup) -> dict[str, str]:
    for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        if ref := source.get(field):
            found = lookup(kind, ref["name"])
            if found is None:
                if ref.get("optional"):
                    return {}
                raise ConfigError(f'{kind.lower()} "{ref["name"]}" not found')
            return {key: _variable(found, key, value) for key, value in _values(found).items()}
    return {}


def _values(obj: Object) -> dict[str, bytes]:
    """Of which variables are made: binary data of ConfigMaps is for volumes alone (pkg/kubelet/kubelet_pods.go,
    makeEnvironmentVariables)."""
    return content({**obj, "binaryData": None})


def _variable(obj: Object, key: str, value: bytes) -> str:
    """Runtimes take text alone, as a kubelet's do (CRI speaks protobuf)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        where = f"{obj['kind']} {objects.namespace(obj)}/{objects.name(obj)}"
        raise ConfigError(f"key {key} in {where} is no UTF-8, which a variable has to be: mount it as a file") from None


def content(obj: Object) -> dict[str, bytes]:
    """Keys and values of a ConfigMap or Secret."""
    data = obj.get("data") or {}
    if obj["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in data.items()}
    binary = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    return {key: value.encode() for key, value in data.items()} | binary


def _value_from(pod: Object, container: Object, source: Object, lookup: Lookup) -> str | None:
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if ref := source.get(field):
            found = lookup(kind, ref["name"])
            if found is None:
                if ref.get("optional"):
                    return None
                raise ConfigError(f'{kind.lower()} "{ref["name"]}" not found')
            values = _values(found)
            if ref["key"] not in values:
                if ref.get("optional"):
                    return None
                where = f"{objects.namespace(found)}/{ref['name']}"
                raise ConfigError(f"couldn't find key {ref['key']} in {kind} {where}")
            return _variable(found, ref["key"], values[ref["key"]])
    if ref := source.get("fieldRef"):
        return field_value(pod, ref["fieldPath"])
    if ref := source.get("resourceFieldRef"):
        return resource_value(pod, container, ref)
    raise ConfigError(f"env valueFrom {', '.join(source)} is not supported by ambientlab")


_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def field_value(pod: Object, path: str) -> str:
    """One field of the downward API. Raises ConfigError for a path it does not offer."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    if match := _KEYED.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        values = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(values.items()))
    fields: dict[str, object] = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": status.get("hostIP", ""),
        "status.hostIPs": ",".join(ip["ip"] for ip in status.get("hostIPs") or ()),
        "status.podIP": status.get("podIP", ""),
        "status.podIPs": ",".join(ip["ip"] for ip in status.get("podIPs") or ()),
    }
    if path not in fields:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(fields[path])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


_UNITS = {
    **{unit: Decimal(1024) ** n for n, unit in enumerate(("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
    **{"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")},
    **{unit: Decimal(1000) ** n for n, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
}


def _quantity(text: str) -> Decimal:
    match = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)", text)
    if match is None or match[2] not in _UNITS:
        raise ConfigError(f'"{text}" is not a quantity')
    return Decimal(match[1]) * _UNITS[match[2]]


def resource_value(pod: Object, container: Object, ref: Object) -> str:
    """A limit or request in units of `divisor`, rounded up; without a limit, that of the machine."""
    name = ref.get("containerName")
    if name:
        container = next((c for c in pod["spec"]["containers"] if c["name"] == name), container)
    kind, _, resource = ref["resource"].partition(".")
    resources = container.get("resources") or {}
    text = (resources.get(kind) or {}).get(resource)
    if text is None and kind == "limits":
        text = machine_capacity().get(resource)
    divisor = _quantity(str(ref.get("divisor") or "1")) or Decimal(1)
    amount = min(_quantity(str(text or "0")), Decimal(INT64))  # as ParseQuantity of k8s.io/apimachinery cuts it off
    return str(int((amount / divisor).to_integral_value(rounding="ROUND_CEILING")))


def machine_capacity() -> dict[str, str]:
    """Processors and memory of this machine, as a node's capacity names them."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{pages}Ki"}


def hostname(pod: Object) -> str:
    """A pod's host name: `spec.hostname`, or its name cut to what a kernel takes."""
    name: str = pod["spec"].get("hostname") or objects.name(pod)
    return name[:63].rstrip("-.")


def hosts_file(pod: Object, ips: Sequence[str], domain: str) -> bytes:
    name = hostname(pod)
    names = [name]
    if subdomain := pod["spec"].get("subdomain"):
        names.insert(0, f"{name}.{subdomain}.{objects.namespace(pod)}.svc.{domain}")
    lines = ["# Kubernetes-managed hosts file.", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{ip}\t" + "\t".join(names) for ip in ips]
    lines += [f"{alias['ip']}\t" + "\t".join(alias.get("hostnames") or ()) for alias in _aliases(pod)]
    return ("\n".join(lines) + "\n").encode()


def _aliases(pod: Object) -> Sequence[Object]:
    return pod["spec"].get("hostAliases") or ()


def resolv_conf(pod: Object, dns_ip: str, domain: str) -> bytes:
    """`dnsPolicy` and `dnsConfig`. The node's own resolver is the cluster's, which forwards other names."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    config = spec.get("dnsConfig") or {}
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    servers, searches, options = [], [], {}
    if policy != "None":
        servers.append(dns_ip)
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        searches += [f"{objects.namespace(pod)}.svc.{domain}", f"svc.{domain}", domain]
        options["ndots"] = "5"
    servers += config.get("nameservers") or ()
    searches += config.get("searches") or ()
    options |= {option["name"]: option.get("value") or "" for option in config.get("options") or ()}
    lines = [f"nameserver {server}" for server in dict.fromkeys(servers)]
    if searches:
        lines.insert(0, "search " + " ".join(dict.fromkeys(searches)))
    if options:
        lines.append("options " + " ".join(f"{k}:{v}" if v else k for k, v in options.items()))
    return ("\n".join(lines) + "\n").encode()
