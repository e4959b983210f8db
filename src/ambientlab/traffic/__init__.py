"""Real requests from a pod: sent, counted, compared with what was expected, and shown."""
