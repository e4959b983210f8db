"""`istioctl proxy-config`: what a proxy's Envoy says of its own configuration.

Flags, words, columns and order are those of istioctl 1.31 (istioctl/pkg/proxyconfig and istioctl/pkg/writer/envoy).
Everything comes from Envoy's admin interface at port 15000 of the pod, by port-forward, as it does there.
"""
