"""One request from its line to its answer: authenticate, authorize, find the resource, do it, render it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMessage

from ambientlab.api import admit, openapi
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import NONE_OF, POD
from ambientlab.api.kubelet import Kubelet
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.apiserver import locations, refusals, subresources
from ambientlab.apiserver.http import authorization, discovery, impersonation, reviews
from ambientlab.apiserver.http.authentication import ANONYMOUS, OPEN_PATHS, Authenticator, unauthorized
from ambientlab.apiserver.http.negotiation import Form, choose, dump
from ambientlab.apiserver.http.rendering import Renderer
from ambientlab.apiserver.http.selection import Page, Selection, page
from ambientlab.apiserver.http.target import Target, read_target
from ambientlab.apiserver.http.watching import watch
from ambientlab.apiserver.http.writing import Outcome, Writer
from ambientlab.apiserver.options import User
from ambientlab.apiserver.tokens import TokenSigner
from ambientlab.apiserver.verbs import Verbs
from ambientlab.store.log import StoreError

# etcd's own limit on requests is 1.5 MiB; the API server's on bodies is 3 MiB.
MAX_BODY = 3 << 20
logger = logging.getLogger(__name__)
_WARNINGS = web.RequestKey("warnings", list[str])
StreamHandler = Callable[[web.Request, Kubelet, Object], Awaitable[web.StreamResponse]]


class API:
    """`handle` is the application. `kubelet` may come later than the rest."""

    def __init__(self, verbs: Verbs, signer: TokenSigner, kubelet: Kubelet | None) -> None:
        self.kubelet = kubelet
        self.stopping = asyncio.Event()
        self._verbs = verbs
        self._authenticator = Authenticator(verbs, signer)
        self._discovery = discovery.Discovery(verbs.registry)
        self._renderer = Renderer(verbs)
        self._writer = Writer(verbs, signer)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._handle(request)
        except StatusError as error:
            return _failure(error)
        except web.HTTPRequestEntityTooLarge:
            limit = f"Request entity too large: limit is {MAX_BODY}"
            return _failure(StatusError(413, "RequestEntityTooLarge", limit))
        except (BadHttpMessage, web.RequestPayloadError) as error:  # a body that is not what its headers say
            return _failure(StatusError(400, "BadRequest", f"the body cannot be read: {error.args[0]}"))
        except StoreError as error:
            return _failure(StatusError(500, "InternalError", f"Internal error occurred: {error}"))
        except web.HTTPException:
            raise
        except ConnectionError:
            if request.transport is not None and not request.transport.is_closing():
                raise
            return web.Response()  # nobody reads it: the client left while it was served
        except Exception:
            logger.exception("a request failed: %s %s", request.method, request.path)
            return _failure(StatusError(500, "InternalError", "Internal error occurred: see the API server's log"))

    async def warn(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Before an answer goes out, be it a refusal or a watch: with what its client is warned of."""
        for warning in request.get(_WARNINGS, ()):
            response.headers.add("Warning", f'299 - "{_header_text(warning)}"')

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        target = read_target(request.method, request.path, watch=request.query.get("watch") in ("true", "1"))
        user = self._authenticator.authenticate(request.transport, request.headers.get(hdrs.AUTHORIZATION, ""))
        if user is None:
            if target.path not in OPEN_PATHS:
                raise unauthorized()
            user = ANONYMOUS
        else:
            user = impersonation.asking(request, user)
            authorization.check(user, target)
        if not target.plural:
            return self._plain(request, target)
        return await self._resource(request, target, user)

    # Paths that are no resource

    def _plain(self, request: web.Request, target: Target) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            raise refusals.no_such_path()
        match target.path.split("/")[1:]:
            case ["healthz" | "livez" | "readyz"]:
                return web.Response(text="ok")
            case ["version"]:
                return _json(discovery.VERSION)
            case ["api"]:
                return self._root(request, core=True)
            case ["apis"]:
                return self._root(request, core=False)
            case ["api", version]:
                return _found(self._discovery.resources("", version))
            case ["apis", group]:
                return _found(self._discovery.group(group))
            case ["apis", group, version]:
                return _found(self._discovery.resources(group, version))
            case ["openapi", "v2"]:
                return web.Response(body=discovery.OPENAPI_V2, headers={hdrs.CONTENT_TYPE: discovery.OPENAPI_V2_TYPE})
            case ["openapi", "v3"]:
                return _json(openapi.index(self._verbs.registry))
            case ["openapi", "v3", "api", version]:
                return self._document(request, "", version)
            case ["openapi", "v3", "apis", group, version]:
                return self._document(request, group, version)
        raise refusals.no_such_path()

    def _root(self, request: web.Request, *, core: bool) -> web.Response:
        if "g=apidiscovery.k8s.io;v=v2;" in request.headers.get(hdrs.ACCEPT, "").replace(" ", ""):
            body, tag = self._discovery.aggregated(core)
            return _tagged(request, body, tag, discovery.AGGREGATED)
        return _json(self._discovery.versions() if core else self._discovery.groups())

    def _document(self, request: web.Request, group: str, version: str) -> web.Response:
        registry = self._verbs.registry
        body, tag = openapi.document(registry, group, version), openapi.etag(registry, group, version)
        if body is None:
            raise refusals.no_such_path()
        return _tagged(request, body, f'"{tag}"', "application/json")

    # Resources

    async def _resource(self, request: web.Request, target: Target, user: User) -> web.StreamResponse:
        carried = target.subresource == "proxy" or _is_stream(target)
        if request.method in ("POST", "PUT", "PATCH", "DELETE") and not carried:
            # Before anything is looked up: from here to the store nothing waits, so that no CRD changes underneath.
            await request.read()
        if (review := reviews.find(target.group, target.version, target.plural)) is not None:
            return await self._review(request, review, target, user)
        resource = self._verbs.registry.find(target.group, target.version, target.plural)
        if resource is None or (target.namespace and not resource.namespaced):
            raise refusals.no_such_path()
        if resource.namespaced and target.name and not target.namespace:
            raise refusals.no_such_path()
        if target.subresource and target.subresource not in resource.subresources:
            raise refusals.no_such_path()
        if resource.verbs and target.verb not in resource.verbs:
            raise refusals.none_of(resource) if resource in NONE_OF else refusals.method_not_allowed()
        if _is_stream(target):
            return await self._stream(request, target)
        if target.subresource == "proxy":
            return await self._proxy(request, resource, target)
        old = self._verbs.registry.entry(resource).warning
        warnings = request[_WARNINGS] = [old] if old else []
        form = choose(request.headers.get(hdrs.ACCEPT, ""))
        if target.verb in ("get", "list", "watch"):
            return await self._read(request, resource, target, form)
        outcome = await self._write(request, resource, target)
        warnings.extend(outcome.warnings)
        return self._answer(request, resource, outcome, form)

    async def _review(self, request: web.Request, review: Resource, target: Target, user: User) -> web.Response:
        if target.verb != "create" or target.name:
            raise refusals.method_not_allowed()
        content_type = request.headers.get(hdrs.CONTENT_TYPE, "application/json")
        body, _ = admit.decode(self._verbs.registry, review, await request.read(), content_type, "Warn")
        answered = reviews.answer(review, body, user, self._authenticator, self._verbs.now())
        return _json(answered, status=201)

    async def _read(self, request: web.Request, resource: Resource, target: Target, form: Form) -> web.StreamResponse:
        verbs, include = self._verbs, request.query.get("includeObject", "")
        if target.verb == "get":
            if target.subresource == "scale":
                return _body(dump(subresources.get_scale(verbs, resource, target.namespace, target.name), form), form)
            if target.subresource not in ("", "status", "ephemeralcontainers"):
                raise refusals.method_not_allowed()
            entry = verbs.get(resource, target.namespace, target.name)
            return _body(self._renderer.one(resource, entry, form, include), form)
        selection = Selection.read(resource, target.namespace, target.name, request.query)
        if target.verb == "watch":
            return await watch(request, verbs, self._renderer, resource, selection, form, self.stopping)
        found = page(verbs, resource, selection, request.query)
        return _body(self._renderer.many(resource, found, form, include), form)

    async def _write(self, request: web.Request, resource: Resource, target: Target) -> Outcome:
        match target.verb, bool(target.name), target.subresource:
            case "create", False, "":
                return await self._writer.create(request, resource, target)
            case "create", True, subresource if subresource:
                return await self._writer.create_below(request, target)
            case "update", True, _:
                return await self._writer.update(request, resource, target)
            case "patch", True, _:
                return await self._writer.patch(request, resource, target)
            case "delete", True, "":
                return await self._writer.delete(request, resource, target)
            case "deletecollection", False, "":
                selection = Selection.read(resource, target.namespace, "", request.query)
                return await self._writer.delete_collection(request, resource, selection)
        raise refusals.method_not_allowed()

    def _answer(self, request: web.Request, resource: Resource, outcome: Outcome, form: Form) -> web.Response:
        if outcome.entry is not None:
            body = self._renderer.one(resource, outcome.entry, form, request.query.get("includeObject", ""))
        elif outcome.entries is not None:
            metadata = {"resourceVersion": str(self._verbs.store.revision)}
            body = self._renderer.many(resource, Page(outcome.entries, metadata), form)
        else:
            body = dump(outcome.body, form)
        return _body(body, form, outcome.status)

    async def _stream(self, request: web.Request, target: Target) -> web.StreamResponse:
        if request.method not in (("GET",) if target.subresource == "log" else ("GET", "POST")):
            raise refusals.method_not_allowed()
        pod = self._verbs.get(POD, target.namespace, target.name).object
        if self.kubelet is None:
            raise StatusError(501, "NotImplemented", "there is no node here to run pods on")
        return await _stream_handler(target.subresource)(request, self.kubelet, pod)

    async def _proxy(self, request: web.Request, resource: Resource, target: Target) -> web.StreamResponse:
        from ambientlab.apiserver.http import proxying  # noqa: PLC0415 - imported when first asked for, as streams are

        location = locations.find(self._verbs, resource, target.namespace, target.name)
        return await proxying.carry(request, location, target.behind)


_STREAMS = frozenset({"log", "exec", "attach", "portforward"})


def _is_stream(target: Target) -> bool:
    return (target.group, target.plural) == ("", "pods") and target.subresource in _STREAMS


def _stream_handler(subresource: str) -> StreamHandler:
    """Imported when first asked for: a mesh nobody execs into needs none of it."""
    from ambientlab.apiserver import streams  # noqa: PLC0415

    handlers: dict[str, StreamHandler] = {
        "log": streams.handle_log,
        "exec": streams.handle_exec,
        "attach": streams.handle_attach,
        "portforward": streams.handle_portforward,
    }
    return handlers[subresource]


def _header_text(text: str) -> str:
    """A warning as a quoted string: no control characters, quotes escaped (RFC 7234 5.5)."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


def _found(value: Object | None) -> web.Response:
    if value is None:
        raise refusals.no_such_path()
    return _json(value)


def _body(body: bytes, form: Form, status: int = 200) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: form.media_type, "Cache-Control": "no-cache, private"}
    return web.Response(body=body, status=status, headers=headers)


def _tagged(request: web.Request, body: bytes, tag: str, content_type: str) -> web.Response:
    headers = {hdrs.ETAG: tag, hdrs.VARY: "Accept", "Cache-Control": "public"}
    if request.headers.get(hdrs.IF_NONE_MATCH, "") == tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers={**headers, hdrs.CONTENT_TYPE: content_type})


def _failure(error: StatusError) -> web.Response:
    response = _json(error.to_status(), status=error.code)
    if error.retry_after_seconds:
        response.headers[hdrs.RETRY_AFTER] = str(error.retry_after_seconds)
    return response
