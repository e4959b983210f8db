"""Control loops and derived collections, for any kind of thing: this room knows no Kubernetes."""
