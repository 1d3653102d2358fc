"""Llama-3-8B and Qwen3-8B from `transformers`' own modelling code, made FP8, with random weights.

The configs are those that the checkpoints have, written out, so that nothing is downloaded. `transformers`
and, for per-row scales, `torchao` are needed: pip install 'epiq[models]'.

    model = fp8_model("llama-3-8b", scheme="block", device="cuda")
    fast = torch.compile(model, backend="epiq")

`python examples/models/hf.py` runs a narrow model of the same class on the CPU, eager and compiled.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

sys.path.insert(0, str(Path(__file__).resolve().parent))
from llama import block_scaled_mm, quantize_activations, quantize_weight

# meta-llama/Meta-Llama-3-8B and Qwen/Qwen3-8B, config.json: all that shapes the graph.
_LLAMA_3_8B: dict[str, Any] = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
}  # fmt: skip
_QWEN3_8B: dict[str, Any] = {
    "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}  # fmt: skip
MODELS: dict[str, tuple[type[PreTrainedModel], type[PreTrainedConfig], dict[str, Any]]] = {
    "llama-3-8b": (LlamaForCausalLM, LlamaConfig, _LLAMA_3_8B),
    "qwen3-8b": (Qwen3ForCausalLM, Qwen3Config, _QWEN3_8B),
}
# The same classes, small enough for the CPU.
NARROW = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 512, "max_position_embeddings": 512,
}  # fmt: skip
SCHEMES = ("block", "per_row")


def fp8_model(
    name: str, scheme: str, *, device: torch.device | str = "cpu", **changes: Any
) -> PreTrainedModel:
    """A model for inference in bf16, its linears but the head in FP8.

    Args: name: of MODELS. scheme: "block", activations in groups of 128 and weights in blocks of 128 x 128;
    "per_row", torchao's dynamic FP8, a scale for each token and for each output feature. device: "meta" has
    no memory and can be traced as a GPU would. changes: fields of the config, `num_hidden_layers=4` say.
    Raises: ValueError for a name or scheme that does not exist.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is not one of {', '.join(MODELS)}")
    if scheme not in SCHEMES:
        raise ValueError(f"scheme {scheme!r} is not one of {', '.join(SCHEMES)}")
    kind, config_kind, fields = MODELS[name]
    config: Any = config_kind(**{**fields, **changes})
    config._attn_implementation = _attention(torch.device(device))
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            model = kind(config).eval()
        with torch.device(device):
            fill(model)
    finally:
        torch.set_default_dtype(previous)
    make_fp8 = block_fp8 if scheme == "block" else per_row_fp8
    make_fp8(model.model)
    return model


def fill(model: PreTrainedModel) -> None:
    """Gives a model without memory weights on the default device, and its RoPE frequencies.

    The weights keep activations near unit variance through any number of layers.
    """
    for module in list(model.modules()):
        for name, empty in list(module.named_parameters(recurse=False)):
            noise = torch.randn(empty.shape)
            filled = 1.0 + 0.1 * noise if noise.dim() == 1 else noise * noise.shape[-1] ** -0.5
            setattr(module, name, nn.Parameter(filled, requires_grad=False))
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)


class BlockFp8Linear(nn.Module):
    """What `linear` computes, its weight e4m3 in blocks of 128 x 128, its input quantized 1 x 128."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        q, scale = quantize_weight(linear.weight)
        self.register_buffer("weight", q)
        self.register_buffer("weight_scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        q, scale = quantize_activations(x.reshape(-1, x.shape[-1]))
        return block_scaled_mm(q, scale, self.weight, self.weight_scale).view(*x.shape[:-1], -1)


def block_fp8(model: nn.Module) -> None:
    """Puts a BlockFp8Linear in the place of each linear of `model`, which must have no bias."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, BlockFp8Linear(child))


def per_row_fp8(model: nn.Module) -> None:
    """What torchao's Float8DynamicActivationFloat8WeightConfig(PerRow()) makes of each linear's weight."""
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    if torch.cuda.is_available():
        config = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False)
        quantize_(model, config)
        return
    # Where there is no GPU, quantize_ refuses; the weights that it makes work all the same.
    for child in model.modules():
        if isinstance(child, nn.Linear):
            child.weight = nn.Parameter(_per_row_weight(child.weight), requires_grad=False)


def _per_row_weight(weight: Tensor) -> Tensor:
    from torchao.float8.inference import Float8MMConfig
    from torchao.quantization import PerRow
    from torchao.quantization.quantize_.workflows.float8.float8_tensor import (
        Float8Tensor,
        QuantizeTensorToFloat8Kwargs,
    )

    activations = QuantizeTensorToFloat8Kwargs(torch.float8_e4m3fn, PerRow())
    made: Tensor = Float8Tensor.from_hp(
        weight.detach(),
        granularity=PerRow(),
        mm_config=Float8MMConfig(use_fast_accum=True),
        act_quant_kwargs=activations,
    )
    return made


def _attention(device: torch.device) -> str:
    """The name of an attention function, made known to transformers: its SDPA, no mask for whole prompts.

    transformers builds a mask for every graph that is compiled, which takes SDPA's fast kernels away
    from all backends alike.
    """
    name = f"causal_sdpa_{device.type}"
    AttentionInterface.register(name, _sdpa_of_a_gpu if device.type == "meta" else sdpa_attention_forward)
    AttentionMaskInterface.register(name, _no_mask_for_prompts)
    return name


def _no_mask_for_prompts(*, q_length: int, kv_length: int, attention_mask: Any = None, **more: Any) -> Any:
    if attention_mask is None and q_length == kv_length:
        return None
    return sdpa_mask(q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **more)


def _sdpa_of_a_gpu(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """The kernels that SDPA chooses on a GPU, by name: without memory there is no GPU to choose for."""
    if mask is None:
        is_causal = q.shape[2] > 1
        out = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, is_causal, scale=scaling)[0]
        return out.transpose(1, 2).contiguous(), None
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    bias = torch.where(mask, 0.0, float("-inf")).to(q.dtype).expand(-1, q.shape[1], -1, -1)
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    out = efficient(q, k, v, bias, False, 0.0, False, scale=scaling)[0]
    return out.transpose(1, 2).contiguous(), None


def main() -> None:
    from steps import prefill

    torch.manual_seed(0)
    step = prefill(fp8_model("llama-3-8b", "block", **NARROW), batch=2, seq_len=32)
    with torch.inference_mode():
        expected = step.run()
        step.compile(backend="epiq")
        actual = step.run()
    error = float((actual - expected).float().norm() / expected.float().norm())
    print(f"a narrow llama-3-8b, {step.name}: logits {tuple(actual.shape)}, off by {error:.1e} of eager's")


if __name__ == "__main__":
    main()
