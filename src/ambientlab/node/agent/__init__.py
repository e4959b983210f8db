"""The kubelet's role: runs the pods bound to this node and reports on them."""
