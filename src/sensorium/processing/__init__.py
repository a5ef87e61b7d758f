"""Text, conversations and documents to token sequences, and back."""

from sensorium.processing.processor import Processor, Sequence
from sensorium.processing.template import ChatTemplate, Segment
from sensorium.processing.tokenizer import Tokenizer

__all__ = ["ChatTemplate", "Processor", "Segment", "Sequence", "Tokenizer"]
