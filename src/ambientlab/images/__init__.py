"""Programs built into ambientlab, chosen by the image name a pod asks for."""
