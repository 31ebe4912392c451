"""The trained models of this checkout: each draws its picture again, without Python; and how one gets there."""

import numpy as np
import PIL.Image
import pytest

from common import files, pictures
from export import pretrained
from export.sample import classes_of, find_version
from tests.export.exported import InC, InSession, Loaded
from tests.export.test_commands import a_run  # noqa: F401
from tests.mistakes import mistake
from trainers import rundir

NAMES = sorted(path.parent.name for path in pretrained.ROOT.glob(f"*/{pretrained.PICTURE}"))
MOST_BYTES, MOST_BYTES_OF_ALL = 10e6, 60e6


def test_the_list_is_what_the_command_writes():
    assert (pretrained.ROOT / "README.md").read_text() == pretrained.render()
    assert NAMES == sorted(path.name for path in pretrained.ROOT.iterdir() if path.is_dir()) and NAMES
    sizes = [sum(file.stat().st_size for file in (pretrained.ROOT / name).rglob("*")) for name in NAMES]
    assert max(sizes) < MOST_BYTES and sum(sizes) < MOST_BYTES_OF_ALL


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_model_draws_its_picture_within_a_grey_level(name, program, tmp_path):
    version = find_version(pretrained.ROOT / name)
    num_classes, loaded = classes_of(version), None if program else Loaded(version)
    server = InC(program, version) if program else InSession(loaded)
    signatures = files.read_json(version / "assets.extra" / "metadata.json", "signatures")["signatures"]
    num = pretrained.number_in_picture(num_classes)
    inputs = {"seed": np.arange(num)} | ({"label": pictures.labels_of(num, num_classes)} if num_classes else {})
    answer = server.run("sample_mean" if "sample_mean" in signatures else "sample", inputs)
    server.close()
    pretrained.write_picture(answer["images"], num_classes, tmp_path / "again.png")
    again, kept = (
        PIL.Image.open(path) for path in (tmp_path / "again.png", pretrained.ROOT / name / pretrained.PICTURE)
    )
    assert np.abs(np.asarray(again, int) - np.asarray(kept, int)).max() <= 1
    assert np.asarray(kept).std() > 20


@pytest.mark.slow
def test_a_run_gets_there(a_run, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(rundir, "load", lambda run_dir: a_run)
    monkeypatch.setattr(pretrained, "ROOT", tmp_path)
    for _ in range(2):
        pretrained.add("runs/constant", "constant", root=tmp_path)
    assert len([path for path in (tmp_path / "constant").iterdir() if path.is_dir()]) == 1
    line = pretrained.render(tmp_path).splitlines()[-1]
    assert line.startswith("| [`constant`](constant/README.md) | ") and "| ones |" in line and "samples.png" in line
    with mistake("--name and --signatures are of the run to --add"):
        pretrained.main(["pretrained", "--name=x"])
