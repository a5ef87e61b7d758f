"""Writing with a model: the engine, the sampler, and the cache-backed decoding beneath them."""
