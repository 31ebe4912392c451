"""Flagfiles: command lines kept in files, one flag a line, as `--name=value`.

Blanks around a name, `=` and a value mean nothing; quotes around a whole value are not part of it. A line that starts
with # or //, and whatever follows a blank and #, is a comment. `--flagfile=FILE` in a flagfile reads another, which
lies beside it, in a directory above, or where the command runs.
"""

import re
from pathlib import Path

from common.cli import UserError

FLAG = re.compile(r"(--?[\w.-]+)(?:\s*=\s*|\s+|$)(.*)")
QUOTED = re.compile(r"""(["'])(.*?)\1\s*(?:\s#.*)?""")
COMMENT = re.compile(r"(?:^|\s)#.*")


def expand(arguments, beside=(), within=()):
    """Command-line arguments with those of the files in the place of every `--flagfile=FILE`.

    Args:
        arguments: list of str.
        beside: directories in which a relative FILE is looked for before the current one.
        within: the files that are being read.

    Raises:
        UserError: for a file that can not be read, is no UTF-8 text, or reads itself.
    """
    expanded, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if argument == "--":
            return [*expanded, argument, *rest]
        if name not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        if not equals:
            if not rest:
                raise UserError("--flagfile with no argument: give --flagfile=FILE.")
            value = rest.pop(0)
        expanded += _read(Path(value).expanduser(), beside, within)
    return expanded


def _read(name, beside, within):
    file = next((path for folder in beside if (path := folder / name).is_file()), name)
    if file.resolve() in within:
        raise UserError(f"the flagfile {file} reads itself: take the --flagfile out that leads back to it.")
    try:
        text = file.read_text(encoding="utf-8-sig")
        if "\0" in text:  # as UTF-16 has without a mark of its order
            raise ValueError("NUL")
    except OSError as error:
        raise UserError(f"the flagfile {file} can not be read: {error.strerror}.") from error
    except ValueError as error:  # UnicodeDecodeError is one
        raise UserError(f"the flagfile {file} is no UTF-8 text: save it in that encoding.") from error
    arguments = [argument for line in text.splitlines() if (argument := parse_line(line))]
    return expand(arguments, file.absolute().parents, [*within, file.resolve()])


def parse_line(line):
    """The argument that a line of a flagfile holds: `--name=value` or `--name`; "" for a comment or an empty line."""
    line = line.strip()
    if line.startswith("//"):
        return ""
    if not (flag := FLAG.fullmatch(line)):
        return COMMENT.sub("", line).strip()
    name, value = flag.groups()
    quoted = QUOTED.fullmatch(value)
    value = quoted.group(2) if quoted else COMMENT.sub("", value).strip()
    return f"{name}={value}" if value or "=" in line[len(name) :].lstrip()[:1] else name


def line_of(name, value):
    """The line of a flagfile that gives a flag the text `value`."""
    line = f"--{name}={value}"
    if parse_line(line) == line:
        return line
    quote = "'" if '"' in value else '"'
    return f"--{name}={quote}{value}{quote}"
