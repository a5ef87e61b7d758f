"""Single-stream decoding: our engine, chosen tokens and text included, beside `generate` of transformers.

    python benchmarks/decoding.py --size 5.7M      # or 26M, or all

Both write the same number of tokens with the same random weights in the same process, in turns; figures are medians
of `--rounds`. The peer runs with PyTorch's own thread count (its stock setting) and with one thread; `ratio` is to
the first and `ratio_to_best` to the faster. Compilation happens before, and is timed apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sensorium.config import ModelConfig, SamplingConfig, TransformerConfig
from sensorium.inference.engine import Engine
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer

VOCABULARY = 4096
SIZES = {
    "5.7M": {"dim": 256, "n_layers": 6, "n_heads": 8, "hidden_dim": 688},
    "26M": {"dim": 512, "n_layers": 8, "n_heads": 8, "hidden_dim": 1376},
}
TARGETS = {"5.7M": 4.0, "26M": 1.8}
PROMPT = [1 + 7 * index % 4000 for index in range(16)]


def build(size: str) -> tuple[Omni, LlamaForCausalLM]:
    """The same random Llama twice."""
    config = TransformerConfig(vocab_size=VOCABULARY, max_positions=1024, **SIZES[size])
    ours = Omni(ModelConfig(decoder=config)).eval()
    ours.reset_parameters(0)
    peer = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=config.dim, intermediate_size=config.hidden_dim,
            num_hidden_layers=config.n_layers, num_attention_heads=config.n_heads, max_position_embeddings=1024,
            rms_norm_eps=config.norm_eps, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=None, pad_token_id=0,
        )
    ).eval()  # fmt: skip
    names = {
        "attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm", "attention.": "self_attn.",
        ".q.": ".q_proj.", ".k.": ".k_proj.", ".v.": ".v_proj.", ".o.": ".o_proj.", ".gate.": ".gate_proj.",
        ".up.": ".up_proj.", ".down.": ".down_proj.", "blocks.": "model.layers.", "final_norm": "model.norm",
        "embeddings.token": "model.embed_tokens", "head.": "lm_head.",
    }  # fmt: skip
    weights = {}
    for name, weight in ours.decoder.state_dict().items():
        for before, after in names.items():
            name = name.replace(before, after)
        weights[name] = weight
    peer.load_state_dict(weights)
    tokens = torch.tensor([PROMPT])
    with torch.inference_mode():
        difference = float((ours.logits(tokens) - peer(tokens).logits).abs().max())
    assert difference < 1e-4, f"the two models differ by {difference}"
    return ours, peer


def rate(write: Callable[[], int]) -> float:
    """Tokens per second of one reply."""
    start = time.perf_counter()
    tokens = write()
    return tokens / (time.perf_counter() - start)


def measure(size: str, *, tokens: int, rounds: int, temperature: float, threads: int | None) -> dict[str, object]:
    ours, peer = build(size)
    text = [chr(0x4E00 + i % 5000) + chr(0x61 + i % 26) * (i % 7) for i in range(40_000)]
    processor = Processor(Tokenizer.train(text, VOCABULARY))
    never_end = dict.fromkeys(processor.stop_ids, -1e9)
    sampling = SamplingConfig(temperature=temperature, seed=0, max_tokens=tokens, logit_bias=never_end)
    stock_threads = torch.get_num_threads()
    prompt = torch.tensor([PROMPT])

    def write_ours(engine: Engine) -> Callable[[], int]:
        return lambda: [*engine.stream(PROMPT, sampling)][-1].completion_tokens  # type: ignore[union-attr]

    def write_peer(threads: int) -> Callable[[], int]:
        def write() -> int:
            torch.set_num_threads(threads)
            chosen = {
                "do_sample": temperature > 0,
                "temperature": temperature or None,
                "top_k": 0 if temperature else None,
            }
            written = peer.generate(prompt, max_new_tokens=tokens, **chosen)
            torch.set_num_threads(stock_threads)
            return written.shape[1] - len(PROMPT)

        return write

    compiled, plain = Engine(ours, processor, threads=threads), Engine(ours, processor, threads=threads, compile=False)
    start = time.perf_counter()
    is_compiled = compiled.compile()
    compile_seconds = time.perf_counter() - start
    contenders = {
        "compiled": write_ours(compiled),
        "plain": write_ours(plain),
        "peer": write_peer(stock_threads),
        "peer_one_thread": write_peer(1),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):  # the first round warms up
        for name, write in contenders.items():
            measured = rate(write)
            if turn:
                rates[name].append(measured)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best_peer = max(medians["peer"], medians["peer_one_thread"])
    return {
        "benchmark": "decoding",
        "size": size,
        "parameters": ours.decoder.n_parameters(),
        "temperature": temperature,
        "tokens": tokens,
        "ours_tokens_per_s": round(medians["compiled"], 1),
        "ours_uncompiled_tokens_per_s": round(medians["plain"], 1),
        "peer_tokens_per_s": round(medians["peer"], 1),
        "peer_one_thread_tokens_per_s": round(medians["peer_one_thread"], 1),
        "ratio": round(medians["compiled"] / medians["peer"], 2),
        "ratio_to_best": round(medians["compiled"] / best_peer, 2),
        "target": TARGETS[size],
        "compiled": is_compiled,
        "compile_s": round(compile_seconds, 1),
        "threads": compiled.threads,
        "peer_threads": stock_threads,
        "weights_gb_per_s": round(medians["compiled"] * 4 * ours.decoder.n_parameters() / 1e9, 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*SIZES, "all"], default="all")
    parser.add_argument("--tokens", type=int, default=200, help="tokens of a reply")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--threads", type=int, help="threads of our engine (by default its own choice)")
    arguments = parser.parse_args()
    results = [
        measure(
            size,
            tokens=arguments.tokens,
            rounds=arguments.rounds,
            temperature=arguments.temperature,
            threads=arguments.threads,
        )
        for size in (SIZES if arguments.size == "all" else [arguments.size])
    ]
    print(json.dumps(results[0] if len(results) == 1 else {"benchmark": "decoding", "sizes": results}))


if __name__ == "__main__":
    main()
