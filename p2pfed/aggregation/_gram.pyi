from p2pfed.aggregation.rule import IntRow
from p2pfed.types.model import Int16Vector

def add_gram(rows: tuple[Int16Vector, ...], fresh: int, out: IntRow) -> None: ...
