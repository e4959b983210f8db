"""The kubelet's role: pods as processes in Linux namespaces of one rootless node."""
