"""The soak: bad inputs and kill -9s by the thousand against meshes that run, and what must hold meanwhile and after.

Run by hand and before releases; a short seeded portion of it is in the tests.
"""
