"""The page of results: that nobody has typed in it, and what it makes of runs that are made up."""

import json
import os
import re
import socket
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from common import provenance
from tests.mistakes import mistake
from trainers import page, results, rundir, tables
from trainers.metrics import METRICS

NLL = {"nll": 90.0234, "nll_standard_error": 0.2212, "num_importance_samples": 200}
DISTANCE = {
    "frechet_distance": 3.21987, "frechet_distance_standard_error": 0.0456, "frechet_distance_floor": 0.81234,
    "frechet_distance_floor_deviation": 0.0321, "judge": "0123456789abcdef",
}  # fmt: skip
COMMAND = "python -m trainers.run --flagfile=configs/vae_binarized_mnist.cfg"
LINK = "[`vae_binarized_mnist`](../configs/vae_binarized_mnist.cfg)"


def one_run(seed=0, results=None, command="python -m trainers.evaluate --run_dir=runs/made"):
    results = {"importance_weighted_nll": NLL, "held_out_objectives": {"loss": 99.5}} if results is None else results
    measured = {metric: {"command": command, "options": {}, "seconds": 1.0} for metric in results}
    times = {"training_seconds": 2100.0 + seed, "cpu_seconds": 4000.0}
    return {"seed": seed, **times, "results": results, "measured": measured}


def a_record(*runs, **more):
    machine = {"cpu": "Fast CPU", "num_cores": 2, "memory_gib": 7.6, "gpus": []}
    flagfile = "configs/vae_binarized_mnist.cfg"
    record = {"model": "vae", "dataset": "binarized_mnist", "flagfile": flagfile, "command": COMMAND}
    record |= {"machine": machine, "commit": "abc-dirty", "date": "2026-11-26", "num_weights": 1234567, "step": 250000}
    return {**record, "picture": None, "runs": list(runs) or [one_run()], **more}


@pytest.fixture
def root(tmp_path):
    """A checkout with marks in its README and no results."""
    (tmp_path / "README.md").write_text("above\n<!-- results -->\ntyped\n<!-- /results -->\nbelow\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "published.json").write_text("{}")
    return tmp_path


def put(root, **records):
    for name, record in records.items():
        (root / "results" / f"{name}.json").write_text(json.dumps(record))


def lines_of(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


# --- The page of this checkout ---------------------------------------------------------------------------------------


def test_the_page_and_the_readme_are_what_the_command_writes():
    for file, text in results.texts().items():
        assert file.read_text() == text, f"{file} was edited by hand, or is old: python -m trainers.results"
    for name, record in results.load().items():
        assert record["flagfile"] is None or (results.ROOT / record["flagfile"]).is_file(), name
        assert not record["picture"] or (results.ROOT / f"docs/results/{name}.png").is_file(), name


def test_numbers_of_papers_have_a_source_a_protocol_and_one_of_ours():
    metrics = "".join(file.read_text() for file in (results.ROOT / "trainers/metrics").glob("*.py"))
    for name, of_result in json.loads(tables.PUBLISHED.read_text()).items():
        assert of_result.keys() <= METRICS.keys() and (results.ROOT / f"configs/{name}.cfg").is_file()
        stems = [re.sub(r"_\d+$", "_{order}", number) for numbers in of_result.values() for number in numbers]
        assert all(f'"{stem}"' in metrics for stem in stems)
        for number in (number for numbers in of_result.values() for number in numbers.values()):
            assert number.keys() - {"error"} == {"value", "source", "protocol"}
            assert re.search(r"(19|20)\d\d", number["source"]) and "arxiv" not in number["source"]
    assert tables.published("bigan_mnist")["nearest_neighbour_accuracy"]["features"]["value"] == 0.9739


# --- What it makes of records ----------------------------------------------------------------------------------------


def test_a_line_has_each_column(root):
    put(
        root,
        vae_binarized_mnist=a_record(one_run(results={"frechet_distance": DISTANCE, "importance_weighted_nll": NLL})),
    )
    text, readme = (results.texts(root)[root / file] for file in ("docs/results.md", "README.md"))
    table = lines_of(text, "|")
    paper = (
        "89.9 (Rezende and Mohamed 2015, [arXiv:1505.05770](https://arxiv.org/abs/1505.05770), table 2; "
        "diagonal posterior, 200 importance samples)"
    )
    model, nll = "| `vae` | binarized_mnist |", "[`importance_weighted_nll`]({}#importance_weighted_nll) `nll`"
    assert table[0] == "| result | model | data | measure | ours | floor | published |"
    assert table[2:] == [
        f"| {LINK} {model} [`frechet_distance`](#frechet_distance) | 3.220 +- 0.046 | 0.812 +- 0.032 |  |",
        f"|  |  |  | {nll.format('')} | 90.02 +- 0.22 |  | {paper} |",
    ]
    assert lines_of(readme, "|")[2:] == [  # only what a paper has, where one has
        f"| {LINK.replace('../', '')} {model} {nll.format('docs/results.md')} | 90.02 +- 0.22 | {paper} |"
    ]
    assert readme.startswith("above\n<!-- results -->\n|") and readme.endswith("\n<!-- /results -->\nbelow\n")
    assert "## Variational\n" in text and "### importance_weighted_nll\n\nNegative log-likelihood -log 1/S" in text
    assert text.partition("\n- ")[2].partition("\n\n")[0].splitlines() == [
        "`vae_binarized_mnist`: 1,234,567 weights, 250,000 steps in 35 min (67 min of CPU) on 2 cores of Fast CPU "
        "(7.6 GiB);",
        "  seed 0; commit abc-dirty, added 2026-11-26.",
        f"  By `{COMMAND}`, measured by `python -m trainers.evaluate --run_dir=runs/made`.",
        "  With judge 0123456789abcdef: `frechet_distance`.",
        "  With num_importance_samples 200: `importance_weighted_nll`.",
    ]


@pytest.mark.parametrize(("measured", "told"), [
    ({"active_units": {"active_units": 9}, "frechet_distance": DISTANCE, "importance_weighted_nll": NLL}, "nll"),
    ({"class_accuracy": {"class_accuracy": 0.5}, "frechet_distance": DISTANCE}, "frechet_distance"),
    ({"class_accuracy": {"class_accuracy": 0.5}, "two_sample_test": {"two_sample_accuracy": 0.6}}, "class_accuracy"),
])  # fmt: skip
def test_readme_tells_the_number_that_compares_models(measured, told, root):
    """Where no paper has one: a likelihood, or a distance of samples, or else the first."""
    put(root, dcgan_made=a_record(one_run(results=measured), model="dcgan", dataset="mnist", flagfile=None))
    (line,) = lines_of(results.texts(root)[root / "README.md"], "|")[2:]
    assert f"{told}`" in line


def test_several_seeds_are_a_mean_and_its_deviation(root):
    """Of those metrics that all seeds have; errors of single runs are left out."""
    runs = [
        one_run(seed, {"modes_found": {"modes_found": modes, "num_modes": 25}}) for seed, modes in ((0, 20), (1, 25))
    ]
    runs[0]["results"] |= {"importance_weighted_nll": NLL, "frechet_distance": DISTANCE}
    runs[1]["results"] |= {"frechet_distance": {**DISTANCE, "frechet_distance": 4.21987}}
    put(root, gan_grid=a_record(*runs, model="gan", dataset="grid", flagfile=None))
    text = results.texts(root)[root / "docs/results.md"]
    ours = {line.split(" | ")[3]: line.split(" | ")[4:6] for line in lines_of(text, "|")[2:]}
    assert ours == {
        "[`modes_found`](#modes_found)": ["22.5 +- 3.5 (2 seeds)", ""],
        "[`frechet_distance`](#frechet_distance)": ["3.72 +- 0.71 (2 seeds)", "0.812 +- 0.032"],
    }
    assert "in 35 min each (67 min of CPU) on" in text and "  seeds 0, 1; commit" in text


def test_there_is_a_table_for_each_family_and_nothing_is_said_in_one_line(root):
    assert page.NOTHING in results.texts(root)[root / "docs/results.md"]
    assert page.NOTHING in results.texts(root)[root / "README.md"] and page.likelihoods({}) == {}
    put(
        root,
        b=a_record(model="dbm"),
        a=a_record(model="gan", picture="samples", runs=[one_run(results={"x": {"y": 1}})]),
    )
    text = results.texts(root)[root / "docs/results.md"]
    assert re.findall("^## (.*)", text, re.MULTILINE) == ["Adversarial", "Energy", "Measures"]
    assert '| `a`, samples |\n| --- |\n| <img src="results/a.png" width="260" alt="samples of a"> |' in text


@pytest.mark.parametrize(
    "seconds, text", [(5.2, "5 s"), (89.0, "89 s"), (90.0, "1.5 min"), (2100.0, "35 min"), (9e3, "2.5 h")]
)
def test_durations(seconds, text):
    assert page._duration(seconds) == text


def test_likelihoods_are_points_with_errors_and_crosses(root):
    dbm = {"ais_log_likelihood": {"log_prob_lower_bound": -88.3, "log_prob_lower_bound_standard_error": 0.4}}
    put(root, vae_binarized_mnist=a_record(), dbm_binarized_mnist=a_record(one_run(results=dbm), model="dbm"))
    put(root, avb_four_points=a_record(model="avb", dataset="four_points"))
    found = page.likelihoods(results.load(root))
    assert [(number.value, number.error, paper) for _, number, paper in found["binarized_mnist"]] == [
        (88.3, 0.4, 84.62), (90.0234, 0.2212, 89.9)
    ]  # fmt: skip
    gap = {"ais_gap": {"log_prob_lower_bound": -80.1, "gap": 0.2}}  # of the model's own samples
    levels = {"exact_nll": {"nll": 520.0, "bits_per_dimension": 0.96}}
    put(root, vae_mnist=a_record(one_run(results={"importance_weighted_nll": NLL} | gap), dataset="mnist"))
    put(root, vae_mnist_levels=a_record(one_run(results=levels), dataset="mnist"))
    density = {"exact_nll": {"dequantized_nll": -1980.0, "bits_per_dimension": 4.36}}
    put(root, nice_grey=a_record(one_run(results=density), model="nice", dataset="mnist"))
    found = page.likelihoods(results.load(root))
    assert [number.value for _, number, _ in found["mnist"]] == [NLL["nll"]]
    assert [number.value for _, number, _ in found["mnist in grey levels"]] == [520.0]
    assert [number.value for _, number, _ in found["mnist dequantised"]] == [-1980.0]
    results.write(root)
    plot = root / "docs/results/likelihoods.png"
    assert PIL.Image.open(plot).width > 500 and "(results/likelihoods.png)" in (root / "docs/results.md").read_text()
    for file in (root / "results").glob("*_*.json"):
        file.unlink()
    results.write(root)
    assert not plot.exists() and "likelihoods" not in (root / "docs/results.md").read_text()


@pytest.mark.slow
def test_likelihood_and_speed_of_what_has_both(root):
    """The exact likelihood before a bound, and no point without a speed or with the speed alone."""
    speed = {"samples_per_second": {"samples_per_second": 50.0}}
    both = {"exact_nll": {"nll": 88.0}, "importance_weighted_nll": NLL}
    put(root, made_mine=a_record(one_run(results=both | speed), model="made"))
    put(root, vae_binarized_mnist=a_record(one_run(results={"importance_weighted_nll": NLL} | speed)))
    put(root, nade=a_record(one_run(results=both)), gan=a_record(one_run(results=speed), model="gan"))
    rows = page.tradeoffs(results.load(root))["binarized_mnist"]
    assert [(row[0], row[1].value, *row[2:]) for row in rows] == [
        ("made_mine", 88.0, True, None, 50.0),
        ("vae_binarized_mnist", NLL["nll"], False, 89.9, 50.0),
    ]
    results.write(root)
    plot = root / "docs/results/likelihood_and_speed.png"
    assert PIL.Image.open(plot).width > 500 and f"(results/{plot.name})" in (root / "docs/results.md").read_text()
    page.draw_tradeoffs({}, plot)
    assert not plot.exists()


def test_labels_of_one_place_are_moved_apart():
    axes, above = Figure().subplots(), (6, 4)
    heights = {"first": 0.5, "second": 0.51, "far": 0.1}
    labels = [axes.annotate(name, (0.5, y), above, textcoords="offset points") for name, y in heights.items()]
    axes.figure.draw_without_rendering()
    first, second, far = labels
    assert first.get_window_extent().overlaps(second.get_window_extent())
    page.move_apart(labels)
    assert first.xyann == far.xyann == above and second.xyann[0] == above[0] and second.xyann[1] > above[1]
    assert not first.get_window_extent().overlaps(second.get_window_extent())


# --- What is taken of runs -------------------------------------------------------------------------------------------


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """Makes the directory of a run of so many seeds that `rundir.load` reads."""
    shared = np.zeros([3, 4])

    def load(path):
        if not (path / "config.cfg").exists():
            raise rundir.UserError(f"{path} holds no run.")
        facts = {"model": "gan", "dataset": "ring", "machine": a_record()["machine"], "commit": "abc"}
        facts["command"] = (
            f"python -m trainers.run --flagfile={tmp_path}/configs/labs/ring.cfg --run_dir {path} --data_dir=/d"
        )
        weights = {"generator": [shared], "discriminator": [shared, np.zeros(5)]}
        model = SimpleNamespace(moves=weights, weights_of=weights.get, data_name="points")
        seed = int((path / "config.cfg").read_text())
        return SimpleNamespace(path=path, model=model, step=20, settings=SimpleNamespace(seed=seed), facts=facts)

    def make(path, seed=0, step=20):
        (path / "samples").mkdir(parents=True)
        (path / "config.cfg").write_text(str(seed))
        how = {"command": f"python -m trainers.evaluate --run_dir={path}", "options": {}, "seconds": 1.0}
        report = {"step": step, "results": {"modes_found": {"modes_found": 8}}, "measured": {"modes_found": how}}
        (path / "evaluation.json").write_text(json.dumps(report))
        (path / "metrics.jsonl").write_text(
            '{"step": 10, "steps_per_second": 5}\nhalf\n{"step": 20, "steps_per_second": 2}\n'
        )
        for at, side in ((9, 10), (20, 1060)):
            PIL.Image.new("RGBA", (side, side), "white").save(path / "samples" / f"step_{at}.png")
        return path

    monkeypatch.setattr(rundir, "load", load)
    return make


def test_a_record_of_a_run(make_run, root, monkeypatch, capsys):
    monkeypatch.setattr(results, "ROOT", root)
    results.main(["results", f"--add={make_run(root / 'runs' / 'pretty')}"])
    assert capsys.readouterr().out == "results/pretty.json\ndocs/results.md\n"
    assert "`modes_found`" in (root / "docs" / "results.md").read_text()
    text = (root / "results" / "pretty.json").read_text()
    record = results.load(root)["pretty"]
    assert str(root) not in text and socket.gethostname() not in text and "/d" not in record["command"]
    assert record["command"] == "python -m trainers.run --flagfile=configs/labs/ring.cfg --run_dir=runs/pretty"
    assert record["flagfile"] == "configs/labs/ring.cfg" and record["num_weights"] == 17 and record["step"] == 20
    (run,) = record["runs"]
    assert run["seed"] == 0 and run["training_seconds"] == 7.0 and run["cpu_seconds"] is None
    assert run["measured"]["modes_found"]["command"] == "python -m trainers.evaluate --run_dir=runs/pretty"
    with PIL.Image.open(root / "docs" / "results" / "pretty.png") as picture:
        assert picture.size == (530, 530) and picture.mode == "RGB"


def test_a_record_of_several_seeds(make_run, root):
    for seed in (0, 2, 10):
        make_run(root / "runs" / "ring" / f"seed_{seed}", seed)
    results.add(root / "runs" / "ring", "ring", root)
    runs = results.load(root)["ring"]["runs"]
    assert [run["seed"] for run in runs] == [0, 2, 10] and (root / "docs" / "results" / "ring.png").exists()
    assert runs[2]["measured"]["modes_found"]["command"].endswith("--run_dir=runs/ring/seed_10")
    assert tables.name_of(root / "runs" / "ring" / "seed_10") == tables.name_of(root / "runs" / "ring") == "ring"


@pytest.mark.parametrize("command, kept", [
    ("run --run_dir x --data_dir y --model=vae", "run --run_dir=P --model=vae"),
    ("evaluate --run_dir=x --against /home/me/runs/b --seed=1", "evaluate --run_dir=P --against=runs/b --seed=1"),
    ("run -flagfile /a/configs/labs/b.cfg --data_dir=y", "run --flagfile=configs/labs/b.cfg"),
    ("run --flagfile=/home/me/own.cfg --name='a b'", "run --flagfile=own.cfg '--name=a b'"),
])  # fmt: skip
def test_commands_name_no_place_of_this_machine(command, kept):
    assert results.portable(command, "P") == kept


@pytest.mark.parametrize("log, seconds, cpu", [
    (None, None, None), ("", None, None), ('{"step": 10}\n', None, None),
    ('{"step": 10, "steps_per_second": 0.0, "cpu_seconds_per_step": 3}\n', None, 30.0),
    ('{"step": 5, "steps_per_second": 1}\n{"step": 10, "steps_per_second": 0.5}\n{"st', 15.0, None),
])  # fmt: skip
def test_the_seconds_that_a_log_tells(log, seconds, cpu, tmp_path):
    file = tmp_path / "metrics.jsonl"
    if log is not None:
        file.write_text(log)
    assert results.training_seconds(file) == {"training_seconds": seconds, "cpu_seconds": cpu}


@pytest.mark.parametrize("flags, told", [
    (["--name=x"], "--name=x is what to call the run of --add"),
    (["--add={}/none"], "none holds no run"),
    (["--add={}/old"], "old has not been measured at step 20"),
    (["--add={}/ring", "--name=../x"], "--name=../x must be letters"),
    (["--add={}/ring", "--name=published"], "--name=published must be"),
    (["--add=gs://ring"], "is not a path"),
])  # fmt: skip
def test_mistakes(flags, told, make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)  # nothing is to be written there, and never here
    make_run(tmp_path / "ring")
    make_run(tmp_path / "old", step=10)
    with mistake(told):
        results.main(["results", *(flag.format(tmp_path) for flag in flags)])


@pytest.mark.parametrize("content, told", [
    ("half", "is damaged"),
    (json.dumps(a_record(model="none")), "is of none, which is no model of the zoo"),
])  # fmt: skip
def test_a_record_that_is_none(content, told, root):
    (root / "results" / "a.json").write_text(content)
    with mistake("a.json", told, "make it again by --add, or delete it"):
        results.texts(root)
    (root / "results" / "a.json").unlink()
    (root / "README.md").write_text("no marks")
    with mistake("README.md must have one <!-- results -->"):
        results.texts(root)


def test_where_a_number_comes_from():
    here = provenance.here()
    machine = here["machine"]
    assert machine["cpu"] and 1 <= machine["num_cores"] <= os.cpu_count() and machine["gpus"] == []
    assert here["commit"] is None or re.fullmatch(r"[0-9a-f]{12,}(-dirty)?", here["commit"])
