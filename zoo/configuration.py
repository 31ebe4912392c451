"""A model's constructor is its configuration: its arguments are stored, checked, documented and read back."""

import inspect
import re
import textwrap
import typing

LINE_LENGTH = 116  # of a docstring in a class


class Argument(typing.NamedTuple):
    """What the models of a family have in common in one argument of their constructors.

    annotation: its type, as a flag needs it.
    default: its value where none is given, or `inspect.Parameter.empty`.
    help: its entry in the docstring.
    """

    annotation: typing.Any
    default: typing.Any
    help: str


class Configured:
    """Of a class whose constructor has keyword-only arguments of plain values.

    Class attributes that a subclass sets:
        shared_arguments: dict, name -> `Argument`. A parameter that the constructor of a class names without an
            annotation and a default takes those, and the docstring its help: what a family shares is said once.
        zero_allowed: tuple of the names of int arguments that may be 0.
    """

    shared_arguments = {}
    zero_allowed = ()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" not in vars(cls):
            return
        shared = {name: cls.shared_arguments[name] for name in cls.arguments() if name in cls.shared_arguments}
        for name, argument in shared.items():
            if name not in cls.__init__.__annotations__ and argument.annotation is not inspect.Parameter.empty:
                cls.__init__.__annotations__[name] = argument.annotation
        defaults = {name: a.default for name, a in shared.items() if a.default is not inspect.Parameter.empty}
        cls.__init__.__kwdefaults__ = defaults | (cls.__init__.__kwdefaults__ or {})
        cls.__doc__ = complete(cls.__doc__, list(cls.arguments()), {name: a.help for name, a in shared.items()})

    @classmethod
    def arguments(cls):
        """The constructor's parameters: dict, name -> `inspect.Parameter`."""
        return {name: p for name, p in inspect.signature(cls.__init__).parameters.items() if name != "self"}

    @classmethod
    def argument_help(cls):
        """Dict, argument -> its text in the docstring's `Args:` section, on one line."""
        return dict(entries(cls.__doc__))

    def set_arguments(self, values):
        """Stores the arguments of a constructor under their own names.

        Args:
            values: dict that holds them, such as the constructor's `locals()`.

        Raises:
            ValueError: for a value outside the choices of its `Literal`, a count below 1, or a negative number.
        """
        for name, parameter in self.arguments().items():
            value = tuple(values[name]) if isinstance(values[name], list) else values[name]  # JSON knows no tuples
            value = float(value) if parameter.annotation is float else value
            choices = typing.get_args(parameter.annotation)
            if typing.get_origin(parameter.annotation) is typing.Literal and value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
            least = 0 if name in self.zero_allowed else 1
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and name != "seed" and number < least and not isinstance(number, bool):
                    raise ValueError(f"{name} must be at least {least}, not {value}.")
                if isinstance(number, float) and not number >= 0.0:
                    raise ValueError(f"{name} must not be negative, but is {value}.")
            if name != "name":  # which is Keras's
                setattr(self, name, value)

    def get_config(self):
        """The constructor's arguments as they were passed."""
        return {argument: getattr(self, argument) for argument in self.arguments()}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


SECTION = re.compile(r"(?<=\nArgs:\n)(.*?)(?=\n\n|\Z)", re.S)


def entries(docstring):
    """List of (argument, its text on one line) of the `Args:` section of a docstring."""
    section = SECTION.search(inspect.cleandoc(docstring or ""))
    found = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", section.group(1) if section else "", re.S | re.M)
    return [(name, " ".join(text.split())) for name, text in found]


def complete(docstring, order, helps):
    """A docstring whose `Args:` section has all of `helps`, in the order of the names `order`; its own go first."""
    if not docstring:
        return docstring
    texts = helps | dict(entries(docstring))
    wrapped = [
        textwrap.fill(f"{name}: {texts[name]}", LINE_LENGTH, initial_indent=" " * 4, subsequent_indent=" " * 8)
        for name in order
        if name in texts
    ]
    return SECTION.sub(lambda _: "\n".join(wrapped), inspect.cleandoc(docstring), count=1)
