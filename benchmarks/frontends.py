"""Pictures and recordings to tensors: ours beside `transformers`' processors, in the same run, on one thread.

    python benchmarks/frontends.py [--repeats 30]

The peer's image processors are those of its PIL back end (CLIP crops, SigLIP and ViT stretch, Idefics3 cuts tiles), on
decoded pictures; its `WhisperFeatureExtractor` and our log-mel take full 30 seconds. The outcomes must agree before
anything is timed: pictures within one of 255 levels, log-mel within 1e-4. One JSON line: milliseconds of processor time
of either (the median, taken in turns; what else runs on the machine does not count), how many times as fast ours is,
and what a training example costs from its encoded bytes: a 64×64 PPM, and two seconds of WAV at 16 kHz. The target is
2 times.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import soundfile
import torch
import transformers
from transformers import WhisperFeatureExtractor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from sensorium.config import AudioConfig, ImageConfig
from sensorium.messages import Audio, Image
from sensorium.processing.audio import load_audio
from sensorium.processing.images import image_tiles, load_image
from sensorium.processing.mel import audio_windows

TARGET = 2.0
SIZES = [(480, 640), (1080, 1920)]
FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
PEERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "clip": (CLIPImageProcessorPil, {"resize": "crop", "size": (224, 224)}),
    "siglip": (SiglipImageProcessorPil, {"size": (224, 224)}),
    "vit": (ViTImageProcessorPil, {"size": (224, 224)}),
    "idefics3": (Idefics3ImageProcessorPil, {"resize": "tiles", "size": (364, 364)}),
}


def photograph(height: int, width: int) -> PIL.Image.Image:
    """Slow changes of colour with the grain of a sensor."""
    rng = np.random.default_rng([height, width])
    corners = PIL.Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(corners.resize((width, height), PIL.Image.Resampling.BICUBIC), np.float64)
    grain = rng.normal(0.0, 3.0, smooth.shape)
    return PIL.Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def timed(*works: Callable[[], Any], repeats: int) -> list[float]:
    """Median milliseconds of each, taken in turns so that all meet the same machine."""
    spent: list[list[float]] = [[] for _ in works]
    for _ in range(repeats + 1):
        for index, work in enumerate(works):
            start = time.thread_time()
            work()
            spent[index].append(1e3 * (time.thread_time() - start))
    return [statistics.median(times[1:]) for times in spent]


def compared(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int) -> dict[str, float]:
    mine, theirs = timed(ours, peer, repeats=repeats)
    return {"ours_ms": round(mine, 3), "peer_ms": round(theirs, 3), "ratio": round(theirs / mine, 2)}


def pictures(repeats: int) -> dict[str, dict[str, float]]:
    figures = {}
    for name, (make, settings) in PEERS.items():
        peer = make()
        config = ImageConfig(mean=peer.image_mean, std=peer.image_std, resample=FILTERS[int(peer.resample)], **settings)
        for height, width in SIZES:
            picture = photograph(height, width)
            mine = np.stack(image_tiles(picture, config).values)
            theirs = np.asarray(peer(picture, return_tensors="np")["pixel_values"]).reshape(mine.shape)
            apart = np.abs((mine - theirs) * np.array(config.std)[:, None, None] * 255).max()
            assert apart <= 1.001, f"{name} is {apart} levels from its peer"
            figures[f"{name}_{width}x{height}"] = compared(
                lambda picture=picture, config=config: image_tiles(picture, config),
                lambda picture=picture, peer=peer: peer(picture, return_tensors="np"),
                repeats if name != "idefics3" else max(repeats // 3, 3),
            )
    return figures


def recordings(repeats: int) -> dict[str, dict[str, float]]:
    figures = {}
    wave = np.random.default_rng(0).normal(0.0, 0.1, 30 * 16_000).astype(np.float32)
    for n_mels in (80, 128):
        peer, config = WhisperFeatureExtractor(feature_size=n_mels), AudioConfig(n_mels=n_mels, pad_to_window=True)

        def theirs(peer: WhisperFeatureExtractor = peer) -> Any:
            return peer(wave, sampling_rate=16_000, return_tensors="np")["input_features"]

        apart = np.abs(audio_windows(wave, config)[0] - theirs()[0]).max()
        assert apart <= 1e-4, f"log-mel is {apart} from its peer"
        figures[f"log_mel_{n_mels}"] = compared(lambda config=config: audio_windows(wave, config), theirs, repeats)
    return figures


def examples(repeats: int) -> dict[str, float]:
    """Milliseconds from encoded bytes to tensors for what a model learns from most."""
    small, heard = ImageConfig(size=(64, 64)), AudioConfig()
    stream, sound = io.BytesIO(), io.BytesIO()
    photograph(64, 64).save(stream, "PPM")
    soundfile.write(sound, 0.1 * np.random.default_rng(1).standard_normal(32_000), 16_000, format="WAV")
    picture, recording = Image(data=stream.getvalue()), Audio(data=sound.getvalue())
    seen, listened = timed(
        lambda: image_tiles(load_image(picture, small), small),
        lambda: audio_windows(load_audio(recording, heard), heard),
        repeats=20 * repeats,
    )
    return {"ppm_64x64_ms": round(seen, 4), "wav_2s_ms": round(listened, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    peers = pictures(arguments.repeats) | recordings(arguments.repeats)
    print(
        json.dumps(
            {
                "benchmark": "frontends",
                **peers,
                **examples(arguments.repeats),
                "least_ratio": min(figures["ratio"] for figures in peers.values()),
                "target": TARGET,
                "machine": f"{platform.machine()}, torch {torch.__version__}, Pillow {PIL.__version__}, "
                f"transformers {transformers.__version__}",
            }
        )
    )


if __name__ == "__main__":
    main()
