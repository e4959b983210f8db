"""The Kubernetes object model without I/O: kinds, schemas, validation, printing, and the contracts of other rooms."""
