"""Attention with an epilogue: `epiq.kernels.attention(q, k, v, causal=True, epilogue=epiq.Quantize(fmt))`.

prefill.py and decode.py have kernels that only store their result, in Triton; attend.py and paged.py
choose and call them.
"""

from epiq.attention.attend import attention
from epiq.attention.configs import Config
from epiq.attention.paged import paged_attention

__all__ = ["Config", "attention", "paged_attention"]
