"""Quantization formats as data, and their eager reference in plain torch.

NUMERICS.md beside this file states every rule with its source.
"""

from epiq.formats.format import (
    ALL,
    FP8_GROUP64,
    FP8_GROUP128,
    FP8_PER_TENSOR,
    FP8_PER_TOKEN,
    FP8_STATIC,
    INT8_PER_TOKEN,
    MXFP4,
    MXFP8,
    NVFP4,
    QuantFormat,
)
from epiq.formats.reference import dequantize, quantize

__all__ = [
    "ALL",
    "FP8_GROUP64",
    "FP8_GROUP128",
    "FP8_PER_TENSOR",
    "FP8_PER_TOKEN",
    "FP8_STATIC",
    "INT8_PER_TOKEN",
    "MXFP4",
    "MXFP8",
    "NVFP4",
    "QuantFormat",
    "dequantize",
    "quantize",
]
