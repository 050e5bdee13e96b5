"""YAML 1.2 for sweep files: `010` is ten, `1e-5` a number and `no` a text, and no key may be given twice.

PyYAML reads YAML 1.1, where 010 is eight, 1e-5 a text, 1:30 ninety and `no` false.
"""

import re
from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"
DIGITS = "0123456789"

# the core schema, https://yaml.org/spec/1.2.2/#103-core-schema: tag, pattern and first characters
SCHEMA = [
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+", *DIGITS]),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.", *DIGITS]),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*"-+."]),
    ("merge", r"<<", ["<"]),  # from YAML 1.1, for `<<: *defaults`
]


class Loader(yaml.SafeLoader):
    """A loader for the core schema of YAML 1.2. It refuses repeated keys, of which PyYAML keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: list[Any] = []
        for key, _ in node.value:
            if key.tag == MERGE:  # keys that "<<" merges in may be given again
                continue
            keys.append(self.construct_object(key))
            if keys[-1] in keys[:-1]:
                problem = f"the key {keys[-1]!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """Return a whole number: decimal with any leading zeros, octal as 0o10, or hexadecimal as 0x8."""
        text = self.construct_scalar(node)
        return int(text, 0 if text.startswith(("0o", "0x")) else 10)


class Dumper(yaml.SafeDumper):
    """A dumper that quotes texts which YAML 1.1 or 1.2 would read as something else."""


Loader.yaml_implicit_resolvers = {}
for tag, pattern, first in SCHEMA:
    for reader in (Loader, Dumper):
        reader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z"), first)
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_whole)
