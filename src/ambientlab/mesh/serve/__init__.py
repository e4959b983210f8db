"""The mesh's outside: gRPC to the proxies, certificates, and statuses written back to the API."""
