"""Training steps of the zoo's models with networks, as PyTorch has them: functions of what wraps their losses.

`wrap` is `torch.compile`, or returns a function as it is. Networks, losses and optimizers are those of the flagfiles
that `benchmarks/training.py` names.
"""

import itertools

# --- Variational -----------------------------------------------------------------------------------------------------


def vae(wrap):
    import torch
    from torch import nn

    class Maxout(nn.Module):
        def forward(self, x):
            return x.unflatten(1, (400, 4)).amax(dim=2)

    encoder = nn.Sequential(nn.Linear(784, 1600), Maxout(), nn.Linear(400, 80))
    decoder = nn.Sequential(nn.Linear(40, 1600), Maxout(), nn.Linear(400, 784))
    optimizer = adamw([encoder, decoder], lr=2e-3, weight_decay=0.05)
    x = binary(100)

    @wrap
    def loss():
        mean, log_variance = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        reconstruction = nn.functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        kl = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum()
        return (reconstruction + kl) / len(x)

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def avb(wrap):
    import torch
    from torch import nn

    size, num_basis, batch = 32, 16, 128

    class Parallel(nn.Module):
        """A linear map for each of the functions of the basis."""

        def __init__(self, inputs, outputs):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(num_basis, inputs, outputs) / inputs**0.5)
            self.bias = nn.Parameter(torch.zeros(num_basis, outputs))

        def forward(self, x):
            return torch.einsum("bni,nio->bno", x, self.weight) + self.bias

    decoder = dense(size, 400, 400, 784, activation=nn.ELU)
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


# --- Adversarial -----------------------------------------------------------------------------------------------------


def dcgan(wrap):
    import torch
    from torch import nn

    generator = nn.Sequential(
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


def cgan(wrap):
    import torch
    from torch import nn

    def up(inputs, outputs, extra, last=False):
        convolution = nn.ConvTranspose2d(inputs, outputs, 5, 2, 2, output_padding=extra, bias=last)
        return [convolution, nn.Tanh()] if last else [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    generator = nn.Sequential(
        nn.Linear(110, 4 * 4 * 128, bias=False), nn.Unflatten(1, (128, 4, 4)), nn.BatchNorm2d(128), nn.ReLU(),
        *up(128, 64, 0), *up(64, 32, 1), *up(32, 1, 1, last=True),
    )  # fmt: skip
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


def ali(wrap):
    import torch
    from torch import nn

    def normalized(*widths):
        return [
            layer
            for a, b in itertools.pairwise(widths)
            for layer in (nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.LeakyReLU(0.2))
        ]

    encoder = nn.Sequential(*normalized(784, 1024, 1024), nn.Linear(1024, 50), nn.Tanh())
    decoder = nn.Sequential(*normalized(50, 1024, 1024), nn.Linear(1024, 784), nn.Sigmoid())
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


# --- What they share -------------------------------------------------------------------------------------------------


def binary(batch):
    import torch

    return (torch.rand(batch, 784) < 0.13).float()


def dense(*widths, activation):
    from torch import nn

    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


def adam(networks, **settings):
    import torch

    return torch.optim.Adam([p for network in networks for p in network.parameters()], fused=True, **settings)


def adamw(networks, **settings):
    import torch

    return torch.optim.AdamW([p for network in networks for p in network.parameters()], fused=True, **settings)


def in_turn(losses, optimizers):
    """A step of each optimizer after the other, along its own loss."""

    def step():
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    return step


def simultaneous(losses, parameters, optimizers):
    """A step of all optimizers at once, each along its own loss by its own parameters."""
    import torch

    def step():
        found = losses()
        grads = [
            torch.autograd.grad(loss, of_move, retain_graph=True)
            for loss, of_move in zip(found, parameters, strict=True)
        ]
        for optimizer, of_move, of_loss in zip(optimizers, parameters, grads, strict=True):
            for parameter, grad in zip(of_move, of_loss, strict=True):
                parameter.grad = grad
            optimizer.step()

    return step
