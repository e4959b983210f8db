"""`ambientlab analyze`: what is wrong with a mesh."""
