"""What a training step costs: `python benchmarks/training.py [--torch]`.

For the VAE and the DCGAN of the MNIST flagfiles, as a graph and under XLA: the compiled step alone, on one batch that
lies in memory; a step of the real run, with its data and its loop; and the share of the latter that is not the former.
Then what a fresh command costs until its first step is done, and its memory. With --torch, the same networks, losses
and optimizers in eager PyTorch, measured in the same minutes: on a noisy machine only ratios mean anything.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import cli

FLAGFILES = {"vae": "configs/vae_binarized_mnist.cfg", "dcgan": "configs/dcgan_mnist.cfg"}


def median_ms(step, repeats, number):
    """Median over repeats of the mean milliseconds of one call; the first call is not counted."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(number):
            result = step()
        finish(result)
        times.append(1e3 * (time.perf_counter() - start) / number)
    return statistics.median(times)


def finish(result):
    for value in result.values() if isinstance(result, dict) else ():
        value.numpy()


def measure(name, jit_compile, num_steps):
    """(milliseconds of the compiled step alone, milliseconds of a step of the run)."""
    import tensorflow as tf

    from trainers import callbacks, flags, run, rundir
    from trainers.data import load

    tf.config.experimental.enable_op_determinism()  # as in a run
    with tempfile.TemporaryDirectory() as directory:
        settings = flags.parse(
            ["", f"--flagfile={FLAGFILES[name]}", f"--run_dir={directory}", f"--num_steps={2 * num_steps}"]
        )
        data = load(settings.dataset, settings.data_dir)
        facts = rundir.facts_of(settings, data)
        model = rundir.make_model(
            settings, facts, jit_compile=jit_compile, steps_per_execution=run.steps_per_execution(settings, 0)
        )
        batches = run.training_data(settings, data, model, tf.distribute.get_strategy(), 0)
        batch = next(iter(batches))
        step = tf.function(model.train_step, jit_compile=jit_compile)
        alone = median_ms(lambda: step(batch), 5, num_steps // 5)

        log = callbacks.Log(Path(directory), num_steps, 0, 2 * num_steps, writes=True)
        log.verbose = False
        model.fit(batches, steps_per_epoch=2 * num_steps, callbacks=[log], shuffle=False, verbose=0)
        lines = (Path(directory) / "metrics.jsonl").read_text().splitlines()
        in_run = 1e3 / json.loads(lines[-1])["steps_per_second"]  # the second half: nothing is compiled any more
        return alone, in_run


def first_step(name):
    """(seconds from the command to the end of its first steps, peak memory in GiB), in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "trainers.run", f"--flagfile={FLAGFILES[name]}", f"--run_dir={directory}"]
        more = ["--dataset=mnist", "--num_steps=1", "--log_every=1", "--checkpoint_every=1", "--noexport"]
        start = time.perf_counter()
        subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", action="store_true", help="compare with eager PyTorch (extra `bench`)")
    parser.add_argument("--steps", type=int, default=200, help="steps of each measurement")
    arguments = parser.parse_args()
    print(
        "model   compiler  step alone  step of the run  outside the step"
        + ("  eager PyTorch" if arguments.torch else "")
    )
    for name in FLAGFILES:
        for compiler, jit_compile in (("graph", False), ("XLA", True)):
            alone, in_run = measure(name, jit_compile, arguments.steps)
            line = f"{name:7} {compiler:9} {alone:7.2f} ms {in_run:13.2f} ms {100 * (1 - alone / in_run):14.1f} %"
            if arguments.torch:
                step = {"vae": torch_vae, "dcgan": torch_dcgan}[name]()
                line += f" {median_ms(step, 5, arguments.steps // 5):13.2f} ms"
            print(line, flush=True)
    for name in FLAGFILES:
        seconds, memory = first_step(name)
        print(f"{name}: a command of one step, its checkpoint and picture: {seconds:.1f} s, {memory:.2f} GiB at most")


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    with cli.quiet():
        import tensorflow as tf  # noqa: F401
    main()
