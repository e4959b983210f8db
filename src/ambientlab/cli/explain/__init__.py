"""`ambientlab explain`: why a request goes where it goes, drawn or as JSON."""
