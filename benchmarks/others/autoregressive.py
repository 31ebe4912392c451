"""The masked autoencoder in PyTorch: a training step, and a sampler by full passes."""

import torch
from tools import adamw, binary, in_turn
from torch import nn

SIZE, UNITS = 784, 500


class Masked(nn.Linear):
    """A linear map without the weights that `mask` forbids."""

    def __init__(self, mask):
        super().__init__(*mask.T.shape)
        self.register_buffer("mask", mask.float())

    def forward(self, x):
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


def network():
    """The logits of pixels, each of which sees those before it."""
    places, degrees = torch.arange(SIZE), torch.arange(UNITS) * (SIZE - 1) // UNITS
    return nn.Sequential(Masked(degrees[:, None] >= places[None]), nn.ReLU(), Masked(places[:, None] > degrees[None]))


def made(wrap):
    conditionals = network()
    optimizer = adamw([conditionals], lr=2e-3, weight_decay=0.05)
    x = binary(100)

    @wrap
    def loss():
        return nn.functional.binary_cross_entropy_with_logits(conditionals(x), x, reduction="sum") / len(x)

    return in_turn([loss], [optimizer])


def sample_made(wrap, batch):
    """A pass through the whole network for each pixel, as implementations of MADE draw."""
    conditionals = wrap(network())

    def sample():
        x = torch.zeros(batch, SIZE)
        for pixel in range(SIZE):
            x[:, pixel] = torch.bernoulli(torch.sigmoid(conditionals(x)[:, pixel]))
        return x

    return sample
