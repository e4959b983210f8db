"""The API over HTTPS: who asks, what for, in which form the answer goes."""
