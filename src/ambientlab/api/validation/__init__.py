"""What is refused of an object beyond what its schema says; `semantic` has it by kind.

Nothing is imported here: parts of it are for whoever reads objects, and the whole takes the schemas of every kind.
"""
