"""`istioctl ztunnel-config`: what ztunnel knows of workloads, services, policies, certificates and connections.

One dump of ztunnel answers all of it, read by port-forward from its admin interface or from a file; so these commands
show a real mesh as well. Flags, words and columns are istioctl's (istioctl/pkg/ztunnelconfig and
istioctl/pkg/writer/ztunnel/configdump of istio/istio).
"""
