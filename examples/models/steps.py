"""One forward pass of a `transformers` model as servers make it: prefill, or a decoding step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, StaticCache


@dataclass
class Step:
    """A call of a model that can be made again and again.

    reset(): puts back what a call changes (how full the cache is), and must run before each.
    """

    name: str
    model: PreTrainedModel
    inputs: Mapping[str, Any]
    num_tokens: int
    reset: Callable[[], None]
    call: Callable[..., Any] = field(init=False)

    def __post_init__(self) -> None:
        self.call = self.model

    def __call__(self) -> Tensor:
        """One call without the reset. Returns the logits of the last token of each sequence, (B, vocab)."""
        logits: Tensor = self.call(**self.inputs).logits
        return logits[:, -1]

    def run(self) -> Tensor:
        """One call from the same start as every other."""
        self.reset()
        return self()

    def compile(self, **how: Any) -> None:
        """Lets further calls go through `torch.compile(model, **how)`."""
        self.call = torch.compile(self.model, fullgraph=True, **how)


def prefill(model: PreTrainedModel, batch: int, seq_len: int) -> Step:
    """`batch` prompts of `seq_len` random tokens, causal, no cache kept."""
    inputs = {"input_ids": _tokens(model, batch, seq_len), "use_cache": False, "logits_to_keep": 1}
    return Step(f"prefill {batch} x {seq_len}", model, inputs, batch * seq_len, reset=lambda: None)


def decode(model: PreTrainedModel, batch: int, context: int, room: int = 64) -> Step:
    """One more token for `batch` sequences of `context` tokens, in a static KV cache with `room` more.

    The cache holds random keys and values: no prefill is needed, and none of its memory.
    """
    config = model.config
    cache = StaticCache(config=config, max_cache_len=context + room)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache.early_initialization(batch, config.num_key_value_heads, head_dim, model.dtype, model.device)
    for layer in cache.layers:
        layer.keys, layer.values = torch.randn_like(layer.keys), torch.randn_like(layer.values)
    inputs = {
        "input_ids": _tokens(model, batch, 1),
        "position_ids": torch.full((batch, 1), context, device=model.device),
        "past_key_values": cache,
        "use_cache": True,
    }

    def reset() -> None:
        for layer in cache.layers:
            layer.cumulative_length.fill_(context)

    return Step(f"decode {batch} at {context}", model, inputs, batch, reset)


def _tokens(model: PreTrainedModel, batch: int, seq_len: int) -> Tensor:
    return torch.randint(0, model.config.vocab_size, (batch, seq_len), device=model.device)


def greedy(step: Step, count: int) -> Tensor:
    """Decodes `count` tokens, each the likeliest after the last. Returns all logits, (count, B, vocab).

    step: of `decode`, whose input and cache it changes; both are put back.
    """
    ids, positions = step.inputs["input_ids"], step.inputs["position_ids"]
    before = ids.clone(), positions.clone()
    found = []
    with torch.inference_mode():
        step.reset()
        for _ in range(count):
            found.append(step())
            ids.copy_(found[-1].argmax(dim=-1, keepdim=True))
            positions.add_(1)
        ids.copy_(before[0])
        positions.copy_(before[1])
        step.reset()
    return torch.stack(found)
