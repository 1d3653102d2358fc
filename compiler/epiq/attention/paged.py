"""`paged_attention`: attention of a few queries over a paged cache, with an epilogue."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epiq.attention import decode
from epiq.attention.attend import softmax_scale
from epiq.attention.configs import Config, candidates
from epiq.attention.launch import launch, launch_plain, specialize
from epiq.attention.operands import HEAD_DIMS, Mask, Options
from epiq.attention.outputs import Output, output_of
from epiq.attention.paged_operands import PagedOperands, check_paged
from epiq.fuse import Epilogue, FusionError, Specialization

log = logging.getLogger("epiq")
# Of H100 and H200: what is taken for the CPU.
_SMS = 132
_MAX_SPLITS = 64
# Fewer keys than this are not worth a program of their own.
_LEAST_KEYS = 256
# Of a multiprocessor, so that one's loads hide behind the other's products. Not quite two: what is left out
# of a wave of nearly all is not worth another kernel.
_PROGRAMS = 1.9


def paged_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    block_table: Tensor,
    seq_lens: Tensor,
    *,
    causal: bool = True,
    window: int | tuple[int, int] | None = None,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
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
    """Attention over keys and values in pages, as `attention` computes it, and its epilogue.

    Args:
      q: (sequences, heads, D), a query a sequence; (sequences, queries, heads, D); or with `cu_seqlens`
        (tokens, heads, D). bf16 or f16, or float8_e4m3fn over such a cache.
      k_cache, v_cache: (pages, page size, KV heads, D) and (.., D_V), of q's dtype or float8_e4m3fn; any
        order of all but the last dimension in memory.
      block_table: int32 (sequences, pages of one): which pages hold the keys of a sequence, in order.
        seq_lens: int32 (sequences,), how many keys it has, the queries' own among them; 0 gives zeros.
      causal, window, softcap, sinks, scale, cu_seqlens (of q), max_seqlen, q_scale: as of `attention`.
      k_scale, v_scale: f32, what an FP8 cache is multiplied by: one value, one a head, or
        (pages, page size, KV heads).
      epilogue, inputs, per_head, keep_output: as of `attention`. Where the keys of a sequence are split
        among programs, it is computed where their parts are combined.
      config: tiles, and among how many programs keys are split.
    Returns: what the epilogue returns; the output is of q's shape with D_V.
    Raises: as `attention`. The block table is trusted: on the CPU a page outside the cache raises
      ExecutionError; on a GPU such a page is read wherever it would be, which may end the process.
    """
    options = Options(Mask.of(causal, window), softmax_scale(scale, q), float(softcap), sinks)
    operands = check_paged(
        q, k_cache, v_cache, block_table, seq_lens, q_scale, k_scale, v_scale, cu_seqlens, max_seqlen, options
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
    if operands.max_keys == 0:
        output.fill()
        return output.given()
    run_first(operands, config or config_of(operands), output)
    return output.given()


@dataclass(frozen=True)
class Plan:
    """How a launch goes. direct: the kernel that attends stores the output, else `combine` does, with
    `combine_heads` heads a program."""

    config: Config
    splits: int
    direct: bool
    combine_heads: int


def config_of(operands: PagedOperands) -> Config:
    """What the table has first for these operands."""
    return next(next(configs_of(operands)))


def configs_of(operands: PagedOperands, device_type: str = "cpu") -> Iterator[Iterator[Config]]:
    """What the table has for these operands, the same for any device; the best first, each alone."""
    fp8 = operands.k.dtype.itemsize == 1
    queries = operands.heads * operands.tokens
    for config in candidates("paged", fp8, operands.head_dim, operands.v_dim, queries):
        yield iter((config,))


def plans(operands: PagedOperands, config: Config) -> Iterator[Plan]:
    """Ways to go, the cheapest first; each holds more heads where it stores than the one before."""
    splits = config.splits or _splits(operands, config)
    whole = operands.v_dim & (operands.v_dim - 1) == 0
    if splits == 1 and whole:
        yield Plan(config, 1, True, 0)
    if not whole:
        yield Plan(config, splits, False, 1)
        return
    most = 1 << (operands.heads - 1).bit_length()
    few = min(config.combine_heads or most, most)
    for heads in dict.fromkeys((few, most)):
        yield Plan(config, splits, False, heads)


def _splits(operands: PagedOperands, config: Config) -> int:
    """Into how many parts keys are split, where there are too few tiles for two programs a multiprocessor.

    The time is taken to be that of the blocks of keys of a multiprocessor that has most of them.
    """
    tiles = (
        operands.sequences * operands.kv_heads * -(-operands.max_tokens * operands.group // config.block_m)
    )
    sms, blocks = _sms(operands.q.device), -(-operands.max_keys // config.block_n)
    if tiles >= _PROGRAMS * sms:
        return 1
    most = max(min(operands.max_keys // _LEAST_KEYS, _MAX_SPLITS), 1)
    enough = [splits for splits in range(1, most + 1) if tiles * splits >= _PROGRAMS * sms]
    return min(enough, key=lambda splits: -(-tiles * splits // sms) * -(-blocks // splits), default=most)


def run_first(operands: PagedOperands, config: Config, output: Output) -> None:
    """With the first plan whose kernel can have this epilogue.

    Raises: FusionError, that of the plan with the most heads in a tile.
    """
    refused: FusionError | None = None
    for plan in plans(operands, config):
        try:
            run(operands, plan, output)
            return
        except FusionError as error:
            log.info("%s is left out: %s", plan, error)
            refused = error
    assert refused is not None, "no plan"
    raise refused


def run(operands: PagedOperands, plan: Plan, output: Output) -> None:
    """Attention by this plan, on the operands' device."""
    if plan.direct:
        kernel, grid, arguments, constants = call(operands, plan, None, None)
        launch(kernel, grid, arguments, constants, output)
        return
    device = operands.q.device
    sizes = (plan.splits, operands.tokens, operands.heads)
    partials = torch.empty(*sizes, operands.v_dim, dtype=torch.float32, device=device)
    weights = torch.empty(2, *sizes[:3], dtype=torch.float32, device=device)
    if operands.cu_q is not None:
        # Rows that belong to no sequence keep this weight, and so become zeros.
        weights.fill_(float("-inf"))
    combining = combine_call(operands, plan, partials, weights)
    if output.epilogue is not None:
        # Refused before anything is computed.
        specialize(combining[0], combining[2], combining[3], output)
    kernel, grid, arguments, constants = call(operands, plan, partials, weights)
    launch_plain(kernel, grid, {**arguments, "o_ptr": None}, constants, device)
    kernel, grid, arguments, constants = combining
    launch(kernel, grid, arguments, constants, output)


def specialized(operands: PagedOperands, config: Config, output: Output) -> Specialization:
    """The fused kernel of the first plan that can have this epilogue, the one that stores the output.

    Needs no GPU, tensors may be on the meta device. Raises: as `run_first`.
    """
    refused: FusionError | None = None
    for plan in plans(operands, config):
        kernel, _, arguments, constants = call(operands, plan, None, None)
        if not plan.direct:
            sizes = (plan.splits, operands.tokens, operands.heads)
            partials, weights = (
                torch.empty(*each, device="meta") for each in ((*sizes, operands.v_dim), (2, *sizes))
            )
            kernel, _, arguments, constants = combine_call(operands, plan, partials, weights)
        try:
            return specialize(kernel, arguments, constants, output)
        except FusionError as error:
            refused = error
    assert refused is not None, "no plan"
    raise refused


def call(
    operands: PagedOperands, plan: Plan, partials: Tensor | None, weights: Tensor | None
) -> tuple[Any, tuple[int, ...], dict[str, Any], dict[str, Any]]:
    """A launch of decode.attention_part: kernel, grid, arguments but the output, constants and options."""
    import triton.language as tl

    config, options = plan.config, operands.options
    mask = options.mask
    dim, tail = HEAD_DIMS[operands.head_dim]
    pack = min(1 << (operands.group - 1).bit_length(), max(config.block_m, 16))
    packs = -(-operands.group // pack)
    block_m = max(config.block_m, 16, pack)
    q, k, v = operands.q, operands.k, operands.v
    q_token, q_head = operands.q_scale.strides
    k_page, k_token, k_head = operands.k_scale.strides
    v_page, v_token, v_head = operands.v_scale.strides
    table, bias = operands.block_table, operands.bias
    by_bias = (0, 0, 0, 0) if bias is None else bias.stride()
    # The only query of a sequence sees all keys before it.
    right = None if mask.right == 0 and operands.cu_q is None and operands.seq_q == 1 else mask.right
    arguments = {
        "q_ptr": q, "k_ptr": k, "v_ptr": v, "partials": partials, "weights": weights,
        "q_scale": operands.q_scale.values, "k_scale": operands.k_scale.values,
        "v_scale": operands.v_scale.values, "sinks": options.sinks, "table": table,
        "lengths": operands.seq_lens, "cu_q": operands.cu_q, "bias": bias,
        "softmax_scale": options.softmax_scale, "softcap": options.softcap, "left": mask.left or 0,
        "right": right or 0, "seq_q": operands.seq_q, "seq_k": operands.max_keys,
        "num_tokens": operands.tokens, "stride_table": 0 if table is None else table.stride(0),
        "stride_qs": operands.seq_q * q.stride(0) if q.ndim == 3 else q.stride(0),
        "stride_qt": q.stride(-3), "stride_qh": q.stride(-2), "stride_kp": k.stride(0),
        "stride_kt": k.stride(1), "stride_kh": k.stride(2), "stride_vp": v.stride(0),
        "stride_vt": v.stride(1), "stride_vh": v.stride(2), "stride_ot": operands.heads * operands.v_dim,
        "stride_qst": q_token, "stride_qsh": q_head, "stride_ksp": k_page, "stride_kst": k_token,
        "stride_ksh": k_head, "stride_vsp": v_page, "stride_vst": v_token, "stride_vsh": v_head,
        **dict(zip(("stride_bs", "stride_bh", "stride_bq", "stride_bk"), by_bias, strict=True)),
    }  # fmt: skip
    constants = {
        "HEADS": operands.heads, "GROUP": operands.group, "PACK": pack, "PACKS": packs,
        "SPLITS": plan.splits, "DIRECT": plan.direct, "LEFT": mask.left is not None,
        "RIGHT": right is not None, "SOFTCAP": options.softcap > 0.0, "SINKS": options.sinks is not None,
        "VARLEN": operands.cu_q is not None, "Q_SCALE": operands.q_scale.kind,
        "K_SCALE": operands.k_scale.kind, "V_SCALE": operands.v_scale.kind,
        "VALUES": tl.float16 if operands.out_dtype == torch.float16 else tl.bfloat16,
        "PAGE": operands.page, "D": dim, "D_TAIL": tail, "D_V": operands.v_dim,
        "BLOCK_V": 1 << (operands.v_dim - 1).bit_length(), "BLOCK_M": block_m, "BLOCK_N": config.block_n,
        "BIAS": "none" if bias is None else "seen" if bias.dtype == torch.uint8 else "added",
        "ONE_BIAS": by_bias[1] == 0 and (by_bias[2] == 0 or operands.max_tokens == 1),
        "num_warps": config.num_warps, "num_stages": config.num_stages,
    }  # fmt: skip
    tiles = -(-operands.max_tokens // (block_m // pack))
    grid = (operands.kv_heads * packs * plan.splits, operands.sequences, tiles)
    return decode.attention_part, grid, arguments, constants


def combine_call(
    operands: PagedOperands, plan: Plan, partials: Tensor, weights: Tensor
) -> tuple[Any, tuple[int, ...], dict[str, Any], dict[str, Any]]:
    """A launch of decode.combine, as `call` gives one."""
    heads = plan.combine_heads
    block_v = 1 << (operands.v_dim - 1).bit_length()
    arguments = {
        "partials": partials,
        "weights": weights,
        "sinks": operands.options.sinks,
        "num_tokens": operands.tokens,
        "stride_ot": operands.heads * operands.v_dim,
    }
    constants = {
        "HEADS": operands.heads,
        "SPLITS": plan.splits,
        "BLOCK_S": 1 << (plan.splits - 1).bit_length(),
        "SINKS": operands.options.sinks is not None,
        "D_V": operands.v_dim,
        "BLOCK_V": block_v,
        "BLOCK_H": heads,
        "num_warps": min(max(heads * block_v // 512, 1), 8),
    }
    return decode.combine, (operands.tokens, -(-operands.heads // heads)), arguments, constants


@functools.cache
def _sms(device: torch.device) -> int:
    if device.type != "cuda":
        return _SMS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
