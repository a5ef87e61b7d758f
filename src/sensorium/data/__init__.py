"""Data sets: the registry of sources, readers of their formats, mixtures, and packed batches."""
