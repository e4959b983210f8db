"""Objects on disk: revisions, watches and compaction, as etcd gives them to an API server."""
