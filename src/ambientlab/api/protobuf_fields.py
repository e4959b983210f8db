"""Field numbers of the messages that clients send: message -> number -> (JSON name, kind).

Kinds: string, int, bool, bytes (base64 in JSON), Time, IntOrString, Quantity, or another message; `[]` before one for a
list, `{}` for a map from strings, `?` after one for a Go pointer, whose zero means something. A message without a JSON
name is one that Go embeds. The numbers are those of the generated.proto files of k8s.io/api and k8s.io/apimachinery.
"""

from __future__ import annotations

from ambientlab.api import protobuf_pod_fields

_META = {1: ("metadata", "ObjectMeta")}

# fmt: off
MESSAGES: dict[str, dict[int, tuple[str, str]]] = protobuf_pod_fields.MESSAGES | {
    "TimeParts": {1: ("seconds", "int"), 2: ("nanos", "int")},
    "IntOrStringParts": {1: ("type", "int"), 2: ("intVal", "int"), 3: ("strVal", "string")},
    "QuantityParts": {1: ("string", "string")},
    "ObjectMeta": {
        1: ("name", "string"), 2: ("generateName", "string"), 3: ("namespace", "string"), 5: ("uid", "string"),
        6: ("resourceVersion", "string"), 7: ("generation", "int"), 8: ("creationTimestamp", "Time"),
        9: ("deletionTimestamp", "Time"), 10: ("deletionGracePeriodSeconds", "int?"), 11: ("labels", "{}string"),
        12: ("annotations", "{}string"), 13: ("ownerReferences", "[]OwnerReference"), 14: ("finalizers", "[]string"),
    },
    "OwnerReference": {
        1: ("kind", "string"), 3: ("name", "string"), 4: ("uid", "string"), 5: ("apiVersion", "string"),
        6: ("controller", "bool?"), 7: ("blockOwnerDeletion", "bool?"),
    },
    "LabelSelector": {1: ("matchLabels", "{}string"), 2: ("matchExpressions", "[]LabelSelectorRequirement")},
    "LabelSelectorRequirement": {1: ("key", "string"), 2: ("operator", "string"), 3: ("values", "[]string")},
    "LocalObjectReference": {1: ("name", "string")},
    "ObjectReference": {
        1: ("kind", "string"), 2: ("namespace", "string"), 3: ("name", "string"), 4: ("uid", "string"),
        5: ("apiVersion", "string"), 6: ("resourceVersion", "string"), 7: ("fieldPath", "string"),
    },
    "Condition": {
        1: ("type", "string"), 2: ("status", "string"), 3: ("observedGeneration", "int"),
        4: ("lastTransitionTime", "Time"), 5: ("reason", "string"), 6: ("message", "string"),
    },

    "Namespace": _META | {2: ("spec", "NamespaceSpec"), 3: ("status", "NamespaceStatus")},
    "NamespaceSpec": {1: ("finalizers", "[]string")},
    "NamespaceStatus": {1: ("phase", "string")},
    "ConfigMap": _META | {2: ("data", "{}string"), 3: ("binaryData", "{}bytes"), 4: ("immutable", "bool?")},
    "Secret": _META | {
        2: ("data", "{}bytes"), 3: ("type", "string"), 4: ("stringData", "{}string"), 5: ("immutable", "bool?"),
    },
    "ServiceAccount": _META | {
        2: ("secrets", "[]ObjectReference"), 3: ("imagePullSecrets", "[]LocalObjectReference"),
        4: ("automountServiceAccountToken", "bool?"),
    },

    "Service": _META | {2: ("spec", "ServiceSpec"), 3: ("status", "ServiceStatus")},
    "ServiceSpec": {
        1: ("ports", "[]ServicePort"), 2: ("selector", "{}string"), 3: ("clusterIP", "string"), 4: ("type", "string"),
        5: ("externalIPs", "[]string"), 7: ("sessionAffinity", "string"), 8: ("loadBalancerIP", "string"),
        9: ("loadBalancerSourceRanges", "[]string"), 10: ("externalName", "string"),
        11: ("externalTrafficPolicy", "string"), 12: ("healthCheckNodePort", "int"),
        13: ("publishNotReadyAddresses", "bool"), 14: ("sessionAffinityConfig", "SessionAffinityConfig"),
        17: ("ipFamilyPolicy", "string?"), 18: ("clusterIPs", "[]string"), 19: ("ipFamilies", "[]string"),
        20: ("allocateLoadBalancerNodePorts", "bool?"), 21: ("loadBalancerClass", "string?"),
        22: ("internalTrafficPolicy", "string?"), 23: ("trafficDistribution", "string?"),
    },
    "SessionAffinityConfig": {1: ("clientIP", "ClientIPConfig")},
    "ClientIPConfig": {1: ("timeoutSeconds", "int?")},
    "ServicePort": {
        1: ("name", "string"), 2: ("protocol", "string"), 3: ("port", "int?"), 4: ("targetPort", "IntOrString?"),
        5: ("nodePort", "int"), 6: ("appProtocol", "string?"),
    },
    "ServiceStatus": {1: ("loadBalancer", "LoadBalancerStatus"), 2: ("conditions", "[]Condition")},
    "LoadBalancerStatus": {},

    "Deployment": _META | {2: ("spec", "DeploymentSpec"), 3: ("status", "DeploymentStatus")},
    "DeploymentSpec": {
        1: ("replicas", "int?"), 2: ("selector", "LabelSelector"), 3: ("template", "PodTemplateSpec"),
        4: ("strategy", "DeploymentStrategy"), 5: ("minReadySeconds", "int"), 6: ("revisionHistoryLimit", "int?"),
        7: ("paused", "bool"), 9: ("progressDeadlineSeconds", "int?"),
    },
    "DeploymentStrategy": {1: ("type", "string"), 2: ("rollingUpdate", "RollingUpdateDeployment")},
    "RollingUpdateDeployment": {1: ("maxUnavailable", "IntOrString?"), 2: ("maxSurge", "IntOrString?")},
    "DeploymentStatus": {},
    "PodTemplateSpec": _META | {2: ("spec", "PodSpec")},

    "Pod": _META | {2: ("spec", "PodSpec"), 3: ("status", "PodStatus")},
    "PodStatus": {},

    "TokenRequest": _META | {2: ("spec", "TokenRequestSpec"), 3: ("status", "TokenRequestStatus")},
    "TokenRequestSpec": {
        1: ("audiences", "[]string"), 3: ("boundObjectRef", "BoundObjectReference"), 4: ("expirationSeconds", "int?"),
    },
    "BoundObjectReference": {
        1: ("kind", "string"), 2: ("apiVersion", "string"), 3: ("name", "string"), 4: ("uid", "string"),
    },
    "TokenRequestStatus": {1: ("token", "string"), 2: ("expirationTimestamp", "Time")},
    "TokenReview": _META | {2: ("spec", "TokenReviewSpec"), 3: ("status", "Empty")},
    "TokenReviewSpec": {1: ("token", "string"), 2: ("audiences", "[]string")},
    "SelfSubjectReview": _META | {2: ("status", "SelfSubjectReviewStatus")},
    "SelfSubjectReviewStatus": {1: ("userInfo", "Empty")},
    "SelfSubjectAccessReview": _META | {
        2: ("spec", "SelfSubjectAccessReviewSpec"), 3: ("status", "SubjectAccessReviewStatus"),
    },
    "SelfSubjectAccessReviewSpec": {
        1: ("resourceAttributes", "ResourceAttributes"), 2: ("nonResourceAttributes", "NonResourceAttributes"),
    },
    "ResourceAttributes": {
        1: ("namespace", "string"), 2: ("verb", "string"), 3: ("group", "string"), 4: ("version", "string"),
        5: ("resource", "string"), 6: ("subresource", "string"), 7: ("name", "string"),
    },
    "NonResourceAttributes": {1: ("path", "string"), 2: ("verb", "string")},
    "SubjectAccessReviewStatus": {
        1: ("allowed", "bool?"), 2: ("reason", "string"), 3: ("evaluationError", "string"), 4: ("denied", "bool"),
    },
    "SelfSubjectRulesReview": _META | {
        2: ("spec", "SelfSubjectRulesReviewSpec"), 3: ("status", "SubjectRulesReviewStatus"),
    },
    "SelfSubjectRulesReviewSpec": {1: ("namespace", "string")},
    "SubjectRulesReviewStatus": {3: ("incomplete", "bool?"), 4: ("evaluationError", "string")},
    "Eviction": _META | {2: ("deleteOptions", "DeleteOptions")},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "int?"), 2: ("preconditions", "Preconditions"), 3: ("orphanDependents", "bool?"),
        4: ("propagationPolicy", "string?"), 5: ("dryRun", "[]string"),
    },
    "Preconditions": {1: ("uid", "string?"), 2: ("resourceVersion", "string?")},
    "Empty": {},
}
# fmt: on
