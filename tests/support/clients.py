"""Clients that tests of policies send from, besides the lab's own."""

from __future__ import annotations

CLIENTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: bob, namespace: test}
---
apiVersion: v1
kind: Pod
metadata: {name: bob, namespace: test}
spec: {serviceAccountName: bob, containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: neighbour, namespace: hello}
spec: {containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]}
"""
