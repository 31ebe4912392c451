"""Training as a user meets it: runs that are killed, diverge, meet a full disk or are given wrong settings."""

import errno
import json
import os
import pty
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common import cli, pictures
from tests.mistakes import files_no_larger_than, mistake
from trainers import callbacks, evaluate, flags, results, rundir
from trainers.data import load
from trainers.run import train
from zoo import MODELS
from zoo.variational.vae import VAE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SMALL = ["--latent_size=2", "--batch_size=16", "--noexport"]
SMALL_VAE = ["--flagfile=configs/vae_digits.cfg", "--hidden_units=8", *SMALL]
SMALL_GAN = ["--model=gan", "--generator_units=8", "--discriminator_units=8", *SMALL]


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)  # flagfiles name each other from there
    yield
    keras.config.set_dtype_policy("float32")


def every(steps):
    return [f"--{what}_every={steps}" for what in ("checkpoint", "sample", "log")]


def train_here(run_dir, *arguments):
    train(flags.parse(["trainers.run", f"--run_dir={run_dir}", *arguments]))
    return run_dir


def start(run_dir, *arguments):
    command = [sys.executable, "-m", "trainers.run", f"--run_dir={run_dir}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def state(run_dir):
    """Every number of the newest checkpoint: weights, optimizers and step."""
    with zipfile.ZipFile(rundir.checkpoints(run_dir)[-1][1]) as archive, archive.open("model.weights.h5") as file:
        numbers = {}
        h5py.File(file).visititems(lambda name, x: numbers.update({name: x[()]} if isinstance(x, h5py.Dataset) else {}))
        return numbers


def assert_same_bits(run_dir, other):
    left, right = state(run_dir), state(other)
    assert left.keys() == right.keys() and any("optimizer" in name for name in left)
    for name in left:
        assert left[name].tobytes() == right[name].tobytes(), name


def steps_logged(run_dir):
    return [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def watch_pictures(monkeypatch):
    """The arguments of the pictures that are drawn from now on, but for the data in them."""
    shown, draw = [], pictures.picture
    monkeypatch.setattr(pictures, "picture", lambda *given, data: [shown.append(given), draw(*given, data=data)])
    return shown


def temporary_files(run_dir):
    return list(run_dir.rglob("*tmp*"))


# --- Interruptions ---------------------------------------------------------------------------------------------------


def test_a_run_that_is_terminated_and_killed_ends_with_the_same_bits(tmp_path, capfd):
    arguments = [*SMALL_VAE, *every(10), "--sample_every=100", "--num_steps=200", "--keep_checkpoints=100"]
    whole, victim = tmp_path / "whole", tmp_path / "victim"
    moments = np.random.default_rng().uniform(0.0, 0.1, 2)
    for number, moment in zip((signal.SIGTERM, signal.SIGKILL), moments, strict=True):
        before = len(rundir.checkpoints(victim))
        process = start(victim, *arguments)
        while len(rundir.checkpoints(victim)) < before + 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        time.sleep(moment)
        process.send_signal(number)
        out, err = process.communicate()
        if number == signal.SIGTERM:
            done = rundir.checkpoints(victim)[-1][0]
            assert process.returncode == 143 and f"\nstopped after step {done} of 200," in err, moments
    assert process.returncode == -signal.SIGKILL and rundir.checkpoints(victim)[-1][0] < 200, moments
    assert (victim / "lock").exists()  # and is in nobody's way
    train_here(victim, *arguments)
    out, err = capfd.readouterr()
    assert not err and re.match(rf"resuming {victim} at step \d+ of 200\n", out), moments
    train_here(whole, *arguments)
    assert_same_bits(whole, victim)
    assert steps_logged(victim) == steps_logged(whole) == list(range(10, 201, 10))
    assert not temporary_files(victim) and not (victim / "lock").exists()


@pytest.mark.parametrize("number, times", [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_signal_ends_the_run_after_its_step_and_a_second_at_once(number, times, two_runs, tmp_path, monkeypatch):
    def strike(self, batch, logs=None):
        for _ in range(times if batch == 4 else 0):
            signal.raise_signal(number)

    run_dir, arguments = tmp_path / "run", [*SMALL_VAE, *every(4), "--checkpoint_every=12", "--num_steps=12"]
    with monkeypatch.context() as patch, pytest.raises(cli.Stopped) as stop:
        patch.setattr(callbacks.Stop, "on_train_batch_begin", strike)
        train_here(run_dir, *arguments)
    told = ["stopped after step 8 of 12, which has its checkpoint:", "stopped at once;"][times - 1]
    assert told in str(stop.value) and "the same command again" in str(stop.value) and stop.value.number == number
    assert [step for step, _ in rundir.checkpoints(run_dir)] == [8][: 2 - times] and steps_logged(run_dir)[-1] >= 4
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    train_here(run_dir, *arguments)
    assert_same_bits(two_runs / "whole", run_dir)


def test_a_terminal_shows_one_line_which_ends_as_the_log_does(tmp_path, monkeypatch):
    shown, terminal = pty.openpty()
    with open(terminal, "w") as out, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        run_dir = train_here(tmp_path / "run", *SMALL_VAE, *every(20), "--num_steps=50")
        *_, lines = os.read(shown, 100_000).decode().partition("\r")
    os.close(shown)
    line, rest = lines.rsplit("\r", 3)[1:3]
    logged = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    values = [f"{name} {value:.4f}" for name, value in logged.items() if name not in ("step", *callbacks.PACE)]
    assert line.split("  ")[:-2] == ["step 50/50", *values] and line.endswith(" 0 s left\x1b[K")
    assert rest == f"\nthe run is in {run_dir}: metrics.jsonl, samples/ (means, not draws), checkpoints/"
    assert "60/50" not in lines


def test_points_are_kept_as_numbers_and_measured_at_the_end(tmp_path, capfd, monkeypatch):
    """As the command that is kept with the results measures them again, and in the card."""
    metrics = ["--metrics=modes_found,class_accuracy", "--export"]
    run_dir = train_here(tmp_path / "run", *SMALL_GAN, "--dataset=ring", *every(2), *metrics, "--num_steps=4")
    files = sorted(file.name for file in (run_dir / "samples").iterdir())
    assert files == [f"step_00000{step}.{kind}" for step in (2, 4) for kind in ("npy", "png")]
    expected = rundir.load(run_dir).model.sample(tf.range(2000, dtype=tf.int64))
    np.testing.assert_allclose(np.load(run_dir / "samples" / files[2]), expected, atol=1e-5)
    out = capfd.readouterr().out
    assert "\nmodes_found\n" in out and "\nclass_accuracy does not apply: samples are asked for by no class\n" in out
    file = run_dir / "evaluation.json"
    measured, how = (json.loads(file.read_text())[part] for part in ("results", "measured"))
    assert list(measured) == ["modes_found"]
    command = how["modes_found"]["command"]
    assert f"Of `{command}`" in (run_dir / "export" / "README.md").read_text()
    file.unlink()
    python, option, module, *arguments = shlex.split(command)
    assert (python, option) == ("python", "-m")
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(module, run_name="__main__")
    assert not stop.value.code and json.loads(file.read_text())["results"] == measured
    board = EventAccumulator(str(run_dir / "tensorboard")).Reload()  # as TensorBoard shows it
    pngs = [(picture.step, picture.encoded_image_string) for picture in board.Images("samples")]
    assert pngs == [(step, (run_dir / f"samples/step_00000{step}.png").read_bytes()) for step in (2, 4)]
    board = EventAccumulator(str(run_dir / "tensorboard" / "evaluation")).Reload()
    assert [p.step for p in board.Scalars("evaluation/modes_found")] == [4]  # once, though there are two files
    results.add(run_dir, "ring", tmp_path)
    (record,) = results.load(tmp_path).values()
    assert (
        record["runs"][0]["training_seconds"] > 0.0
        and record["num_weights"] == 2 * 8 + 8 + 8 * 2 + 2 + 2 * 8 + 8 + 8 + 1
    )


def test_a_model_without_samples(tmp_path, capfd, monkeypatch):
    """It is trained, measured and exported all the same, and its card tells how to ask it."""
    run_dir = train_here(tmp_path / "run", "--model=density_ratio", "--dataset=line", "--num_steps=2")
    assert not (run_dir / "samples").exists() and "samples/" not in capfd.readouterr().out
    (version,) = (run_dir / "export").glob("*/saved_model.pb")
    served = tf.saved_model.load(str(version.parent)).signatures["serving_default"]
    x = tf.constant([[0.0], [2.0], [np.nan]])
    answer = served(points=x)
    expected = rundir.load(run_dir).model.log_ratio(x[:2])["log_ratio"]
    np.testing.assert_allclose(answer["log_ratio"][:2], expected, rtol=1e-5)
    assert answer["valid"].numpy().tolist() == [True, True, False]
    card = (run_dir / "export" / "README.md").read_text()
    assert "`serving_default` is `log_ratio`" in card and "None" not in card
    in_python = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    monkeypatch.chdir(run_dir / "export")
    exec(in_python, scope := {})
    assert scope["log_ratio"].shape == (4,)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A run of 12 steps, and one that was stopped after 8."""
    path = tmp_path_factory.mktemp("runs")
    for name, num_steps in (("whole", 12), ("stopped", 8)):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            train_here(path / name, *SMALL_VAE, *every(4), f"--num_steps={num_steps}")
    return path


def newest(run_dir):
    return rundir.checkpoints(run_dir)[-1][1]


DAMAGES = {  # what a crash or a disk may have done, the step that is gone on from, and what is told of which file
    "half written": (lambda run: newest(run).rename(newest(run).with_name(".tmp-1234")), 4, None),
    "truncated": (lambda run: newest(run).write_bytes(newest(run).read_bytes()[:1000]), 4,
                  "checkpoint {}/checkpoints/step_00000008.keras is damaged; the one before it is taken.\n"),
    "facts": (lambda run: (run / "facts.json").write_text("[]"), 8,
              "{}/facts.json is damaged; it is written anew.\n"),
    "log": (lambda run: (run / "metrics.jsonl").write_bytes(b'{"step": 4}\n\xff\n7\n{}\n{"step": 8}\n'), 8,
            "{}/metrics.jsonl: damaged lines are left out, 4 of 6.\n"),
    "lock": (lambda run: (run / "lock").write_text("process 1 on elsewhere"), 8, None),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_after_any_damage_the_newest_whole_checkpoint_leads_to_the_same_bits(damage, two_runs, tmp_path, capfd):
    run_dir = shutil.copytree(two_runs / "stopped", tmp_path / "run")
    harm, step, told = DAMAGES[damage]
    harm(run_dir)
    with open(run_dir / "metrics.jsonl", "a") as file:
        file.write('{"step": 12, "autoen')
    train_here(run_dir, *SMALL_VAE, *every(4), "--num_steps=12")
    out, err = capfd.readouterr()
    torn = "" if damage == "log" else f"{run_dir}/metrics.jsonl: damaged lines are left out, 1 of 3.\n"
    assert err == (told or "").format(run_dir) + torn and f"resuming {run_dir} at step {step} of 12" in out
    assert_same_bits(two_runs / "whole", run_dir)
    assert steps_logged(run_dir) == [4, 8, 12] and not temporary_files(run_dir)
    assert rundir.load(run_dir).facts["versions"] == json.loads((two_runs / "whole/facts.json").read_text())["versions"]
    board = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    assert [[point.step for point in board.Scalars(name)] for name in board.Tags()["scalars"]] == [[4, 8, 12]] * 3


def test_what_is_done_does_not_depend_on_how_often_it_is_looked_at(two_runs, tmp_path):
    """Other operational flags, and a run that is extended from a step at which nothing else would have happened."""
    run_dir = train_here(tmp_path / "run", *SMALL_VAE, *every(4), "--num_steps=3")
    train_here(run_dir, *SMALL_VAE, *every(4), "--num_steps=7", "--checkpoint_every=1")
    train_here(run_dir, *SMALL_VAE, *every(4), "--num_steps=12", "--sample_every=100")
    assert_same_bits(two_runs / "whole", run_dir)
    assert steps_logged(run_dir) == [3, 4, 7, 8, 12]


def test_a_finished_run_only_exports_again(two_runs, tmp_path, capfd):
    run_dir = shutil.copytree(two_runs / "whole", tmp_path / "run")
    (run_dir / "evaluation.json").write_text("half")
    before = {file: file.read_bytes() for file in run_dir.rglob("*") if file.is_file() and file.name != "config.cfg"}
    train_here(run_dir, *SMALL_VAE, *every(4), "--num_steps=12", "--export")
    out, err = capfd.readouterr()
    (version,) = [folder for folder in (run_dir / "export").iterdir() if folder.is_dir()]
    assert f"exported to {version}\n" in out and "step 1" not in out.replace("step 12 of 12", "")
    assert err == f"{run_dir / 'evaluation.json'} is damaged; the card does without it.\n"
    assert before == {file: file.read_bytes() for file in before}


# --- Divergence and full disks ---------------------------------------------------------------------------------------


def break_the_bound(patch, change):
    """Adds `change(model, outcome)` to the loss of every example."""
    bound = VAE.negative_bound

    def broken(self, *arguments, **options):
        outcome = bound(self, *arguments, **options)
        return {**outcome, "autoencoder": outcome["autoencoder"] + change(self, outcome)}

    patch.setattr(VAE, "negative_bound", broken)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_loss_that_is_not_finite_stops_the_run(value, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    parts = f"became {value} at step 7:", "try a smaller", f"{run_dir}/checkpoints/step_00000005.keras, stays"
    with monkeypatch.context() as patch, mistake("the loss of the autoencoder", *parts):  # of one example in step 7
        break_the_bound(patch, lambda self, _: tf.where((self.step.value == 6) & (tf.range(16) == 3), value, 0.0))
        train_here(run_dir, *SMALL_VAE, *every(5), "--num_steps=20")
    assert steps_logged(run_dir) == [5] and not temporary_files(run_dir)
    assert rundir.load(run_dir).step == 5
    train_here(run_dir, *SMALL_VAE, *every(5), "--num_steps=20")  # mended, it goes on


def test_weights_that_are_not_finite_are_never_a_checkpoint(two_runs, tmp_path, monkeypatch):
    """A gradient can be NaN where the loss is not, and no line of the log need lie between."""
    break_the_bound(monkeypatch, lambda self, outcome: tf.sqrt(0.0 * outcome["kl"]))
    run_dir = shutil.copytree(two_runs / "stopped", tmp_path / "run")
    with mistake("of the autoencoder is not finite at step 9:", "earlier checkpoints stay"):
        train_here(run_dir, *SMALL_VAE, *every(4), "--log_every=100", "--num_steps=12", "--checkpoint_every=1")
    assert_same_bits(two_runs / "stopped", run_dir)


def test_a_picture_that_finds_no_room_stops_the_run(two_runs, tmp_path, monkeypatch):
    def full(rows, path, num_classes, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pictures, "picture", full)
    run_dir = shutil.copytree(two_runs / "stopped", tmp_path / "run")
    with mistake(run_dir, "can not be written: No space left on device; training stopped at step"):
        train_here(run_dir, *SMALL_VAE, *every(4), "--num_steps=12")
    assert_same_bits(two_runs / "whole", run_dir)  # the checkpoint was written before


FULL = {  # bytes that a file may have -> what can not be written then
    300: "facts.json can not be written: File too large.",
    2500: "run can not be written: File too large; training stopped at step",
    20_000: "step_00000050.keras can not be written: File too large.",
}


@pytest.mark.parametrize("size", FULL)
def test_a_full_disk_is_one_sentence(size, tmp_path):
    more = ["--num_steps=60", "--log_every=1", "--checkpoint_every=50", "--hidden_units=40"]
    with files_no_larger_than(size), mistake(tmp_path / "run", FULL[size]):
        train_here(tmp_path / "run", *SMALL_VAE, *more)
    assert not temporary_files(tmp_path) and rundir.checkpoints(tmp_path / "run") == []


# --- Wrong settings --------------------------------------------------------------------------------------------------

WRONG = {  # what is wrong with the settings -> what the sentence must say
    "--model=dcgan --image_side=30": ["--model=dcgan", "30"],
    "--model=vae --dataset=ring": ["ring: the model takes points in [0, 1]", "of any real numbers"],
    "--model=vae --dataset=digits --batch_size=5000": ["5000", "rows"],
    "--model=vae --dataset=digits --image_channels=2": ["2", "1 for grey or 3 for colour"],
    "--model=vae --dataset=ring --likelihood=gaussian --dynamic_binarization": ["grey images", "ring"],
    "--model=density_ratio --numerator=-1": ["numerator must be at least 0, not (-1,)"],
    "--model=vae --metrics=beauty": ["beauty", "modes_found"],
    "--model=vae --dataset=image_folder --data_dir=no/such": ["no/such"],
    "--model=vae --num_replicas=2": ["--num_replicas=2 is for --strategy=mirrored, not none"],
    "--model=vae --strategy=multi_worker": ["TF_CONFIG"],
    "--model=vae --strategy=mirrored --autoencoder.clipnorm=1": ["--autoencoder.clipnorm", "--strategy=none"],
    "--model=vae --strategy=mirrored --num_replicas=2 --batch_size=9": ["9", "2 replicas"],
    "--model=vae --latent_size=0": ["--model=vae", "latent_size must be at least 1, not 0."],
    "--model=vae --hidden_units=5,0": ["hidden_units must be at least 1, not (5, 0)."],
    "--model=vae --beta=-1": ["beta must not be negative, but is -1.0."],
    "--model=vae --autoencoder.learning_rate=-1": ["learning_rate must not be negative, but is -1.0."],
    "--model=vae --autoencoder.clipnorm=1 --autoencoder.clipvalue=1": ["--model=vae", "clipnorm"],
    "--model=vae --autoencoder.use_ema --autoencoder.ema_momentum=7": ["--model=vae", "7"],
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_settings_are_one_sentence_and_leave_nothing_behind(line, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with mistake(*WRONG[line]):
        train_here(tmp_path / "run", *line.split())
    assert not (tmp_path / "run").exists()


def test_no_folder_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "_get_default_tempdir", lambda: tempfile.TemporaryFile(dir="/none"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with mistake("a temporary file can not be written: No such file or directory."):
        train_here(tmp_path / "run", *SMALL_VAE)


@pytest.mark.parametrize("model", ["vae", "cgan", "lapgan --conditional"])
def test_labels_that_a_model_asks_for_and_the_data_do_not_have(model, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "vae", type("LabelledVAE", (VAE,), {"conditional": True}))
    (tmp_path / "images").mkdir()
    for i in range(20):
        pictures.grid(np.full([1, 8, 8, 1], i / 20), tmp_path / "images" / f"{i}.png")
    with mistake("image_folder has no labels"):
        data = ["--dataset=image_folder", f"--data_dir={tmp_path / 'images'}"]
        train_here(tmp_path / "run", *f"--model={model}".split(), *data)
    assert not (tmp_path / "run").exists()


def test_others_in_the_same_directory(two_runs, tmp_path):
    run_dir = shutil.copytree(two_runs / "stopped", tmp_path / "run")
    before = {file: file.read_bytes() for file in run_dir.rglob("*") if file.is_file()}
    with rundir.claimed(run_dir), mistake(run_dir, f"is being trained by process {os.getpid()} on"):
        train_here(run_dir, *SMALL_VAE, *every(4), "--num_steps=12")
    done = "has already done 8 steps, more than --num_steps=7."
    for more, told in (("--latent_size=3", "latent_size is 2 there and 3 here"), ("--num_steps=7", done)):
        with mistake(run_dir, told):
            train_here(run_dir, *SMALL_VAE, *every(4), "--num_steps=12", more)
    assert before == {file: file.read_bytes() for file in run_dir.rglob("*") if file.is_file()}


# --- Averages --------------------------------------------------------------------------------------------------------


def test_pictures_show_the_moving_average_and_training_does_not(tmp_path, monkeypatch):
    shown = watch_pictures(monkeypatch)
    arguments = [*SMALL_GAN, "--num_steps=6", "--generator.learning_rate=0.01"]
    ema = ["--generator.use_ema", "--generator.ema_momentum=0.9"]
    often = train_here(tmp_path / "often", *arguments, *ema, "--sample_every=2")
    assert len(shown) == 3
    seldom = train_here(tmp_path / "seldom", *arguments, *ema)
    assert_same_bits(often, seldom)
    plain = train_here(tmp_path / "plain", *arguments)
    seeds = tf.range(64, dtype=tf.int64)
    average, raw = (rundir.load(run_dir).model.sample(seeds).numpy() for run_dir in (often, plain))
    np.testing.assert_allclose(shown[2][0], average, atol=1e-6)
    np.testing.assert_allclose(shown[4][0], raw, atol=1e-6)
    assert np.abs(average - raw).max() > 1e-3


def test_folders_are_classes_with_a_line_of_pictures_each_and_a_name_in_the_card(tmp_path, monkeypatch):
    for i in range(20):
        pictures.grid(np.full([1, 8, 8, 1], i / 20), tmp_path / "in" / "abcdefghij"[i // 2] / f"{i}.png")
    shown = watch_pictures(monkeypatch)
    units = ["--generator_units=4,3,5", "--discriminator_units=4,3,5"]
    data = ["--dataset=image_folder", f"--data_dir={tmp_path / 'in'}", "--image_side=8"]
    run_dir = train_here(tmp_path / "run", "--model=cgan", *units, *data, *SMALL, "--num_steps=2", "--export")
    ((rows, path, num_classes),) = shown
    label = tf.constant(np.arange(80) // 8)
    expected = rundir.load(run_dir).model.sample(tf.range(80, dtype=tf.int64), label=label)
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert num_classes == 10 and path == run_dir / "samples" / "step_000002.png"
    with mistake("image_folder has no test rows: give at least 10 images"):
        evaluate.main(["evaluate", f"--run_dir={run_dir}", f"--data_dir={tmp_path / 'in' / 'a'}"])
    assert "label 0 is `a`, label 1 is `b`, " in (run_dir / "export" / "README.md").read_text()


def test_pairs_of_images_are_learned_with_pictures_of_translations(tmp_path):
    for i in range(20):
        for kind, grey in (("condition", i / 20), ("target", 1 - i / 20)):
            pictures.grid(np.full([1, 8, 8, 1], grey), tmp_path / "in" / kind / f"{i}.png")
    sizes = ["--image_side=16", "--image_channels=1", "--filters=2", "--num_strides=1"]
    data = ["--dataset=image_pairs", f"--data_dir={tmp_path / 'in'}"]
    model = ["--model=image_to_image", "--condition=pairs"]
    run_dir = train_here(tmp_path / "run", *model, *sizes, *data, *SMALL, "--num_steps=2", "--export")
    rows = load("image_pairs", tmp_path / "in", 16, 1).test / np.float32(255)
    kinds = rundir.load(run_dir).model.translations(rows, np.arange(2))
    pictures.beside([kind.numpy() for kind in kinds], tmp_path / "expected.png")
    assert (run_dir / "samples" / "step_000002.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert "`translate`" in (run_dir / "export" / "README.md").read_text()


def test_mixed_precision_is_trained_resumed_and_exported(tmp_path):
    arguments = [*SMALL_GAN, "--precision=mixed_float16", *every(2), "--generator.use_ema"]
    whole = train_here(tmp_path / "whole", *arguments, "--num_steps=4")
    parts = train_here(tmp_path / "parts", *arguments, "--num_steps=2")
    train_here(parts, *arguments, "--num_steps=4", "--export")
    assert_same_bits(whole, parts)
    assert next((parts / "export").glob("*/saved_model.pb"))
