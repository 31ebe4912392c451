"""What every model of the zoo must do. A model joins by being in `MODELS` and having configs/NAME_digits.cfg.

A check is one function; it runs over the models that do not exempt themselves, with a reason, in `exceptions`, and some
run over the adversarial games of `CRITICS` and `LOSSES` too.
"""

import functools
import inspect
import json
import subprocess
import sys
import typing
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.saved_model import export_model
from trainers import flags, rundir
from trainers.data import held_out_batches, load
from trainers.metrics.sample_quality import energy_distance
from trainers.run import train
from zoo import MODELS
from zoo.parts import adversarial, networks, penalties

ROOT = Path(__file__).parents[2]
DIGITS = load("digits")  # 8x8, whatever side a flagfile enlarges them to: checks are to be fast


SMALL = "dcgan --filters=4"
PENALISED = f"{SMALL} --nodiscriminator_batch_norm --loss=wasserstein --penalty="
CRITICS = [
    *(PENALISED + penalty for penalty in penalties.PENALTIES),
    *(f"{SMALL} --weight_constraint={constraint}" for constraint in ("clipping", "spectral_norm")),
    *(f"{name} --packing=2" for name in (SMALL, "cgan", "ali")),
]
LOSSES = [
    f"gan --generator_units=8 --discriminator_units=8 --loss={loss} --loss_parameter=0.3"
    for loss in typing.get_args(adversarial.Loss)
]


def check(function, variants=()):
    """Runs a check over every model that does not exempt itself from it, and over these variants."""
    number = function.__name__.split("_")[1]
    names = [name for name, cls in sorted(MODELS.items()) if number not in cls.exceptions]
    return pytest.mark.parametrize("name", [*names, *variants])(function)


check_with_critics = functools.partial(check, variants=CRITICS)
check_with_losses = functools.partial(check, variants=[*LOSSES, *CRITICS])


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)  # flagfiles name each other from there
    yield
    keras.config.set_dtype_policy("float32")


def settings_of(name, *more):
    """Those of a model's digits flagfile; a variant's name is that of the model and the flags that make it."""
    model, *variant = name.split()
    return flags.parse(["trainers.run", f"--flagfile=configs/{model}_digits.cfg", "--image_side=8", *variant, *more])


def make(model_name, *, optimizers=None, compiled=True, **overrides):
    """The model of the digits flagfile, with weights from seed 0."""
    settings = settings_of(model_name)
    keras.utils.set_random_seed(0)
    arguments = {"data_shape": DIGITS.shape, **settings.model_settings, **overrides}
    if "num_classes" in settings.model_class.arguments():
        arguments["num_classes"] = DIGITS.num_classes
    model = settings.model_class(**arguments)
    if compiled:
        model.compile(optimizers and {player: optimizers() for player in model.players}, jit_compile=False)
    return model


def batch_of(model, size=8, first=0):
    """One batch of digits as `train_step` takes it."""
    data = held_out_batches(DIGITS, 100, model.data_range, with_labels=model.labelled)
    rows = slice(first, first + size * model.batches_per_step)
    return tf.nest.map_structure(lambda x: x[rows], next(iter(data)))


def values(variables):
    return [keras.ops.convert_to_numpy(v) for v in variables]


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(left, right, tolerance):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def changed(before, variables):
    """For each variable whether it differs from its value before."""
    return [np.any(a != b) for a, b in zip(before, values(variables), strict=True)]


SEEDS = tf.constant([3, 1, 4, 1, 5, 9, 2, 6], tf.int64)


def sample(model, seeds, labels=SEEDS % 10):
    return model.sample(seeds, **({"label": labels} if model.conditional else {}))


def rows_of(model, specs):
    """8 rows for each input of a signature."""
    rng = np.random.default_rng(0)
    served = {model.data_name: model.to_served(tf.nest.flatten(batch_of(model))[0][:8]), "seed": SEEDS}
    served |= {"label": SEEDS % 10, "alpha": tf.constant(rng.random(8, np.float32))}
    drawn = {key: rng.normal(size=[8, *spec.shape[1:]]).astype(np.float32) for key, spec in specs.items()}
    return {key: served.get(key, tf.constant(drawn[key])) for key in specs}


def serve(model):
    """What a server answers by default: samples, of a model that draws any."""
    function, specs = next(iter(model.signatures().values()))
    return function(**rows_of(model, specs))


@check
def test_I1_built_when_constructed(name):
    model = make(name, compiled=False)
    assert model.built and model.trainable_variables
    before = [v.path for v in model.variables]
    model.compile(jit_compile=False)
    model.train_step(batch_of(model))
    assert [v.path for v in model.variables] == before


def other_value(parameter, value):
    """A valid value of a constructor argument that is not `value`."""
    if typing.get_origin(parameter.annotation) is typing.Literal:
        return next(choice for choice in typing.get_args(parameter.annotation) if choice != value)
    if parameter.annotation is bool:
        return not value
    if typing.get_origin(parameter.annotation) is tuple:
        return (*value, 3)
    return (
        {int: 2, float: 0.5, str | None: "another_name"}[parameter.annotation] if value not in (2, 0.5) else value + 1
    )


@check
def test_I2_constructor_contract(name):
    cls = MODELS[name]
    model = make(name, compiled=False)
    for argument, parameter in cls.arguments().items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, argument
        if argument not in ("data_shape", "num_classes"):  # these come from the data
            assert parameter.default is not inspect.Parameter.empty and parameter.annotation is not parameter.empty
        if argument not in ("data_shape", "num_classes", "seed", "name"):
            assert flags.argument_help(cls).get(argument), f"{argument} is not in the docstring"
        json.dumps(getattr(model, argument))  # plain


@check
def test_I3_configuration_survives(name):
    for argument, parameter in MODELS[name].arguments().items():
        if argument == "data_shape" or argument == "num_classes":
            continue
        value = other_value(parameter, parameter.default)
        try:
            model = make(name, compiled=False, **{argument: value})
        except ValueError:  # a choice that the rest of the flagfile's settings rule out
            continue
        again = type(model).from_config(json.loads(json.dumps(model.get_config())))
        assert getattr(again, argument) == value
        assert [v.shape for v in again.variables] == [v.shape for v in model.variables]


@check_with_critics
def test_I3_keras_file_keeps_everything(name, tmp_path):
    model = make(name, optimizers=lambda: keras.optimizers.Adam(0.003, beta_1=0.7))
    model.train_step(batch_of(model))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_config() == model.get_config()
    for _ in range(2):  # as they are, and after one more step of both
        assert_equal(values(model.variables), values(again.variables))
        for player, optimizer in model.optimizers.items():
            assert_equal(values(optimizer.variables), values(again.optimizers[player].variables))
        model.train_step(batch_of(model, first=8)), again.train_step(batch_of(again, first=8))
    assert again.optimizers[player].get_config() == model.optimizers[player].get_config()


@check_with_critics
def test_I4_players_partition_the_weights_and_move_their_own(name):
    model = make(name)
    owned = [id(v) for player in model.players for v in model.weights_of(player)]
    assert sorted(owned) == sorted(id(v) for v in model.trainable_variables)
    assert set(model.default_optimizers) == set(model.players)
    minimize, moved = model.minimize, set()

    def spy(loss_fn):
        movers = set()

        def spying_loss_fn():
            outcome = loss_fn()
            movers.update(player for player in outcome if player in model.players)
            return outcome

        before = {player: values(model.weights_of(player)) for player in model.players}
        minimize(spying_loss_fn)
        for player in model.players:
            assert any(changed(before[player], model.weights_of(player))) == (player in movers), player
        moved.update(movers)

    model.minimize = spy
    model.train_step(batch_of(model))
    assert moved == set(model.players)


FORBIDDEN = {
    "GradientTape": "game.py",
    "apply_gradients": "game.py",
    "distribute": "game.py",
    "random": "parts/noise.py",
}


@pytest.mark.parametrize("file", sorted((ROOT / "zoo").rglob("*.py")), ids=lambda f: str(f.relative_to(ROOT)))
def test_I5_one_place_for_gradients_strategies_and_randomness(file):
    import ast

    own = str(file.relative_to(ROOT / "zoo"))
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute):
            assert FORBIDDEN.get(node.attr, own) == own, f"line {node.lineno} uses {node.attr}"


def final_state(name, run_dir, num_steps):
    more = [f"--run_dir={run_dir}", f"--num_steps={num_steps}", "--batch_size=16", "--noexport", "--keep_checkpoints=9"]
    train(settings_of(name, *more, "--log_every=4", "--checkpoint_every=4", "--sample_every=12"))
    run = rundir.load(run_dir)
    return run, values(run.model.variables) + [v for o in run.model.optimizers.values() for v in values(o.variables)]


@pytest.mark.slow
@check
def test_I6_same_seed_same_bits_interrupted_or_not(name, tmp_path):
    run, whole = final_state(name, tmp_path / "whole", 12)
    _, again = final_state(name, tmp_path / "again", 8)
    _, again = final_state(name, tmp_path / "again", 12)
    assert_equal(whole, again)
    lines = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("whole", "again")]
    logs = [[{k: v for k, v in json.loads(line).items() if k != "steps_per_second"} for line in run] for run in lines]
    assert logs[0] == logs[1]


@check
def test_I7_second_step_does_not_retrace(name):
    model = make(name)
    train_step, traces = model.train_step, []
    model.train_step = lambda data: traces.append(1) or train_step(data)
    x = tf.nest.map_structure(lambda x: x[None], batch_of(model))
    model.fit(tf.data.Dataset.from_tensor_slices(x).repeat(2), verbose=0)
    once = len(traces)
    model.fit(tf.data.Dataset.from_tensor_slices(x).repeat(3), verbose=0)
    assert len(traces) == once


@check_with_critics
def test_I8_batch_norm_moves_in_training_only(name):
    model = make(name)
    networks = [network for networks in model.players.values() for network in networks]
    norms = [la for net in networks for la in net.layers if isinstance(la, keras.layers.BatchNormalization)]
    statistics = [v for layer in norms for v in layer.non_trainable_variables]
    before = values(statistics)
    serve(model), model.test_step(batch_of(model))
    assert_equal(before, values(statistics))
    model.train_step(batch_of(model))
    assert all(changed(before, statistics))


@pytest.fixture
def smooth_units(monkeypatch):
    """Networks without kinks. At one, where a unit's slope jumps, the last bit decides which gradient is right."""

    def smooth(negative_slope):
        return lambda: keras.layers.Activation(
            lambda x: negative_slope * x + (1.0 - negative_slope) * keras.ops.softplus(x)
        )

    def log_sum_exp(layer, x):
        groups = keras.ops.reshape(x, (-1, *x.shape[1:-1], x.shape[-1] // layer.pieces, layer.pieces))
        return keras.ops.logsumexp(groups, axis=-1)

    monkeypatch.setitem(networks.ACTIVATIONS, "relu", smooth(0.0))
    monkeypatch.setitem(networks.ACTIVATIONS, "leaky_relu", smooth(0.2))
    monkeypatch.setattr(networks.Maxout, "call", log_sum_exp)


@pytest.mark.slow
@check_with_critics
@pytest.mark.usefixtures("smooth_units")
def test_I9_eager_graph_and_xla_agree(name):
    """Weights to 1e-5, and where their gradients are larger than 1, to 1e-5 of these."""
    results, rate = [], 0.01
    for compiler in (lambda f: f, tf.function, lambda f: tf.function(f, jit_compile=True)):
        model = make(name, optimizers=lambda: keras.optimizers.SGD(rate))
        before = values(model.variables)
        step = compiler(lambda data: model.train_step(data))
        logs = [step(batch_of(model, first=first)) for first in (0, 8)][-1]
        results.append((values(model.variables), [logs[key] for key in sorted(logs)]))
    eager, logs = results[0]
    for weights, other_logs in results[1:]:
        assert_close(other_logs, logs, 1e-5)
        for first, expected, actual in zip(before, eager, weights, strict=True):
            gradient = np.max(np.abs(expected - first), initial=0.0) / rate
            assert_close([actual], [expected], 1e-5 * max(1.0, gradient))


@functools.cache
def two_replicas():
    """One strategy for all tests of a process: TensorFlow numbers collectives anew in each, and confuses theirs."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@check_with_critics
def test_I10_two_replicas_on_the_same_batch_are_one(name, monkeypatch):
    """With the same rows and noise on both, dividing by the number of replicas must give one replica's step."""

    def after_steps(strategy):
        with strategy.scope():
            model = make(name, optimizers=lambda: keras.optimizers.SGD(0.01))
            monkeypatch.setattr(model, "replica_id", lambda: 0)
            x = batch_of(model)
            step = tf.function(lambda: strategy.run(model.train_step, args=(x,)))
            step(), step()
        return values(model.variables)

    assert_close(after_steps(tf.distribute.get_strategy()), after_steps(two_replicas()), 1e-5)


@check
def test_I10_replicas_draw_their_own_noise(name):
    model = make(name)
    first = values(model.keys(2))
    model.replica_id = lambda: 1
    assert not {tuple(k) for k in first} & {tuple(k) for k in values(model.keys(2))}


@check_with_critics
def test_I11_sample_rows_depend_on_their_seed_only(name):
    model = make(name)
    together = sample(model, SEEDS).numpy()
    assert together.shape == (8, *DIGITS.shape) and together.min() >= 0.0 and together.max() <= 1.0
    for i in range(8):
        alone = sample(model, SEEDS[i : i + 1], SEEDS[i : i + 1] % 10).numpy()
        np.testing.assert_allclose(alone[0], together[i], atol=1e-6)
    np.testing.assert_allclose(together[1], together[3], atol=1e-6)  # the same seed
    assert np.abs(together[0] - together[1]).max() > 1e-4  # another seed


@check
def test_I11_a_sample_decodes_the_latent_of_its_seed(name):
    signatures = {key: function for key, (function, _) in make(name).signatures().items()}
    assert ("latent" in signatures) == ("decode" in signatures)
    if "latent" in signatures:
        label = {"label": SEEDS % 10} if MODELS[name].conditional else {}
        z = signatures["latent"](seed=SEEDS)["z"]
        assert z.dtype == tf.float32
        assert_close(signatures["decode"](z=z, **label).values(), signatures["sample"](seed=SEEDS, **label).values(), 0)


SERVER = """
import sys
sys.modules["zoo"] = sys.modules["keras"] = None  # importing either fails
import numpy as np, tensorflow as tf
for line in sys.stdin:
    directory, inputs, outputs = line.rstrip().split("\\t")
    inputs, answers = np.load(inputs), {}
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], directory)
        for name, signature in meta.signature_def.items():
            if name.startswith("__"):
                continue
            feed = {tensor.name: inputs[name + "/" + key] for key, tensor in signature.inputs.items()}
            fetch = {key: tensor.name for key, tensor in signature.outputs.items()}
            answers |= {name + "/" + key: value for key, value in session.run(fetch, feed).items()}
    np.savez(outputs, **answers)
    print("answered", flush=True)
"""


@pytest.fixture(scope="module")
def server_without_the_zoo():
    """A process that serves one SavedModel after the other."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVER], **pipes, cwd="/") as process:
        yield process
        process.stdin.close()


@pytest.mark.slow
@check
def test_I12_every_signature_is_served_without_the_zoo(name, server_without_the_zoo, tmp_path):
    model = make(name)
    model.train_step(batch_of(model))
    inputs, expected = {}, {}
    signatures = model.signatures()
    signatures["serving_default"] = next(iter(signatures.values()))
    for signature, (function, specs) in signatures.items():
        rows = rows_of(model, specs)
        inputs |= {f"{signature}/{key}": value.numpy() for key, value in rows.items()}
        expected |= {f"{signature}/{key}": value.numpy() for key, value in function(**rows).items()}
    version = export_model(model, tmp_path / "export", metadata={"model": name})
    np.savez(tmp_path / "inputs.npz", **inputs)
    paths = [version, tmp_path / "inputs.npz", tmp_path / "outputs.npz"]
    print(*paths, sep="\t", file=server_without_the_zoo.stdin, flush=True)
    assert server_without_the_zoo.stdout.readline() == "answered\n"
    answers = np.load(tmp_path / "outputs.npz", allow_pickle=True)
    assert set(expected) <= set(answers)
    for key, value in expected.items():
        if value.dtype == object:
            assert_close(*([tf.io.decode_png(png) for png in pngs] for pngs in (answers[key], value)), 1)
        else:
            np.testing.assert_allclose(answers[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    assert all(answers[key].all() for key in answers if key.endswith("/valid"))


@pytest.mark.slow
@check
def test_I13_the_flagfile_trains_and_samples_come_nearer_to_the_data(name, tmp_path):
    settings = settings_of(name, f"--run_dir={tmp_path / 'run'}", "--num_steps=1000", "--noexport")
    train(settings)
    run = rundir.load(tmp_path / "run")
    seeds = tf.range(500, dtype=tf.int64)
    data = DIGITS.train[:500] / 255.0
    untrained, trained = (energy_distance(sample(m, seeds, seeds % 10), data) for m in (make(name), run.model))
    assert trained < 0.5 * untrained
    assert (tmp_path / "run" / "samples" / "step_001000.png").exists()


@check_with_losses
def test_I14_mixed_float16_trains_without_nan(name):
    trains_without_nan(name, "mixed_float16")


@check
def test_I14_mixed_bfloat16_trains_without_nan(name):
    trains_without_nan(name, "mixed_bfloat16")


def trains_without_nan(name, precision):
    keras.config.set_dtype_policy(precision)
    model = make(name)
    step = tf.function(model.train_step)
    before = values(model.trainable_variables)
    for first in range(0, 32, 8):
        logs = step(batch_of(model, first=first))
    assert all(
        np.isfinite(value) for value in values(model.variables + list(logs.values())) for value in np.ravel(value)
    )
    assert any(changed(before, model.trainable_variables))
    assert all(v.dtype == "float32" for v in model.trainable_variables)
    assert all(answer.dtype == tf.float32 for answer in serve(model).values())
