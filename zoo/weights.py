"""Names of what networks hold: those that the model gives its networks, and the paths within them."""

import collections
import re

import keras


def name_networks(model):
    """Gives networks the names of the attributes that hold them, which a `summary` shows; numbers those of a list."""
    for name, held in vars(model).items():
        if isinstance(held, keras.Layer):
            held.name = name
        elif isinstance(held, list) and not name.startswith("_"):
            for i, network in enumerate(held):
                if isinstance(network, keras.Layer):
                    network.name = f"{name}_{i}"


def paths(model):
    """Dict, id of a TensorFlow variable -> its path, such as "generator/dense_7/kernel", of all that a model holds."""
    networks = {name: network for name, network in vars(model).items() if isinstance(network, keras.Layer)}
    owners = {id(v): name for name, network in networks.items() for v in network.variables}
    known = {id(v.value): (owners.get(id(v)), v.path) for v in model.variables}
    return {key: "/".join(filter(None, [owner, path.partition("/")[2]])) for key, (owner, path) in known.items()}


def numbered(paths):
    """The paths with layers numbered within their network: dict, name -> key, of a dict, key -> path.

    Keras numbers layers through the whole process; thus the same network has the same names.
    """
    named, numbers, counts = {}, {}, collections.Counter()
    for key, path in paths.items():
        name = ""
        for part in path.split("/"):
            base, last = re.sub(r"_\d+$", "", part) if name else part, part == path.rpartition("/")[2]
            if (name, part) not in numbers or last:
                numbers[name, part] = f"{base}_{counts[name, base]}" if counts[name, base] else base
                counts[name, base] += 1
            name = f"{name}/{numbers[name, part]}".lstrip("/")
        named[name] = key
    return named


def of_networks(model):
    """Dict, name -> variable of the networks that moves change, without the counts of what they drew."""
    networks = {id(network): network for networks in model.moves.values() for network in networks}
    held = {id(v.value): v for network in networks.values() for v in network.variables if v.dtype.startswith("float")}
    return {name: held[key] for name, key in numbered({k: p for k, p in paths(model).items() if k in held}).items()}
