"""The thread count is a choice that is made and undone in the open."""

from __future__ import annotations

import os

import pytest
import torch

from sensorium.inference.threads import SMALL_BYTES, fastest_threads, threads_for, torch_threads


def test_a_small_model_decodes_on_one_thread():
    assert threads_for(SMALL_BYTES) == 1


def test_a_large_model_takes_one_thread_or_one_per_core():
    assert threads_for(SMALL_BYTES + 1) == fastest_threads()
    assert fastest_threads() in (
        1,
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    )


def test_the_thread_count_is_restored_even_after_an_error():
    before, inside = torch.get_num_threads(), []

    def fail():
        with torch_threads(before + 1):
            inside.append(torch.get_num_threads())
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert inside == [before + 1]
    assert torch.get_num_threads() == before
