"""What the mesh signs with, decided as istiod decides it (pilot/pkg/bootstrap/istio_ca.go).

    istiod starts      Secret `cacerts` if somebody has plugged one in, or else `istio-ca-secret`, made if missing
    `cacerts` changes  only a CA that had been plugged in is replaced, and only under the same roots, unless
                       ISTIO_MULTIROOT_MESH lets roots come and go
    once an hour       a root that the mesh made is renewed near its end, with the key that it has; and one that
                       somebody else has put into `istio-ca-secret` is taken up

istiod starts when the mesh does, and when its pod is replaced (`kubectl rollout restart deployment/istiod`). Where
Istio's would not start, as with a Secret that is incomplete, this one says why and goes on with what it signed with
last, of which it keeps a copy. USE_CACERTS_FOR_SELF_SIGNED_CA is off, as by default.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ambientlab.api.client import Client, Event
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import POD, SECRET
from ambientlab.api.objects import Object, condition_holds, labels_of, name, namespace, uid
from ambientlab.cluster import ROOT_NAMESPACE
from ambientlab.files import write_whole
from ambientlab.mesh.index.credentials import data_of
from ambientlab.mesh.index.values import is_true
from ambientlab.mesh.serve import bundle
from ambientlab.mesh.serve.bundle import (
    CA_CERTIFICATE,
    CA_KEY,
    CACERTS,
    CHAIN,
    ROOT,
    SELF_SIGNED,
    BundleError,
    SigningBundle,
)
from ambientlab.mesh.serve.ca import CertificateAuthority, Clock, utc_now
from ambientlab.mesh.serve.proxies import environment_of

log = logging.getLogger("ambientlab.istiod")

RESTART = f"kubectl rollout restart deployment/istiod -n {ROOT_NAMESPACE}"
_PLACE = f"Secret {ROOT_NAMESPACE}/{CACERTS}"

_NO_REVOCATION = "waypoints do not read it, and ztunnel does with peerCaCrl alone, which is not supported by ambientlab"
"""manifests/charts/ztunnel/values.yaml; nothing of a waypoint's template has it."""


class Signing:
    """`open`, then `start` to follow what changes. `kept` is a directory of its own for the copy; `check_every` is how
    long the mesh's own root is left alone (CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL), in seconds."""

    authority: CertificateAuthority

    def __init__(self, client: Client, kept: Path, *, clock: Clock = utc_now, check_every: float = 3600.0) -> None:
        self._client = client
        self._kept = kept
        self._clock = clock
        self._plugged_in = False
        self._own_root = False
        """Whether nothing is plugged in, not even what cannot be used."""
        self._considered: bundle.Data = {}
        self._istiod = ""
        self._check_every = check_every
        self._checks: asyncio.Task[None] | None = None
        self._restart: asyncio.Task[None] | None = None
        self._unsubscribe: list[Callable[[], None]] = []

    async def open(self) -> CertificateAuthority:
        """Raises OSError or StatusError if what the mesh signs with cannot be kept."""
        self.authority = CertificateAuthority(await self._choose(), clock=self._clock)
        return self.authority

    def start(self) -> None:
        self._unsubscribe = [
            self._client.watch(SECRET, self._secret_changed),
            self._client.watch(POD, self._pod_changed),
        ]
        self._checks = asyncio.get_running_loop().create_task(self._check_roots())

    async def stop(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        if self._checks is not None:
            self._checks.cancel()
        await asyncio.gather(*filter(None, (self._checks, self._restart)), return_exceptions=True)

    async def _choose(self) -> SigningBundle:
        self._own_root = False
        try:
            found = self._read_cacerts()
            self._plugged_in, self._own_root = found is not None, found is None
            if found is None:
                log.info("Use self-signed certificate as the CA certificate")
                found = await self._self_signed()
            else:
                log.info("Use local CA certificate")
        except BundleError as error:
            log.error("failed to create an istiod CA: %s", error)
            return self._last()
        self._keep(found)
        return found

    def _read_cacerts(self) -> SigningBundle | None:
        secret = self._client.get(SECRET, CACERTS, ROOT_NAMESPACE)
        self._considered = data_of(secret) if secret is not None else {}
        if bundle.REVOKED in self._considered:
            log.warning("%s: %s revokes nothing: %s", _PLACE, bundle.REVOKED, _NO_REVOCATION)
        try:
            return bundle.plugged_in(self._considered, self._clock())
        except BundleError as error:
            raise BundleError(f"{_PLACE}: {error}") from None

    async def _self_signed(self) -> SigningBundle:
        secret = self._client.get(SECRET, SELF_SIGNED, ROOT_NAMESPACE)
        if secret is None:
            log.info("CASecret %s not found, will create one", SELF_SIGNED)
            made = bundle.create(self._clock())
            await self._client.create(SECRET, bundle.secret_of(made))
            return made
        log.info("Load signing key and cert from existing secret %s/%s", ROOT_NAMESPACE, SELF_SIGNED)
        try:
            return bundle.self_signed(data_of(secret), self._clock())
        except BundleError as error:
            raise BundleError(f"Secret {ROOT_NAMESPACE}/{SELF_SIGNED}: {error}") from None

    def _secret_changed(self, event: Event) -> None:
        if (namespace(event.object), name(event.object)) != (ROOT_NAMESPACE, CACERTS):
            return
        data = data_of(event.object) if event.type != "DELETED" else {}
        if data == self._considered:
            return
        self._considered = data
        if not self._plugged_in:
            log.info("%s is read when istiod starts: %s", _PLACE, RESTART)
            return
        log.info("Update Istiod cacerts")
        try:
            self._update(data)
        except (BundleError, OSError) as error:
            log.error("Failed to update new Plug-in CA certs: %s: %s; the CA stays as it was", _PLACE, error)

    def _update(self, data: bundle.Data) -> None:
        """What becomes of a change while istiod runs (handleEvent). Raises BundleError."""
        found = bundle.plugged_in(data, self._clock())
        if found is None:
            raise BundleError(f"failed reading {ROOT}")
        if found.root_pem != self.authority.root_pem:
            if not self._multi_root():
                log.warning(
                    "Multi root is disabled, updating new ROOT-CA not supported; istiod takes it up when it starts: %s",
                    RESTART,
                )
                return
            if not bundle.related(found.root_pem, self.authority.root_pem):
                log.warning("Updating new ROOT-CA not supported: neither bundle has all roots of the other")
                return
            log.info("Updating new ROOT-CA")
        self._adopt(found)
        log.info("Istiod has detected the newly added intermediate CA and updated its key and certs accordingly")

    def _multi_root(self) -> bool:
        pods = [pod for pod in self._client.list(POD, ROOT_NAMESPACE) if uid(pod) == self._istiod]
        return any(is_true(environment_of(pod).get("ISTIO_MULTIROOT_MESH", "")) for pod in pods)

    def _pod_changed(self, event: Event) -> None:
        pod = event.object
        if not _serves(pod) or event.type == "DELETED" or uid(pod) == self._istiod:
            return
        first, self._istiod = not self._istiod, uid(pod)
        if not first:
            self._restart = asyncio.get_running_loop().create_task(self._reopen())

    async def _reopen(self) -> None:
        log.info("istiod starts anew")
        try:
            self.authority.adopt(await self._choose())
        except (OSError, StatusError) as error:
            log.error("the CA stays as it was: %s", error)

    async def _check_roots(self) -> None:
        """At once, and then as often as istiod does: a mesh here may not run for an hour."""
        while True:
            try:
                await self._check_root(self._clock())
            except (BundleError, OSError, StatusError) as error:
                log.error("%s: skip cert rotation job: %s", SELF_SIGNED, error)
            await asyncio.sleep(self._check_every)

    async def _check_root(self, now: datetime) -> None:
        """security/pkg/pki/ca/selfsignedcarootcertrotator.go. Raises BundleError, OSError or StatusError."""
        if not self._own_root:
            return
        secret = self._client.get(SECRET, SELF_SIGNED, ROOT_NAMESPACE)
        data = data_of(secret) if secret is not None else {}
        certificate = data.get(CA_CERTIFICATE, b"")
        if bundle.renewal_due(certificate, now):
            log.info("Refresh root certificate, root cert is about to expire")
            found = bundle.renewed(data, now)
            await self._client.patch(SECRET, SELF_SIGNED, ROOT_NAMESPACE, {"data": bundle.secret_of(found)["data"]})
            self._adopt(found)
            log.info("Root certificate rotation is completed successfully.")
        elif certificate.strip() != self.authority.signing.certificate_pem.strip():
            log.warning("CA cert in KeyCertBundle does not match CA cert in %s. Start to reload root cert", SELF_SIGNED)
            self._adopt(bundle.self_signed(data, now))
            log.info("Successfully reloaded root cert into KeyCertBundle.")

    def _adopt(self, found: SigningBundle) -> None:
        self._keep(found)
        self.authority.adopt(found)

    def _keep(self, found: SigningBundle) -> None:
        self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file, content in found.files.items():
            path = self._kept / file
            if not path.is_file() or path.read_bytes() != content:
                write_whole(path, content)

    def _last(self) -> SigningBundle:
        """What the mesh signed with before, or a root for as long as it runs."""
        try:
            certificate, key, root, chain = (
                (self._kept / file).read_bytes() for file in (CA_CERTIFICATE, CA_KEY, ROOT, CHAIN)
            )
            found = bundle.read(certificate, key, root, chain, self._clock())
        except (OSError, BundleError) as error:
            log.error("there is no CA of before (%s): signing with a root that lasts until istiod starts again", error)
            return bundle.create(self._clock())
        log.error("signing goes on with the CA of before")
        return found


def _serves(pod: Object) -> bool:
    """Whether a pod is istiod and has started."""
    ours = namespace(pod) == ROOT_NAMESPACE and labels_of(pod).get("app") == "istiod"
    return ours and "deletionTimestamp" not in pod["metadata"] and condition_holds(pod, "Ready")
