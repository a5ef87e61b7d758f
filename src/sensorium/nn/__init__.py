"""The model's parts as plain `torch.nn` modules: attention, positions, norms, MLPs, and the transformer they make."""
