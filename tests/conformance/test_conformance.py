"""What every model of the zoo must do. A model joins by being in `MODELS` and having configs/NAME_digits.cfg.

A check is one function; it runs over the smallest models of their kind that do not exempt themselves, with a reason, in
`exceptions`, and where a penalty, a constraint or packing can fail it over adversarial games with these, too.
"""

import dataclasses
import functools
import inspect
import json
import os
import shutil
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.graph import graph
from tests import models
from tests.models import DIGITS, ROOT, SEEDS, batch_of, make, settings_of
from tests.replicas import two_replicas
from trainers import callbacks, flags, rundir
from trainers.metrics.two_samples import energy_distance
from trainers.run import train
from zoo import MODELS
from zoo.parts import adversarial, flows, layers, levels, noise, penalties

CRITICS = [
    *(f"gan --loss=wasserstein --penalty={penalty}" for penalty in penalties.PENALTIES if penalty != "roth"),
    "gan --penalty=roth",
    *(f"dcgan --weight_constraint={constraint}" for constraint in ("clipping", "spectral_norm")),
    *(f"{name} --packing=2" for name in ("dcgan", "cgan", "ali", "lapgan --conditional")),
    *(f"{name} --minibatch_deviation" for name in ("gan", "dcgan")),
]
LEVELS = [f"vae --likelihood={family} --num_levels=17" for family in levels.FAMILIES]
FLOWS = [f"vae --posterior={name}" for name in flows.FLOWS]
GAUSSIAN = "dbm --visible=gaussian"
GATED = "pixelcnn --gated"  # whose steps are of other layers
PLANAR, *_, IAF = FLOWS  # one without networks of its own, and one whose networks have masks
UNROLLED, EVOLVED = "gan --num_unrolled_steps=2", "gan --num_evolution_pairs=3"
WITH_STATE = [*(name for name in CRITICS if "spectral_norm" in name), "helmholtz --algorithm=score_function"]


def check(function=None, *, variants=()):
    """Runs a check over every model that does not exempt itself from it, and over these variants, if any.

    In `make test-all` it is all variants then.
    """
    if function is None:
        return functools.partial(check, variants=variants)
    number = function.__name__.split("_")[1]
    variants = CRITICS + LEVELS + FLOWS if variants and os.environ.get("ALL_VARIANTS") else variants
    parameters = models.of_each_model([*models.names(number), *variants])
    return pytest.mark.parametrize("name", parameters)(function)


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)  # flagfiles name each other from there
    yield
    keras.config.set_dtype_policy("float32")


def values(variables):
    return [keras.ops.convert_to_numpy(v) for v in variables]


def all_state(model):
    """The variables that a step may read: of the networks, the optimizers and the metrics."""
    of_optimizers = [v for optimizer in model.optimizers.values() for v in optimizer.variables]
    return model.variables + of_optimizers + model.metrics_variables


def assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(left, right, tolerance):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def changed(before, variables):
    """For each variable whether it differs from its value before."""
    return [np.any(a != b) for a, b in zip(before, values(variables), strict=True)]


def sample(model, seeds, labels=SEEDS % 10):
    return model.sample(seeds, **({"label": labels} if model.conditional else {}))


def rows_of(model, specs):
    """8 rows for each input of a signature."""
    rng = np.random.default_rng(0)
    served = {model.data_name: model.to_served(tf.nest.flatten(batch_of(model))[0][:8]), "seed": SEEDS}
    served |= {"label": SEEDS % 10, "alpha": tf.constant(rng.random(8, np.float32))}
    served |= {f"{part}_{model.data_name}": served[model.data_name] for part in ("style", "content")}
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
        if argument not in flags.OF_DATA:
            assert parameter.default is not inspect.Parameter.empty and parameter.annotation is not parameter.empty
        json.dumps(getattr(model, argument))  # plain
    assert list(cls.argument_help()) == list(cls.arguments())  # documented, in the same order


@pytest.mark.slow
@check
def test_I3_configuration_survives(name):
    others = {
        argument: other_value(parameter, parameter.default)
        for argument, parameter in MODELS[name].arguments().items()
        if argument not in flags.OF_DATA
    }
    chosen, untried = {}, [list(others)]
    while untried:
        arguments = untried.pop()
        tried = {argument: others[argument] for argument in arguments}
        try:
            model = make(name, compiled=False, **chosen, **tried)
        except ValueError:  # a choice that the others rule out, or all but that
            half = len(arguments) // 2
            untried += [part for part in (arguments[half:], arguments[:half]) if half]
            continue
        chosen |= tried
    assert {argument: model.get_config()[argument] for argument in chosen} == chosen
    assert {argument: getattr(model, argument) for argument in chosen} == chosen
    again = type(model).from_config(json.loads(json.dumps(model.get_config())))  # the last has all that are chosen
    assert {argument: getattr(again, argument) for argument in chosen} == chosen
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]


@check(variants=[*WITH_STATE, IAF, GATED, GAUSSIAN])
def test_I3_keras_file_keeps_everything(name, tmp_path):
    model = make(name, optimizers=lambda: keras.optimizers.Adam(0.003, beta_1=0.7))
    model.train_step(batch_of(model))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_config() == model.get_config()
    for _ in range(2):  # as they are, and after one more step of both
        assert_equal(values(model.variables), values(again.variables))
        for move, optimizer in model.optimizers.items():
            assert_equal(values(optimizer.variables), values(again.optimizers[move].variables))
        model.train_step(batch_of(model, first=8)), again.train_step(batch_of(again, first=8))
    assert again.optimizers[move].get_config() == model.optimizers[move].get_config()


@check(variants=[*CRITICS, UNROLLED, EVOLVED, "wae --regularizer=gan"])
def test_I4_a_move_changes_its_own_networks_only(name):
    """Every trainable weight is in a move, and a move changes weights and state of its own networks, no others."""
    model = make(name)
    assert {id(v) for move in model.moves for v in model.weights_of(move)} == {id(v) for v in model.trainable_variables}
    owned = {
        move: [v for network in networks for v in network.variables if v.dtype != "int64"]  # which count draws
        for move, networks in model.moves.items()
    }
    moved, before = set(), None

    def spy(method, movers_of):
        def spying(*arguments, **options):
            nonlocal before
            before = {move: values(variables) for move, variables in owned.items()}
            movers = movers_of(method(*arguments, **options))
            own = {id(v) for move in movers for v in owned[move]}
            for move, variables in owned.items():
                differs = changed(before[move], variables)
                assert not any(d for d, v in zip(differs, variables, strict=True) if id(v) not in own), move
                moves = bool({id(v) for v in variables} & own)
                assert any(differs) == moves, f"{move} {'changes nothing: a slope of 0?' if moves else 'changes'}"
            moved.update(movers)

        return spying

    gradients, tracked = model._gradients, []
    model._gradients = lambda loss_fn: tracked.append(result := gradients(loss_fn)) or result
    model.minimize = spy(model.minimize, lambda _: tracked[-1][1])
    descend = model.descend
    model.descend = spy(lambda move, *arguments: descend(move, *arguments) or [move], lambda movers: movers)
    model.train_step(batch_of(model))
    assert moved == set(model.moves)


FORBIDDEN = {"random": "parts/noise.py"} | dict.fromkeys(("GradientTape", "apply_gradients", "distribute"), "game.py")


@pytest.mark.parametrize("file", sorted((ROOT / "zoo").rglob("*.py")), ids=lambda f: str(f.relative_to(ROOT)))
def test_I5_one_place_for_gradients_strategies_and_randomness(file):
    import ast

    own = str(file.relative_to(ROOT / "zoo"))
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute):
            assert FORBIDDEN.get(node.attr, own) == own, f"line {node.lineno} uses {node.attr}"


NUM_STEPS, EVERY = 200, 40  # steps of a run, and between its lines; its checkpoints are the last two of these


def train_by_flagfile(name, run_dir, num_steps=NUM_STEPS):
    every = [f"--checkpoint_every={NUM_STEPS - EVERY}", f"--log_every={EVERY}"]
    train(settings_of(name, f"--run_dir={run_dir}", f"--num_steps={num_steps}", *every, "--noexport"))
    run = rundir.load(run_dir)
    return dataclasses.replace(run, model=None), values(all_state(run.model))  # not its graphs, which are large


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Function of a model's name: (run, state) of its flagfile's first steps, made once for all checks."""
    return functools.cache(lambda name: train_by_flagfile(name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session")
def resumed(trained, tmp_path_factory):
    """Function of a model's name: that run, killed before its end and resumed, and how often its step was traced."""

    @functools.cache
    def resume(name):
        path = shutil.copytree(trained(name)[0].path, tmp_path_factory.mktemp(name), dirs_exist_ok=True)
        (path / "checkpoints" / f"step_{NUM_STEPS:08d}.keras").unlink()
        traces, train_step = [], MODELS[name].train_step
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MODELS[name], "train_step", lambda *inputs: traces.append(1) or train_step(*inputs))
            patch.setattr("trainers.run.pictures", lambda *_: [])  # which change no bits, and which `trained` has drawn
            return *train_by_flagfile(name, path), len(traces)

    return resume


def test_the_tests_of_a_model_run_in_one_process(request):
    """Otherwise each process would make what they share."""
    if getattr(request.config.option, "loadgroup", False):
        grouped = [item for item in request.session.items if item.get_closest_marker("xdist_group")]
        assert grouped and all("@" in item.nodeid for item in grouped)


@pytest.mark.slow
@check
def test_I6_same_seed_same_bits_interrupted_or_not(name, trained, resumed):
    assert_equal(values(make(name).variables), values(make(name).variables))
    (whole, state), (again, its_state, _) = trained(name), resumed(name)
    assert_equal(state, its_state)
    lines = [(run.path / "metrics.jsonl").read_text().splitlines() for run in (whole, again)]
    logs = [[{k: v for k, v in json.loads(line).items() if k not in callbacks.PACE} for line in run] for run in lines]
    assert logs[0] == logs[1] and len(logs[0]) == NUM_STEPS // EVERY


@pytest.mark.slow
@check
def test_I7_second_step_does_not_retrace(name, resumed):
    *_, traces = resumed(name)
    assert traces == 1


@check(variants=CRITICS)
def test_I8_batch_norm_moves_in_training_only(name):
    model = make(name)
    networks = [network for networks in model.moves.values() for network in networks]
    norms = [la for net in networks for la in net.layers if isinstance(la, keras.layers.BatchNormalization)]
    statistics = [v for layer in norms for v in layer.non_trainable_variables]
    if not statistics:
        return
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

    monkeypatch.setitem(layers.ACTIVATIONS, "relu", smooth(0.0))
    monkeypatch.setitem(layers.ACTIVATIONS, "leaky_relu", smooth(0.2))
    monkeypatch.setattr(layers.Maxout, "call", log_sum_exp)


@pytest.mark.slow
@check(variants=[*WITH_STATE, UNROLLED, PLANAR, IAF, GAUSSIAN])
@pytest.mark.usefixtures("smooth_units")
def test_I9_eager_graph_and_xla_agree(name):
    """Weights to 1e-5, and where their gradients are larger than 1, to 1e-5 of these."""
    rate, results = 0.01, []
    model = make(name, optimizers=lambda: keras.optimizers.SGD(rate))
    state = all_state(model)
    before, initial = values(model.variables), values(state)
    step = graph(lambda data: model.train_step(data))
    # XLA compiles the graph that TensorFlow has run: to trace it is most of the work.
    for compiled in (model.train_step, step, graph(lambda data: step(data), jit_compile=True)):
        assign(state, initial)
        logs = [compiled(batch_of(model, first=first)) for first in (0, 8)][-1]
        results.append((values(model.variables), [logs[key] for key in sorted(logs)]))
    eager, logs = results[0]
    for weights, other_logs in results[1:]:
        assert_close(other_logs, logs, 1e-5)
        for first, expected, actual in zip(before, eager, weights, strict=True):
            gradient = np.max(np.abs(expected - first), initial=0.0) / rate
            assert_close([actual], [expected], 1e-5 * max(1.0, gradient))


@pytest.mark.slow
@check(variants=[*WITH_STATE, UNROLLED, EVOLVED])
def test_I10_two_replicas_on_the_same_batch_are_one(name, monkeypatch):
    """With the same rows and noise on both, dividing by the number of replicas must give one replica's step."""

    def after_steps(strategy):
        with strategy.scope():
            model = make(name, optimizers=lambda: keras.optimizers.SGD(0.01))
            monkeypatch.setattr(model, "replica_id", lambda: 0)
            x = batch_of(model)
            compiler = graph if strategy is two_replicas() else lambda step: step
            step = compiler(lambda: strategy.run(model.train_step, args=(x,)))
            step(), step()
        return values(model.variables)

    assert_close(after_steps(tf.distribute.get_strategy()), after_steps(two_replicas()), 1e-5)


@check
def test_I10_replicas_draw_their_own_noise(name):
    model = make(name)

    def drawn():
        with model.drawing(noise.TRAINING, 0):
            counts = {draw: model.draws[:i].count(draw) for i, draw in enumerate(model.draws)}
            return [tuple(model.key(draw, index).numpy()) for draw, index in counts.items()]

    first = drawn()
    model.replica_id = lambda: 1
    assert not set(first) & set(drawn())


@check(variants=[*CRITICS, *LEVELS, GATED, GAUSSIAN])
def test_I11_sample_rows_depend_on_their_seed_only(name):
    model = make(name)
    together = sample(model, SEEDS).numpy()
    assert together.shape == (8, *DIGITS.shape) and together.min() >= 0.0 and together.max() <= 1.0
    for i in range(8):
        alone = sample(model, SEEDS[i : i + 1], SEEDS[i : i + 1] % 10).numpy()
        np.testing.assert_allclose(alone[0], together[i], atol=1e-6)
    np.testing.assert_allclose(together[1], together[3], atol=1e-6)  # the same seed
    assert np.abs(together[0] - together[1]).max() > 1e-5  # another seed: ten times what the same may differ by


@check
def test_I11_a_sample_decodes_the_latent_of_its_seed(name):
    signatures = {key: function for key, (function, _) in make(name).signatures().items()}
    assert ("latent" in signatures) == ("decode" in signatures)
    if "latent" in signatures:
        label = {"label": SEEDS % 10} if MODELS[name].conditional else {}
        z = signatures["latent"](seed=SEEDS)["z"]
        assert z.dtype == tf.float32
        decoded = signatures.get("sample_mean", signatures["sample"])  # of a likelihood, `sample` is a draw
        assert_close(signatures["decode"](z=z, **label).values(), decoded(seed=SEEDS, **label).values(), 0)


@pytest.mark.slow
def test_I12_every_signature_is_served_without_the_zoo(core, server):
    """Nor Python, where there is a C compiler: the model's own functions and its server give the same."""
    signatures = core.model.signatures()
    signatures["serving_default"] = next(iter(signatures.values()))
    for signature, (function, specs) in signatures.items():
        rows = rows_of(core.model, specs)
        answer = server.run(signature, {key: value.numpy() for key, value in rows.items()})
        assert answer.pop("valid", np.True_).all()
        expected = function(**rows)
        assert set(answer) == set(expected)
        for key, value in expected.items():
            if value.dtype == tf.string:
                assert_close(*([tf.io.decode_png(png) for png in pngs] for pngs in (answer[key], value.numpy())), 1)
            else:
                np.testing.assert_allclose(answer[key], value, rtol=1e-5, atol=1e-6, err_msg=f"{signature}: {key}")


@pytest.mark.slow
@check
def test_I13_the_flagfile_trains_and_samples_come_nearer_to_the_data(name, trained, tmp_path):
    run, state = trained(name)
    model, seeds = rundir.make_model(run.settings, run.facts), tf.range(500, dtype=tf.int64)
    drawn = graph(lambda: sample(model, seeds, seeds % 10))  # traced once, whatever the weights

    def distance():
        x, y = (np.reshape(rows, [500, -1]) for rows in (drawn(), DIGITS.train[:500] / 255.0))
        return energy_distance(x, y)["energy_distance"][0]

    def trained_distance():
        assign(all_state(model), state)
        return distance()

    enough = 0.5 * distance()
    if trained_distance() >= enough:  # some need longer
        run, state = train_by_flagfile(name, shutil.copytree(run.path, tmp_path, dirs_exist_ok=True), 5 * NUM_STEPS)
        assert trained_distance() < enough
    assert (run.path / "samples" / f"step_{run.step:06d}.png").exists()


@pytest.mark.slow
def test_I14_every_loss_trains_without_nan():
    keras.config.set_dtype_policy("mixed_float16")
    model = make("gan")
    for loss in typing.get_args(adversarial.Loss):
        model.loss_pair = adversarial.loss_pair(loss, 0.3)
        logs = model.train_step(batch_of(model))
        assert all(np.isfinite(value).all() for value in values(model.variables + list(logs.values()))), loss


@check(variants=[IAF, UNROLLED])
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_I14_mixed_precision_trains_without_nan(name, precision):
    keras.config.set_dtype_policy(precision)
    model = make(name)
    before = values(model.trainable_variables)
    for step in range(12):  # float16's steps that overflow change nothing but the scale of the loss, which each halves
        logs = model.train_step(batch_of(model, first=step % 4 * 8))
        moved = any(changed(before, model.trainable_variables))
        if moved and step >= 3:
            break
    assert moved
    assert all(np.isfinite(value).all() for value in values(model.variables + list(logs.values())))
    assert all(v.dtype == "float32" for v in model.trainable_variables)
    assert all(answer.dtype == tf.float32 for answer in serve(model).values())
