"""YAML as people write it in sweep files: keys once, and numbers such as 1e-5 as numbers."""

import re
from typing import Any

import yaml

MERGE, FLOAT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:float"


class Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently keep the last; 1e5 is a number, as in
    YAML 1.2, where YAML 1.1 takes it for a text.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: list[Any] = []
        for key, _ in node.value:
            if key.tag == MERGE:  # "<<" may stand beside the keys that it brings
                continue
            keys.append(self.construct_object(key))
            if keys[-1] in keys[:-1]:
                problem = f"the key {keys[-1]!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(FLOAT, re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), [*"-+0123456789"])
