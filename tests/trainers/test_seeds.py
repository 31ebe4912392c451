"""Several seeds: each run as by itself, stopped and gone on with, and what they show together."""

import json
import signal

import numpy as np
import pytest

from common import cli
from tests.mistakes import mistake
from tests.trainers.test_run import SMALL_GAN, assert_same_bits, every, train_here
from trainers import callbacks, evaluate, flags, run, seeds

TINY = [*SMALL_GAN, "--dataset=ring", "--num_steps=6", "--metrics=modes_found", *every(2), "--sample_every=9"]


def results_of(path):
    return json.loads((path / "evaluation.json").read_text())["results"]["modes_found"]


@pytest.mark.slow
def test_the_compiler_of_the_first_is_that_of_all(tmp_path):
    def train(settings):
        assert f"--jit_compile={settings.jit_compile}" in settings.lines
        trained.append((settings.seed, settings.jit_compile))
        return settings.having(jit_compile="true")

    trained = []
    seeds.train_each(flags.parse(["run", "--model=gan", "--seed=3", "--seeds=3", f"--run_dir={tmp_path}"]), train)
    assert trained == [(3, "auto"), (4, "true"), (5, "true")]


@pytest.mark.slow
def test_runs_end_as_each_alone_and_go_on_where_they_were_stopped(tmp_path, monkeypatch, capsys):
    """The run of the second seed is stopped in its step 5; its config.cfg makes it again by itself."""

    def strike(self, batch, logs=None):
        if self.model.seed == 4 and batch == 4:
            signal.raise_signal(signal.SIGINT)

    path, command = tmp_path / "runs", ["run", *TINY, "--seed=3", "--seeds=2", f"--run_dir={tmp_path / 'runs'}"]
    with monkeypatch.context() as patch, pytest.raises(cli.Stopped):
        patch.setattr(callbacks.Stop, "on_train_batch_begin", strike)
        run.main(command)
    assert "evaluation.json" not in {file.name for file in (path / "seed_4").iterdir()}
    run.main(command)
    out = capsys.readouterr().out
    assert f"resuming {path / 'seed_4'} at step" in out and "seed 4 of 3 to 4" in out
    assert {each.name for each in path.iterdir()} == {"seed_3", "seed_4", "summary.json"}
    alone = train_here(tmp_path / "alone", f"--flagfile={path / 'seed_4' / 'config.cfg'}")
    assert_same_bits(path / "seed_4", alone)
    assert results_of(path / "seed_4") == results_of(alone)
    summary = json.loads((path / "summary.json").read_text())
    found = [results_of(each)["reverse_kl_floor"] for each in (path / "seed_3", path / "seed_4")]
    assert summary["seeds"] == [3, 4] and summary["steps"] == [6, 6]
    assert summary["results"]["modes_found"]["reverse_kl_floor"]["values"] == found
    evaluate.main(["evaluate", f"--run_dir={path}", "--metrics=modes_found", "--num_model_samples=50"])
    assert results_of(path / "seed_4")["num_model_samples"] == 50
    again = json.loads((path / "summary.json").read_text())["results"]["modes_found"]
    assert again["reverse_kl_of_perfect_generator"]["values"] == 2 * [7 / 100]


@pytest.mark.parametrize("more, told", [
    (["--strategy=multi_worker"], "--seeds=2 is not for --strategy=multi_worker: give each seed its own"),
    (["--seed=4294967295"], "ends beyond 4294967295: give a smaller --seed."),
    ([], "holds a run of one seed: give another --run_dir for --seeds=2."),
])  # fmt: skip
def test_what_is_not_for_several_seeds(more, told, tmp_path):
    (tmp_path / "config.cfg").write_text("--model=gan\n")
    with mistake(told):
        run.main(["run", *TINY, "--seeds=2", f"--run_dir={tmp_path}", *more])


def test_a_summary_is_of_every_number_that_is_no_setting(tmp_path, capsys):
    a, b = 12_347, 12_348
    beside = {"kl_floor": 0.5, "judge": "abc", "judge_accuracy": 0.99, "num_rows": 3}
    reports = [
        {"kl": {"kl": 1.0, **beside}, "modes": {"found": a}},
        {"kl": {"kl": 2.0, **beside}, "modes": {"found": b}},
        {"kl": beside},  # not finite, and does not apply
        None,
    ]
    for seed, results in zip([0, 2, 10, 11], reports, strict=True):
        (tmp_path / f"seed_{seed}").mkdir()
        (tmp_path / f"seed_{seed}" / "config.cfg").touch()
        if results:
            (tmp_path / f"seed_{seed}" / "evaluation.json").write_text(json.dumps({"step": 5, "results": results}))
    (tmp_path / "seed_7").mkdir()  # no run
    summary = seeds.summarise(tmp_path)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert (summary["seeds"], summary["steps"]) == ([0, 2, 10], [5, 5, 5])
    half = {"standard_deviation": pytest.approx(np.sqrt(0.5))}
    assert summary["results"] == {
        "kl": {
            "kl": {"mean": 1.5, **half, "min": 1.0, "max": 2.0, "values": [1.0, 2.0, None]},
            "kl_floor": {"mean": 0.5, "standard_deviation": 0.0, "min": 0.5, "max": 0.5, "values": [0.5] * 3},
        },
        "modes": {"found": {"mean": 12_347.5, **half, "min": a, "max": b, "values": [a, b, None]}},
    }
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()[:3]] == [
        ["3", "seeds", "mean", "deviation", "min", "max"],
        ["kl", "1.5", "0.7071", "1", "2"],
        ["modes:", "found", "12348", "0.7071", "12347", "12348"],
    ]
    assert err == f"{tmp_path}: not evaluated yet, seeds 11\n"
