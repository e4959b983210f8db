"""The four ways to change an object: merge, JSON and strategic merge patch, and server-side apply."""
