"""Whether this machine can compile the code that `torch.compile` writes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

import torch


def has_compiler(device: torch.device) -> bool:
    """Whether inductor finds what it calls: a C++ compiler for a CPU, Triton and a C compiler for a GPU."""
    if device.type == "cpu":
        return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")) is not None
    found = any(shutil.which(name) for name in (os.environ.get("CC", ""), "gcc", "clang") if name)
    return found and importlib.util.find_spec("triton") is not None
