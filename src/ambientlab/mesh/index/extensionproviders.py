"""Who is asked by policies of action CUSTOM: the extension providers of the mesh's configuration.

If something is wrong with a provider, every request is refused that it would be asked about (extauthz.go in
pilot/pkg/security/authz/builder).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ambientlab.api.numbers import whole
from ambientlab.mesh.index import meshconfig
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.values import milliseconds
from ambientlab.mesh.ir import CheckedBody, Guard, PolicyAction, Provider

_TIMEOUT_MS = 600_000
_HEADERS = (
    "includeRequestHeadersInCheck",
    "includeHeadersInCheck",
    "headersToDownstreamOnDeny",
    "headersToDownstreamOnAllow",
    "headersToUpstreamOnAllow",
)
_NAMED = "100 200-208 226 300-308 400-417 421-424 426 428 429 431 500-508 510 511"
_STATUSES = frozenset(
    status
    for first, _, last in (part.partition("-") for part in _NAMED.split())
    for status in range(int(first), int(last or first) + 1)
)
"""Those that Envoy has names for (envoy/type/v3/http_status.proto)."""


class ProviderError(Exception):
    """Why none can be asked."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A provider, or what is wrong with its declaration."""

    provider: Provider | None
    problem: str = ""


Providers = Mapping[str, Declared]


def read(config: meshconfig.Config) -> Providers:
    """By name; those of other sorts than ext_authz are left out."""
    listed = config.get("extensionProviders")
    found: dict[str, Declared] = {}
    for item in listed if isinstance(listed, list) else ():
        if not isinstance(item, dict):
            continue
        for sort in ("envoyExtAuthzHttp", "envoyExtAuthzGrpc"):
            if isinstance(settings := item.get(sort), dict):
                name = str(item.get("name", ""))
                try:
                    found[name] = _declared(name, settings, sort)
                except (AttributeError, TypeError, ValueError) as error:  # a value that is not of the field's type
                    found[name] = Declared(None, f'failed to parse extension provider "{name}": {error}')
    return found


def choose(names: Collection[str], known: Providers, exists: Callable[[str], bool]) -> Provider:
    """The one that all policies of a service ask. Raises ProviderError."""
    if len(names) > 1:
        raise ProviderError(
            "multiple CUSTOM authorization providers per workload requires "
            "PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS feature flag, "
            f"found {len(names)} providers: [{' '.join(sorted(names))}]"
        )
    (name,) = names
    declared = known.get(name)
    if declared is None:
        raise ProviderError(f'available providers are [{" ".join(sorted(known))}] but found "{name}"')
    if declared.provider is None:
        raise ProviderError(f"found errors in provider {name}: {declared.problem}")
    host = declared.provider.host.rpartition("/")[2]
    if not exists(host):
        raise ProviderError(f"found errors in provider {name}: could not find service {host} in Istio service registry")
    return replace(declared.provider, host=host)


def findings(where: str, guard: Guard) -> Iterator[Diagnostic]:
    for policy in guard.of(PolicyAction.CUSTOM):
        if not policy.dry_run:
            ref = ObjectRef("AuthorizationPolicy", *policy.key)
            message = f"requests to {where} that it matches are refused: {guard.provider_problem}"
            yield Diagnostic(ref, "ProviderUnusable", message, field="spec.provider.name")


def _declared(name: str, settings: Mapping[str, Any], sort: str) -> Declared:
    problems = _problems(settings)
    if problems:
        return Declared(None, f'failed to parse extension provider "{name}": {"; ".join(problems)}')
    body = settings.get("includeRequestBodyInCheck")
    return Declared(
        Provider(
            name,
            str(settings["service"]),
            int(settings["port"]),
            sort == "envoyExtAuthzGrpc",
            milliseconds(str(settings["timeout"])) if "timeout" in settings else _TIMEOUT_MS,
            bool(settings.get("failOpen")),
            int(settings.get("statusOnError") or 0),
            str(settings.get("pathPrefix", "")),
            _texts(settings.get("includeRequestHeadersInCheck") or settings.get("includeHeadersInCheck")),
            tuple(sorted((str(k), str(v)) for k, v in (settings.get("includeAdditionalHeadersInCheck") or {}).items())),
            _texts(settings.get("headersToUpstreamOnAllow")),
            _texts(settings.get("headersToDownstreamOnDeny")),
            _texts(settings.get("headersToDownstreamOnAllow")),
            _body(body) if isinstance(body, dict) else None,
            bool(settings.get("clearRouteCache")),
        )
    )


def _body(settings: Mapping[str, Any]) -> CheckedBody:
    return CheckedBody(
        int(settings.get("maxRequestBytes", 0)),
        bool(settings.get("allowPartialMessage")),
        bool(settings.get("packAsBytes")),
    )


def _texts(values: Sequence[Any] | None) -> tuple[str, ...]:
    return tuple(str(value) for value in values or ())


def _problems(settings: Mapping[str, Any]) -> list[str]:
    problems = [] if settings.get("service") else ["service must not be empty"]
    port = settings.get("port", 0)
    if not isinstance(port, int) or not 1 <= port <= 65535:
        problems.append(f"port must be in the range [1, 65535], found: {port}")
    status = str(settings.get("statusOnError") or "")
    if status and whole(status) is None:
        problems.append(f'invalid statusOnError "{status}"')
    elif status and whole(status) not in _STATUSES:
        problems.append(f"unsupported statusOnError {status}, supported values: {sorted(_STATUSES)}")
    prefix = str(settings.get("pathPrefix") or "")
    if prefix and not prefix.startswith("/"):
        problems.append(f'pathPrefix must begin with `/`, found: "{prefix}"')
    for name in _HEADERS:
        if "*" in (settings.get(name) or ()):
            title = name[0].upper() + name[1:]
            problems.append(
                f'a single wildcard ("*") is not supported, change it to either prefix or suffix match: {title}'
            )
    if "timeout" in settings:
        try:
            milliseconds(str(settings["timeout"]))
        except ValueError as error:
            problems.append(f"invalid timeout: {error}")
    return problems
