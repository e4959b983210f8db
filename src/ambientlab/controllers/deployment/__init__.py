"""Deployments: from a pod template to ReplicaSets, one per revision of it, and the rolling from one to the next.

rollout     how many replicas each ReplicaSet may have now       pure
revisions   which ReplicaSet is which revision, and the annotations that say so       pure
status      counts and conditions       pure
controller  reads, asks the three, writes
"""

from ambientlab.controllers.deployment.controller import DeploymentController

__all__ = ["DeploymentController"]
