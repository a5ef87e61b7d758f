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
