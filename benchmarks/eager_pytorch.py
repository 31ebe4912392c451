"""Milliseconds of a step of eager PyTorch: `benchmarks/eager_pytorch.py vae|dcgan STEPS`. Needs PyTorch only."""

import statistics
import sys
import time


def torch_vae():
    """One step of the same VAE in eager PyTorch."""
    import torch
    from torch import nn

    class Maxout(nn.Module):
        def forward(self, x):
            return x.unflatten(1, (400, 4)).amax(dim=2)

    encoder = nn.Sequential(nn.Linear(784, 1600), Maxout(), nn.Linear(400, 80))
    decoder = nn.Sequential(nn.Linear(40, 1600), Maxout(), nn.Linear(400, 784))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.05, fused=True)
    x = (torch.rand(100, 784) < 0.13).float()

    def step():
        mean, log_variance = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        reconstruction = nn.functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        kl = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum()
        optimizer.zero_grad()
        ((reconstruction + kl) / len(x)).backward()
        optimizer.step()

    return step


def torch_dcgan():
    """One step of the same DCGAN in eager PyTorch."""
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
    players = generator, discriminator
    optimizers = [torch.optim.Adam(p.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True) for p in players]
    x = torch.rand(64, 1, 28, 28) * 2 - 1
    softplus = nn.functional.softplus

    def step():
        fake = generator(torch.rand(64, 100) * 2 - 1)
        optimizers[1].zero_grad()
        (softplus(-discriminator(x)) + softplus(discriminator(fake.detach()))).mean().backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        softplus(-discriminator(generator(torch.rand(64, 100) * 2 - 1))).mean().backward()
        optimizers[0].step()

    return step


def main(name, steps):
    step, number = {"vae": torch_vae, "dcgan": torch_dcgan}[name](), max(1, int(steps) // 5)
    step()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(number):
            step()
        times.append(1e3 * (time.perf_counter() - start) / number)
    print(statistics.median(times))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ModuleNotFoundError as error:
        sys.exit(
            f"{error.name} is missing here: install the extra `bench`, or name a Python that has it by --torch=PYTHON"
        )
