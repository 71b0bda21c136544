"""What the Python drivers share: commands come as one JSON line, answers go out as
JSON lines. See the Go package beside this directory for what each command means."""

import importlib
import json
import os
import sys
import threading


def say(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def stopped_by_stdin():
    """Returns an event that is set when standard input ends: the test wants this
    member to leave in good order."""
    stop = threading.Event()

    def wait():
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    return stop


def records(c):
    """The records that a produce command asks for."""
    for i in range(c["count"]):
        yield "k%d" % (i % 3), "%s-%d" % (c["prefix"], i), c["time"] + 1000 * i


def main():
    client = importlib.import_module(sys.argv[1])
    c = json.loads(sys.argv[2])
    try:
        getattr(client, c["do"])(c)
    except Exception as e:  # told to the test, which knows what it wanted
        say(error="%s: %s" % (type(e).__name__, e))
    sys.stdout.flush()
    os._exit(0)  # threads of clients that hang must not keep the test waiting


if __name__ == "__main__":
    main()
