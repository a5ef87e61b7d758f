"""Loading a large float32 model: peak memory beyond the imported process, ours beside transformers'.

    python benchmarks/loading.py

A model folder of at least 400 MB is written to a temporary place, then loaded, each time in a fresh process that
reads its own peak (`VmHWM`), as loaded and once used. Figures are multiples of the file's size; the target is 1.2.
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
from sensorium.hub.folder import export_hf, save_pretrained
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
seconds, loaded = time.perf_counter() - start, status("VmHWM") - before
{use}  # a mapped file comes into memory when it is first read
print(loaded, status("VmHWM") - before, seconds)
"""
LOADERS = {
    "ours": ("import sensorium.api", "sensorium.api.load(sys.argv[1])", "model.logits([1, 2, 3])"),
    "peer": (
        "import torch; from transformers import LlamaForCausalLM",
        "LlamaForCausalLM.from_pretrained(sys.argv[1])",
        "torch.no_grad()(model)(torch.tensor([[1, 2, 3]]))",
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


def load_once(name: str, folder: Path) -> tuple[float, ...]:
    """Bytes of peak memory beyond the imports, loaded and once used, and seconds to load, in a process of its own."""
    imports, load, use = LOADERS[name]
    code = CHILD.format(imports=imports, load=load, use=use)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    return tuple(float(figure) for figure in done.stdout.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = write_models(Path(temporary))
        size = (folders["ours"] / "model.safetensors").stat().st_size
        assert size >= 400e6, f"the file has only {size} bytes"
        loads: dict[str, list[tuple[float, ...]]] = {name: [] for name in LOADERS}
        for _ in range(arguments.rounds):
            for name, folder in folders.items():
                loads[name].append(load_once(name, folder))
    loaded, used, seconds = (
        {name: statistics.median(run[figure] for run in runs) for name, runs in loads.items()} for figure in range(3)
    )
    print(
        json.dumps(
            {
                "benchmark": "loading",
                "file_mb": round(size / 1e6, 1),
                "ours_loaded": round(loaded["ours"] / size, 3),
                "peer_loaded": round(loaded["peer"] / size, 3),
                "ours_used": round(used["ours"] / size, 3),
                "peer_used": round(used["peer"] / size, 3),
                "ratio": round(used["ours"] / used["peer"], 3),
                "ours_s": round(seconds["ours"], 2),
                "peer_s": round(seconds["peer"], 2),
                "target": TARGET,
                "machine": f"{platform.machine()}, torch {torch.__version__}",
            }
        )
    )


if __name__ == "__main__":
    main()
