"""A Flax model on the digits that ship with p2pfed.

p2pfed testnet create --app examples/jax_digits.py:learner
"""

import jax
from flax import linen

import p2pfed


class Model(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(10)(linen.relu(linen.Dense(32)(x)))


def learner(context: p2pfed.AppContext) -> p2pfed.JaxLearner:
    train, test = p2pfed.digits(context)
    model = Model()
    params = model.init(jax.random.key(context.seed), train[0])
    return p2pfed.JaxLearner(model.apply, params, context, train, test, epochs=5, batch=16, lr=0.2)
