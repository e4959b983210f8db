"""Volumes of a pod as directories of the node.

Content from the API (ConfigMap, Secret, downward API, tokens) is swapped in whole behind the link `..data`, as a
kubelet does it (pkg/volume/util/atomic_writer.go): a reader sees all of the old or all of the new, and mounted pods
see the change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ambientlab.api import objects
from ambientlab.api.objects import Object
from ambientlab.node.agent import environment
from ambientlab.node.agent.environment import ConfigError, Lookup
from ambientlab.node.runtime import Mount

TokenIssuer = Callable[[str, str, Object], Awaitable[Object]]
"""(namespace, service account, TokenRequest) -> the TokenRequest with `status.token` and `.expirationTimestamp`."""

_CONTENT = ("configMap", "secret", "downwardAPI", "projected")
Files = dict[str, tuple[bytes, int]]


class MountError(Exception):
    """A volume that cannot be set up (now): the pod waits with an event FailedMount."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token in a mounted volume; it is replaced when 80 % of its life has passed."""

    value: str
    issued: float
    expires: float


class PodVolumes:
    """The volumes of one pod below `content_root` (best in memory: secrets) and `scratch_root` (emptyDir)."""

    def __init__(self, content_root: Path, scratch_root: Path, issue: TokenIssuer, lookup: Lookup) -> None:
        self._content_root = content_root
        self._scratch_root = scratch_root
        self._issue = issue
        self._lookup = lookup
        self._written: dict[str, Files] = {}
        self._tokens: dict[tuple[str, ...], Token] = {}

    async def set_up(self, pod: Object, now: float) -> float:
        """Makes or refreshes every volume; `now` is a POSIX time. Idempotent.

        Returns the POSIX time to call again for a token that must be replaced, 0 for never. Raises MountError.
        """
        for volume in pod["spec"].get("volumes") or ():
            try:
                await self._set_up_one(pod, volume, now)
            except (ConfigError, OSError) as error:
                name = volume["name"]
                raise MountError(f'MountVolume.SetUp failed for volume "{name}" : {_sentence(error)}') from error
        return min((t.issued + 0.8 * (t.expires - t.issued) for t in self._tokens.values()), default=0.0)

    def mounts(self, pod: Object, container: Object, env: Mapping[str, str]) -> tuple[Mount, ...]:
        """`volumeMounts` of a container. Raises ConfigError for a subPath that leaves its volume."""
        kinds = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
        result = []
        for mount in container.get("volumeMounts") or ():
            volume = kinds.get(mount["name"])
            if volume is None:
                raise ConfigError(f'volumeMounts: volume "{mount["name"]}" is not in spec.volumes')
            fixed = any(kind in volume for kind in _CONTENT)
            source = self._path(volume)
            within = ""
            sub = environment.expand(mount["subPathExpr"], env) if "subPathExpr" in mount else mount.get("subPath", "")
            if sub:
                within = str(source.resolve())
                source = self._below(source, sub, fixed)
            read_only = fixed or bool(mount.get("readOnly"))
            result.append(Mount(str(source), str(PurePosixPath("/") / mount["mountPath"]), read_only, within))
        # An outer mount must not hide an inner one.
        return tuple(sorted(result, key=lambda m: m.target.count("/")))

    def message_file(self, container: str, run: int) -> Path:
        """The file of this node behind `terminationMessagePath` of one run of a container."""
        path = self._content_root / "..messages" / f"{container}.{run}"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o666)
        return path

    def tear_down(self) -> None:
        for root in (self._content_root, self._scratch_root):
            shutil.rmtree(root, ignore_errors=True)

    def _path(self, volume: Object) -> Path:
        root = self._content_root if any(kind in volume for kind in _CONTENT) else self._scratch_root
        name: str = volume["name"]
        return root / name

    def _below(self, volume: Path, sub: str, fixed: bool) -> Path:
        path = PurePosixPath(sub)
        if path.is_absolute() or ".." in path.parts:
            raise ConfigError(f'subPath "{sub}" must be a relative path without ".."')
        # A container may have put a link into its emptyDir: it must not lead out of the volume.
        target = (volume / path).resolve()
        if not target.is_relative_to(volume.resolve()):
            raise ConfigError(f'subPath "{sub}" leads out of its volume')
        if not fixed and not target.exists():
            try:
                make_beneath(volume.resolve(), target)
            except OSError as error:
                raise ConfigError(f'subPath "{sub}" cannot be made in its volume: {error.strerror}') from error
        if not target.exists():
            raise ConfigError(f'subPath "{sub}" does not exist in its volume')
        return target

    async def _set_up_one(self, pod: Object, volume: Object, now: float) -> None:
        if "emptyDir" in volume:
            path = self._scratch_root / volume["name"]
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o777)
            return
        kind = next((kind for kind in _CONTENT if kind in volume), None)
        if kind is None:
            found = ", ".join(key for key in volume if key != "name") or "none"
            raise ConfigError(
                f"volumes of type {found} are not supported by ambientlab: use emptyDir, configMap, secret, "
                "downwardAPI or projected"
            )
        source = volume[kind]
        mode = source.get("defaultMode", 0o644)
        if kind == "projected":
            files: Files = {}
            for each in source.get("sources") or ():
                files |= await self._projected(pod, each, mode, now)
        else:
            files = self._files(pod, kind, source, mode)
        if self._written.get(volume["name"]) != files:
            _swap_in(self._content_root / volume["name"], files)
            self._written[volume["name"]] = files

    async def _projected(self, pod: Object, source: Object, mode: int, now: float) -> Files:
        if "serviceAccountToken" in source:
            return await self._token(pod, source["serviceAccountToken"], now)
        for kind in ("configMap", "secret", "downwardAPI"):
            if kind in source:
                return self._files(pod, kind, source[kind], mode)
        raise ConfigError(f"projected source {', '.join(source)} is not supported by ambientlab")

    def _files(self, pod: Object, kind: str, source: Object, mode: int) -> Files:
        if kind == "downwardAPI":
            return dict(_downward(pod, source, mode))
        name = source.get("name") or source.get("secretName") or ""
        found = self._lookup("Secret" if kind == "secret" else "ConfigMap", name)
        if found is None:
            if source.get("optional"):
                return {}
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        data = environment.content(found)
        if not (items := source.get("items")):
            return {key: (value, mode) for key, value in data.items()}
        files: Files = {}
        for item in items:
            if item["key"] in data:
                files[_relative(item["path"])] = (data[item["key"]], item.get("mode", mode))
            elif not source.get("optional"):
                raise ConfigError(f"{kind.lower()} references non-existent {kind.lower()} key: {item['key']}")
        return files

    async def _token(self, pod: Object, source: Object, now: float) -> Files:
        audience, path = source.get("audience", ""), _relative(source["path"])
        seconds = source.get("expirationSeconds", 3600)
        key = (audience, path)
        token = self._tokens.get(key)
        if token is None or now >= token.issued + 0.8 * (token.expires - token.issued):
            spec: Object = {
                "expirationSeconds": seconds,
                "boundObjectRef": {
                    "kind": "Pod",
                    "apiVersion": "v1",
                    "name": objects.name(pod),
                    "uid": objects.uid(pod),
                },
            }
            if audience:
                spec["audiences"] = [audience]
            request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
            account = pod["spec"].get("serviceAccountName") or "default"
            status = (await self._issue(objects.namespace(pod), account, request))["status"]
            expires = objects.parse_timestamp(status["expirationTimestamp"]).timestamp()
            token = self._tokens[key] = Token(status["token"], now, expires)
        return {path: (token.value.encode(), 0o600)}


def references(pod: Object) -> set[tuple[str, str]]:
    """(kind, name) of each ConfigMap and Secret that the pod's volumes and variables name."""
    found = set()
    spec = pod["spec"]
    for volume in spec.get("volumes") or ():
        for source in ((volume.get("projected") or {}).get("sources") or ()) if "projected" in volume else (volume,):
            if "configMap" in source:
                found.add(("ConfigMap", source["configMap"].get("name", "")))
            if "secret" in source:
                found.add(("Secret", source["secret"].get("secretName") or source["secret"].get("name", "")))
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            refs = [*(container.get("envFrom") or ()), *(e.get("valueFrom") or {} for e in container.get("env") or ())]
            for ref in refs:
                for name, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                    if target := ref.get(f"{name}Ref") or ref.get(f"{name}KeyRef"):
                        found.add((kind, target["name"]))
    return found


def make_beneath(volume: Path, target: Path) -> None:
    """A directory, step by step and through no link: a container may have put one there since it was looked for."""
    directory = os.open(volume, os.O_PATH | os.O_DIRECTORY)
    try:
        for part in target.relative_to(volume).parts:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=directory)
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = below
    finally:
        os.close(directory)


def _downward(pod: Object, source: Object, mode: int) -> Iterator[tuple[str, tuple[bytes, int]]]:
    for item in source.get("items") or ():
        if "fieldRef" in item:
            value = environment.field_value(pod, item["fieldRef"]["fieldPath"])
        else:
            value = environment.resource_value(pod, pod["spec"]["containers"][0], item["resourceFieldRef"])
        yield _relative(item["path"]), (value.encode(), item.get("mode", mode))


def _relative(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or path.startswith(".."):
        raise ConfigError(f'path "{path}" must be relative and must not contain ".."')
    return str(pure)


def _swap_in(volume: Path, files: Files) -> None:
    """Writes `files` into a new directory and makes `..data` point to it; each file is reached by a link."""
    volume.mkdir(parents=True, exist_ok=True, mode=0o755)
    link = volume / "..data"
    old = link.readlink() if link.is_symlink() else None
    number = int(str(old).removeprefix("..")) + 1 if old else 1
    fresh = volume / f"..{number}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for path, (data, mode) in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode & 0o777)
    staged = volume / "..data_tmp"
    staged.unlink(missing_ok=True)
    staged.symlink_to(fresh.name)
    staged.replace(link)
    visible = {PurePosixPath(path).parts[0] for path in files}
    for name in visible:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    for entry in volume.iterdir():
        if not entry.name.startswith("..") and entry.name not in visible:
            entry.unlink()
    if old:
        shutil.rmtree(volume / old, ignore_errors=True)


def _sentence(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
