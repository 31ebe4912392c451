"""NICE in PyTorch: a training step, and a sampler."""

import torch
from tools import adam, dense, in_turn
from torch import nn

SIZE = 784


class Flow(nn.Module):
    """Four additive couplings, each by a network of half of the pixels, and a scaling."""

    def __init__(self):
        super().__init__()
        self.couplings = nn.ModuleList(dense(SIZE, *[1000] * 5, SIZE, activation=nn.ReLU) for _ in range(4))
        self.log_scale = nn.Parameter(torch.zeros(SIZE))
        even = (torch.arange(SIZE) % 2 == 0).float()
        self.register_buffer("kept", torch.stack([even, 1.0 - even, even, 1.0 - even]))

    def forward(self, x):
        for coupling, kept in zip(self.couplings, self.kept, strict=True):
            x = x + (1.0 - kept) * coupling(kept * x)
        return torch.exp(10.0 * self.log_scale) * x, 10.0 * self.log_scale.sum()

    def inverse(self, z):
        x = torch.exp(-10.0 * self.log_scale) * z
        for coupling, kept in zip(reversed(self.couplings), self.kept.flip(0), strict=True):
            x = x - (1.0 - kept) * coupling(kept * x)
        return x


def nice(wrap):
    flow = Flow()
    optimizer = adam([flow], lr=1e-3)
    x, softplus = torch.randint(256, (200, SIZE)), nn.functional.softplus

    @wrap
    def loss():
        z, log_determinant = flow((x + torch.rand(x.shape, device=x.device)) / 256.0)
        return (softplus(z) + softplus(-z)).sum(1).mean() - log_determinant

    return in_turn([loss], [optimizer])


def sample_nice(wrap, batch):
    flow = Flow()

    @wrap
    def sample():
        return flow.inverse(torch.logit(torch.rand(batch, SIZE), eps=1e-7)).clamp(0.5 / 256, 255.5 / 256)

    return sample
