"""Variational models in PyTorch: a training step of each, and a sampler."""

import torch
from tools import adam, adamw, binary, dense, in_turn, simultaneous
from torch import nn


def maxout(units, pieces=4):
    """A layer [batch, units * pieces] -> [batch, units]."""

    class Maxout(nn.Module):
        def forward(self, x):
            return x.unflatten(1, (units, pieces)).amax(dim=2)

    return Maxout()


def vae_decoder():
    return nn.Sequential(nn.Linear(40, 1600), maxout(400), nn.Linear(400, 784))


def vae(wrap):
    encoder = nn.Sequential(nn.Linear(784, 1600), maxout(400), nn.Linear(400, 80))
    decoder = vae_decoder()
    optimizer = adamw([encoder, decoder], lr=2e-3, weight_decay=0.05)
    x = binary(100)

    @wrap
    def loss():
        mean, log_variance = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        reconstruction = nn.functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        kl = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum()
        return (reconstruction + kl) / len(x)

    return in_turn([loss], [optimizer])


def sample_vae(wrap, batch):
    return of_decoder(wrap, vae_decoder(), batch, 40)


def of_decoder(wrap, decoder, batch, size):
    """A function that draws black and white pixels [batch, 784], as the decoder's logits have them."""
    return wrap(lambda: torch.bernoulli(torch.sigmoid(decoder(torch.randn(batch, size)))))


def avb_decoder(size):
    return dense(size, 400, 400, 784, activation=nn.ELU)


def avb(wrap):
    size, num_basis, batch = 32, 16, 128

    class Parallel(nn.Module):
        """A linear map for each of the functions of the basis."""

        def __init__(self, inputs, outputs):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(num_basis, inputs, outputs) / inputs**0.5)
            self.bias = nn.Parameter(torch.zeros(num_basis, outputs))

        def forward(self, x):
            return torch.einsum("bni,nio->bno", x, self.weight) + self.bias

    decoder = avb_decoder(size)
    coefficients = dense(784, 400, 400, (1 + num_basis) * size, activation=nn.ELU)
    basis = nn.Sequential(Parallel(32, 64), nn.ELU(), Parallel(64, 64), nn.ELU(), Parallel(64, size))
    theta = dense(784, 400, 400, 513, activation=nn.ELU)
    s = dense(size, 512, 512, 513, activation=nn.ELU)
    moves = {"decoder": [decoder], "encoder": [coefficients, basis], "adversary": [theta, s]}
    optimizers = [
        adamw(moves[move], lr=5e-4, betas=(0.5, 0.999), weight_decay=0.05) for move in ("decoder", "encoder")
    ] + [adam(moves["adversary"], lr=1e-3, betas=(0.5, 0.999))]
    parameters = [[p for network in networks for p in network.parameters()] for networks in moves.values()]
    x, softplus = binary(batch), nn.functional.softplus

    def T(of_x, z):
        of_z = s(z)
        return (of_x[:, 1:] * of_z[:, 1:]).sum(1) + of_x[:, 0] + of_z[:, 0] + 0.5 * z.square().sum(1)

    def log_normal(z, mean=0.0, deviation=None):
        scaled, log = (z, 0.0) if deviation is None else ((z - mean) / deviation, deviation.log())
        return (-0.5 * scaled.square() - log).sum(1)

    @wrap
    def losses():
        z_0, a = coefficients(x).unflatten(1, (1 + num_basis, size)).split((1, num_basis), dim=1)
        a, v = nn.functional.elu(a - 5.0) + 1.0, basis(torch.randn(batch, num_basis, 32, device=x.device))
        z_q = z_0[:, 0] + (a * v).sum(1)
        with torch.no_grad():
            mean = z_0[:, 0] + (a * v.mean(0)).sum(1)
            deviation = ((a.square() * v.var(0, correction=0)).sum(1) + 1e-6).sqrt()
        of_x = theta(x)
        T_q, T_p = T(of_x, (z_q - mean) / deviation), T(of_x, torch.randn(batch, size, device=x.device))
        log_px = -nn.functional.binary_cross_entropy_with_logits(decoder(z_q), x, reduction="none").sum(1)
        encoder = T_q + log_normal(z_q, mean, deviation) - log_normal(z_q) - log_px
        return [-log_px.mean(), encoder.mean(), (softplus(-T_q) + softplus(T_p)).mean()]

    return simultaneous(losses, parameters, optimizers)


def sample_avb(wrap, batch):
    return of_decoder(wrap, avb_decoder(32), batch, 32)
