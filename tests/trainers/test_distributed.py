"""Training on several replicas: in one process, and in two that work together."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from common import cli
from common.cli import UserError
from trainers import callbacks, flags, run, rundir
from zoo import MODELS
from zoo.game import Game
from zoo.parts import distributions, networks

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SMALL = {
    "vae": ["--flagfile=configs/vae_digits.cfg", "--hidden_units=8", "--latent_size=2"],
    "dcgan": ["--flagfile=configs/dcgan_digits.cfg", "--filters=4", "--latent_size=2", "--image_side=8"],
    "plain": ["--model=plain", "--plain.momentum=0.9", "--plain.use_ema", "--plain.ema_momentum=0.5"],
}
COMMON = ["--batch_size=16", "--checkpoint_every=2", "--log_every=1", "--sample_every=100"]


class Plain(Game):
    """An autoencoder that draws no noise: two replicas must do what one does.

    Args:
        latent_size: int, the width of its middle.
    """

    default_optimizers = {"plain": {"optimizer": "sgd", "learning_rate": 0.1}}
    metric_names = ("first_pixels",)
    latent_prior = distributions.PRIORS["normal"]

    def __init__(self, *, data_shape, latent_size: int = 3, seed=0, name=None):
        super().__init__(locals())

    def make_networks(self):
        self.encoder = networks.mlp(self.data_shape, (8,), (self.latent_size,))
        self.decoder = networks.mlp((self.latent_size,), (8,), self.data_shape)

    @property
    def moves(self):
        return {"plain": [self.encoder, self.decoder]}

    def train_step(self, x):
        def loss():
            error = tf.square(x - self.decoder(self.encoder(x, training=True), training=True))
            return {"plain": tf.reduce_sum(error, axis=[1, 2, 3]), "first_pixels": x[:, 3, 3]}

        self.minimize(loss)
        return self.next_step()

    def decode(self, z):
        return self.to_served(self.decoder(z))


@pytest.fixture(autouse=True)
def _with_plain(monkeypatch):
    monkeypatch.chdir(ROOT)  # flagfiles name each other from there
    monkeypatch.setitem(MODELS, "plain", Plain)
    yield
    keras.config.set_dtype_policy("float32")


def train(model, run_dir, num_steps, *more):
    more = [*more, *([] if "--export" in more else ["--noexport"])]
    arguments = [*SMALL[model], *COMMON, f"--run_dir={run_dir}", f"--num_steps={num_steps}", *more]
    run.train(flags.parse(["trainers.run", *arguments]))


def logs(run_dir):
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in callbacks.PACE} for line in lines]


def assert_trained(run_dir, num_steps):
    """A run that was stopped and resumed has written everything once."""
    assert [step for step, _ in rundir.checkpoints(run_dir)] == list(range(2, num_steps + 1, 2))
    assert [line["step"] for line in logs(run_dir)] == list(range(1, num_steps + 1))
    assert all(np.isfinite(value) for line in logs(run_dir) for value in line.values())
    assert rundir.load(run_dir).step == num_steps
    assert not list(run_dir.rglob("*tmp*"))


def assert_alike(run_dir, other, tolerance=1e-5):
    """The newest checkpoints and the logs of two runs."""
    left, right = ([], [])
    for path, numbers in ((run_dir, left), (other, right)):
        model = make_again(path)
        numbers += [v.numpy() for v in model.variables]
        numbers += [v.numpy() for optimizer in model.optimizers.values() for v in optimizer.variables]
        numbers += [np.array([line[name] for line in logs(path)]) for name in sorted(logs(path)[0])]
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def make_again(run_dir):
    loaded = rundir.load(run_dir)
    model = rundir.make_model(loaded.settings, loaded.facts)
    model.load_weights(rundir.newest(run_dir)[1])
    return model


TWO = ["--strategy=mirrored", "--num_replicas=2"]


@pytest.mark.parametrize("jit_compile", ["true", "false"])
def test_two_replicas_resumed_do_what_one_does_with_all_the_data(jit_compile, tmp_path):
    more = [f"--jit_compile={jit_compile}"]
    train("plain", tmp_path / "one", 4, *more)
    for num_steps in (2, 4):
        train("plain", tmp_path / "two", num_steps, *more, *TWO)
    assert_trained(tmp_path / "two", 4)
    assert_alike(tmp_path / "one", tmp_path / "two")
    losses = [line["plain_loss"] for line in logs(tmp_path / "two")]
    assert losses[3] < losses[0]  # the comparison is not one of runs that stand still


def test_batch_normalisation_is_trained_and_resumed_on_two_replicas(tmp_path):
    for num_steps in (2, 4):
        train("dcgan", tmp_path / "run", num_steps, *TWO, "--jit_compile=false")
    assert_trained(tmp_path / "run", 4)


def test_mirrored_from_the_command_line(tmp_path):
    """Only a fresh process shows that nothing starts TensorFlow before the CPU is divided."""
    arguments = [*SMALL["vae"], *COMMON, *TWO, "--num_steps=2", f"--run_dir={tmp_path / 'run'}", "--jit_compile=true"]
    done = subprocess.run([sys.executable, "-m", "trainers.run", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert_trained(tmp_path / "run", 2)
    assert next((tmp_path / "run" / "export").glob("*/saved_model.pb"))


# --- Two workers -----------------------------------------------------------------------------------------------------


def start_workers(*command):
    """Two processes with a TF_CONFIG each, the chief first."""
    sockets = [socket.socket() for _ in range(2)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
    for free in sockets:
        free.close()
    processes = []
    for index in range(2):
        config = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
        environment = {**os.environ, "TF_CONFIG": config, "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, **pipes))
    return processes


def finish(processes):
    """[(exit code, stdout, stderr)] of processes; none is left running."""
    try:
        return [(process.returncode, *out) for process in processes for out in [process.communicate(timeout=500)]]
    finally:
        for process in processes:
            process.kill()


JOBS = {  # run -> its model, the steps at which a part of the run ends, and further flags
    "vae": ("vae", (2,), ["--jit_compile=true", "--export"]),
    "dcgan": ("dcgan", (2, 4), ["--jit_compile=false"]),
    "left": ("plain", (6,), ["--jit_compile=false"]),  # by a worker that died
}
WORK = """
from common import cli
with cli.starting_tensorflow():
    from tests.trainers import test_distributed
test_distributed.{}({!r})
"""


def work(directory):
    """One worker: trains every job and keeps its weights; then makes mistakes that all workers must find."""
    directory, MODELS["plain"] = Path(directory), Plain
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    multi_worker, models, make_model = ["--strategy=multi_worker"], [], rundir.make_model
    rundir.make_model = lambda *args, **options: models.append(make_model(*args, **options)) or models[-1]
    strategy = run.strategy_of(flags.parse(["trainers.run", "--model=plain", *multi_worker]))
    run.strategy_of = lambda settings: strategy  # a process can have one of this kind only
    for name, (model, parts, more) in JOBS.items():
        for num_steps in parts:
            train(model, directory / name, num_steps, *multi_worker, *more)
        # Not the moving statistics of batch normalisation: each replica has its own, and the chief's are kept.
        trained = models[-2 if "--export" in more and not index else -1]  # the chief has made another for the export
        np.savez(directory / f"{name}_{index}.npz", *(v.numpy() for v in [trained.step, *trained.trainable_variables]))
    taken = rundir.claimed(directory / "taken") if index == 0 else contextlib.nullcontext()
    elsewhere = (["left", "elsewhere"][index], "--latent_size=3")
    for name, option in (("left", "--latent_size=4"), elsewhere, ("taken", "--latent_size=3")):
        try:
            with taken if name == "taken" else contextlib.nullcontext():
                train("plain", directory / name, 6, *multi_worker, "--jit_compile=false", option)
        except UserError as error:
            print(error)


def work_until_one_dies(directory):
    """One worker of a run of 6 steps; the second is killed in its third, which nobody tells the first."""
    MODELS["plain"], act = Plain, callbacks.Log.act
    if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
        callbacks.Log.act = lambda log, step, logs: (
            os.kill(os.getpid(), signal.SIGKILL) if step == 3 else act(log, step, logs)
        )
    cli.run(lambda argv: train("plain", Path(directory), 6, "--strategy=multi_worker", "--jit_compile=false"))


def test_two_workers_go_on_where_one_has_died(tmp_path):
    command = WORK.format("work_until_one_dies", str(tmp_path / "left"))
    (chief, out, err), (other, *_) = finish(start_workers("-c", command))
    assert (chief, other) == (2, -signal.SIGKILL), (out, err)
    assert err.startswith("error: another worker has gone: the same command again, on all of them, goes on from the ")
    assert rundir.newest(tmp_path / "left")[0] == 2

    results = finish(start_workers("-c", WORK.format("work", str(tmp_path))))
    assert [(code, errors) for code, _, errors in results] == [(0, "")] * 2
    for name, (_, parts, _) in JOBS.items():
        assert_trained(tmp_path / name, parts[-1])
        chief, other = (np.load(tmp_path / f"{name}_{index}.npz") for index in range(2))
        model = make_again(tmp_path / name)
        for variable, key in zip([model.step, *model.trainable_variables], chief.files, strict=True):
            np.testing.assert_array_equal(chief[key], other[key])
            np.testing.assert_array_equal(chief[key], variable.numpy())
    train("plain", tmp_path / "by one", 6)
    assert_alike(tmp_path / "by one", tmp_path / "left")
    chief, other = (out.splitlines() for _, out, _ in results)
    assert f"resuming {tmp_path / 'left'} at step 2 of 6" in chief
    assert any("exported to" in line for line in chief) and len(other) == 3  # only the chief writes and speaks
    for lines, directory in ((chief, "left"), (other, "elsewhere")):
        other_settings, other_steps, _ = lines[-3:]
        assert f"{tmp_path / 'left'} holds a run with other settings (latent_size is 3 there" in other_settings
        assert other_steps.startswith("the workers found checkpoints of different steps, 6, 0, in ")
        assert str(tmp_path / directory) in other_steps
    assert f"{tmp_path / 'taken'} is being trained by process" in chief[-1]
    assert other[-1] == f"the chief worker can not train in {tmp_path / 'taken'}, and says why."
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "taken").exists()
