"""A model's constructor is its configuration: its arguments are stored, checked, documented and read back."""

import inspect
import math
import re
import textwrap
import typing

NONE = inspect.Parameter.empty


class Argument(typing.NamedTuple):
    """What a family's models have in common in one argument: its type, its default (or `NONE`), its docstring."""

    annotation: typing.Any
    default: typing.Any
    help: str


class Configured:
    """Of a class whose constructor has keyword-only arguments of plain values.

    Class attributes that a subclass sets:
        shared_arguments: dict, name -> `Argument`. What a family shares is said once: a parameter that a constructor
            names without annotation or default takes those, and the class's docstring its help.
        zero_allowed: tuple of the names of int arguments that may be 0.
        negative_allowed: tuple of the names of arguments that may be any number.
    """

    shared_arguments = {}
    zero_allowed = ("num_halvings",)
    negative_allowed = ("seed",)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if constructor := vars(cls).get("__init__"):
            shared = {name: cls.shared_arguments[name] for name in cls.arguments() if name in cls.shared_arguments}
            annotations = {name: a.annotation for name, a in shared.items() if a.annotation is not NONE}
            defaults = {name: a.default for name, a in shared.items() if a.default is not NONE}
            constructor.__annotations__ = annotations | constructor.__annotations__
            constructor.__kwdefaults__ = defaults | (constructor.__kwdefaults__ or {})
            cls.__doc__ = complete(cls.__doc__, list(cls.arguments()), {name: a.help for name, a in shared.items()})

    @classmethod
    def arguments(cls):
        """The constructor's parameters: dict, name -> `inspect.Parameter`."""
        return {name: p for name, p in inspect.signature(cls.__init__).parameters.items() if name != "self"}

    @classmethod
    def argument_help(cls):
        """Dict, argument -> its text in the docstring's `Args:` section, on one line."""
        return entries(cls.__doc__)

    def set_arguments(self, values):
        """Stores the arguments of a constructor, out of its `locals()`, under their own names.

        Raises:
            ValueError: for a value outside the choices of its `Literal`, a count below 1, or a number that is
                negative or not finite.
        """
        for name, parameter in self.arguments().items():
            value = tuple(values[name]) if isinstance(values[name], list) else values[name]  # JSON knows no tuples
            if typing.get_origin(parameter.annotation) is tuple and isinstance(value, int | float):
                value = (value,)
            value = float(value) if parameter.annotation is float else value
            choices = typing.get_args(parameter.annotation)
            if typing.get_origin(parameter.annotation) is typing.Literal and value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, not {value!r}.")
            least = 0 if name in self.zero_allowed else 1
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError(f"{name} must be finite, but is {value}.")
                if name in self.negative_allowed:
                    continue
                if isinstance(number, int) and number < least and not isinstance(number, bool):
                    raise ValueError(f"{name} must be at least {least}, not {value}.")
                if isinstance(number, float) and number < 0.0:
                    raise ValueError(f"{name} must not be negative, but is {value}.")
            if name != "name":  # which is Keras's
                setattr(self, name, value)

    def get_config(self):
        """The constructor's arguments as they were passed."""
        return {argument: getattr(self, argument) for argument in self.arguments()}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


SECTION = re.compile(r"^Args:\n((?: {4}.*\n?)*)", re.M)
NEXT_SECTION = re.compile(r"^(?=(Raises|Example|Reference):)|\Z", re.M)


def entries(docstring):
    """The `Args:` section of a docstring: dict, argument -> its text on one line."""
    section = SECTION.search(inspect.cleandoc(docstring or ""))
    found = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", section.group(1) if section else "", re.S | re.M)
    return {name: " ".join(text.split()) for name, text in found}


def complete(docstring, order, helps):
    """The docstring, with all of `helps` in its `Args:` section, in the order of the names `order`."""
    texts, text = helps | entries(docstring), inspect.cleandoc(docstring or "")
    lines = [f"    {name}: {texts[name]}" for name in order if name in texts]
    section = "\n".join(["Args:", *(textwrap.fill(line, 116, subsequent_indent=8 * " ") for line in lines)]) + "\n"
    if SECTION.search(text):
        return SECTION.sub(lambda _: section, text, count=1).rstrip()
    at = NEXT_SECTION.search(text).start()  # where there is none yet
    return f"{text[:at].rstrip()}\n\n{section}\n{text[at:]}".strip()
