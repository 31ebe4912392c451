"""The generative moment matching network in PyTorch: a training step, and a sampler."""

import torch
from tools import adam, dense, in_turn
from torch import nn

BANDWIDTHS = (0.05, 0.1, 0.2, 0.5, 1.0)


def make_generator():
    return nn.Sequential(dense(10, 64, 256, 256, 1024, 784, activation=nn.ReLU), nn.Sigmoid())


def gmmn(wrap):
    generator = make_generator()
    optimizer = adam([generator], lr=1e-3)
    x = torch.rand(500, 784)

    def kernel(x, y, scale):
        squares = torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist").square()
        return sum(torch.exp(-squares / (2.0 * (bandwidth * scale) ** 2)) for bandwidth in BANDWIDTHS) / len(BANDWIDTHS)

    def within(x, scale):
        values = kernel(x, x, scale)
        return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))

    @wrap
    def loss():
        fake = generator(torch.rand(len(x), 10, device=x.device) * 2 - 1)
        scale = (2.0 * x.var(0, correction=0).sum()).sqrt()
        return within(fake, scale) + within(x, scale) - 2.0 * kernel(fake, x, scale).mean()

    return in_turn([loss], [optimizer])


def sample_gmmn(wrap, batch):
    generator = make_generator()
    return wrap(lambda: generator(torch.rand(batch, 10) * 2 - 1))
