"""A model with more parts or a larger vocabulary than it had: what it knew is kept, the rest is drawn fresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sensorium.config import CodeRange, Config, ModelConfig
from sensorium.errors import ConfigError
from sensorium.hub.pretrained import Pretrained, coding
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor


def grown(pretrained: Pretrained, config: ModelConfig, processor: Processor | None, *, seed: int) -> Pretrained:
    """A model of `config` with all the weights of `pretrained`, in float32 on the CPU.

    Args:
        pretrained: a model whose every weight has a place in the new one, of the same shape but for tables of tokens,
            which may get more rows.
        config: settings of the larger model.
        processor: the larger model's.
        seed: draws what is new.

    Raises:
        ConfigError: the new model has no place for a weight of the old one.
    """
    model = Omni(config)
    model.reset_parameters(seed)
    state = model.state_dict()
    tokens = (pretrained.config.decoder.vocab_size, config.decoder.vocab_size)
    for name, weight in pretrained.model.state_dict().items():
        if name not in state or not _fits(weight, state[name], tokens):
            place = "no place" if name not in state else f"a place of shape {tuple(state[name].shape)}"
            raise ConfigError(
                f"{name} of {pretrained.name} has shape {tuple(weight.shape)}, and the new model {place} for it "
                "(only a vocabulary can grow; other settings of its parts must stay)"
            )
        state[name] = _widened(weight.detach().float().cpu(), state[name])
    model.load_state_dict(state)
    model.decoder.tie_weights()
    return replace(pretrained, config=config, model=model.eval(), processor=processor, stored_dtype=torch.float32)


def without_heads(pretrained: Pretrained, heads: Sequence[str]) -> Pretrained:
    """The same model without maps that it only learned by, `vision.grounding` or `speech.ctc`; others are ignored."""
    config = pretrained.config
    for head in heads:
        part, _, name = head.partition(".")
        has = getattr(config, part)
        if has is not None:
            config = config.model_copy(update={part: has.model_copy(update={name: False})})
    model = Omni(config)
    state = pretrained.model.state_dict()
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    model.decoder.tie_weights()
    processor = pretrained.processor
    if processor is not None:
        processor = coding(processor.with_config(config), model)
    return replace(pretrained, config=config, model=model.eval(), processor=processor)


def numbered(
    parts: dict[str, Config], known: Mapping[str, CodeRange], vocabulary: int
) -> tuple[dict[str, Config], int]:
    """The parts, the codes of each codec behind the last token; and the tokens that there are then.

    Args:
        parts: settings, by name.
        known: codecs that the model has already, whose codes stay where they are.
        vocabulary: tokens, the known codecs' codes among them.
    """
    found = dict(parts)
    for name, part in parts.items():
        if isinstance(part, CodeRange):
            first = known[name].first_id if name in known else vocabulary
            found[name] = part.model_copy(update={"first_id": first})
            vocabulary += 0 if name in known else part.codebook_size
    return found, vocabulary


def _fits(old: Tensor, new: Tensor, tokens: tuple[int, int]) -> bool:
    """Whether a weight goes into another as it is, or is a table of the old tokens that goes into one of the new."""
    if old.shape == new.shape:
        return True
    is_table = old.ndim > 0 and (old.shape[0], new.shape[0]) == tokens and tokens[0] < tokens[1]
    return is_table and old.shape[1:] == new.shape[1:]


def _widened(old: Tensor, fresh: Tensor) -> Tensor:
    """The old rows, and below them new ones around the old ones' mean, where a new token surprises nobody."""
    if old.shape == fresh.shape:
        return old
    more = fresh[len(old) :]
    if old.ndim > 1:
        more = old.mean(0) + more * (old.std() / fresh.std().clamp_min(torch.finfo(fresh.dtype).tiny))
    return torch.cat((old, more))
