"""The directory of a run: what may go there, and that its checkpoints survive crashes, full disks and flipped bits."""

import errno
import json
import os
from contextlib import contextmanager, nullcontext

import keras
import numpy as np
import pytest
import tensorflow as tf

from common import cli
from tests.mistakes import mistake
from trainers import flags, rundir
from trainers.data import load

DIGITS = load("digits")
SMALL = {
    "vae": ["--model=vae", "--hidden_units=4", "--latent_size=2"],
    "gan": ["--model=gan", "--generator_units=4", "--discriminator_units=4", "--latent_size=2"],
}


@pytest.fixture(autouse=True)
def _float32():
    yield
    keras.config.set_dtype_policy("float32")


def settings_of(path, *more, model="vae"):
    return flags.parse(["trainers.run", *SMALL[model], f"--run_dir={path}", *more])


def make(path, *more, model="vae"):
    """A run with a fresh model: (settings, facts, model)."""
    settings = settings_of(path, *more, model=model)
    keras.config.set_dtype_policy(settings.precision)
    facts = rundir.facts_of(settings, DIGITS)
    rundir.prepare(settings, facts)
    return settings, facts, rundir.make_model(settings, facts, jit_compile=False)


def values(variables):
    return [v.numpy() for v in variables]


def files_in(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


def test_a_run_goes_into_its_own_or_an_empty_directory(tmp_path):
    path = tmp_path / "runs" / "one"
    settings = settings_of(path)
    facts = rundir.facts_of(settings, DIGITS)
    assert rundir.check(settings, facts) == path and not path.parent.exists()
    path.mkdir(parents=True)
    (path / ".tmp-1-facts.json").touch()  # all that a crash at the very start can leave
    (path / "facts.json").write_text("{}")
    rundir.check(settings, facts)
    rundir.prepare(settings, facts)
    assert files_in(path) == ["config.cfg", "facts.json"]
    assert json.loads((path / "facts.json").read_text()) == facts
    later, another = settings_of(path, "--num_steps=9000", "--noexport"), {**facts, "command": "another"}
    assert rundir.other_bits(later) == ""
    elsewhere = settings_of(path, "--jit_compile=true", "--strategy=mirrored", "--num_replicas=2")
    assert rundir.check(elsewhere, facts) == path and rundir.other_bits(elsewhere) == (
        "jit_compile is auto there and true here; num_replicas is unset there and 2 here; "
        "strategy is none there and mirrored here"
    )
    rundir.check(later, another)
    rundir.prepare(later, another)
    assert "--num_steps=9000" in (path / "config.cfg").read_text()
    assert json.loads((path / "facts.json").read_text()) == facts  # of the first command


def test_a_directory_of_something_else_is_left_as_it_is(tmp_path):
    _, facts, _ = make(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    (tmp_path / "file").touch()
    before = files_in(tmp_path)
    for there, more, checksum, sentence in (
        ("run", ["--seed=4", "--autoencoder.beta_1=0.5"], facts["data_checksum"],
         "autoencoder.beta_1 is 0.9 there and 0.5 here; seed is 0 there and 4 here"),
        ("run", [], "1", "other data of the name digits"),
        ("other", [], "1", "is not empty and holds no run"),
        ("file", [], "1", "is not a directory"),
    ):  # fmt: skip
        with mistake(tmp_path / there, sentence):
            rundir.check(settings_of(tmp_path / there, *more), {**facts, "data_checksum": checksum})
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("run_dir", ["file/run", "/proc/run"])
def test_a_directory_that_can_not_be_made(run_dir, tmp_path):
    (tmp_path / "file").touch()
    settings = settings_of(tmp_path / run_dir)
    with mistake(tmp_path / run_dir, "can not be written"):
        rundir.prepare(settings, rundir.facts_of(settings, DIGITS))


@contextmanager
def locked_out(path):
    """Within, the permissions of `path` keep this process out, root included."""
    user = os.geteuid()
    path.chmod(0)
    try:
        os.seteuid(user or 65534)
        yield
    finally:
        os.seteuid(user)
        path.chmod(0o700)


@pytest.mark.parametrize("act", [rundir.load, rundir.newest, lambda path: rundir.claimed(path).__enter__()])
def test_a_directory_that_another_user_keeps_closed_is_one_sentence(act, tmp_path, capsys):
    _, _, model = make(tmp_path / "run")
    rundir.save(model, tmp_path / "run", 4, keep=1)
    closed = tmp_path / "run" / ("checkpoints" if act == rundir.newest else "")
    with locked_out(closed), pytest.raises(SystemExit) as caught:
        cli.run(lambda argv: act(tmp_path / "run"))
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.startswith(f"error: {tmp_path / 'run'}") and "damaged" not in error
    assert error.endswith(" written: Permission denied.\n")


def test_a_full_disk_leaves_the_old_checkpoints_and_no_rubbish(tmp_path, monkeypatch):
    _, _, model = make(tmp_path)
    rundir.save(model, tmp_path, 4, keep=1)
    before, content = files_in(tmp_path), (tmp_path / "checkpoints" / "step_00000004.keras").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for culprit, function in ((os, "fsync"), (model, "save")):
        told = mistake("step_00000008.keras can not be written: No space left on device.")
        with monkeypatch.context() as patch, told:
            patch.setattr(culprit, function, full)
            rundir.save(model, tmp_path, 8, keep=1)
        assert files_in(tmp_path) == before
    assert (tmp_path / "checkpoints" / "step_00000004.keras").read_bytes() == content


@pytest.mark.slow
def test_the_newest_checkpoints_are_kept_and_broken_weights_are_not_saved(tmp_path):
    _, _, model = make(tmp_path)
    for step in (2, 4, 6, 8):
        rundir.save(model, tmp_path, step, keep=2)
    assert [step for step, _ in rundir.checkpoints(tmp_path)] == [6, 8]
    rundir.save(model, tmp_path, 7, keep=2)  # as after a resume from step 6, because that of step 8 was damaged
    assert [step for step, _ in rundir.checkpoints(tmp_path)] == [6, 7]
    model.trainable_variables[0].assign(np.nan * model.trainable_variables[0])
    with pytest.raises(FloatingPointError, match="step 9"):
        rundir.save(model, tmp_path, 9, keep=1)
    assert [step for step, _ in rundir.checkpoints(tmp_path)] == [6, 7]


def flip(content, position, bit=0):
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "no end": lambda content: content[:-1],
    "flipped": lambda content: flip(content, len(content) // 2),
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_taken(damage, tmp_path, capsys):
    _, _, model = make(tmp_path)
    rundir.save(model, tmp_path, 4, keep=3)
    good = values(model.variables)
    model.train_step(tf.zeros([2, 8, 8, 1]))
    rundir.save(model, tmp_path, 8, keep=3)
    (_, old), (_, newest) = rundir.checkpoints(tmp_path)
    newest.write_bytes(DAMAGES[damage](newest.read_bytes()))
    assert rundir.newest(tmp_path) == (4, old)
    assert capsys.readouterr().err == f"checkpoint {newest} is damaged; the one before it is taken.\n"
    for left, right in zip(good, values(rundir.load(tmp_path).model.variables), strict=True):
        np.testing.assert_array_equal(left, right)
    assert newest.name in capsys.readouterr().err
    old.write_bytes(DAMAGES[damage](old.read_bytes()))
    assert rundir.newest(tmp_path) == (0, None)
    assert str(old) in capsys.readouterr().err


@pytest.mark.slow
def test_no_flipped_bit_changes_what_is_loaded(tmp_path):
    settings, facts, model = make(tmp_path)
    rundir.save(model, tmp_path, 1, keep=1)
    ((_, file),) = rundir.checkpoints(tmp_path)
    content, rng = file.read_bytes(), np.random.default_rng(0)
    positions = [*rng.integers(len(content), size=200), *rng.integers(len(content) - 600, len(content), size=200)]
    again, others = rundir.make_model(settings, facts), 0
    for position in positions:
        file.write_bytes(flip(content, position, rng.integers(8)))
        if rundir.is_whole(file):  # a byte without meaning, such as one of a time
            others += 1
            for variable in again.variables:
                variable.assign(keras.ops.zeros_like(variable))
            again.load_weights(file)
            for left, right in zip(values(model.variables), values(again.variables), strict=True):
                np.testing.assert_array_equal(left, right)
    assert others < 100


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_what_is_read_back_is_the_moving_average(precision, tmp_path):
    momentum = 0.75
    ema = ["--generator.use_ema", f"--generator.ema_momentum={momentum}", f"--precision={precision}"]
    _, _, model = make(tmp_path, *ema, model="gan")
    with model.averaged():
        pass  # before the first step there is nothing to average
    average = []
    for i in range(4):
        model.train_step(tf.constant(DIGITS.train[8 * i : 8 * i + 8] / np.float32(127.5) - 1.0))
        raw = values(model.weights_of("generator"))
        average = [momentum * a + (1 - momentum) * w for a, w in zip(average, raw, strict=True)] if i else raw
        with model.averaged():
            assert_close(values(model.weights_of("generator")), average)
        assert_close(values(model.weights_of("generator")), raw)
    discriminator = values(model.weights_of("discriminator"))
    rundir.save(model, tmp_path, 4, keep=1)
    run = rundir.load(tmp_path)
    assert run.step == 4 and run.settings == settings_of(tmp_path, *ema, model="gan")
    assert_close(values(run.model.weights_of("generator")), average)
    assert_close(values(run.model.weights_of("discriminator")), discriminator)
    assert np.abs(average[0] - raw[0]).max() > 1e-5  # a test that could not tell them apart would show nothing
    assert run.model.dtype_policy.name == "float32"


def assert_close(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_a_run_of_an_older_version_is_not_resumed_where_its_networks_have_state(tmp_path):
    for model, more in (("dcgan", ["--model=dcgan", "--filters=2"]), ("gan", SMALL["gan"])):
        settings = flags.parse(["trainers.run", *more, f"--run_dir={tmp_path / model}"])
        facts = rundir.facts_of(settings, DIGITS)
        rundir.prepare(settings, facts | {"versions": {"keras": "3"}})
        told = mistake("was begun by an older version", "give another --run_dir") if model == "dcgan" else nullcontext()
        with told:
            rundir.check_resumable(tmp_path / model, rundir.make_model(settings, facts))


def test_reading_back_what_is_not_there(tmp_path):
    with mistake(tmp_path, "holds no run"):
        rundir.load(tmp_path)
    make(tmp_path / "run")
    with mistake(tmp_path / "run", "holds no checkpoint yet"):
        rundir.load(tmp_path / "run")
