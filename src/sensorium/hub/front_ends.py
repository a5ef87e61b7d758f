"""How published models prepare pictures and recordings, read into our settings: each key honoured or refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.config import AudioConfig, ImageConfig, WhisperConfig, read_json
from sensorium.errors import ConfigError

_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by Pillow's numbers
_HALF = (0.5, 0.5, 0.5)
_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
_CLIP = {
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
# What each kind of processor does where its file is silent. ConvNext's is the one ResNets are published with.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "ViT": {"size": {"height": 224, "width": 224}, "resample": 2},
    "CLIP": {"size": {"shortest_edge": 224}, "crop_size": 224, "do_center_crop": True, "resample": 3, **_CLIP},
    "Siglip": {"size": {"height": 224, "width": 224}, "resample": 3},
    "ConvNext": {"size": {"shortest_edge": 384}, "resample": 3},
}
_FAMILY = {"vit": "ViT", "clip": "CLIP", "siglip": "Siglip", "resnet": "ConvNext"}
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "do_resize": (None, True),
    "do_rescale": (None, True),
    "do_convert_rgb": (None, True, False),  # pictures are always RGB here
    "do_pad": (None, False),
    "do_flip_channel_order": (None, False),
    "do_reduce_labels": (None, False),
    "do_image_splitting": (None, False),
    "size_divisor": (None,),
    "rescale_offset": (None, False),
    "data_format": (None, "channels_first"),
}
_TILES: dict[str, Any] = {
    "size": {"longest_edge": 4 * 364},
    "max_image_size": {"longest_edge": 364},
    "resample": 1,
    "image_mean": _HALF,
    "image_std": _HALF,
}
_KNOWN = {"do_normalize", "do_center_crop"}


def read_processor(folder: Path, part: str) -> tuple[dict[str, Any] | None, str]:
    """The settings of a folder's `image_processor` or `feature_extractor`, and where they stand; None without any.

    Raises:
        ConfigError: a file that is broken or no object.
    """
    both, own = folder / "processor_config.json", folder / "preprocessor_config.json"
    for path, inner in ((both, part), (own, None)):
        if not path.is_file():
            continue
        found = read_json(path)
        found = found.get(inner) if isinstance(found, dict) and inner is not None else found
        if found is None and inner is not None:
            continue  # its parts lie in the other file
        if not isinstance(found, dict):
            raise ConfigError(f"{path} must hold an object of settings")
        return found, str(path)
    return None, str(own)


def read_image_config(folder: Path, family: str, image_size: int | None) -> ImageConfig:
    """How a folder's model wants pictures, by its processor's file or, without one, as its family does.

    Args:
        folder: where the model lies.
        family: `vit`, `clip`, `siglip` or `resnet`.
        image_size: side of the pictures that the encoder reads; None where only the processor knows.

    Raises:
        ConfigError: a setting we do not compute, or pictures of another size than the encoder's.
    """
    raw, where = read_processor(folder, "image_processor")
    image = image_config(raw, where, family) if raw is not None else usual_image_config(family, image_size or 224)
    if image_size is not None and image.size != (image_size, image_size):
        raise ConfigError(
            f"{where}: pictures are prepared as {image.size[0]}x{image.size[1]}, but the encoder reads "
            f"{image_size}x{image_size}"
        )
    return image


def read_whole_processor(folder: Path) -> tuple[dict[str, Any], str]:
    """What `processor_config.json` says beside its parts, and its name; nothing without one.

    Raises:
        ConfigError: a file that is broken or no object.
    """
    path = folder / "processor_config.json"
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise ConfigError(f"{path} must hold an object of settings")
    return found, str(path)


def read_tiles_config(folder: Path, image_size: int) -> ImageConfig:
    """How a folder's Idefics3 or SmolVLM cuts pictures into tiles, each a picture for the encoder.

    Raises:
        ConfigError: a setting we do not compute, or tiles of another size than the encoder's.
    """
    raw, where = read_processor(folder, "image_processor")
    full = _TILES | {key: value for key, value in (raw or {}).items() if value is not None}
    named = str(full.get("image_processor_type", "Idefics3ImageProcessor"))
    if not named.startswith(("Idefics3ImageProcessor", "SmolVLMImageProcessor")):
        raise ConfigError(f"{where}: image_processor_type {named!r} is not supported (only Idefics3's and SmolVLM's)")
    for key in ("do_resize", "do_rescale", "do_image_splitting"):
        if not full.get(key, True):
            raise ConfigError(f"{where}: {key} = {full[key]!r} is not supported")
    edges = [_edge(full, key, where) for key in ("size", "max_image_size")]
    if raw is None:
        edges = [4 * image_size, image_size]
    if edges[1] != image_size:
        raise ConfigError(f"{where}: tiles of {edges[1]}x{edges[1]}, but the encoder reads {image_size}x{image_size}")
    resample = _resample(full, where)
    tiles = {"size": (image_size, image_size), "resize": "tiles", "longest_edge": edges[0], "resample": resample}
    return ImageConfig.parse(tiles | _levels(full, where), where)


def _edge(full: Mapping[str, Any], key: str, where: str) -> int:
    size = full[key]
    if not isinstance(size, dict) or set(size) != {"longest_edge"} or not isinstance(size["longest_edge"], int):
        raise ConfigError(f"{where}: {key} = {size!r} is not supported (longest_edge)")
    edge: int = size["longest_edge"]
    return edge


def image_config(raw: Mapping[str, Any], where: str, family: str) -> ImageConfig:
    """A processor's file as our settings. Raises `ConfigError` on anything we could only get wrong."""
    kind = _kind(raw, family, where)
    for key, neutral in _NEUTRAL.items():
        if raw.get(key) not in neutral:
            raise ConfigError(f"{where}: {key} = {raw[key]!r} is not supported")
    unknown = [key for key, on in raw.items() if key.startswith("do_") and on and key not in {*_NEUTRAL, *_KNOWN}]
    if unknown:
        raise ConfigError(f"{where}: {unknown[0]} = {raw[unknown[0]]!r} is not supported")
    full = {"image_mean": _HALF, "image_std": _HALF} | _DEFAULTS[kind] | {k: v for k, v in raw.items() if v is not None}
    resample = _resample(full, where)
    sizes = _convnext_sizes(full, where) if kind == "ConvNext" else _sizes(full, kind, where)
    return ImageConfig.parse(sizes | {"resample": resample} | _levels(full, where), where)


def _resample(full: Mapping[str, Any], where: str) -> str:
    resample = full["resample"]
    if not isinstance(resample, int) or not 0 <= resample < len(_RESAMPLE):
        raise ConfigError(f"{where}: resample = {resample!r} is none of Pillow's 0 to {len(_RESAMPLE) - 1}")
    return _RESAMPLE[resample]


def read_audio_config(folder: Path, encoder: WhisperConfig) -> AudioConfig:
    """How a folder's Whisper wants recordings: whole windows, filled with silence.

    Raises:
        ConfigError: a setting we do not compute, or windows of another size than the encoder's.
    """
    raw, where = read_processor(folder, "feature_extractor")
    raw = raw or {}
    named = raw.get("feature_extractor_type", "WhisperFeatureExtractor")
    if named != "WhisperFeatureExtractor":
        raise ConfigError(f"{where}: feature_extractor_type {named!r} is not supported (only WhisperFeatureExtractor)")
    for key, neutral in (
        ("padding_value", (None, 0, 0.0)),
        ("dither", (None, 0, 0.0)),
        ("do_normalize", (None, False)),
        ("padding_side", (None, "right")),
    ):
        if raw.get(key) not in neutral:
            raise ConfigError(f"{where}: {key} = {raw[key]!r} is not supported")
    rate, hop = raw.get("sampling_rate", 16_000), raw.get("hop_length", 160)
    if not all(isinstance(value, int) and value > 0 for value in (rate, hop)):
        raise ConfigError(f"{where}: sampling_rate {rate!r} and hop_length {hop!r} must be whole numbers above 0")
    audio = AudioConfig.parse(
        {
            "sample_rate": rate,
            "hop": hop,
            "n_fft": raw.get("n_fft", 400),
            "n_mels": raw.get("feature_size", encoder.n_mels),
            "window_seconds": raw.get("chunk_length", encoder.max_frames * hop / rate),
            "pad_to_window": True,
        },
        where,
    )
    frames = audio.window_seconds * rate / hop
    if frames != encoder.max_frames:
        raise ConfigError(f"{where}: windows of {frames:g} frames, but the encoder reads {encoder.max_frames}")
    return audio


def _kind(raw: Mapping[str, Any], family: str, where: str) -> str:
    named = raw.get("image_processor_type") or raw.get("feature_extractor_type")
    if named is None:
        return _FAMILY[family]
    kind = str(named)
    for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        kind = kind.removesuffix(ending)
    if kind not in _DEFAULTS:
        raise ConfigError(f"{where}: image_processor_type {named!r} is not supported (only {', '.join(_DEFAULTS)})")
    return kind


def _levels(full: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Mean and standard deviation of `value / 255`, whatever the file first multiplies by."""
    factor = full.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float) or isinstance(factor, bool) or factor <= 0:
        raise ConfigError(f"{where}: rescale_factor = {factor!r} must be a number above 0")
    mean, std = (_three(full[key], key, where) for key in ("image_mean", "image_std"))
    if not full.get("do_normalize", True):
        mean, std = (0.0,) * 3, (1.0,) * 3
    scale = 1.0 if abs(255 * factor - 1) < 1e-9 else 255 * factor
    return {"mean": tuple(one / scale for one in mean), "std": tuple(one / scale for one in std)}


def _three(value: Any, key: str, where: str) -> tuple[float, ...]:
    values = list(value) if isinstance(value, list | tuple) else [value] * 3
    if len(values) != 3 or not all(isinstance(one, int | float) for one in values):
        raise ConfigError(f"{where}: {key} = {value!r} must be three numbers")
    return tuple(values)


def _sizes(full: Mapping[str, Any], kind: str, where: str) -> dict[str, Any]:
    """Stretched to a size, or its shortest edge brought to one and the middle cut out."""
    size = full["size"]
    if isinstance(size, int):  # what it means differed before sizes had names
        size = {"shortest_edge": size} if kind == "CLIP" else {"height": size, "width": size}
    crop = full.get("crop_size")
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    crops = bool(full.get("do_center_crop", False))
    if isinstance(size, dict) and set(size) == {"height", "width"}:
        stretched = (size["height"], size["width"])
        if crops and isinstance(crop, dict) and (crop.get("height"), crop.get("width")) != stretched:
            raise ConfigError(f"{where}: crop_size {crop!r} of a picture stretched to {size!r} is not supported")
        return {"size": stretched, "resize": "stretch"}
    if not (isinstance(size, dict) and set(size) == {"shortest_edge"}):
        raise ConfigError(f"{where}: size = {size!r} is not supported (height and width, or shortest_edge)")
    if not (crops and isinstance(crop, dict) and set(crop) == {"height", "width"}):
        raise ConfigError(
            f"{where}: size = {size!r} without a crop gives pictures of any shape, but the encoder reads one "
            "(set do_center_crop and crop_size)"
        )
    return {"size": (crop["height"], crop["width"]), "resize": "crop", "shortest_edge": size["shortest_edge"]}


def _convnext_sizes(full: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Below 384 a share `crop_pct` of the shortest edge is cut out, from there on pictures are stretched."""
    if full.get("do_center_crop"):
        raise ConfigError(f"{where}: do_center_crop on top of crop_pct is not supported")
    size, share = full["size"], full.get("crop_pct", 224 / 256)
    side = size.get("shortest_edge") if isinstance(size, dict) and len(size) == 1 else size
    if not isinstance(side, int) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ConfigError(f"{where}: size = {size!r} with crop_pct = {share!r} is not supported")
    if side >= 384:
        return {"size": (side, side), "resize": "stretch"}
    return {"size": (side, side), "resize": "crop", "shortest_edge": int(side / share)}


def usual_image_config(family: str, side: int) -> ImageConfig:
    """What is usual in a family, for a model that comes without a processor's file."""
    levels = {"image_mean": _HALF, "image_std": _HALF} | (
        _IMAGENET if family == "resnet" else _DEFAULTS[_FAMILY[family]]
    )
    return ImageConfig(
        size=(side, side),
        resize="crop" if family in ("clip", "resnet") else "stretch",
        shortest_edge=int(side / (224 / 256)) if family == "resnet" else None,
        resample="bilinear" if family == "vit" else "bicubic",
        mean=levels["image_mean"],
        std=levels["image_std"],
    )
