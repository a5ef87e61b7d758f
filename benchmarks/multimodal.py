"""Training on pictures and talk about them beside `transformers`' LLaVA, and how long a trainer waits for its data.

    python benchmarks/multimodal.py [--threads 2] [--repeats 5] [--records 96] [--steps 40]

The same conversations of the generated world (captions and questions about pictures of 64×64), the same tokens, pixels
and weights: a CLIP tower of four layers, an MLP, and a Llama of 5.7M. The peer takes 16 conversations at a time, padded
on the right to the longest (no attention mask, which causal attention does not need there: its fastest way); ours come
packed from our own stream, in rows of 512. Both learn the replies only, with AdamW in float32. The losses must agree
before anything is timed. `ratio` is how many times as many conversations a second ours learns from.

Then a model with eyes and ears of the shipped one's size trains for some steps on pictures and speech that are drawn,
spoken and prepared while it trains, by one process (`workers: 1`); `waited` is the share of the time of these steps
that the trainer spends waiting for a batch, once those made before the first step are used up. The target is 0.05.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from torch import Tensor
from training import agree, median_seconds

from sensorium.config import ModelConfig, PlaceholderConfig
from sensorium.data.batches import Batch, BatchStream
from sensorium.data.packing import IGNORED, Piece, pieces
from sensorium.data.spec import DatasetSpec
from sensorium.data.world.export import export
from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.source import World
from sensorium.hub.folder import load_pretrained
from sensorium.messages import Message
from sensorium.nn.omni import Omni
from sensorium.processing.media import media_of
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer
from sensorium.train import Callback, Recipe, train
from sensorium.train.callbacks import StepMetrics

SIDE, VOCABULARY = 64, 1024
PADDED_ROWS, PACKED_ROWS, PACKED_TIME = 16, 4, 512
LOOKED_AT = {"caption": 1.0, "vqa": 2.0}
HEARD_TOO = {"caption": 1.0, "vqa": 2.0, "weather": 1.0, "dictation": 1.0, "spoken_vqa": 1.0}
IMAGE = PlaceholderConfig(token="<|image|>", begin="<|image_begin|>", end="<|image_end|>")
TARGET = 0.05


def llava(vocabulary: int, image_id: int) -> transformers.PreTrainedModel:
    """The peer, drawn from seed 0: CLIP's tower of 64 patches, LLaVA's two linear maps, and a Llama of 5.7M."""
    torch.manual_seed(0)
    eyes = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
    decoder = {"hidden_size": 256, "intermediate_size": 672, "num_hidden_layers": 6, "num_attention_heads": 8}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=SIDE, patch_size=8, **eyes),
        text_config=transformers.LlamaConfig(
            vocab_size=vocabulary,
            max_position_embeddings=PACKED_TIME,
            num_key_value_heads=8,
            tie_word_embeddings=True,
            use_cache=False,
            **decoder,
        ),
        image_token_index=image_id,
        image_seq_length=(SIDE // 8) ** 2,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    return transformers.LlavaForConditionalGeneration(config)


def ours_from(peer: transformers.PreTrainedModel) -> Omni:
    """Our model with the peer's weights, by way of its folder."""
    with TemporaryDirectory() as folder:
        peer.save_pretrained(folder)
        model = load_pretrained(Path(folder)).model
        for weight in model.parameters():  # out of the mapped file, which is about to go
            weight.data = weight.data.clone()
    model.decoder.tie_weights()
    return model.train()


@dataclass(frozen=True)
class Padded:
    """A batch as the peer takes it: (rows, time) token ids and targets, and a picture (3, height, width) of each."""

    input_ids: Tensor
    targets: Tensor
    pixels: Tensor

    @classmethod
    def of(cls, group: Sequence[Piece]) -> Padded:
        """Conversations, one a row, as wide as the longest."""
        shape = (len(group), max(map(len, group)))
        ids, targets = torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORED)
        for row, piece in enumerate(group):
            ids[row, : len(piece)] = torch.from_numpy(piece.inputs)
            targets[row, : len(piece)] = torch.from_numpy(piece.targets)
        pixels = media_of([piece.features for piece in group]).images
        assert pixels is not None
        return cls(ids, targets, pixels)


def prepared(folder: Path, records: int) -> tuple[Processor, list[tuple[Message, ...]], DatasetSpec]:
    """Conversations about pictures, as such and as a data set of files, and the processor without a model's config."""
    world = World(WorldSpec(kinds=LOOKED_AT, size=SIDE), "train")
    found = [world.record(index).content for index in range(records)]
    conversations = [content for content in found if not isinstance(content, str)]
    assert len(conversations) == records
    words = (message.text for content in conversations for message in content)
    tokenizer = Tokenizer.train(words, VOCABULARY).with_controls([IMAGE.token, IMAGE.begin, IMAGE.end])
    return Processor(tokenizer), conversations, DatasetSpec(path=export(world, records, folder))


def with_media(processor: Processor, config: ModelConfig) -> Processor:
    """The processor for our model, by whose tokens pictures stand in both models' sequences."""
    assert config.vision is not None
    eyes = config.vision.model_copy(update={"placeholder": IMAGE})
    return processor.with_config(config.model_copy(update={"vision": eyes}))


def compared(records: int, repeats: int) -> dict[str, Any]:
    """An epoch of either, from the same weights."""
    with TemporaryDirectory() as folder:
        processor, conversations, spec = prepared(Path(folder) / "data", records)
        tokenizer = processor.tokenizer
        peer = llava(tokenizer.vocab_size, tokenizer.control_ids[IMAGE.token]).train()
        ours = ours_from(peer)
        processor = with_media(processor, ours.config)
        packed = list(BatchStream([spec], processor, rows=PACKED_ROWS, time=PACKED_TIME, repeat=False))
    encoded = (processor.encode_messages(messages) for messages in conversations)
    whole = [
        piece for each in encoded for piece in pieces(each.token_ids, each.learned, PACKED_TIME, features=each.features)
    ]
    assert len(whole) == records
    padded = [Padded.of(whole[begin : begin + PADDED_ROWS]) for begin in range(0, records, PADDED_ROWS)]
    learned = sum(int((batch.targets != IGNORED).sum()) for batch in packed)
    assert learned == sum(int((batch.targets != IGNORED).sum()) for batch in padded)

    def our_loss(batch: Batch) -> Tensor:
        return ours.loss(
            batch.input_ids, batch.targets, batch.media, positions=batch.positions, document_ids=batch.document_ids
        )

    def peer_loss(batch: Padded) -> Tensor:
        given = {"input_ids": batch.input_ids, "pixel_values": batch.pixels}
        loss: Tensor = peer(**given, labels=batch.targets, shift_labels=batch.targets).loss
        return loss * (batch.targets != IGNORED).sum()

    with torch.no_grad():
        totals = sum(our_loss(batch).item() for batch in packed), sum(peer_loss(batch).item() for batch in padded)
    difference = agree(totals[0] / learned, totals[1] / learned)

    def our_epoch() -> None:
        for batch in packed:
            learn(our_loss(batch), batch.targets, optimizers[0])

    def peer_epoch() -> None:
        for batch in padded:
            learn(peer_loss(batch), batch.targets, optimizers[1])

    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True) for model in (ours, peer)]
    seconds = median_seconds({"sensorium": our_epoch, "transformers": peer_epoch}, repeats, warm_up=1)
    tokens = sum(map(len, whole))
    return {
        "parameters": sum(weight.numel() for weight in peer.parameters()),
        "conversations": records,
        "tokens": tokens,
        "learned_tokens": learned,
        "loss_difference": difference,
        "samples_per_s": {name: round(records / value, 2) for name, value in seconds.items()},
        "ratio": round(seconds["transformers"] / seconds["sensorium"], 3),
        "filled": {
            "sensorium": round(tokens / sum(batch.targets.numel() for batch in packed), 3),
            "transformers": round(tokens / sum(batch.targets.numel() for batch in padded), 3),
        },
    }


def learn(loss: Tensor, targets: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step on a summed loss, the same for either."""
    (loss / (targets != IGNORED).sum()).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class Clock(Callback):
    """Remembers every step."""

    def __init__(self) -> None:
        self.steps: list[StepMetrics] = []

    def on_step(self, metrics: StepMetrics) -> None:
        """One more."""
        self.steps.append(metrics)


def waiting(steps: int, first: int, threads: int) -> dict[str, Any]:
    """The share of the time of a training's steps that went by without a batch, after the first of them."""
    world = {"kinds": HEARD_TOO, "size": SIDE}
    eyes = {"kind": "resnet", "image_size": SIDE, "stem": "small", "stem_dim": 32, "dims": [48, 96, 160]}
    ears = {"kind": "conv", "dim": 192, "n_layers": 5, "n_heads": 4, "hidden_dim": 768, "max_frames": 2000}
    joint = {"kind": "pixel_shuffle", "factor": 2, "norm": True}
    decoder = {"dim": 256, "n_layers": 5, "n_heads": 8, "n_kv_heads": 4, "hidden_dim": 624, "max_positions": 512}
    recipe = {
        "model": decoder,
        "vision": {
            "encoder": eyes | {"depths": [1, 2, 2], "block": "basic", "downsample_in_first_stage": True},
            "projector": joint | {"positions": True},
        },
        "speech": {"audio": {"window_seconds": 20}, "encoder": ears | {"strides": [2, 2]}, "projector": joint},
        "tokenizer": {"vocab_size": VOCABULARY, "data": [{"world": world, "split": "train", "limit": 500}]},
        "stages": [
            {
                "objective": "chat",
                "data": [{"world": world, "split": "train"}],
                "validation": [],
                "rows": 16,
                "time": 256,
                "budget": {"steps": first + steps},
                "workers": 1,
                "eval_every": 0,
                "save_every": first + steps,
            }
        ],
    }
    clock = Clock()
    with TemporaryDirectory() as folder:
        train(Recipe.parse(recipe, "waiting"), Path(folder) / "run", device="cpu", threads=threads, callbacks=[clock])
    seconds = [later.seconds - earlier.seconds for earlier, later in zip(clock.steps, clock.steps[1:], strict=False)]
    counted = list(zip(seconds, clock.steps[1:], strict=True))[max(first - 1, 0) :]
    total = sum(taken for taken, _ in counted)
    waited = sum(taken * step.waited for taken, step in counted) / total
    return {
        "steps": len(counted),
        "first_step_waited_s": round(clock.steps[0].seconds * clock.steps[0].waited, 2),
        "seconds_per_step": round(total / len(counted), 3),
        "waited": round(waited, 4),
        "target": TARGET,
        "reached": waited <= TARGET,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--records", type=int, default=96, help="conversations of the comparison")
    parser.add_argument("--steps", type=int, default=40, help="steps whose waiting is counted; 0 leaves that out")
    parser.add_argument(
        "--first", type=int, default=20, help="steps before those, which use up what was made in advance"
    )
    parser.add_argument(
        "--trainer-threads", type=int, default=1, help="of the trainer that waits; one core is its data's"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    report = {"benchmark": "multimodal", "threads": options.threads, **compared(options.records, options.repeats)}
    if options.steps:
        report["data"] = waiting(options.steps, options.first, options.trainer_threads)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
