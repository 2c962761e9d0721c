"""The pace of a run: its training loss, smoothed speed, and the time left."""

from __future__ import annotations

from charrnn.training.events import Eval, Event, Start, Step

SMOOTHING = 0.02  # the weight of a step in the speed: about the last 50 steps count


class Pace:
    """Updated with every event of a run. The only place where the time left is estimated."""

    def __init__(self) -> None:
        self.nats_per_char = 0.0  # training loss since the last validation, as the next shows it
        self.chars_per_second = 0.0  # smoothed
        self._count = 0  # steps seen
        self._chars_per_step = self._eval_every = 1
        self._validates = False
        self._validation_seconds = 0.0  # that the last validation took
        self._last_step = 0.0  # when it ended, in seconds since the start

    def update(self, event: Event) -> None:
        """Process the next event of the run; every event must be passed, in order."""
        if isinstance(event, Start):
            self._chars_per_step = event.batch_size * event.seq_length
            self._eval_every, self._validates = event.eval_every, event.val_chars > 0
        elif isinstance(event, Step):
            self.nats_per_char = event.training_nats_per_char
            # A plain mean of the first steps, then an exponential moving average.
            self._count += 1
            weight = max(SMOOTHING, 1 / self._count)
            self.chars_per_second += weight * (event.chars_per_second - self.chars_per_second)
            self._last_step = event.elapsed_seconds
        elif isinstance(event, Eval):
            self._validation_seconds = event.elapsed_seconds - self._last_step

    def seconds_left(self, event: Event) -> float | None:
        """The time for the steps after ``event`` at the current speed, and their validations.

        None before the first step. A run that stops early takes less time.
        """
        if not self.chars_per_second:
            return None
        steps, every = event.steps - event.step, self._eval_every
        # One at every multiple of eval_every, and one after the last step.
        validations = -(-event.steps // every) - event.step // every if steps > 0 else 0
        return (steps * self._chars_per_step / self.chars_per_second
                + validations * self._validates * self._validation_seconds)
