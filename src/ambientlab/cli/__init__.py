"""The command line: parse, call, render. Data goes to stdout, talk to stderr; a command imports its rooms late."""
