"""Commands of `istioctl` that need no room of their own."""
