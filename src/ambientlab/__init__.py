"""An Istio ambient mesh on one Linux machine: real kubectl, real Envoy, no cluster."""

__version__ = "0.1.0"
