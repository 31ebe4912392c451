"""A training as a program, run by JAX on the CPU: the steps are those of `trainers.run`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.mistakes import mistake
from trainers import flags, program, rundir
from trainers.data.batches import ROUNDS
from trainers.run import train

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SMALL = ["--latent_size=2", "--batch_size=16", "--noexport", "--log_every=5", "--num_steps=10"]
VAE = ["--flagfile=configs/vae_digits.cfg", "--hidden_units=8", *SMALL, "--jit_compile=true"]
CGAN = ["--model=cgan", "--dataset=digits", "--generator_units=8,8", "--discriminator_units=8,8", *SMALL]


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)  # flagfiles name each other from there


@pytest.mark.parametrize("num_rows", [1437, 50000, 65536, 65537, 262145, 10**6])
def test_rows_are_permuted_as_by_tensorflow(num_rows):
    rng = np.random.default_rng(num_rows)
    index, words = rng.integers(0, num_rows, 300), rng.integers(0, 2**23, (300, 3))
    last = np.int64(num_rows - 1)
    there = tf.raw_ops.RandomIndexShuffle(index=index, seed=words, max_index=last, rounds=ROUNDS)
    here = tf.function(program.shuffled)(tf.constant(index), tf.constant(words), num_rows - 1)
    np.testing.assert_array_equal(here, there)


def write(run_dir, *arguments):
    program.main(["", "write", f"--run_dir={run_dir}", *arguments])
    return run_dir / "program"


def client(*arguments, status=0):
    """What the client prints, in an environment without the zoo's packages in sight."""
    command = [sys.executable, ROOT / "trainers" / "program_client.py", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd="/")
    assert done.returncode == status
    return done.stdout


@pytest.mark.parametrize("arguments", [[*VAE, "--dynamic_binarization"], CGAN], ids=["vae", "cgan"])
def test_a_run_goes_on_in_a_program_with_the_same_steps(arguments, tmp_path, capsys):
    """Also beside another program, and beside one that is broken, which does not stop the others."""
    here, there = tmp_path / "here", tmp_path / "there"
    train(flags.parse(["trainers.run", f"--run_dir={here}", *arguments, "--checkpoint_every=5"]))
    shutil.copytree(here, there)
    for of_step_10 in [*there.rglob("step_0*10.*")]:
        of_step_10.unlink()
    folder = write(there, *arguments, "--expected")
    if arguments is CGAN:
        assert float(client(folder, "--check").split()[-1]) < 1e-4
        assert "at step 10 of 10" in client(folder)
    else:
        assert "at step 5 of 10" in client(folder, "--seconds=0")  # and begins again
        other = shutil.copytree(folder, tmp_path / "other")
        lines = client(folder, other, tmp_path / "none", status=1).splitlines()
        assert all("compiled for" in line for line in lines[:2])  # both before the first one runs
        assert all("at step 10 of 10" in line for line in lines[2:]) and len(lines) == 4
        for name, value in np.load(other / "result.npz").items():
            np.testing.assert_allclose(value, np.load(folder / "result.npz")[name], rtol=1e-3, atol=1e-5)
    with mistake("has the result of step 10, which was not read"):
        write(there, *arguments)
    program.main(["", "read", f"--run_dir={there}"])
    assert "the checkpoint of step 10" in capsys.readouterr().out

    ours, theirs = rundir.load(there), rundir.load(here)
    for a, b in zip(ours.model.weights, theirs.model.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4, err_msg=a.path)
    logs = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (there, here)]
    for a, b in zip(*logs, strict=True):
        assert a.keys() == b.keys() and a["step"] == b["step"]
        assert all(np.isclose(a[name], b[name], rtol=1e-3, atol=1e-4) for name in a if "second" not in name)
    assert (there / "samples" / "step_000010.png").exists()
    assert ours.facts["machine"].keys() == theirs.facts["machine"].keys()


def test_a_new_run_names_the_command_that_made_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program.py", "write", *VAE])
    write(tmp_path, *VAE)
    assert rundir.read_facts(tmp_path)["command"].startswith("python -m trainers.program write --flagfile=")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["write", *VAE, "--steps_per_call=4"], "10 steps are left, no multiple of --steps_per_call=4"),
        (["write", *VAE, "--strategy=mirrored"], "a program runs on one device"),
        (["write", *VAE, "--batch_size=2000"], "batch_size is 2000, but digits has"),
        (["read"], "has no result.npz: let trainers/program_client.py run it first"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments, sentence, tmp_path):
    with mistake(sentence):
        program.main(["", *arguments, f"--run_dir={tmp_path / 'run'}"])
    keras.config.set_dtype_policy("float32")
