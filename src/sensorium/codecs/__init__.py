"""Pictures and speech as codes of one vocabulary, and back: quantisation, codecs, and what opposes them in training."""
