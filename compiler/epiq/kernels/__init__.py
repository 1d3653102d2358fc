"""Matrix products and attention with an epilogue: `epiq.kernels.matmul(a, b, epilogue=epiq.Quantize(fmt))`.

triton_matmul.py has kernels that only store their result, gluon_matmul.py one for Hopper that calls its
epilogue; product.py chooses and calls them. Attention is in epiq.attention.
"""

from epiq.attention import Config as AttentionConfig
from epiq.attention import attention, paged_attention
from epiq.kernels.configs import Config
from epiq.kernels.product import matmul

__all__ = ["AttentionConfig", "Config", "attention", "matmul", "paged_attention"]
