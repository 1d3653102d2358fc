"""`attention`: attention over whole sequences and its epilogue in one kernel."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from epiq.attention import prefill
from epiq.attention.configs import Config, candidates, packed
from epiq.attention.gluon import check_gluon, run_gluon
from epiq.attention.launch import descriptor, launch, specialize
from epiq.attention.operands import HEAD_DIMS, Mask, Operands, Options, check_operands
from epiq.attention.outputs import Output, output_of
from epiq.errors import EpiqError
from epiq.fuse import Epilogue, Specialization

log = logging.getLogger("epiq")


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    window: int | tuple[int, int] | None = None,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_k: Tensor | None = None,
    max_seqlen: int | None = None,
    q_scale: Tensor | None = None,
    k_scale: Tensor | None = None,
    v_scale: Tensor | None = None,
    epilogue: Epilogue | None = None,
    inputs: Mapping[str, Tensor] | None = None,
    per_head: bool = False,
    keep_output: bool = False,
    config: Config | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """epilogue(softmax(q @ k.T * scale) @ v), rounded to bf16 (or f16) before the epilogue, in one kernel.

    Args:
      q: (batch, tokens, heads, D); with `cu_seqlens` (tokens, heads, D). k: (batch, keys, KV heads, D), each
        head for heads / KV heads neighbouring ones of q. v: as k, of D_V. All bf16, f16 or float8_e4m3fn
        (v may be wider then); D is 32, 64, 96, 128, 192 or 256, contiguous. Any order of the other
        dimensions in memory, at multiples of 16 bytes.
      causal: a query sees the keys up to its own place; the last query stands at the last key.
      window: the keys that it sees up to its own, that one included; or (before, after), -1 for no limit.
      softcap: scores become softcap * tanh(scores / softcap); 0 for none.
      sinks: (heads,), a score in each softmax that has no value. scale: by default D ** -0.5.
      cu_seqlens: int32 (sequences + 1,), where sequences start among the tokens of q, and of k unless
        `cu_seqlens_k` says it; rows that belong to none are not written. max_seqlen: at least the
        tokens of the longest one, which spares programs; by default all tokens. A GPU is not asked for
        the values of these: they must be right.
      q_scale, k_scale, v_scale: f32, what FP8 operands are multiplied by: one value, one a head, or one a
        token and head, (batch, tokens, heads).
      epilogue: what is computed of the output as rows of tokens, (tokens, heads * D_V); None stores it.
        inputs: its further tensors, by name. per_head: it gets (tokens, heads, D_V).
      keep_output: return the output too, last.
      config: tiles and warps; by default those of the table for Hopper.
    Returns: what the epilogue returns; the output is of q's shape with D_V.
    Raises: TypeError, ValueError for operands that do not go together; UnsupportedError for head dims and
      dtypes without a kernel; FusionError where the epilogue does not fit a tile, as a group of 128 in one
      head of 64.
    """
    options = Options(Mask.of(causal, window), softmax_scale(scale, q), float(softcap), sinks)
    operands = check_operands(
        q, k, v, q_scale, k_scale, v_scale, cu_seqlens, cu_seqlens_k, max_seqlen, options
    )
    output = output_of(
        epilogue,
        inputs,
        per_head=per_head,
        keep_output=keep_output,
        shape=(*q.shape[:-1], operands.v_dim),
        dtype=operands.out_dtype,
        device=q.device,
    )
    if operands.tokens == 0 or operands.sequences == 0:
        return output.given()
    if operands.k.shape[1] == 0:
        output.fill()
        return output.given()
    _run_first(operands, [[config]] if config else configs_of(operands), output)
    return output.given()


def softmax_scale(scale: float | None, q: Tensor) -> float:
    """By default head_dim ** -0.5."""
    if scale is not None or not isinstance(q, Tensor) or q.ndim == 0 or q.shape[-1] == 0:
        return 1.0 if scale is None else float(scale)
    return 1.0 / math.sqrt(q.shape[-1])


def configs_of(operands: Operands, device_type: str | None = None) -> Iterator[Iterable[Config]]:
    """What the table has for these operands on such a device, by default their own; the best first.

    Each with one head in a tile first, then with more of them, for groups of values that span heads.
    """
    fp8 = operands.q.dtype.itemsize == 1
    on_gpu = (device_type or operands.q.device.type) == "cuda"
    queries = operands.heads * operands.sequences * operands.max_tokens
    for config in candidates("prefill", fp8, operands.head_dim, operands.v_dim, queries, on_gpu):
        yield packed(config, operands.group)


def _run_first(operands: Operands, configs: Iterable[Iterable[Config]], output: Output) -> None:
    """With the first config whose kernel can have this epilogue.

    Raises: FusionError, UnsupportedError: that of the last kernel with one head in a tile.
    """
    refused: Exception | None = None
    for packs in configs:
        _, refused = first_that_fits(packs, lambda config: run(operands, config, output))
        if refused is None:
            return
    assert refused is not None, "a table without a rule"
    raise refused


def first_that_fits(
    configs: Iterable[Config], attempt: Callable[[Config], Any]
) -> tuple[Config | None, Exception | None]:
    """The first config that `attempt` does not refuse, or why it refused the first."""
    refused: Exception | None = None
    for config in configs:
        try:
            attempt(config)
            return config, None
        except (EpiqError, ValueError) as error:
            log.info("%s is left out: %s", config, error)
            refused = refused or error
            # More heads in a tile only help where a group spans them.
            if getattr(error, "rule", "") != "E5":
                break
    return None, refused


def run(operands: Operands, config: Config, output: Output) -> None:
    """Attention with this config, on the operands' device."""
    if config.kernel == "gluon":
        run_gluon(operands, config, output)
        return
    kernel, grid, arguments, constants = call(operands, config)
    launch(kernel, grid, arguments, constants, output)


def check(operands: Operands, config: Config, output: Output) -> None:
    """Raises: where `run` would refuse the epilogue; needs no GPU, tensors may be on the meta device."""
    if config.kernel == "gluon":
        check_gluon(operands, config, output)
    else:
        specialized(operands, config, output)


def specialized(operands: Operands, config: Config, output: Output) -> Specialization:
    """The fused Triton kernel that `run` would launch; needs no GPU, tensors may be on the meta device."""
    kernel, _, arguments, constants = call(operands, config)
    return specialize(kernel, arguments, constants, output)


def call(operands: Operands, config: Config) -> tuple[Any, tuple[int, ...], dict[str, Any], dict[str, Any]]:
    """A launch of prefill.py's kernel: kernel, grid, arguments without the output, constants and options."""
    if operands.group % config.pack != 0:
        raise ValueError(f"{config.pack} heads of a tile do not divide {operands.group} that share keys")
    dim, tail = HEAD_DIMS[operands.head_dim]
    block_v = 1 << (operands.v_dim - 1).bit_length()
    rows = config.block_m // config.pack
    q, k, v, options = operands.q, operands.k, operands.v, operands.options
    mask = options.mask
    q_token, q_head = operands.q_scale.strides
    k_token, k_head = operands.k_scale.strides
    v_token, v_head = operands.v_scale.strides
    arguments = {
        "q_desc": descriptor(q, rows, config.pack, dim),
        "q_tail_desc": descriptor(q, rows, config.pack, tail) if tail else None,
        "k_desc": descriptor(k, config.block_n, 1, dim),
        "k_tail_desc": descriptor(k, config.block_n, 1, tail) if tail else None,
        "v_desc": descriptor(v, config.block_n, 1, block_v),
        "q_scale": operands.q_scale.values,
        "k_scale": operands.k_scale.values,
        "v_scale": operands.v_scale.values,
        "sinks": options.sinks,
        "cu_q": operands.cu_q,
        "cu_k": operands.cu_k,
        "softmax_scale": options.softmax_scale,
        "softcap": options.softcap,
        "left": mask.left or 0,
        "right": mask.right or 0,
        "seq_q": int(q.shape[1]),
        "seq_k": int(k.shape[1]),
        "stride_ot": operands.heads * operands.v_dim,
        "stride_qst": q_token,
        "stride_qsh": q_head,
        "stride_kst": k_token,
        "stride_ksh": k_head,
        "stride_vst": v_token,
        "stride_vsh": v_head,
    }
    constants = {
        "HEADS": operands.heads,
        "GROUP": operands.group,
        "PACK": config.pack,
        "LEFT": mask.left is not None,
        "RIGHT": mask.right is not None,
        "SOFTCAP": options.softcap > 0.0,
        "SINKS": options.sinks is not None,
        "VARLEN": operands.cu_q is not None,
        "Q_SCALE": operands.q_scale.kind,
        "K_SCALE": operands.k_scale.kind,
        "V_SCALE": operands.v_scale.kind,
        "D": dim,
        "D_TAIL": tail,
        "D_V": operands.v_dim,
        "BLOCK_V": block_v,
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "num_warps": config.num_warps,
        "num_stages": config.num_stages,
    }
    tiles = -(-operands.max_tokens // rows)
    grid = (operands.heads // config.pack * operands.sequences, tiles)
    return prefill.attention, grid, arguments, constants
