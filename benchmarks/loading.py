"""Loading a large float32 model: peak memory beyond the imported process, ours beside transformers'.

    python benchmarks/loading.py

A model folder of at least 400 MB is written to a temporary place, then loaded, each time in a fresh process that
reads its own peak (`VmHWM`) before and after. The result is a multiple of the file's size; the target is 1.2.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from sensorium.config import ModelConfig, TransformerConfig
from sensorium.hub.exporting import export_hf
from sensorium.hub.folder import save_pretrained
from sensorium.hub.pretrained import Pretrained
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer

CONFIG = TransformerConfig(vocab_size=4096, dim=1024, n_layers=9, n_heads=16, hidden_dim=2752, max_positions=1024)
TARGET = 1.2
CHILD = """
import sys, time
def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key + ":"))
{imports}
open("/proc/self/clear_refs", "w").write("5")  # the peak starts at what the imports left
before, start = status("VmRSS"), time.perf_counter()
model = {load}
seconds = time.perf_counter() - start
print(status("VmHWM") - before, seconds)
"""
LOADERS = {
    "ours": ("import sensorium.api", "sensorium.api.load(sys.argv[1])"),
    "peer": (
        "import torch; from transformers import LlamaForCausalLM",
        "LlamaForCausalLM.from_pretrained(sys.argv[1])",
    ),
}


def write_models(folder: Path) -> dict[str, Path]:
    """The same weights in our form and in Hugging Face's."""
    model = Omni(ModelConfig(decoder=CONFIG)).eval()
    model.reset_parameters(0)
    processor = Processor(Tokenizer.train(["A small vocabulary is enough to load with."], 300))
    pretrained = Pretrained(model.config, model, processor)
    save_pretrained(pretrained, folder / "ours")
    export_hf(pretrained, folder / "peer")
    return {name: folder / name for name in LOADERS}


def load_once(name: str, folder: Path) -> tuple[int, float]:
    """Bytes of peak memory beyond the imports, and seconds, of one load in a process of its own."""
    imports, load = LOADERS[name]
    code = CHILD.format(imports=imports, load=load)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    peak, seconds = done.stdout.split()
    return int(peak), float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = write_models(Path(temporary))
        size = (folders["ours"] / "model.safetensors").stat().st_size
        assert size >= 400e6, f"the file has only {size} bytes"
        loads: dict[str, list[tuple[int, float]]] = {name: [] for name in LOADERS}
        for _ in range(arguments.rounds):
            for name, folder in folders.items():
                loads[name].append(load_once(name, folder))
    peaks = {name: statistics.median(peak for peak, _ in runs) / size for name, runs in loads.items()}
    seconds = {name: statistics.median(taken for _, taken in runs) for name, runs in loads.items()}
    print(
        json.dumps(
            {
                "benchmark": "loading",
                "file_mb": round(size / 1e6, 1),
                "ours_peak_of_file": round(peaks["ours"], 3),
                "peer_peak_of_file": round(peaks["peer"], 3),
                "ours_s": round(seconds["ours"], 2),
                "peer_s": round(seconds["peer"], 2),
                "ratio": round(peaks["ours"] / peaks["peer"], 3) if peaks["peer"] > 0 else None,
                "target": TARGET,
                "machine": f"{platform.machine()}, torch {torch.__version__}",
            }
        )
    )


if __name__ == "__main__":
    main()
