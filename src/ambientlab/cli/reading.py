"""A cluster's objects, read once for commands that say what they mean."""

from __future__ import annotations

import csv
import errno
import io
import os
import shlex
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ambientlab.cli.output import fail

if TYPE_CHECKING:
    from ambientlab.api.resources import Resource
    from ambientlab.host.kubeapi import KubeApi
    from ambientlab.host.manifests import Manifests, Problem, Text
    from ambientlab.mesh.explain import Unseen
    from ambientlab.mesh.foreseen import Listed
    from ambientlab.mesh.index import MeshIndex

    Change = Callable[[Listed], Listed]

EXIT_BAD_INPUT = 65
EXTENSIONS = (".json", ".yaml", ".yml")


def flags(context: str | None, kubeconfig: Path | None) -> list[str]:
    """As commands that are to be pasted have them, to mean the same cluster."""
    return [*(["--context", context] if context else []), *(["--kubeconfig", str(kubeconfig)] if kubeconfig else [])]


@contextmanager
def api(context: str | None, kubeconfig: Path | None, *flags: str, rehearsing: bool = False) -> Iterator[KubeApi]:
    """The API of a context, to be read, and to be asked about writes if they are to be rehearsed. Next steps of an
    ApiError are told with these flags."""
    from ambientlab.host.kubeapi import ApiError
    from ambientlab.mesh.explain.remedies import aimed

    try:
        with _opened(context, kubeconfig, rehearsing) as opened:
            yield opened
    except ApiError as error:
        raise ApiError(str(error), *(aimed(hint, *flags) for hint in error.hints)) from error


@contextmanager
def _opened(context: str | None, kubeconfig: Path | None, rehearsing: bool) -> Iterator[KubeApi]:
    """What credentials only kubectl knows how to come by, kubectl is left to come by."""
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
            Kubectl(kubeconfig, context).proxy(rehearsing=rehearsing) as socket,
            KubeApi(access.behind(socket, found.context, found.namespace)) as opened,
        ):
            yield opened
    except KubectlError as error:
        raise ApiError(f"context {found.context} cannot be used: {error}", "kubectl version") from error


@dataclass(frozen=True, slots=True)
class Cluster:
    """The mesh of a cluster's objects, what of it could not be seen, and the kinds whose objects its Istio passes over,
    with the reason."""

    index: MeshIndex
    unseen: list[Unseen]
    unread: Mapping[Resource, str]


def cluster(api: KubeApi, *flags: str, changed: Change | None = None, also: Sequence[Resource] = ()) -> Cluster:
    """The objects are as they are, or as they would be changed; commands have these flags. `also` are resources that
    decide about no traffic. Raises ApiError where nothing can be read at all."""
    from ambientlab.host.listing import listing
    from ambientlab.mesh.explain import Unseen
    from ambientlab.mesh.explain.remedies import aimed
    from ambientlab.mesh.index import index

    listed = listing(api, also)
    found, passed_over = listed.processed(listed.objects if changed is None else changed(listed.objects))
    gaps = (*listed.gaps, *passed_over)
    unseen = [Unseen(gap.what, gap.why, tuple(aimed(each, *flags) for each in gap.commands)) for gap in gaps]

    def failed(name: str, key: Hashable, error: Exception) -> None:
        unseen.append(Unseen(f"{key} of {name}", f"it makes no sense ({type(error).__name__}: {error})"))

    return Cluster(index(found, home=listed.home, failed=failed), unseen, listed.unread)


def read(
    api: KubeApi, *flags: str, changed: Change | None = None, also: Sequence[Resource] = ()
) -> tuple[MeshIndex, list[Unseen]]:
    """The mesh of a cluster, and what of it could not be seen."""
    found = cluster(api, *flags, changed=changed, also=also)
    return found.index, found.unseen


def changed_by(written: Manifests) -> Change:
    """What files make of a cluster's objects."""
    from ambientlab.host.merging import as_kubectl
    from ambientlab.mesh.foreseen import foreseen

    known = [obj for some in written.objects.values() for obj in some]
    return lambda live: foreseen(live, written.objects, as_kubectl, [*known, *written.foreign])


def stdin() -> bytes:
    """All of it. Raises OSError, also where there is none."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdin.buffer.read()


def texts(files: Iterable[str], *, recursive: bool = False) -> Iterator[Text | Problem]:
    """The contents of manifests: of those named, of those in a directory, of stdin."""
    from ambientlab.host import manifests

    for name in _names(files):
        try:
            if name == "-":
                yield manifests.text("stdin", stdin())
                continue
            for path in _paths(name, recursive=recursive):
                yield manifests.text(str(path), path.read_bytes())
        except OSError as error:
            if "://" in name:
                fetch = f"fetch it: curl -fsSL {shlex.quote(name)} | ambientlab ... -f -"
                fail(f"cannot read {name}: it is no file", [fetch])
            fail(f"cannot read {error.filename or name}: {error.strerror}")


def _names(files: Iterable[str]) -> Iterator[str]:
    """One text may have several, with commas between them as CSV has it, for kubectl (pflag, StringSlice)."""
    for text in files:
        several = "," in text and not os.path.exists(text)  # which has an answer for every text, as Path's has not
        for name in next(csv.reader(io.StringIO(text, newline=""))) if several else [text]:
            if not name:
                fail(f"-f {shlex.quote(text)} names a file that has no name")
            yield name


def _paths(name: str, *, recursive: bool) -> list[Path]:
    """Of a directory those that kubectl takes (k8s.io/cli-runtime, pkg/resource): of directories in it none unless
    `recursive`."""
    path = Path(name)
    if not path.is_dir():
        return [path]
    there = path.rglob("*") if recursive else path.iterdir()
    found = sorted(each for each in there if each.suffix in EXTENSIONS and not each.is_dir())
    if not found:
        fail(f"there are no manifests in {name}: their names end in {', '.join(EXTENSIONS)}")
    return found
