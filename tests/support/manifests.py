"""What several tests apply."""

from __future__ import annotations

WAYPOINT = """
apiVersion: v1
kind: Namespace
metadata: {name: hello, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: hello}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
"""
"""For hello: its waypoint, and the labels that put it before its services."""
