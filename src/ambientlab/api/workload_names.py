"""What Istio calls a pod in telemetry: the workload it belongs to, and its canonical service and revision.

The workload is what somebody wrote rather than what a controller made of it: pkg/kube/util.go and
pkg/kube/labels/labels.go of istio/istio.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ambientlab.api.objects import Object, labels_of, name

_SERVICE_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_REVISION_LABELS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
_CRON_JOB = re.compile(r"(.+)-\d{8,10}")
"""A Job that a CronJob makes is named after the minute it is for."""


class WorkloadNames(NamedTuple):
    workload: str
    service: str
    revision: str


def workload_names(pod: Object) -> WorkloadNames:
    labels = labels_of(pod)
    workload = _workload(pod)
    service = next((labels[label] for label in _SERVICE_LABELS if labels.get(label)), workload)
    revision = next((labels[label] for label in _REVISION_LABELS if labels.get(label)), "latest")
    return WorkloadNames(workload, service, revision)


def _workload(pod: Object) -> str:
    owners = pod["metadata"].get("ownerReferences") or ()
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return name(pod)
    made: str = owner["name"]
    if owner["kind"] == "ReplicaSet":
        return made.removesuffix(f"-{labels_of(pod).get('pod-template-hash', '')}")
    if owner["kind"] == "Job" and (match := _CRON_JOB.fullmatch(made)):
        return match[1]
    return made
