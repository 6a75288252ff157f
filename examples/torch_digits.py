"""A torch model on the digits that ship with p2pfed.

p2pfed testnet create --app examples/torch_digits.py:learner
"""

from torch import nn

import p2pfed


def learner(context: p2pfed.AppContext) -> p2pfed.TorchLearner:
    train, test = p2pfed.digits(context)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return p2pfed.TorchLearner(model, context, train, test, epochs=5, batch=16, lr=0.2)
