"""Does nothing until it is told to end, like the pause image."""

import signal

if __name__ == "__main__":
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
