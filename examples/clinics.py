"""For clinics that may not pool records: a second opinion on breast cancer, though one clinic lies.

scikit-learn's own breast cancer data (569 real tumours), split among five clinics; one sends its updates
reversed and six times as long. Expect an accuracy of at least 0.92. Writes clinics.svg, which
has plain averaging beside it. This is a demonstration of software, no medical device.

pip install 'p2pfed[sklearn]' && python examples/clinics.py
"""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier

import p2pfed

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
    curves = {"the default rule": robust.curve(), "plain averaging": mean.curve()}
    picture = p2pfed.chart(curves, "One liar among five clinics")
    Path("clinics.svg").write_text(picture, encoding="utf-8")
