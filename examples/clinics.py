"""For clinics that may not pool records: a second opinion on breast cancer, though one clinic lies.

scikit-learn's own breast cancer data (569 real tumours), split among five clinics; one sends its updates
reversed and six times as long. Expect an accuracy of at least 0.92. Writes clinics.svg, which
has plain averaging beside it. This is a demonstration of software, no medical device.

pip install 'p2pfed[sklearn]' && python examples/clinics.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier

import p2pfed
from p2pfed.runtime.demo.chart import Curve, chart_svg

LIAR = {"sign_flip:scale=6": 1}


def learner(context: p2pfed.AppContext) -> p2pfed.SklearnLearner:
    """Build one clinic's learner; the last 169 tumours are nobody's, to test with."""
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x[:400].mean(0)) / x[:400].std(0)
    train = p2pfed.share(x[:400], y[:400], context)
    return p2pfed.SklearnLearner(SGDClassifier(alpha=0.01), context, train, (x[400:], y[400:]))


if __name__ == "__main__":
    robust = p2pfed.simulate(learner, peers=5, byzantine=LIAR, heights=10, outer=None)
    mean = p2pfed.simulate(learner, peers=5, byzantine=LIAR, heights=10, outer=None, rule="mean")
    print(robust)
    curves = [Curve("the default rule", robust.curve()), Curve("plain averaging", mean.curve())]
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    (folder / "clinics.svg").write_text(chart_svg("One liar among five clinics", curves), encoding="utf-8")
