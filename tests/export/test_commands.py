"""The commands' mistakes are one sentence each; what they do well is tested with the models."""

import json
import types

import pytest
import tensorflow as tf

from export import run, sample, warmup
from export.publish import versions
from tests.export.exported import Sampler
from tests.export.test_warmup import read
from tests.mistakes import files_no_larger_than, mistake
from trainers import rundir


class Constant(Sampler):
    """Every sample is the point (1, 1)."""

    def __init__(self):
        self.one = tf.Variable(1.0)

    def sample(self, seed):
        """Points."""
        return {"points": self.one * tf.ones([tf.size(seed), 2])}


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    facts = {"model": "constant", "dataset": "ones", "licence": "none", "versions": {"numpy": "2"}}
    facts["class_names"] = ["cat", "dog"]
    settings = types.SimpleNamespace(lines=["--model=constant"])
    path = tmp_path_factory.mktemp("run")
    return types.SimpleNamespace(path=path, model=Constant(), step=7, settings=settings, facts=facts)


@pytest.fixture(scope="module")
def exported(a_run):
    evaluate(a_run, step=7)
    return run.export_run(a_run)


def evaluate(a_run, step):
    results = {"coverage": {"value": 0.5}, "distance": {"value": 0.25}}
    how = {"coverage": {"command": "measure it"}}  # beside what an older version measured
    report = {"step": step, "results": results, "measured": how, "command": "by old means"}
    (a_run.path / "evaluation.json").write_text(json.dumps(report))


@pytest.mark.slow
def test_results_are_in_the_card_unless_of_another_step(a_run, exported, tmp_path):
    card = (a_run.path / "export" / "README.md").read_text()
    texts = ["# constant on ones", "Training steps: 7", "--model=constant", "numpy 2", "| coverage | value 0.5 |"]
    texts += ["Of `measure it`:\n\n| metric |", "Of `by old means`:\n\n| metric |", "| distance | value 0.25 |"]
    for text in (*texts, "label 0 is `cat`, label 1 is `dog`"):
        assert text in card
    evaluate(a_run, step=6)
    run.export_run(a_run, tmp_path)
    assert "Not measured yet" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_export_prints_the_version(a_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rundir, "load", lambda run_dir: a_run)
    for _ in range(3):
        run.main(["run", "--run_dir=x", f"--export_dir={tmp_path}", "--keep_versions=2", "--warmup_batch_sizes=3"])
    *_, printed = capsys.readouterr().out.splitlines()
    kept = versions(tmp_path)
    assert len(kept) == 2 and printed == str(tmp_path / str(kept[-1]))
    assert [len(inputs["seed"]) for _, _, inputs in read(tmp_path / str(kept[-1]) / warmup.FILE)] == [3, 3]


@pytest.mark.slow
def test_the_newest_version_is_sampled(exported, tmp_path, capsys):
    (exported.parent / "12").mkdir(exist_ok=True)
    assert sample.find_version(exported.parent) == sample.find_version(exported) == exported
    assert (sample.draw(exported, num=300, seed=-3) == 1).all()
    assert sample.draw(exported, num=300, seed=2**63 - 300).shape == (300, 2)
    out = tmp_path / "points.png"
    (tmp_path / "flags").write_text(f"--model_dir={exported.parent}\n--num=3\n--out={out}\n")
    sample.main(["sample", f"--flagfile={tmp_path / 'flags'}"])
    assert capsys.readouterr().out == f"{out}\n" and out.exists()


@pytest.mark.parametrize("main, flags, message", [
    (sample.main, [], "--model_dir is missing"),
    (sample.main, ["--model_dir=nowhere"], "nowhere is no directory"),
    (sample.main, ["--model_dir={empty}"], "holds no SavedModel"),
    (sample.main, ["--model_dir={broken}"], "can not be read"),
    (sample.main, ["--model_dir={foreign}"], "no signature named sample"),
    (sample.main, ["--model_dir={export}", "--num=0"], "--num=0"),
    (sample.main, ["--model_dir={export}", "--num=many"], "--num=many"),
    (sample.main, ["--model_dir={export}", "--nmu=1"], "nmu"),
    (sample.main, ["--model_dir={export}", "12"], "'12' is not a flag"),
    (sample.main, ["--model_dir={export}", "--out=grid.jpg"], "must end in .png"),
    (sample.main, ["--model_dir={export}", "--out={file}/grid.png"], "can not be written"),
    (sample.main, ["--model_dir={export}", "--out={directory}.png"], "can not be written"),
    (sample.main, ["--flagfile={empty}/none.cfg"], "none.cfg"),
    (run.main, [], "--run_dir is missing"),
    (run.main, ["--run_dir=x", "--sigs=a"], "sigs"),
    (run.main, ["--run_dir=x", "--keep_versions=0"], "--keep_versions=0"),
    (run.main, ["--run_dir=x", "--warmup_batch_sizes=1,0"], "--warmup_batch_sizes=1,0 must be"),
    (run.main, ["--run_dir=x", "--warmup_batch_sizes=many"], "sizes=many is not a comma-separated list of integers"),
    (sample.main, ["--model_dir={export}", "--task=paint"], "--task=paint"),
])  # fmt: skip
def test_mistakes(main, flags, message, exported, tmp_path):
    places = {name: tmp_path / name for name in ("empty", "broken", "foreign", "file", "directory")}
    for name in ("empty", "broken"):
        places[name].mkdir()
    (places["broken"] / "saved_model.pb").write_bytes(b"not a protocol buffer")
    places["file"].touch()
    places["directory"].with_suffix(".png").mkdir()
    if "foreign" in str(flags):
        tf.saved_model.save(tf.Module(), str(places["foreign"]))
    places["export"] = exported
    with mistake(message):
        main(["command", *(flag.format(**places) for flag in flags)])


@pytest.mark.slow
def test_what_export_refuses_is_a_sentence(a_run, tmp_path):
    (tmp_path / "file").touch()
    with mistake("can not be written"):
        run.export_run(a_run, tmp_path / "file")
    for size in (50, 3000):  # of the variables, and of the graph
        with files_no_larger_than(size), mistake(f"{tmp_path / 'new'} can not be written: File too large."):
            run.export_run(a_run, tmp_path / "new")
        assert not list((tmp_path / "new").iterdir())
    with mistake("no signature decode"):
        run.export_run(a_run, tmp_path / "new", signatures=["decode"])
    model = Constant()
    model.one.assign(float("inf"))
    with mistake("not finite"):
        run.export_run(types.SimpleNamespace(**{**vars(a_run), "model": model}), tmp_path / "new")
