"""From tokens to text: whole characters only, stop strings held back, log-probabilities kept beside their text."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sensorium.inference.sampler import Logprobs
from sensorium.messages import TokenLogprob
from sensorium.processing.tokenizer import Tokenizer


class StopScanner:
    """Passes text on until a stop string is complete, holding back whatever may yet become one.

    What comes out does not depend on how the text was cut into pieces: the reply ends at the first character that
    completes a stop string; where one character completes several, the longest counts.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Take the next piece; return what is safe to show. Sets `stopped` when a stop string is complete."""
        self._held += text
        matches = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if matches:
            self.stopped = True
            shown, self._held = self._held[: min(matches)[1]], ""
            return shown
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def flush(self) -> str:
        """What was held back and turned out to be no stop string."""
        shown, self._held = self._held, ""
        return shown


class TextStream:
    """Turns the tokens of one reply into text."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str], *, after: Sequence[int] = ()) -> None:
        """Begin a reply that continues the tokens `after`, whose last character it may complete."""
        self._decoder = tokenizer.stream_decoder(after)
        self._tokenizer = tokenizer
        self._previous: int | None = after[-1] if after else None
        self._scanner = StopScanner(stops)
        self._decoded = 0  # characters decoded so far, those held back included
        self._shown = 0
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()  # where each token's text starts

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the reply."""
        return self._scanner.stopped

    def push(self, token_id: int, logprobs: Logprobs | None = None) -> str:
        """Take the next token, with its log-probability if asked for; return the text it sets free, possibly none."""
        if logprobs is not None:
            self._waiting.append((self._decoded, TokenLogprob(token_id, self._spelling(token_id), *logprobs)))
        self._previous = token_id
        return self._pass(self._decoder.push(token_id))

    def pause(self) -> str:
        """The words held back, where something else than words comes between; a stop string does not reach across."""
        return self.finish()

    def finish(self) -> str:
        """The rest of the text at the end of a reply that no stop string ended."""
        rest = self._pass(self._decoder.flush())
        if not self.stopped:
            held = self._scanner.flush()
            self._shown += len(held)
            rest += held
        return rest

    def logprobs(self) -> tuple[TokenLogprob, ...]:
        """The log-probabilities of the tokens that the text shown so far has reached, each once."""
        ready = []
        while self._waiting and self._waiting[0][0] < self._shown:
            ready.append(self._waiting.popleft()[1])
        return tuple(ready)

    def _spelling(self, token_id: int) -> str:
        """A token as it reads within a text: some tokenizers drop the space before a text's first word."""
        before = [] if self._previous is None else [self._previous]
        return self._tokenizer.decode([*before, token_id], controls=True).removeprefix(
            self._tokenizer.decode(before, controls=True)
        )

    def _pass(self, text: str) -> str:
        self._decoded += len(text)
        shown = self._scanner.push(text)
        self._shown += len(shown)
        return shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper beginning of `stop` that `text` ends with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
