"""Evaluations that are stopped, repeated and joined, and the table that they print; with metrics made up."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.mistakes import mistake
from trainers import data, evaluate, metrics, rundir, tables
from trainers.metrics import DoesNotApply

WIDE = "unnormalized_log_prob_lower_bound"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A run and metrics that note when they are called; `lab.measure(flags)` returns what is printed and the report."""
    run = SimpleNamespace(path=tmp_path / "vae_made", step=7, settings=None)
    lab = SimpleNamespace(run=run, called=[], broken=set(), checksum="abc")
    run.settings = SimpleNamespace(data_dir=None, dataset="made", image_side=None, image_channels=None, splits=None)

    def metric(name, read, found):
        def measure(run, data, options):
            lab.called.append(name)
            if name in lab.broken:
                raise KeyboardInterrupt
            return found(getattr(options, read))

        return measure

    def never(run, data, options):
        raise DoesNotApply("the model is made up")

    made = {
        "distance": metric("distance", "seed", lambda seed: {"distance": 1.5, "lost": np.nan, "num_rows": 3}),
        "nll": metric("nll", "num_betas", lambda betas: {"nll": 90.0234 + betas, "nll_standard_error": 0.2212}),
        "never": never,
        "slow": metric("slow", "seed", lambda seed: {"a": seed, "b": 2}),
    }
    monkeypatch.setattr(metrics, "METRICS", made)
    monkeypatch.setattr(metrics, "ON_REQUEST", {"slow"})
    monkeypatch.setattr(rundir, "load", lambda run_dir: run)
    there = SimpleNamespace(test=np.zeros(3))
    monkeypatch.setattr(data, "load", lambda *_: SimpleNamespace(test=there.test, checksum=lab.checksum))
    monkeypatch.setattr(data, "require_rows", lambda data, split: None)

    def measure(*flags):
        lab.called.clear()
        evaluate.main(["evaluate", f"--run_dir={run.path}", *flags])
        return json.loads((run.path / "evaluation.json").read_text())

    lab.measure = measure
    return lab


def test_an_evaluation_goes_on_where_it_stopped(lab, capsys):
    lab.broken = {"nll"}
    with pytest.raises(KeyboardInterrupt):
        lab.measure()
    lab.broken = set()
    report = lab.measure()
    assert lab.called == ["nll"] and list(report["results"]) == ["distance", "nll"]
    told = f"kept from {lab.run.path}/evaluation.json (without it all is measured anew): distance\n"
    assert told in capsys.readouterr().out
    lab.measure()
    assert lab.called == []


@pytest.mark.parametrize("metric, noted, against, kept", [
    ("nll", {}, "b", False),  # of before there was this option
    ("nll", {"against": None}, "b", False),
    ("nll", {"against": "a"}, "b", False),
    ("nll", {"against": "b"}, "b", True),
    ("nll", {"against": "b"}, None, True),
    ("distance", {}, "b", True),
])  # fmt: skip
def test_a_comparison_is_made_if_it_is_asked_for(metric, noted, against, kept, lab):
    metrics.METRICS["nll"].compares_runs = True
    assert evaluate.agrees(metric, {"seed": 0} | noted, SimpleNamespace(seed=0, against=against)) == kept


@pytest.mark.parametrize("flags, again", [
    ([], []),
    (["--seed=1"], ["distance"]),  # the only one that reads it
    (["--num_betas=3"], ["nll"]),
    (["--metrics=slow"], ["slow"]),
    (["--metrics=all"], ["slow"]),
    (["--metrics=nll", "--num_betas=3"], ["nll"]),
    (["--num_runs=3", "--batch_size=7"], []),
])  # fmt: skip
def test_what_is_measured_anew_and_what_joins(flags, again, lab):
    first = lab.measure()
    report = lab.measure(*flags)
    assert lab.called == again and {*report["results"]} == {"distance", "nll", *again}
    for name, how in report["measured"].items():
        assert how["command"].endswith(" ".join(flags if name in again else ["vae_made"])) and how["seconds"] >= 0.0
        assert (how == first["measured"].get(name)) == (name not in again)
    assert report["measured"]["nll"]["options"] == {"num_betas": 3 if "--num_betas=3" in flags else 10000}


@pytest.mark.parametrize("change", [
    lambda lab: setattr(lab.run, "step", 8),
    lambda lab: setattr(lab, "checksum", "other"),
    lambda lab: (lab.run.path / "evaluation.json").write_text("half"),
    lambda lab: (lab.run.path / "evaluation.json").write_text('{"step": 7, "results": {"distance": {"distance": 1}}}'),
])  # fmt: skip
def test_of_another_model_or_other_data_nothing_is_kept(change, lab):
    lab.measure("--metrics=slow")
    change(lab)
    assert list(lab.measure("--metrics=nll")["results"]) == ["nll"]


def test_what_is_printed(lab, capsys, monkeypatch):
    papers = {"vae_made": {"nll": {"nll": {"value": 89.9}}}}
    monkeypatch.setattr(tables, "published", papers.get)
    lab.measure("--metrics=all", "--num_betas=1")
    assert capsys.readouterr().out.splitlines() == [
        "distance: left out, not finite: lost",
        "",
        "metric    value  standard error  floor  published",
        "distance    1.5",
        "nll       91.02            0.22              89.9",
        "slow",
        "  a           0",
        "  b           2",
        "distance: num_rows 3",
        "never does not apply: the model is made up",
        f"kept in {lab.run.path}/evaluation.json",
    ]


def test_where_nothing_applies_nothing_is_written(lab, capsys):
    evaluate.main(["evaluate", f"--run_dir={lab.run.path}", "--metrics=never"])
    told = f"never does not apply: the model is made up\nnothing was measured of {lab.run.path}\n"
    assert capsys.readouterr().out == told and not lab.run.path.exists()


def test_tensorboard_gets_each_number_once_for_a_step(lab):
    for flags in ((), ("--metrics=nll", "--num_betas=2")):
        lab.measure(*flags)
    files = sorted((lab.run.path / "tensorboard" / "evaluation").iterdir())
    seen = [[*tf.compat.v1.train.summary_iterator(str(file))] for file in files]
    starts = [[e.step for e in events if e.HasField("session_log")] for events in seen]
    assert starts == [[7], [7]]  # what readers forget of the file before
    last = {value.tag: (event.step, value.simple_value) for event in seen[-1] for value in event.summary.value}
    assert last == {"evaluation/distance": (7, 1.5), "evaluation/nll": (7, np.float32(92.0234))}


@pytest.mark.parametrize("flags, told", [
    (["--metrics=beauty"], "--metrics=beauty is not one of distance, never, nll, slow, all"),
    (["--metrics=nll", "--num_betas=0"], "--num_betas=0"),
    (["--metrics=nll", "--num_runs=1"], "--num_runs=1"),
])  # fmt: skip
def test_mistakes(flags, told, lab):
    with mistake(told):
        lab.measure(*flags)


# --- Numbers as text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value, error, text", [
    (90.0234, 0.2212, ("90.02", "0.22")),
    (90.0234, 0.0996, ("90.02", "0.10")),  # two digits after rounding up
    (0.011912, 0.000345, ("0.01191", "0.00034")),
    (1234.5, 123.4, ("1230", "120")),
    (1234.5, 12.3, ("1234", "12")),
    (-0.0001, 0.02, ("0.000", "0.020")),
    (25, None, ("25", "")),
    (0.918, None, ("0.918", "")),
    (717.512, None, ("717.5", "")),
    (123456.7, None, ("123457", "")),
    (-9999.7, None, ("-10000", "")),
    (1.0, 0.0, ("1", "0")),
    (0.0, None, ("0", "")),
    (None, None, ("", "")),
])  # fmt: skip
def test_a_value_is_rounded_to_its_error(value, error, text):
    assert tables.rounded(value, error) == text


def test_the_widest_table_fits_a_terminal():
    measured = {WIDE: -88.31, f"{WIDE}_standard_error": 0.41, f"{WIDE}_floor": 1.2e-5, f"{WIDE}_floor_deviation": 3e-6}
    settings = {f"num_{'x' * 30}{i}": 10**4 for i in range(9)} | {"judge": "0123456789abcdef", "judge_accuracy": 0.9923}
    paper = {"ais_log_likelihood": {WIDE: {"value": -84.62, "error": 0.13}}}
    lines = tables.terminal({"ais_log_likelihood": measured | settings}, paper).splitlines()
    assert max(map(len, lines)) <= tables.WIDTH and lines[2].split() == [
        WIDE, "-88.31", "0.41", "0.0000120", "+-", "0.0000030", "-84.62", "+-", "0.13"
    ]  # fmt: skip
    assert "judge_accuracy 0.9923" in " ".join(lines[3:])
