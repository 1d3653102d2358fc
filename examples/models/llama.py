"""Llama-3-shaped decoder layers in plain torch, with block FP8 linears.

Nothing here knows about epiq: it is what `torch.compile` is given. Weights are random, made on the
device, scaled so that activations stay near unit variance through any number of layers.

    model = Llama(LLAMA_3_8B, num_layers=4, device="cuda")
    y = torch.compile(model, backend="epiq")(*example_inputs(model, batch=4, seq_len=2048))

`python examples/models/llama.py` runs one narrow layer on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FP8_MAX = 448.0
BLOCK = 128
# What fused server kernels use as the smallest scale; it keeps all-zero groups finite.
MIN_SCALE = 1.0 / (FP8_MAX * 512.0)
CUDA_BUILT = torch.backends.cuda.is_built()


@dataclass(frozen=True)
class LlamaConfig:
    """Widths of a decoder layer; every one but n_heads and n_kv_heads is a multiple of 128."""

    hidden_size: int
    n_heads: int
    n_kv_heads: int
    intermediate_size: int
    head_dim: int = 128
    norm_eps: float = 1e-5
    rope_theta: float = 500000.0


LLAMA_3_8B = LlamaConfig(hidden_size=4096, n_heads=32, n_kv_heads=8, intermediate_size=14336)
NARROW = LlamaConfig(hidden_size=512, n_heads=4, n_kv_heads=2, intermediate_size=1024)


def quantize_activations(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantizes `x` to e4m3 with one scale per 128 values along K.

    Args: x: (M, K) bf16.
    Returns: q: (M, K) float8_e4m3fn. scale: (M, K // 128) f32, column-major: strides (1, M), which
    is what the GEMM reads.
    """
    groups = x.float().unflatten(-1, (-1, BLOCK))
    amax = groups.abs().amax(dim=-1, keepdim=True)
    scale = (amax / FP8_MAX).clamp(min=MIN_SCALE)
    q = (groups / scale).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)
    return q.flatten(-2), scale.squeeze(-1).t().clone(memory_format=torch.contiguous_format).t()


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantizes `weight` to e4m3 with one scale per 128 x 128 block.

    Args: weight: (N, K), N and K multiples of 128.
    Returns: q: (N, K) float8_e4m3fn. scale: (N // 128, K // 128) f32, row-major.
    """
    n, k = weight.shape
    blocks = weight.float().view(n // BLOCK, BLOCK, k // BLOCK, BLOCK)
    scale = (blocks.abs().amax(dim=(1, 3), keepdim=True) / FP8_MAX).clamp(min=MIN_SCALE)
    q = (blocks / scale).to(torch.float8_e4m3fn)
    return q.view(n, k), scale.view(n // BLOCK, k // BLOCK)


def block_scaled_mm(q: Tensor, scale: Tensor, weight: Tensor, weight_scale: Tensor) -> Tensor:
    """Returns `q @ weight.T`, dequantized: (M, N) bf16.

    Args: q: (M, K) e4m3 with `scale` (M, K // 128). weight: (N, K) e4m3 with `weight_scale`
    (N // 128, K // 128). On a GPU (or meta, its shapes alone) this is cuBLAS's block-scaled GEMM; on a CPU
    the operands are dequantized and multiplied in f32.
    """
    if q.device.type != "cpu":
        return torch._scaled_mm(
            q, weight.t(), scale_a=scale, scale_b=weight_scale.t(), out_dtype=torch.bfloat16
        )
    k = q.shape[1]
    a = (q.float().unflatten(-1, (-1, BLOCK)) * scale.unsqueeze(-1)).flatten(-2)
    rows = weight_scale.repeat_interleave(BLOCK, dim=0)
    b = weight.float().unflatten(-1, (k // BLOCK, BLOCK)) * rows.unsqueeze(-1)
    return (a @ b.flatten(-2).t()).to(torch.bfloat16)


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, KV heads shared by groups of query heads; (B, heads, S, head_dim) bf16."""
    if q.device.type == "cuda" and not CUDA_BUILT:
        # Traced with fake tensors where torch cannot choose a GPU's kernel: name the usual one.
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True)[0]
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


class BlockFp8Linear(nn.Module):
    """A linear layer with an e4m3 weight in 128 x 128 blocks; activations are quantized 1 x 128."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, in_features: int, out_features: int, device: torch.device | str) -> None:
        super().__init__()
        dense = torch.randn(out_features, in_features, device=device) * in_features**-0.5
        q, scale = quantize_weight(dense)
        self.register_buffer("weight", q)
        self.register_buffer("weight_scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        q, scale = quantize_activations(x.reshape(-1, x.shape[-1]))
        out = block_scaled_mm(q, scale, self.weight, self.weight_scale)
        return out.view(*x.shape[:-1], -1)


class RMSNorm(nn.Module):
    """RMSNorm as Hugging Face writes it: f32 inside, rounded to bf16 before the weight."""

    def __init__(self, size: int, eps: float, device: torch.device | str) -> None:
        super().__init__()
        weight = 1.0 + 0.1 * torch.randn(size, device=device)
        self.weight = nn.Parameter(weight.to(torch.bfloat16), requires_grad=False)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        variance = wide.pow(2).mean(dim=-1, keepdim=True)
        return self.weight * (wide * torch.rsqrt(variance + self.eps)).to(x.dtype)


def rotate_half(x: Tensor) -> Tensor:
    """(x1, x2) -> (-x2, x1) on the two halves of the last dimension."""
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


class Attention(nn.Module):
    """Causal attention with grouped KV heads; Q, K and V come from one GEMM."""

    def __init__(self, config: LlamaConfig, device: torch.device | str) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.head_dim = config.head_dim
        heads = config.n_heads + 2 * config.n_kv_heads
        self.qkv_proj = BlockFp8Linear(config.hidden_size, heads * config.head_dim, device)
        self.o_proj = BlockFp8Linear(config.n_heads * config.head_dim, config.hidden_size, device)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, seq_len, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, seq_len, -1, self.head_dim)
        sizes = [self.n_heads, self.n_kv_heads, self.n_kv_heads]
        q, k, v = (part.transpose(1, 2) for part in qkv.split(sizes, dim=2))
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        out = causal_attention(q, k, v)
        return self.o_proj(out.transpose(1, 2).reshape(batch, seq_len, -1))


class MLP(nn.Module):
    """silu(gate) * up, with gate and up from one GEMM."""

    def __init__(self, config: LlamaConfig, device: torch.device | str) -> None:
        super().__init__()
        self.gate_up_proj = BlockFp8Linear(config.hidden_size, 2 * config.intermediate_size, device)
        self.down_proj = BlockFp8Linear(config.intermediate_size, config.hidden_size, device)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class DecoderLayer(nn.Module):
    """Norm, attention, residual; norm, MLP, residual."""

    def __init__(self, config: LlamaConfig, device: torch.device | str) -> None:
        super().__init__()
        self.input_norm = RMSNorm(config.hidden_size, config.norm_eps, device)
        self.attention = Attention(config, device)
        self.post_attention_norm = RMSNorm(config.hidden_size, config.norm_eps, device)
        self.mlp = MLP(config, device)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        residual = x
        x = self.attention(self.input_norm(x), cos, sin)
        x = residual + x
        residual = x
        x = self.mlp(self.post_attention_norm(x))
        return residual + x


class Llama(nn.Module):
    """`num_layers` decoder layers, without embedding and head."""

    def __init__(self, config: LlamaConfig, num_layers: int = 1, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(DecoderLayer(config, device) for _ in range(num_layers))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: (B, S, hidden) bf16; cos, sin: (S, head_dim) bf16. Returns (B, S, hidden) bf16."""
        for layer in self.layers:
            x = layer(x, cos, sin)
        return x


def rope_tables(config: LlamaConfig, seq_len: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Returns cos and sin, (seq_len, head_dim) bf16, both halves alike."""
    exponent = torch.arange(0, config.head_dim, 2, device=device).float() / config.head_dim
    angles = torch.outer(torch.arange(seq_len, device=device).float(), config.rope_theta**-exponent)
    both = torch.cat((angles, angles), dim=-1)
    return both.cos().to(torch.bfloat16), both.sin().to(torch.bfloat16)


def example_inputs(model: Llama, batch: int, seq_len: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random hidden states and the RoPE tables, on the model's device."""
    device = model.layers[0].input_norm.weight.device
    x = torch.randn(batch, seq_len, model.config.hidden_size, device=device)
    return (x.to(torch.bfloat16), *rope_tables(model.config, seq_len, device))


def main() -> None:
    torch.manual_seed(0)
    model = Llama(NARROW, num_layers=2)
    with torch.inference_mode():
        y = model(*example_inputs(model, batch=1, seq_len=32))
    std = y.float().std().item()
    print(f"two narrow layers on the CPU: output {tuple(y.shape)} {y.dtype}, std {std:.2f}")


if __name__ == "__main__":
    main()
