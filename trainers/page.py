"""The page of results as Markdown, and its plot; `trainers.results` knows where they go."""

import re
import statistics
from dataclasses import replace

from common import pictures
from trainers import tables
from trainers.metrics import METRICS
from zoo import MODELS

NOTHING = "No run has been added yet: `python -m trainers.results --add=RUN_DIR` adds one."
MORE = "[docs/results.md](docs/results.md) has every number, how it was made, and pictures."
INTRODUCTION = """\
# Results

Written by `python -m trainers.results` out of the files in `results/`, which `--add=RUN_DIR` makes of a run that has
been measured; not to be edited."""
LEGEND = """\
After +- stands the standard error of the one run or, where several seeds were trained, the standard deviation over
them; a number that some seed's run has not, as a divergence of samples at no mode, is left out. The floor is what the
measure gives of data in place of samples, with its standard deviation. Samples may pass it: those that vary less than
the data have more precision and density, and less recall. Judges were trained on several machines; measures by
two of them, whose checksums stand with the settings, are alike but not the same. A `gain` is over another run, by the
same test rows. Likelihoods of black and white pixels are on `binarized_mnist` of the fixed set, and on `mnist` of
test rows that were binarised once. Papers' numbers are of their own protocol, which stands beside them."""
HEAD = ("result", "model", "data", "measure", "ours", "floor", "published")
# What tells one run from another of the same model only: losses, and latents, whose order is each seed's own.
NOT_COMPARED = ("held_out_objectives", "latent_traversals")
# Numbers in nats, and the sign that makes them -log p(x).
LIKELIHOODS = {"nll": 1.0, "dequantized_nll": 1.0, "log_prob_lower_bound": -1.0}
OF_DENSITY = (  # metrics of p(x), the first of which that a result has is the one to compare, and whether it is exact
    ("exact_nll", True),
    ("ais_nll", False),
    ("ais_log_likelihood", False),
    ("importance_weighted_nll", False),
)
# What README tells of a result, if it is there.
FIRST = (*(metric for metric, _ in OF_DENSITY), "frechet_distance", "mutual_information_gap")
SPEED = "samples_per_second"
OF_OWN_SAMPLES = "ais_gap"  # bounds on log p(x) of what the model draws, not of test data
PICTURES_IN_A_ROW = 3


def summary(runs):
    """Results of the runs of all seeds, dict metric -> list of `tables.Number`: means and deviations over seeds."""
    found = {}
    for metric in runs[0]["results"]:
        of_runs = [
            {number.name: number for number in tables.numbers(run["results"].get(metric, {}))[0]} for run in runs
        ]
        names = [name for name in of_runs[0] if all(name in numbers for numbers in of_runs)]
        if names and metric not in NOT_COMPARED:
            found[metric] = [_over_seeds([numbers[name] for numbers in of_runs]) for name in names]
    return found


def _over_seeds(numbers):
    if len(numbers) == 1:
        return numbers[0]
    values, floors, deviations = zip(*((n.value, n.floor, n.deviation) for n in numbers), strict=True)
    means = [None if None in of_all else statistics.fmean(of_all) for of_all in (floors, deviations)]
    return tables.Number(numbers[0].name, statistics.fmean(values), statistics.stdev(values), *means)


def render(records):
    """The page: `records` are those of `trainers.results.load`."""
    if not records:
        return f"{INTRODUCTION}\n\n{NOTHING}\n"
    families = {}
    for name, found in records.items():
        family = MODELS[found["model"]].__module__.split(".")[1]
        families.setdefault(family, {})[name] = found
    sections = [INTRODUCTION, LEGEND]
    if likelihoods(records):
        sections.append("![Likelihoods of test data in nats, and what papers found](results/likelihoods.png)")
    if tradeoffs(records):
        sections.append("![Likelihood against the speed of sampling](results/likelihood_and_speed.png)")
    for family, of_family in sorted(families.items()):
        rows = [row for name, found in of_family.items() for row in _once(_rows(name, found))]
        how = "\n".join(_how(name, found) for name, found in of_family.items())
        sections += [f"## {family.capitalize()}", _table(HEAD, rows), how, _pictures(of_family)]
    return "\n\n".join(section for section in [*sections, _measures(records)] if section) + "\n"


def short(records):
    """README's table: of each result what papers have numbers of, else the first of `FIRST`, else its first number."""
    rows = []
    for name, found in records.items():
        of_one = _rows(name, found, "")
        first = [row for metric in FIRST for row in of_one if f"#{metric})" in row[3]]
        rows += _once([row for row in of_one if row[-1]] or [*first, *of_one][:1])
    head = [title for title in HEAD if title != "floor"]
    rows = [row[:5] + row[6:] for row in rows]
    return (_table(head, rows) if rows else NOTHING) + f"\n\n{MORE}"


def _rows(name, found, up="../"):
    """A result's lines of the table; `up` leads from the page to the root."""
    label, papers, rows = f"`{name}`", tables.published(name), []
    if found["flagfile"]:
        label = f"[{label}]({up}{found['flagfile']})"
    seeds = f" ({len(found['runs'])} seeds)" if len(found["runs"]) > 1 else ""
    for metric, numbers in summary(found["runs"]).items():
        for number in numbers:
            measure = f"[`{metric}`]({'' if up else 'docs/results.md'}#{metric})"
            measure += f" `{number.name}`" if number.name != metric else ""
            ours = tables.plus_minus(number.value, number.error) + seeds
            floor, paper = number.texts[2], _paper(papers.get(metric, {}).get(number.name))
            rows.append([label, f"`{found['model']}`", found["dataset"], measure, ours, floor, paper])
    return rows


def _once(rows):
    """A result's lines, which all begin with its name, model and data, with these in the first line only."""
    return [row if i == 0 else ["", "", "", *row[3:]] for i, row in enumerate(rows)]


def _paper(found):
    if not found:
        return ""
    source = re.sub(r"arXiv:([\d.]+\d)", r"[\g<0>](https://arxiv.org/abs/\1)", found["source"])
    return f"{tables.plus_minus(found['value'], found.get('error'))} ({source}; {found['protocol']})"


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "&#124;") for cell in line) + " |" for line in lines)


def _how(name, found):
    runs, machine = found["runs"], found["machine"]
    seconds = [run["training_seconds"] for run in runs]
    took = "" if None in seconds else f" in {_duration(statistics.fmean(seconds))}" + " each" * (len(runs) > 1)
    cpu = [run["cpu_seconds"] for run in runs]
    took += "" if None in cpu else f" ({_duration(statistics.fmean(cpu))} of CPU)"
    seeds = f"seed{'s' * (len(runs) > 1)} {', '.join(str(run['seed']) for run in runs)}"
    cores = f"{machine['num_cores']} core{'s' * (machine['num_cores'] > 1)}"
    devices = [f"{cores} of {machine['cpu']}", *machine["gpus"]]
    memory = f" ({machine['memory_gib']} GiB)" if machine.get("memory_gib") else ""
    measured = [how for metric, how in runs[0]["measured"].items() if metric not in NOT_COMPARED]
    by = " and ".join(f"`{command}`" for command in dict.fromkeys(how["command"] for how in measured))
    by = f", measured by {by}" if by else ""  # a run may have nothing that the page compares
    settings = {}
    for metric in summary(runs):
        if line := tables.line_of(tables.numbers(runs[0]["results"][metric])[1]):
            settings.setdefault(line, []).append(f"`{metric}`")
    lines = [
        f"- `{name}`: {found['num_weights']:,} weights, {found['step']:,} steps{took} on {', '.join(devices)}{memory};",
        f"  {seeds}; commit {found['commit'] or 'unknown'}, added {found['date']}.",
        f"  By `{found['command']}`{by}.",
        *(f"  With {line}: {', '.join(metrics)}." for line, metrics in settings.items()),
    ]
    return "\n".join(lines)


def _duration(seconds):
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 10.0 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _pictures(records):
    shown = [(name, found) for name, found in records.items() if found["picture"]]
    tables_ = []
    for i in range(0, len(shown), PICTURES_IN_A_ROW):
        some = shown[i : i + PICTURES_IN_A_ROW]
        images = [
            f'<img src="results/{name}.png" width="260" alt="{found["picture"]} of {name}">' for name, found in some
        ]
        tables_.append(_table([f"`{name}`, {found['picture']}" for name, found in some], [images]))
    return "\n\n".join(tables_)


def _measures(records):
    """What the measures are, as their functions say."""
    used = sorted({metric for found in records.values() for metric in summary(found["runs"])} & METRICS.keys())
    texts = {metric: (METRICS[metric].__doc__ or "").partition("\n\n")[0].split() for metric in used}
    return "## Measures\n\n" + "\n\n".join(f"### {metric}\n\n{' '.join(words)}" for metric, words in texts.items())


# --- The plot --------------------------------------------------------------------------------------------------------


def likelihoods(records):
    """-log p(x) in nats: dict, data -> list of (label, `tables.Number`, the paper's value or None).

    The probability of an image's grey levels is not that of its black and white pixels, nor the density of dequantised
    ones: they are data of their own.
    """
    found = {}
    for name, record in records.items():
        for metric, numbers in summary(record["runs"]).items():
            of_levels = any(number.name == "bits_per_dimension" for number in numbers)
            for number in numbers if metric != OF_OWN_SAMPLES else ():
                kind = " dequantised" if number.name == "dequantized_nll" else " in grey levels" * of_levels
                data = record["dataset"] + kind
                if sign := LIKELIHOODS.get(number.name):
                    paper = tables.published(name).get(metric, {}).get(number.name)
                    row = (
                        f"{name}\n{metric}",
                        replace(number, value=sign * number.value),
                        paper and sign * paper["value"],
                    )
                    found.setdefault(data, []).append(row)
    return found


def draw_likelihoods(records, path):
    """Draws them with their errors, a panel for each dataset, papers' numbers as crosses; nothing if there are none."""
    from matplotlib.figure import Figure  # slow to import

    if not (panels := likelihoods(records)):
        path.unlink(missing_ok=True)
        return
    heights = [0.4 * len(rows) + 0.8 for rows in panels.values()]
    figure = Figure(figsize=(7, sum(heights)), layout="constrained")
    all_axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (data, rows) in zip(all_axes, panels.items(), strict=True):
        for i, (_, number, paper) in enumerate(rows):
            axes.errorbar(number.value, i, xerr=number.error, fmt="o", color="C0", capsize=3)
            if paper is not None:
                axes.plot(paper, i, "x", color="C1", markersize=9)
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=7)
        axes.set(
            ylim=(len(rows) - 0.5, -0.5), xlabel=f"$-\\log p(x)$ of {data.replace('_', ' ')}, nats (crosses: papers)"
        )
    pictures.save(figure, path)


def tradeoffs(records):
    """What a likelihood costs in sampling: dict, data -> rows (name, `tables.Number` of nats, exact, paper, samples/s).

    Of results that have both; exact is False for a bound or an estimate.
    """
    found = {}
    for data, rows in likelihoods(records).items():
        of_label = {label: (number, paper) for label, number, paper in rows}
        for name, record in records.items():
            speed = next(iter(summary(record["runs"]).get(SPEED, [])), None)
            known = [(label, exact) for metric, exact in OF_DENSITY if (label := f"{name}\n{metric}") in of_label]
            if speed and known:
                label, exact = known[0]
                number, paper = of_label[label]
                found.setdefault(data, []).append((name, number, exact, paper, speed.value))
    return found


def draw_tradeoffs(records, path):
    """Draws them, a panel for each dataset: disks are exact, triangles bounds, crosses papers at our speed."""
    from matplotlib.figure import Figure  # slow to import

    if not (panels := tradeoffs(records)):
        path.unlink(missing_ok=True)
        return
    figure = Figure(figsize=(7, 4.5 * len(panels)), layout="constrained")
    labels = []
    for axes, (data, rows) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        for name, number, exact, paper, speed in rows:
            axes.errorbar(speed, number.value, yerr=number.error, fmt="o" if exact else "v", color="C0", capsize=3)
            label, at = name.removesuffix(f"_{data}"), (speed, number.value)
            labels.append(axes.annotate(label, at, (6, 4), textcoords="offset points", fontsize=7))
            if paper is not None:
                axes.plot([speed, speed], [number.value, paper], ":", color="C1", linewidth=0.8)
                axes.plot(speed, paper, "x", color="C1", markersize=7)
        axes.set_xscale("log")
        axes.margins(x=0.25, y=0.1)
        title = "disks: exact, triangles: bounds on the likelihood or estimates, crosses: papers"
        axes.set(xlabel="samples a second", ylabel="$-\\log p(x)$, nats")
        axes.set_title(f"{data.replace('_', ' ')} ({title})", fontsize=8)
    figure.draw_without_rendering()  # which gives labels their places
    move_apart(labels)
    pictures.save(figure, path)


def move_apart(labels):
    """Moves labels of a figure that has been laid out, the lower ones first, up from those that they would cover."""
    taken = []
    for label in sorted(labels, key=lambda label: label.get_window_extent().y0):
        while any(label.get_window_extent().overlaps(other) for other in taken):
            label.xyann = (label.xyann[0], label.xyann[1] + 1)
        taken.append(label.get_window_extent())
