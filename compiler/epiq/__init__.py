"""epiq fuses quantization into the kernels that produce the values."""

__version__ = "0.1.0"
