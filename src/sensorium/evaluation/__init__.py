"""How good a model is: tasks as YAML files, one runner, scores with confidence intervals beside simple baselines."""

from sensorium.evaluation.runner import Report, Result, evaluate
from sensorium.evaluation.task import Task, load_task, task_names

__all__ = ["Report", "Result", "Task", "evaluate", "load_task", "task_names"]
