"""Rules against attacks: a cell repeats bit for bit, a folder outlives a kill, a failure costs one cell."""

from __future__ import annotations

import json
from concurrent.futures import FIRST_COMPLETED
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from p2pfed.adversary.registry import ATTACKS
from p2pfed.cli.founding_options import parse_outer
from p2pfed.errors import LocalError, UsageError
from p2pfed.learning.learner import LearnerError
from p2pfed.sim.matrix import pool
from p2pfed.sim.matrix.cell import Row, failed_row, run_cell
from p2pfed.sim.matrix.heat_map import heat_map_svg
from p2pfed.sim.matrix.page import page_html
from p2pfed.sim.matrix.plan import DEFAULT, Cell, Plan, command_of, parse_list, parse_numbers, verify_plan
from p2pfed.sim.matrix.store import CellStore, load_plan, load_rows
from p2pfed.sim.matrix.summary import panels

SMALL = Plan(
    app="digits:softmax", params={"epochs": "1", "batch": "64", "lr": "0.5"}, peers=4, heights=3,
    rules=("mean", "median"), attacks=("none", "sign_flip"), faulty=(1,), splits=("iid",), seeds=(1, 2),
)  # fmt: skip
CELL = Cell("median", "sign_flip", 1, "iid", 1)


def changed(**changes: object) -> Plan:
    return msgspec.structs.replace(SMALL, **changes)


def value(cell: Cell, plan: Plan = SMALL) -> float:
    found = run_cell(plan, cell).value
    assert found is not None
    return found


def test_a_cell_repeats_bit_for_bit_and_its_figures_are_those_of_its_last_model() -> None:
    first, again = run_cell(SMALL, CELL), run_cell(SMALL, CELL)
    assert (first.model, first.metrics) == (again.model, again.metrics)
    assert first.value == round(first.metrics["acc(public)"], 6) > 0.6
    assert first.error == ""
    other = run_cell(SMALL, msgspec.structs.replace(CELL, seed=2))
    assert other.model != first.model


def test_the_plain_mean_loses_where_the_median_holds() -> None:
    plan = changed(heights=6)
    mean = [value(Cell("mean", attack, 1, "iid", 1), plan) for attack in ("none", "sign_flip")]
    assert mean[0] > 0.8
    assert mean[1] < 0.4
    assert value(CELL, plan) > 0.7


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_runs_in_a_cell_and_changes_its_model(attack: str) -> None:
    plan = changed(heights=2)
    clean = run_cell(plan, Cell("mean", "none", 1, "iid", 1))
    row = run_cell(plan, Cell("mean", attack, 1, "iid", 1))
    assert row.model != clean.model
    assert ("backdoor" in row.metrics) == (attack == "backdoor")


def test_with_no_liar_an_attack_is_none() -> None:
    attacked, clean = (run_cell(SMALL, Cell("mean", attack, 0, "iid", 1)) for attack in ("alie", "none"))
    assert attacked.model == clean.model


def test_a_rule_that_declines_hands_over_to_another() -> None:
    for rule in ("cosine_to_previous", "mda"):
        assert run_cell(SMALL, Cell(rule, "alie", 1, "iid", 1)).value


def test_a_rule_whose_bound_fails_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match=r"bulyan needs 4f \+ 3 <= n: here n is 4 and f is 1"):
        run_cell(SMALL, Cell("bulyan", "none", 1, "iid", 1))


def test_a_metric_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"no figure 'f1'; choose with --metric from acc\(public\)"):
        run_cell(changed(metric="f1"), CELL)


OWN = """
import numpy as np
from p2pfed.learning.learner import TrainResult
class learner:
    def __init__(self, context): self.context = context
    def weights(self): return [np.zeros(3, np.float32), np.zeros((2, 2), np.float64)]
    def train(self, weights, context):
        {act}
        return TrainResult([array + 1.5 for array in weights], 10)
    def evaluate(self, weights, context): return {{"sum": float(sum(array.sum() for array in weights))}}
"""


def own(folder: Path, act: str = "pass") -> Plan:
    (folder / "own.py").write_text(OWN.format(act=act))
    return changed(app=f"{folder}/own.py:learner", params={}, metric="sum", outer=(0, 1 << 16))


def test_a_learner_of_ones_own_runs_and_one_that_takes_no_notice_of_poison_is_told(tmp_path: Path) -> None:
    plan = own(tmp_path)
    assert value(Cell("median", "none", 1, "iid", 1), plan) == pytest.approx(3 * 7 * 1.5, abs=0.01)
    with pytest.raises(LearnerError, match="takes no notice of poison=label_flip"):
        run_cell(plan, Cell("median", "label_flip", 1, "iid", 1))


def test_whole_rows_let_a_concentrated_lie_hide_and_change_nothing_without_a_rule_that_looks() -> None:
    row = changed(layout="row")
    models = {layout.layout: run_cell(layout, CELL).model for layout in (SMALL, row)}
    assert models["array"] != models["row"]
    attacks = ("concentrated", "sign_flip")  # Of one array still, not of the whole row.
    assert len({run_cell(row, Cell("mean", attack, 1, "iid", 1)).model for attack in attacks}) == 2
    calm = Cell("mean", "none", 1, "iid", 1)
    assert abs(value(calm) - value(calm, row)) < 0.03


def test_momentum_begins_with_a_whole_step_and_then_keeps_its_share(tmp_path: Path) -> None:
    plan = own(tmp_path, "weights = [array + (context.height != 1) for array in weights]")
    cell = Cell("mean", "none", 0, "iid", 1)
    # The founder measures 2.5. Then u = 1.5, 2.5, 2.5: with a half m = 1.5, 2, 2.25.
    assert value(cell, plan) == pytest.approx(7 * 6.5, abs=0.01)
    half = msgspec.structs.replace(plan, momentum=500)
    assert value(cell, half) == pytest.approx(7 * 5.75, abs=0.01)
    both = msgspec.structs.replace(half, layout="row")
    assert value(cell, both) == pytest.approx(7 * 5.75, abs=0.01)


def test_the_outer_step_is_that_of_a_network_and_of_the_command_that_repeats_a_cell() -> None:
    plan = changed(outer=(58982, 19661))
    calm, moved = run_cell(SMALL, CELL), run_cell(plan, CELL)
    assert calm.model != moved.model
    words = moved.command.split()
    assert parse_outer(words[words.index("--outer") + 1]) == plan.outer
    assert value(Cell("median", "alie_optimal", 1, "iid", 1), plan) > 0.5


def test_lists_keep_the_settings_of_an_attack_together() -> None:
    text = "none, sign_flip:scale=2,concentrated:group=2,scale=4,alie"
    assert parse_list(text) == ("none", "sign_flip:scale=2", "concentrated:group=2,scale=4", "alie")
    assert parse_list("iid,dirichlet:0.3") == ("iid", "dirichlet:0.3")
    assert parse_numbers("1,3-5", "--seeds") == (1, 3, 4, 5)
    for text in ("x", "1-", "-1", "5-1", "1-9999999"):
        with pytest.raises(UsageError, match="--seeds"):
            parse_numbers(text, "--seeds")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"peers": 0}, "--peers is 0"),
        ({"heights": 0}, "--heights is 0"),
        ({"momentum": 1000}, "--momentum is 1000"),
        ({"rules": ()}, "--rules names nothing"),
        ({"attacks": ("alie", "alie")}, "names something twice"),
        ({"attacks": ("silent",)}, "no attack on values"),
        ({"faulty": (4,)}, "4 of 4 peers lie"),
        ({"seeds": tuple(range(99_999))}, "at most 100000"),
    ],
)
def test_a_plan_that_makes_no_sense_is_one_sentence(changes: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        verify_plan(changed(**changes))
    with pytest.raises(LocalError, match="no aggregation rule 'median2'"):
        verify_plan(changed(rules=("median2",)))


def rows(count: int = 8) -> list[Row]:
    return [failed_row(SMALL, cell, "") for cell in list(SMALL.cells())[:count]]


def test_a_folder_outlives_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    with CellStore(tmp_path) as store:
        store.found(SMALL)
        for row in rows(3):
            store.add(row)
    path = tmp_path / "cells.jsonl"
    whole = path.read_bytes()
    for cut in (whole.rfind(b"\n", 0, -1) + 2, len(whole) - 1):  # A durable write costs time.
        path.write_bytes(whole[:cut])
        assert len(load_rows(tmp_path)) == 2
        with CellStore(tmp_path) as store:
            assert list(store.rows) == [row.cell for row in rows(2)]
            store.add(rows(3)[2])
        assert path.read_bytes() == whole
    assert load_plan(tmp_path) == SMALL


def test_a_later_row_of_a_cell_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    failed, fine = failed_row(SMALL, CELL, "no luck"), run_cell(SMALL, CELL)
    with CellStore(tmp_path) as store:
        store.found(SMALL)
        for row in (failed, fine):
            store.add(row)
    assert load_rows(tmp_path) == {CELL: fine}
    line = json.loads((tmp_path / "cells.jsonl").read_text().splitlines()[1])
    assert next(iter(line.items())) == ("schema", "p2pfed.lab-cell/1")


def test_a_damaged_line_and_another_matrix_are_refused_with_the_reason(tmp_path: Path) -> None:
    with CellStore(tmp_path) as store:
        store.found(SMALL)
        store.add(rows(1)[0])
        store.found(changed(seeds=(5,), metric="loss"))
        with pytest.raises(LocalError, match="holds a matrix with peers = 4, not 7"):
            store.found(changed(peers=7))
    (tmp_path / "cells.jsonl").write_bytes(b"{}\n")
    with pytest.raises(LocalError, match=r"line 1 of .*cells.jsonl is damaged"):
        load_rows(tmp_path)
    (tmp_path / "plan.json").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="no plan of a matrix"):
        load_plan(tmp_path)


def test_a_learner_that_ends_its_process_or_raises_costs_its_own_cells_alone(tmp_path: Path) -> None:
    act = "import os; self.context.partition == 'label:2' and (os._exit(3) if context.seed else 0)"
    act += "; 1 / (self.context.partition != 'label:3')"
    plan = own(tmp_path, act)
    cells = [Cell("mean", "none", 1, split, 1) for split in ("iid", "label:2", "label:3", "dirichlet:1.0")]
    found: list[Row] = []
    assert pool.run_cells(plan, cells, 1, found.append, lambda: None)
    errors = {row.split: row.error for row in found}
    assert errors == {
        "iid": "", "label:2": "its process died; out of memory?", "dirichlet:1.0": "",
        "label:3": "ZeroDivisionError: division by zero",
    }  # fmt: skip


def test_an_interrupt_lets_the_running_cell_finish_and_leaves_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []
    real = pool.wait

    def wait(running: object, return_when: str = FIRST_COMPLETED) -> object:
        if not heard:
            heard.append("interrupt")
            raise KeyboardInterrupt
        return real(running, return_when=return_when)  # type: ignore[call-overload]

    monkeypatch.setattr(pool, "wait", wait)
    found: list[Row] = []
    stopped = pool.run_cells(SMALL, SMALL.cells(), 1, found.append, lambda: heard.append("told"))
    assert (stopped, heard, len(found)) == (False, ["interrupt", "told"], 1)


EVIL = Plan(
    rules=("mean", "median"), attacks=("none", "sign_flip"), faulty=(1,), splits=("iid",), seeds=(1, 2),
    metric="<script>&\"", app="<b>app</b>",
)  # fmt: skip


def drawn(plan: Plan, some: list[Row]) -> ElementTree.Element:
    return ElementTree.fromstring(heat_map_svg(plan, panels(plan, {row.cell: row for row in some})))


def texts(picture: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_has_means_failures_gaps_and_each_rules_worst_attack() -> None:
    values = {("mean", "none"): 0.9, ("mean", "sign_flip"): 0.1, ("median", "none"): None}
    some = [
        msgspec.structs.replace(
            failed_row(SMALL, Cell(*pair, 1, "iid", seed), "" if found else "no luck <here>"),
            value=None if found is None else found + (seed - 1.5) / 10,
        )
        for pair, found in values.items()
        for seed in (1, 2)
    ]
    picture = drawn(SMALL, some)
    # Rules across: mean, median. Down: nobody, sign flip, the worst attack.
    figures = [text for text in texts(picture) if text in ("×", "·") or text.startswith(".")]
    assert figures == [".90", "×", ".10", "·", ".10", "·"]
    titles = [title.text or "" for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert "median, nobody lies, iid, 1 of 4 lie: failed: no luck <here>" in titles
    assert any(title.startswith("mean, worst: sign_flip") for title in titles)


def test_the_worst_attack_is_an_attack() -> None:
    found = {
        cell: msgspec.structs.replace(
            failed_row(SMALL, cell, ""), value=0.1 if cell.attack == "none" else 0.9
        )
        for cell in SMALL.cells()
    }
    (panel,) = panels(SMALL, found)
    assert panel.worst(SMALL, "mean") == (pytest.approx(0.9), "sign_flip")


def test_the_default_picture_fits_400_pixels() -> None:
    width = float(drawn(DEFAULT, []).attrib["width"])
    assert 300 < width <= 400


def test_no_text_of_others_gets_into_the_page_as_markup() -> None:
    some = [failed_row(EVIL, cell, "<script>alert(1)</script>") for cell in EVIL.cells()]
    found = {row.cell: row for row in some}
    shown = panels(EVIL, found)
    svg = heat_map_svg(EVIL, shown)
    page = page_html(EVIL, found, shown, svg)
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert command_of(EVIL, next(iter(EVIL.cells()))).startswith("p2pfed lab matrix --output - --app '<b>app")
