"""A mean that is learned, and how it is saved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Average:
    """A mean that follows its samples: exact over the first `memory` of them, exponential afterwards."""

    value: float
    count: int = 0
    memory: int = 50

    def add(self, sample: float) -> None:
        self.count += 1
        self.value += (sample - self.value) / min(self.count, self.memory)

    def raise_last(self) -> None:
        """A late sample of 0 turns out to be 1."""
        self.value = min(1.0, self.value + 1.0 / min(self.count, self.memory))


def plain(average: Average) -> list[float]:
    """Plain JSON values."""
    return [average.value, average.count]


def read_average(value: object, memory: int = 50) -> Average:
    """The inverse of `plain`.

    Raises:
        TypeError: the value is no list of numbers.
        ValueError: it has not two of them.
    """
    mean, count = read_numbers(value)
    return Average(mean, int(count), memory)


def read_numbers(value: object) -> list[float]:
    """The value as it is.

    Raises:
        TypeError: it is no list of numbers.
    """
    if not isinstance(value, list) or not all(isinstance(item, int | float) for item in value):
        raise TypeError(f"expected a list of numbers, not {value!r}")
    return value
