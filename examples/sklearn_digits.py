"""A scikit-learn classifier on scikit-learn's own digits, which every peer has whole and takes its share of.

p2pfed testnet create --app examples/sklearn_digits.py:learner
"""

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

import p2pfed


def learner(context: p2pfed.AppContext) -> p2pfed.SklearnLearner:
    x, y = load_digits(return_X_y=True)
    train = p2pfed.share(x[:1400] / 16, y[:1400], context)
    return p2pfed.SklearnLearner(SGDClassifier(), context, train, (x[1400:] / 16, y[1400:]))
