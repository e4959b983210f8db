"""`bootstrap -o short` (istioctl/pkg/writer/envoy/configdump/configdump.go, PrintBootstrapSummary)."""

from __future__ import annotations

from ambientlab.cli.proxy_config.dump import Message


def rows(section: Message) -> list[list[str]]:
    node = (section.get("bootstrap") or {}).get("node") or {}
    metadata = node.get("metadata") or {}
    build = node.get("user_agent_build_version") or {}
    version = build.get("version") or {}
    about = build.get("metadata") or {}
    envoy = ".".join(str(version.get(part, 0)) for part in ("major_number", "minor_number", "patch"))
    if "build.label" in about:
        envoy += f"-{about['build.label']}"
    for key in ("revision.status", "build.type", "ssl.version"):
        if key in about:
            envoy += f"/{about[key]}"
    found = {
        "Istio Version:": metadata.get("ISTIO_VERSION"),
        "Istio Proxy Version:": str(metadata.get("ISTIO_PROXY_SHA") or "").rpartition(":")[2],
        "Envoy Version:": envoy,
    }
    return [[name, value] for name, value in found.items() if value and isinstance(value, str)]
