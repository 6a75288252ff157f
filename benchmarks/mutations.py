"""Make mutants of a source file from its syntax tree: one change to one place each, all else as written.

A condition that always or never holds, an operand left out, a comparison off by one or turned round, an
answer that is always yes or no, a state update, an action or a statement left out. Assertions guard against
our own bugs and are not touched.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIGN: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
OTHER_WAY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
             "is": "is not", "is not": "is", "in": "not in", "not in": "in"}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: `before` and `after` are what a reader is shown, `text` is the whole file."""

    file: str
    function: str
    line: int
    before: str
    after: str
    text: str
    function_text: str

    @property
    def key(self) -> str:
        """An id that stays while the function does."""
        what = f"{self.file}\0{self.function}\0{self.function_text}"
        return hashlib.sha256(what.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}: `{self.before}` -> `{self.after}`"


class Source:
    """A file whose nodes are replaced by their place in its bytes; all else stays as it is written."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.data = path.read_bytes()
        self.tree = ast.parse(self.data)
        self._whole = (0, len(self.data))
        self._starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def text_of(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self.data[start:end].decode()

    def mutant(self, function: str, node: ast.AST, code: str, before: str = "", after: str = "") -> Mutant:
        """Return the file with `node` replaced by `code`."""
        start, end = self._span(node)
        data = self.data[:start] + code.encode() + self.data[end:]
        body = data[self._whole[0] : self._whole[1] + len(data) - len(self.data)]
        shown = " ".join((before or self.text_of(node)).split())
        line: int = node.lineno  # type: ignore[attr-defined]
        return Mutant(self.name, function, line, shown, after or code, data.decode(), body.decode())

    def begin(self, function: ast.FunctionDef) -> None:
        """Let the mutants that follow be those of `function`."""
        self._whole = self._span(function)

    def _span(self, node: ast.AST) -> tuple[int, int]:
        start = self._starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]


def mutants_of(source: Source) -> Iterator[Mutant]:
    """Yield every mutant of a file, in the order of its lines within each function."""
    for function, node in functions(source.tree):
        if function.endswith("__repr__"):
            continue
        source.begin(node)
        for inner in within(node):
            yield from changes(source, function, inner, returns_bool=_says(node.returns, "bool"))


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node


def within(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a body; an assertion guards against our own bugs only, and is no guard here."""
    pending: list[ast.AST] = list(reversed(function.body))
    while pending:
        node = pending.pop()
        if not isinstance(node, ast.Assert):
            yield node
            pending += reversed(list(ast.iter_child_nodes(node)))


def changes(source: Source, function: str, node: ast.AST, *, returns_bool: bool) -> Iterator[Mutant]:
    """Yield the mutants of one node."""
    for test in conditions(node):
        for code in ("True", "False"):
            yield source.mutant(function, test, code)
    match node:
        case ast.BoolOp(values=values):
            for place, operand in enumerate(values):
                rest = ast.BoolOp(node.op, values[:place] + values[place + 1 :])
                code = f"({ast.unparse(rest if len(values) > 2 else rest.values[0])})"
                yield source.mutant(function, node, code, after=f"without `{source.text_of(operand)}`")
        case ast.Compare(ops=ops):
            for place in range(len(ops)):
                turned = source.text_of(node.left)
                for number, (operator, right) in enumerate(zip(ops, node.comparators, strict=True)):
                    sign = SIGN[type(operator)]
                    turned += f" {OTHER_WAY[sign] if number == place else sign} {source.text_of(right)}"
                yield source.mutant(function, node, f"({turned})", after=" ".join(turned.split()))
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub()):
            yield source.mutant(function, node, source.text_of(left))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield source.mutant(function, node, f"({source.text_of(operand)})", after=source.text_of(operand))
        case ast.Return(value=ast.expr() as value) if returns_bool:
            for code in ("True", "False"):
                if not isinstance(value, ast.Constant) or str(value.value) != code:
                    yield source.mutant(function, value, code)
        case ast.Call(func=called, keywords=keywords) if ast.unparse(called).endswith("replace"):
            for keyword in keywords:
                rest = ast.Call(called, node.args, [other for other in keywords if other is not keyword])
                before = source.text_of(keyword)
                yield source.mutant(function, node, ast.unparse(rest), before, "left out")
        case ast.Return(value=ast.Tuple(elts=[_, ast.Tuple(elts=actions) as said])):
            for action in actions:
                rest = ast.Tuple([other for other in actions if other is not action], ast.Load())
                yield source.mutant(function, said, ast.unparse(rest), source.text_of(action), "left out")
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return  # For the type checker.
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield source.mutant(function, node, "pass", after="left out")
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) if not function.endswith("__init__"):
            yield source.mutant(function, node, "pass", after="left out")


def conditions(node: ast.AST) -> list[ast.expr]:
    """Return what decides: of an if, an inner if, a filter, or a case."""
    if isinstance(node, ast.If | ast.IfExp):
        return [node.test]
    if isinstance(node, ast.comprehension):
        return node.ifs
    if isinstance(node, ast.match_case) and node.guard is not None:
        return [node.guard]
    return []


def _says(annotation: ast.expr | None, name: str) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == name
