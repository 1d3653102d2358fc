"""What would change a refusal, one sentence for each rule; the rules are stated where the label says.

F: epiq-group, L: epiq-lower-row-program, both in Passes.td. E: frontend/plan.py. P: epiq.producers, which
quotes rules of epiq-fuse-epilogue.
"""

from __future__ import annotations

HINTS: dict[str, str] = {
    "F1": "quantize for each token or group, or with a static scale: amax of a whole tensor spans all rows",
    "F2": "write it in torch ops, or tell epiq what the op computes: epiq.register_unwrap",
    "F3": "keep tokens first and the row last up to the quantization; transpose before all of it, or after",
    "F4": "compute what feeds back from the program's inputs, or after the quantization",
    "F5": "nothing before the quantization is in this graph; compile the code that makes its input with it",
    "F6": "give the last dimension a fixed size of at most 65536 (torch._dynamo.mark_static)",
    "F7": "slice the operation's inputs, not its result",
    "F8": "flatten the batches to tokens before the scales are laid out",
    "F9": "use the maximum over all tokens in a kernel of its own, after this one",
    "F10": "take the operation out of epiq.keep_out",
    "L1": "make each result one row for each token, or one value for all",
    "L2": "use one way of dividing the row into groups in all that is fused",
    "L3": "that operation has no counterpart in a row kernel; move it out from between the fused ones",
    "L4": "give the value the same leading dimensions as the tokens",
    "L5": "ask for row-major scales, or compute them in the layout's shape",
    "L6": "use bf16, f16 or f32 values and a format of epiq.formats",
    "L7": "split the row: the tile of one row must fit a kernel's registers",
    "L8": "use the maximum over all tokens in a kernel of its own, after this one",
    "L9": "slice or concatenate fewer parts of a row",
    "L10": "read or write rows of a whole input, one for each token; read a cache before it is written",
    "E1": "return or use the value itself, so that a node of the graph holds it",
    "E2": "make the result contiguous; its strides are what the kernel writes",
    "E3": "move the write to memory before or behind what is fused",
    "E4": "put the tensors on one CUDA device",
    "E5": "the message is the compiler's; TORCH_LOGS=+epiq shows the program",
    "E6": "give a kernel's rows the whole of a dense tensor, or parts of it that do not overlap",
    "P1": "use a dtype, scale and layout that the product's kernels compute",
    "P2": "read all of the product's result, as rows",
    "P3": "compute the other input without that product, or move the write to memory",
    "P4": "read both halves from one product of concatenated weights",
    "P5": "use scales of groups instead of whole rows",
    "P6": "TORCH_LOGS=+epiq names the rule of epiq-fuse-epilogue that each configuration breaks",
    "P7": "ask for row-major or column-major scales",
    "P8": "quantize the product's result apart from what is stored by index",
}


def hint_of(rule: str) -> str:
    """The sentence for a rule, "" for one that has none."""
    return HINTS.get(rule, "")
