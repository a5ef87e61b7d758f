"""How good a model is: tasks as YAML files, one runner, scores with confidence intervals beside simple baselines."""
