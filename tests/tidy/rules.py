"""What no linter holds: rules about a source file, each returning the lines that break it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

FILE_LINES_MAX = 450
LENGTH_EXEMPT = ("p2pfed/independent/verify.py",)  # One file, so that a stranger can copy and read it.
BELOW_THE_LINE = (
    "errors",
    "primitives",
    "types",
    "aggregation",
    "privacy",
    "consensus",
    "ledger",
    "gossip",
    "chain",
    "node",
)
# Floats end in the first; the second carries integers in float64 and proves that they stay exact.
FLOAT_EXEMPT = ("p2pfed/privacy/mechanism.py", "p2pfed/aggregation/gram.py")

# Foreign code may raise anything: a learner's, a tracker's, and py-libp2p on a stranger's bytes.
CATCH_ALL_EXEMPT = ("p2pfed/learning/worker.py", "p2pfed/net/libp2p/", "p2pfed/runtime/tracking.py")
PICKLES = ("pickle", "marshal", "shelve", "dill", "cloudpickle")

Finding = tuple[int, str]
Rule = Callable[[ast.Module], Iterator[Finding]]


def floats(tree: ast.Module) -> Iterator[Finding]:
    """Peers must agree on every bit, and floats of two machines need not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield node.lineno, f"the float {node.value!r}"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "the operator /"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            yield node.lineno, "a call of float()"


def hashes(tree: ast.Module) -> Iterator[Finding]:
    """`hash()` differs from process to process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hash":
            yield node.lineno, "a call of hash()"


def _is_set(node: ast.expr, names: frozenset[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        return _is_set(node.left, names) or _is_set(node.right, names)
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in ("union", "intersection", "difference", "symmetric_difference")
    if not isinstance(node.func, ast.Name):
        return False
    if node.func.id in ("set", "frozenset"):
        return True
    # These keep the order of what they are given.
    keeps_order = node.func.id in ("list", "tuple", "enumerate", "iter", "reversed", "map", "filter", "zip")
    return keeps_order and any(_is_set(argument, names) for argument in node.args)


def _local_sets(scope: ast.AST) -> frozenset[str]:
    """Return the names that a function or module assigns a set and nothing else."""
    sets: list[str] = []
    others: list[str] = []
    for node in ast.walk(scope):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                assert isinstance(node, ast.Assign | ast.AnnAssign)
                assert node.value is not None
                (sets if _is_set(node.value, frozenset()) else others).append(target.id)
    return frozenset(sets) - frozenset(others)


def set_loops(tree: ast.Module) -> Iterator[Finding]:
    """The order of a set differs from process to process; sorted() first."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    blind = _order_blind(tree)
    lines: set[int] = set()
    for scope in [tree, *functions]:
        names = _local_sets(scope) if scope is not tree else frozenset()
        for node in ast.walk(scope):
            if id(node) not in blind:
                lines.update(source.lineno for source in _ordered_sources(node) if _is_set(source, names))
    yield from ((line, "a loop over a set") for line in sorted(lines))


def _ordered_sources(node: ast.AST) -> list[ast.expr]:
    """Return what `node` runs through in an order that shows in its result."""
    if isinstance(node, ast.For | ast.AsyncFor):
        return [node.iter]
    if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
        return [generator.iter for generator in node.generators]
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("list", "tuple", "iter")
    ):
        return node.args
    return [node.value] if isinstance(node, ast.Starred) else []


def _order_blind(tree: ast.Module) -> frozenset[int]:
    """Return the nodes whose order nobody sees: they are only sorted, counted or tested."""
    functions = ("sorted", "sum", "len", "min", "max", "any", "all", "set", "frozenset")
    nodes: list[int] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
            nodes.extend(id(argument) for argument in node.args)
            nodes.extend(
                id(e) for argument in node.args if isinstance(argument, ast.List) for e in argument.elts
            )
        elif isinstance(node, ast.Set):
            nodes.extend(id(element) for element in node.elts)
    return frozenset(nodes)


def docstring(tree: ast.Module) -> Iterator[Finding]:
    """A module opens with one sentence on what it is for."""
    text = ast.get_docstring(tree)
    if not text or not text.strip():
        yield 1, "no docstring"


def catch_alls(tree: ast.Module) -> Iterator[Finding]:
    """An unknown error ends the node, which is safer than a wrong vote."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[-1], ast.Raise):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            for kind in kinds:
                if kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")):
                    yield node.lineno, "an except that catches everything and carries on"


def banned(tree: ast.Module) -> Iterator[Finding]:
    """What runs a stranger's code or waits for luck."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
            if node.module == "time" and any(alias.name == "sleep" for alias in node.names):
                yield node.lineno, "time.sleep"
        else:
            modules = []
        for module in modules:
            if module.split(".")[0] in PICKLES:
                yield node.lineno, f"an import of {module}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("eval", "exec", "time.sleep"):
                yield node.lineno, f"a call of {called}()"


def length(source: str) -> Iterator[Finding]:
    """A file is read in one sitting."""
    lines = source.count("\n") + 1
    if lines > FILE_LINES_MAX:
        yield lines, f"{lines} lines; at most {FILE_LINES_MAX}"


def check(path: str, source: str) -> list[str]:
    """Return what is wrong with the file at `path` (relative to the checkout, with slashes)."""
    tree = ast.parse(source)
    rules: list[Rule] = [docstring, banned]
    if not path.startswith(CATCH_ALL_EXEMPT):
        rules.append(catch_alls)
    if path.removeprefix("p2pfed/").removesuffix(".py").split("/")[0] in BELOW_THE_LINE:
        rules += [hashes, set_loops]
        if path not in FLOAT_EXEMPT:
            rules.append(floats)
    measured = [] if path in LENGTH_EXEMPT else length(source)
    findings = [*measured, *(finding for rule in rules for finding in rule(tree))]
    return [f"{path}:{line}: {text}" for line, text in sorted(findings)]
