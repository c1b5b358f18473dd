"""User errors: one line that says what, where and what to do; details follow on further lines."""

from __future__ import annotations

from lrpc.support.escaping import visible


class LrpcError(Exception):
    """Base of every error a user can cause: the one line that matters, then lines of details.

    Paths and names may be written into them as they are: what does not print is escaped here.
    """

    def __init__(self, line: object = "", *details: str) -> None:
        self.line, self.details = visible(str(line)), tuple(map(visible, details))
        super().__init__(self.line, *self.details)

    def __str__(self) -> str:
        return "\n".join((self.line, *self.details))


class ConfigError(LrpcError):
    """A configuration that cannot be read or does not make sense."""


class WeightsError(LrpcError):
    """A checkpoint that cannot be read, or does not fit the model."""


class TraceError(LrpcError):
    """Model code that cannot be traced, or an operation that has no row in the op table."""


class MismatchError(LrpcError):
    """A program that does not compute what the model computes that it was compiled from."""


class IRError(LrpcError):
    """A graph that does not verify, or text that does not parse."""


class RuleError(LrpcError):
    """A relevance rule that is missing, unknown, or given parameters out of range."""


class ProgramError(LrpcError):
    """A program directory that cannot be written, read or run."""


class ImageError(LrpcError):
    """An image file that cannot be read."""


class AnalysisError(LrpcError):
    """An analysis that cannot be made as asked, or a table that cannot be read."""


class PrecisionError(LrpcError):
    """A program whose numbers are further from float64 than allowed."""


class LrpcWarning(UserWarning):
    """A property of a program that its user should know about; it is compiled nevertheless."""

    def __init__(self, line: object = "") -> None:
        super().__init__(visible(str(line)))
