"""The node's side of the mesh: Envoy's bootstraps and admin interface, and istio-cni's role of capturing pods."""
