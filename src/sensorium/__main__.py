"""The command `sensorium`, also as `python -m sensorium`: Ctrl-C ends it quietly while it is still being read, too."""

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
