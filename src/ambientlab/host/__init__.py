"""The composition root: state on disk, the kubeconfig, start and stop, and the wiring of every room into one daemon."""
