"""Tasks from their labels in result tables."""

import re
from typing import Any

import yaml

from ...tasks import get_task
from ...tasks.errors import UserError
from ...tasks.task import Task
from ..running.yaml_loader import Loader


def task_of(label: str) -> Task | None:
    """Return the task of a label such as `galton(rows=10)`; None if no such task is installed."""
    match = re.fullmatch(r"([^(]+)(?:\((.*)\))?", label)
    if match is None:
        return None
    options: dict[str, Any] = {}
    for setting in (match[2] or "").split(", "):
        name, given, value = setting.partition("=")
        if given:
            options[name] = yaml.load(value, Loader=Loader)
    try:
        return get_task(match[1], **options)
    except UserError:
        return None
