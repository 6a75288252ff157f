"""A small CNN on MNIST for `p2pfed lab matrix --app benchmarks/published_cnn.py:learner`; needs torch.

Few filters, so that a training under attack takes a minute or two of one core: 8 and 16 of 5 x 5, each
with ReLU and 2 x 2 pooling, then one dense layer; 5,994 parameters where ByzFL's `cnn_mnist` has 431,080.
"""

from torch import manual_seed, nn

import p2pfed
from p2pfed.learning.datasets import load_mnist
from p2pfed.learning.learner import initial_seed
from p2pfed.learning.shares import own_rows


def learner(context: p2pfed.AppContext) -> p2pfed.TorchLearner:
    """Return the CNN with this peer's share of the 60,000 images; steps, batch and lr come by --param."""
    data = load_mnist(context.data_dir)
    rows = own_rows(data.y_train, context)
    train = data.features(data.x_train[rows]).reshape(-1, 1, 28, 28), data.y_train[rows]
    test = data.features(data.x_test).reshape(-1, 1, 28, 28), data.y_test
    manual_seed(initial_seed(context))
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    return p2pfed.TorchLearner(model, context, train, test)
