"""istiod's role: API objects become an intermediate representation, Envoy configuration and statuses."""
