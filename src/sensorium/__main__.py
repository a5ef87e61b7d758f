"""`python -m sensorium` is the command `sensorium`."""

from sensorium.cli.main import run

if __name__ == "__main__":
    run()
