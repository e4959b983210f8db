"""What a pod gets from its service account: the account's name and a token to talk to the API with.

The projected volume is that of Kubernetes' ServiceAccount admission plugin
(kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin, "bound service account token volume").
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ambientlab.api.kinds import POD
from ambientlab.api.objects import Object
from ambientlab.apiserver.metadata import suffix
from ambientlab.apiserver.refusals import forbidden

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_PREFIX = "kube-api-access-"
_TOKEN_SECONDS = 3607


def admit(pod: Object, account_of: Callable[[str, str], Object | None], chooser: random.Random) -> None:
    """Change `pod` in place. `account_of(namespace, name)` is the ServiceAccount; raises 403 if there is none."""
    spec, metadata = pod["spec"], pod["metadata"]
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = account_of(metadata["namespace"], name)
    if account is None:
        raise forbidden(
            POD,
            metadata.get("name", ""),
            f'error looking up service account {metadata["namespace"]}/{name}: serviceaccount "{name}" not found',
        )
    _schedule_defaults(spec)
    if "imagePullSecrets" not in spec and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = list(account["imagePullSecrets"])
    wanted = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken"))
    if wanted is not False:
        _mount(spec, chooser)


def _schedule_defaults(spec: Object) -> None:
    """What the Priority and DefaultTolerationSeconds admission plugins add."""
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = list(spec.get("tolerations") or ())
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(t.get("key", "") in ("", key) and t.get("effect", "") in ("", "NoExecute") for t in tolerations):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    spec["tolerations"] = tolerations


def _mount(spec: Object, chooser: random.Random) -> None:
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    bare = [
        container
        for container in containers
        if isinstance(container, dict)
        and not any(mount.get("mountPath") == MOUNT_PATH for mount in container.get("volumeMounts") or ())
    ]
    if not bare:
        return
    volumes = spec.get("volumes") or []
    volume = next((v["name"] for v in volumes if v.get("name", "").startswith(_PREFIX)), "")
    if not volume:
        volume = _PREFIX + suffix(chooser)
        spec["volumes"] = [*volumes, _volume(volume)]
    for container in bare:
        mounts = container.get("volumeMounts") or []
        container["volumeMounts"] = [*mounts, {"name": volume, "readOnly": True, "mountPath": MOUNT_PATH}]


def _volume(name: str) -> Object:
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
            ],
        },
    }
