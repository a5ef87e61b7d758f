"""The command `sensorium`, also as `python -m sensorium`: Ctrl-C ends it quietly from its first moment on."""

import sys
from typing import NoReturn


def start() -> NoReturn:
    """Run the command of this process's arguments; see `sensorium.cli.main.run`."""
    try:
        from sensorium.cli.main import run

        run()
    except KeyboardInterrupt:  # while that was read
        sys.exit(130)


if __name__ == "__main__":
    start()
