"""A cluster's objects, read once for commands that say what they mean."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ambientlab.host.kubeapi import KubeApi
    from ambientlab.mesh.explain import Unseen
    from ambientlab.mesh.index import MeshIndex


@contextmanager
def api(context: str | None, kubeconfig: Path | None) -> Iterator[KubeApi]:
    """The API of a context. What credentials only kubectl knows how to come by, kubectl is left to come by."""
    from ambientlab.host import access
    from ambientlab.host.kubeapi import ApiError, KubeApi

    found = access.of(context, kubeconfig)
    if found.plain:
        with KubeApi(found) as opened:
            yield opened
        return
    from ambientlab.host.kubectl import Kubectl, KubectlError

    try:
        with (
            Kubectl(kubeconfig, context).proxy() as port,
            KubeApi(access.Access(found.context, f"http://127.0.0.1:{port}")) as opened,
        ):
            yield opened
    except KubectlError as error:
        raise ApiError(f"context {found.context} cannot be used: {error}", "kubectl version") from error


def read(api: KubeApi, *flags: str) -> tuple[MeshIndex, list[Unseen]]:
    """The mesh, and what of it could not be seen, with commands of these flags. Raises ApiError where nothing can be
    read at all."""
    from ambientlab.host.listing import listing
    from ambientlab.mesh.explain import Unseen
    from ambientlab.mesh.explain.remedies import aimed
    from ambientlab.mesh.index import index

    listed = listing(api)
    unseen = [Unseen(gap.what, gap.why, tuple(aimed(each, *flags) for each in gap.commands)) for gap in listed.gaps]

    def failed(name: str, key: Hashable, error: Exception) -> None:
        unseen.append(Unseen(f"{key} of {name}", f"it makes no sense ({type(error).__name__}: {error})"))

    return index(listed.objects, home=listed.home, failed=failed), unseen
