"""Softmax regression on scikit-learn's digits."""

import numpy as np
from sklearn.datasets import load_digits

CLASSES, FEATURES = 10, 64


def load_data(partition: int, partitions: int):
    """Return a client's rows, (x, y, x_test, y_test)."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    rows = order[partition::partitions]
    cut = len(rows) * 4 // 5
    x = (x / 16).astype(np.float32)
    return x[rows[:cut]], y[rows[:cut]], x[rows[cut:]], y[rows[cut:]]


def train(weight, bias, x, y, epochs: int, rate: float):
    """Return arrays after SGD in batches of 16."""
    weight, bias = weight.copy(), bias.copy()
    for _ in range(epochs):
        order = np.random.permutation(len(y))
        for start in range(0, len(y), 16):
            rows = order[start : start + 16]
            error = chances(weight, bias, x[rows]) - np.eye(CLASSES, dtype=np.float32)[y[rows]]
            weight -= rate * x[rows].T @ error / len(rows)
            bias -= rate * error.mean(0)
    return weight, bias


def chances(weight, bias, x):
    """Return the chance of each class, shape (rows, classes)."""
    scores = x @ weight + bias
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
