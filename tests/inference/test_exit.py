"""A program may end while its decoding step is still being compiled."""

import subprocess
import sys
from pathlib import Path

import pytest

from sensorium.nn.compilation import has_compiler

SCRIPT = """
import sys, threading
import sensorium
from sensorium.inference.compiled import CompiledStep
from sensorium.hub.folder import load_pretrained

seen = threading.Event()
wanted = sys.argv[2]
def watch(frame, event, argument):
    if wanted in frame.f_code.co_filename:
        seen.set()
threading.setprofile(watch)
CompiledStep(load_pretrained(sys.argv[1]).model, 1).prepare(wait=False)
seen.wait(60)
print("over")
"""


@pytest.mark.parametrize("stage", ["importlib", "torch/_dynamo/symbolic_convert", "torch/_inductor/graph"])
def test_a_program_ends_cleanly_in_the_middle_of_a_compilation(talker: Path, tmp_path: Path, stage: str) -> None:
    import torch

    if not has_compiler(torch.device("cpu")):
        pytest.skip("no C++ compiler on this machine")
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(talker), stage], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


COMPILING = """
import atexit, os, sys, threading, time
from pathlib import Path
import sensorium
from sensorium.inference.compiled import CompiledStep
from sensorium.hub.folder import load_pretrained

def left():  # but for tqdm's own watchman, which torch calls up where compiling takes long
    return [thread.name for thread in threading.enumerate() if thread.name != "tqdm_monitor"]

atexit.register(lambda: print(left()))  # what is registered first comes last

def descendants(pid):
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield Path(f"/proc/{child}/comm").read_text().strip()
            yield from descendants(child)

CompiledStep(load_pretrained(sys.argv[1]).model, 1).prepare(wait=False)
end = time.monotonic() + 120
while time.monotonic() < end:
    try:
        if "cc1plus" in descendants(os.getpid()):
            break
    except OSError:  # it had ended meanwhile
        pass
    time.sleep(0.01)
else:
    print("the compiler was never seen")
print("over")
"""


def test_a_program_does_not_leave_a_thread_behind_that_waits_for_the_compiler(talker: Path, tmp_path: Path) -> None:
    import torch

    if not has_compiler(torch.device("cpu")) or not Path("/proc/self/task").exists():
        pytest.skip("no C++ compiler on this machine, or no list of processes")
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILING, str(talker)], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n['MainThread']\n", "")
