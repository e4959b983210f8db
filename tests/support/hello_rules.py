"""The lab's rules for helloworld: names for its versions, and 95 requests in 100 to the first."""

SPLIT = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: subsets, namespace: hello}
spec:
  host: helloworld
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split, namespace: hello}
spec:
  hosts: [helloworld]
  http:
  - route:
    - {destination: {host: helloworld, subset: v1}, weight: 95}
    - {destination: {host: helloworld, subset: v2}, weight: 5}
"""
