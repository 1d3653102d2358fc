"""Graph IR of row programs, written op by op, and torch code that computes the same.

A chain is a function of (builder, width, ...) that returns its results; `CHAINS` names them with
their references. Values have the shape (tokens..., row...).
"""

from __future__ import annotations

from dataclasses import dataclass, field

FP8 = "f8E4M3FN"


@dataclass(frozen=True)
class Node:
    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def type(self) -> str:
        dims = "".join("?x" if dim is None else f"{dim}x" for dim in self.shape)
        return f"tensor<{dims}{self.dtype}>"


@dataclass
class Builder:
    """Writes the body of one row program."""

    inputs: list[Node] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def input(self, shape: tuple[int | None, ...], dtype: str) -> Node:
        node = Node(f"%in{len(self.inputs)}", shape, dtype)
        self.inputs.append(node)
        return node

    def emit(self, expression: str, shape: tuple[int | None, ...], dtype: str) -> Node:
        node = Node(f"%v{len(self.lines)}", shape, dtype)
        self.lines.append(f"{node.name} = {expression}")
        return node

    def cast(self, x: Node, dtype: str) -> Node:
        bits = {"f32": 32, "bf16": 16, "f16": 16, FP8: 8}
        op = "arith.extf" if bits[dtype] > bits[x.dtype] else "arith.truncf"
        to = Node("", x.shape, dtype).type
        return self.emit(f"{op} {x.name} : {x.type} to {to}", x.shape, dtype)

    def apply(self, op: str, *args: Node) -> Node:
        x = args[0]
        names = ", ".join(arg.name for arg in args)
        return self.emit(f"{op} {names} : {x.type}", x.shape, x.dtype)

    def constant(self, number: float, like: Node) -> Node:
        scalar = self.emit(f"arith.constant dense<{number:.9e}> : tensor<{like.dtype}>", (), like.dtype)
        return self.broadcast(scalar, like.shape)

    def broadcast(self, x: Node, shape: tuple[int | None, ...]) -> Node:
        to = Node("", shape, x.dtype).type
        return self.emit(f"epiq.broadcast {x.name} : {x.type} to {to}", shape, x.dtype)

    def reshape(self, x: Node, shape: tuple[int | None, ...]) -> Node:
        to = Node("", shape, x.dtype).type
        return self.emit(f"epiq.reshape {x.name} : {x.type} to {to}", shape, x.dtype)

    def slice(self, x: Node, begin: int, end: int) -> Node:
        shape = (*x.shape[:-1], end - begin)
        to = Node("", shape, x.dtype).type
        dim = len(shape) - 1
        return self.emit(
            f"epiq.slice {x.name} dim {dim} from {begin} to {end} : {x.type} to {to}", shape, x.dtype
        )

    def reduce(self, kind: str, x: Node, keep: bool = True) -> Node:
        """Along the last dimension."""
        shape = (*x.shape[:-1], 1) if keep else x.shape[:-1]
        to = Node("", shape, x.dtype).type
        dim, word = len(x.shape) - 1, " keep" if keep else ""
        return self.emit(f"epiq.reduce {kind} {x.name} dims [{dim}]{word} : {x.type} to {to}", shape, x.dtype)

    def program(self, outputs: list[Node], column_major: tuple[int, ...] = ()) -> str:
        """The text of a module with one function that holds the program."""
        arguments = ", ".join(f"%arg{i}: {node.type}" for i, node in enumerate(self.inputs))
        names = ", ".join(f"%arg{i}" for i in range(len(self.inputs)))
        block = ", ".join(f"{node.name}: {node.type}" for node in self.inputs)
        takes = ", ".join(node.type for node in self.inputs)
        gives = ", ".join(node.type for node in outputs)
        layouts = ", ".join(
            f"#epiq.layout<{'column_major' if i in column_major else 'row_major'}>"
            for i in range(len(outputs))
        )
        yields = ", ".join(node.name for node in outputs)
        results = ", ".join(f"%out#{i}" for i in range(len(outputs)))
        body = "\n    ".join(self.lines)
        return f"""func.func @graph({arguments}) -> ({gives}) {{
  %out:{len(outputs)} = epiq.row_program @chain ({names}) {{layouts = [{layouts}]}}
      : ({takes}) -> ({gives}) {{
  ^bb0({block}):
    {body}
    epiq.yield {yields} : {gives}
  }}
  return {results} : {gives}
}}
"""


def add(b: Builder, x: Node, y: Node) -> Node:
    """bf16(x + y)"""
    return b.cast(b.apply("arith.addf", b.cast(x, "f32"), b.cast(y, "f32")), x.dtype)


def multiply(b: Builder, x: Node, y: Node) -> Node:
    return b.cast(b.apply("arith.mulf", b.cast(x, "f32"), b.cast(y, "f32")), x.dtype)


def rms_norm(b: Builder, x: Node, weight: Node, eps: float = 1e-5) -> Node:
    """bf16(x * rsqrt(mean(x^2) + eps)) * weight"""
    wide = b.cast(x, "f32")
    total = b.reduce("sum", b.apply("arith.mulf", wide, wide))
    mean = b.apply("arith.divf", total, b.constant(float(x.shape[-1]), total))
    root = b.apply("math.rsqrt", b.apply("arith.addf", mean, b.constant(eps, mean)))
    y = b.cast(b.apply("arith.mulf", wide, b.broadcast(root, wide.shape)), x.dtype)
    return multiply(b, y, b.broadcast(weight, x.shape))


def silu_mul(b: Builder, gate: Node, up: Node) -> Node:
    """bf16(bf16(gate / (1 + exp(-gate))) * up)"""
    g = b.cast(gate, "f32")
    below = b.apply("arith.addf", b.apply("math.exp", b.apply("arith.negf", g)), b.constant(1.0, g))
    return multiply(b, b.cast(b.apply("arith.divf", g, below), gate.dtype), up)


def to_fp8(b: Builder, x: Node) -> Node:
    low = b.apply("arith.maximumf", x, b.constant(-448.0, x))
    return b.cast(b.apply("arith.minimumf", low, b.constant(448.0, x)), FP8)


def quantize(b: Builder, x: Node, floor: float = 1e-10, keep: bool = True) -> tuple[Node, Node]:
    """One scale for the last dimension of `x`: max(amax, floor) / 448."""
    wide = b.cast(x, "f32") if x.dtype != "f32" else x
    amax = b.reduce("max", b.apply("math.absf", wide), keep)
    amax = b.apply("arith.maximumf", amax, b.constant(floor, amax))
    scale = b.apply("arith.divf", amax, b.constant(448.0, amax))
    column = scale if keep else b.reshape(scale, (*x.shape[:-1], 1))
    return to_fp8(b, b.apply("arith.divf", wide, b.broadcast(column, wide.shape))), scale


def quantize_groups(b: Builder, x: Node, group: int, keep: bool = True) -> tuple[Node, Node]:
    groups = x.shape[-1] // group
    q, scale = quantize(b, b.reshape(x, (*x.shape[:-1], groups, group)), keep=keep)
    return b.reshape(q, x.shape), b.reshape(scale, (*x.shape[:-1], groups)) if keep else scale
