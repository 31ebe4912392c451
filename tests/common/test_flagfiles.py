"""What a person means by the lines of a flagfile."""

import pytest

from common import flagfiles
from tests.mistakes import mistake


@pytest.mark.parametrize("line, argument", [
    ("--model=vae", "--model=vae"),
    ("  --model = vae  # the first", "--model=vae"),
    ('--model="vae"', "--model=vae"),
    ("--model='a b # c' # d", "--model=a b # c"),
    ("--model vae", "--model=vae"),
    ("--out=a#b c", "--out=a#b c"),
    ("--export  # it", "--export"),
    ("--metrics=", "--metrics="),
    ("# --model=vae", ""),
    ("// --model=vae", ""),
    ("", ""),
    ("vae", "vae"),
])  # fmt: skip
def test_a_line(line, argument):
    assert flagfiles.parse_line(line) == argument


@pytest.mark.parametrize("value", ["vae", "", "a b", "a # b", '"a"', "'a' # b", " a", "x=1 // 2"])
def test_a_value_is_written_as_it_is_read(value):
    assert flagfiles.parse_line(flagfiles.line_of("flag", value)) == f"--flag={value}"


def test_files_name_others_beside_them_or_above_or_where_the_command_runs(tmp_path, monkeypatch):
    for name in ("a", "b", "cwd"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "top.cfg").write_bytes(b"\xef\xbb\xbf--x=1\r\n--flagfile=beside.cfg\r\n--flagfile=b/up.cfg\r\n")
    (tmp_path / "a" / "beside.cfg").write_text("--y = \u00e9", encoding="utf-8")
    (tmp_path / "b" / "up.cfg").write_text("--flagfile=here.cfg")
    (tmp_path / "cwd" / "here.cfg").write_text("--z")
    monkeypatch.chdir(tmp_path / "cwd")
    expanded = ["run", "--x=1", "--y=\u00e9", "--z", "--", "--flagfile=no"]
    for given in (["--flagfile=../a/top.cfg"], ["--flagfile", "../a/top.cfg"]):
        assert flagfiles.expand(["run", *given, "--", "--flagfile=no"]) == expanded


@pytest.mark.parametrize("content, sentence", [
    ("--x=\u00e9".encode("latin-1"), "x.cfg is no UTF-8 text"),
    ("--x=1".encode("utf-16"), "x.cfg is no UTF-8 text"),
    ("--x=1".encode("utf-16-le"), "x.cfg is no UTF-8 text"),
    (b"--flagfile=x.cfg", "x.cfg reads itself"),
    (b"--flagfile=y.cfg", "the flagfile y.cfg can not be read: No such file or directory."),
])  # fmt: skip
def test_mistakes(content, sentence, tmp_path):
    (tmp_path / "x.cfg").write_bytes(content)
    with mistake(sentence):
        flagfiles.expand([f"--flagfile={tmp_path / 'x.cfg'}"])
