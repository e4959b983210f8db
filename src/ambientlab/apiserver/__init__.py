"""The Kubernetes API server: verbs on objects in the store, and the HTTP that carries them."""
