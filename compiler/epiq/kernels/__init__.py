"""Matrix products with an epilogue: `epiq.kernels.matmul(a, b, epilogue=epiq.Quantize(fmt))`.

triton_matmul.py has the kernels, which only store their result; product.py calls them.
"""

from epiq.kernels.configs import Config
from epiq.kernels.product import matmul

__all__ = ["Config", "matmul"]
