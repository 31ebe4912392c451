"""Adversarial models in PyTorch: a training step of each, and a sampler."""

import itertools

import torch
from tools import adam, in_turn, simultaneous
from torch import nn


def dcgan_generator():
    return nn.Sequential(
        nn.Linear(100, 7 * 7 * 128, bias=False),
        nn.Unflatten(1, (128, 7, 7)),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 5, 2, 2, output_padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 5, 2, 2, output_padding=1),
        nn.Tanh(),
    )


def dcgan(wrap):
    generator = dcgan_generator()
    discriminator = nn.Sequential(
        nn.Conv2d(1, 64, 5, 2, 2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 5, 2, 2, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(7 * 7 * 128, 1),
    )
    optimizers = [adam([player], lr=2e-4, betas=(0.5, 0.999)) for player in (discriminator, generator)]
    x = torch.rand(64, 1, 28, 28) * 2 - 1
    softplus = nn.functional.softplus

    @wrap
    def of_discriminator():
        with torch.no_grad():
            fake = generator(torch.rand(64, 100, device=x.device) * 2 - 1)
        return (softplus(-discriminator(x)) + softplus(discriminator(fake))).mean()

    @wrap
    def of_generator():
        return softplus(-discriminator(generator(torch.rand(64, 100, device=x.device) * 2 - 1))).mean()

    return in_turn([of_discriminator, of_generator], optimizers)


def sample_dcgan(wrap, batch):
    generator = dcgan_generator().eval()
    return wrap(lambda: generator(torch.rand(batch, 100) * 2 - 1))


def cgan_generator():
    def up(inputs, outputs, extra, last=False):
        convolution = nn.ConvTranspose2d(inputs, outputs, 5, 2, 2, output_padding=extra, bias=last)
        return [convolution, nn.Tanh()] if last else [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        nn.Linear(110, 4 * 4 * 128, bias=False), nn.Unflatten(1, (128, 4, 4)), nn.BatchNorm2d(128), nn.ReLU(),
        *up(128, 64, 0), *up(64, 32, 1), *up(32, 1, 1, last=True),
    )  # fmt: skip


def cgan(wrap):
    generator = cgan_generator()
    sides = itertools.pairwise((1, 32, 64, 128))
    down = [layer for a, b in sides for layer in (nn.Conv2d(a, b, 5, 2, 2), nn.LeakyReLU(0.2))]
    discriminator = nn.Sequential(*down, nn.Flatten(), nn.Linear(4 * 4 * 128, 11))
    optimizers = [adam([player], lr=1e-3, betas=(0.0, 0.99)) for player in (discriminator, generator)]
    x, y = torch.rand(64, 1, 28, 28) * 2 - 1, torch.eye(10)[torch.arange(64) % 10]
    softplus = nn.functional.softplus
    average = [p.detach().clone() for p in generator.parameters()]

    def D(x):
        output = discriminator(x)
        return output[:, 0] + (y * output[:, 1:]).sum(1)

    def G():
        return generator(torch.cat([torch.rand(64, 100, device=x.device) * 2 - 1, y], dim=1))

    @wrap
    def of_discriminator():
        with torch.no_grad():
            fake = G()
        real = x.clone().requires_grad_()
        logits = D(real)
        (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        r1 = 0.5 * slope.square().sum((1, 2, 3))
        return (softplus(-logits) + softplus(D(fake)) + r1).mean()

    @wrap
    def of_generator():
        return softplus(-D(G())).mean()

    step = in_turn([of_discriminator, of_generator], optimizers)

    def with_average():
        step()
        torch._foreach_lerp_(average, [p.detach() for p in generator.parameters()], 0.001)

    return with_average


def sample_cgan(wrap, batch):
    generator, y = cgan_generator().eval(), torch.eye(10)[torch.arange(batch) % 10]
    return wrap(lambda: generator(torch.cat([torch.rand(batch, 100) * 2 - 1, y], dim=1)))


def normalized(*widths):
    return [
        layer
        for a, b in itertools.pairwise(widths)
        for layer in (nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.LeakyReLU(0.2))
    ]


def ali_decoder():
    return nn.Sequential(*normalized(50, 1024, 1024), nn.Linear(1024, 784), nn.Sigmoid())


def ali(wrap):
    encoder = nn.Sequential(*normalized(784, 1024, 1024), nn.Linear(1024, 50), nn.Tanh())
    decoder = ali_decoder()
    of_x = nn.Sequential(nn.Linear(784, 1024), nn.LeakyReLU(0.2))
    joint = nn.Sequential(*normalized(1074, 1024), nn.Linear(1024, 1))
    moves = [[of_x, joint], [encoder, decoder]]
    optimizers = [adam(move, lr=2e-4, betas=(0.5, 0.999)) for move in moves]
    parameters = [[p for network in move for p in network.parameters()] for move in moves]
    x, softplus = torch.rand(128, 784), nn.functional.softplus

    @wrap
    def losses():
        z = torch.rand(128, 50, device=x.device) * 2 - 1
        pairs = torch.cat([of_x(torch.cat([x, decoder(z)])), torch.cat([encoder(x), z])], dim=1)
        rho_q, rho_p = joint(pairs)[:, 0].chunk(2)
        discriminator = (softplus(-rho_q) + softplus(rho_p)).mean()
        return [discriminator, (softplus(rho_q) + softplus(-rho_p)).mean()]

    return simultaneous(losses, parameters, optimizers)


def sample_ali(wrap, batch):
    decoder = ali_decoder().eval()
    return wrap(lambda: decoder(torch.rand(batch, 50) * 2 - 1))
