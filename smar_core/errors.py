"""Errors that a user can mend, with the words that the command line prints.

One class, because the command line treats all of them alike (one sentence, exit code 2); everything else that is raised is
our fault (exit code 1).
"""

EXIT_OK = 0
EXIT_OUR_FAULT = 1
EXIT_USER_ERROR = 2
EXIT_NOT_PROMOTED = 3
EXIT_INTERRUPTED = 130


class UserError(ValueError):
    """A mistake in the input, the config or the call.

    Args:
        problem: What is wrong, naming the file, row or field: a clause without a final full stop.
        remedy: What to do about it, as an imperative clause without a final full stop.

    >>> str(UserError("items.csv has no column 'title'", "add it or map another one with --map title=NAME"))
    "items.csv has no column 'title'; add it or map another one with --map title=NAME."
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = " ".join(problem.split())
        self.remedy = " ".join(remedy.split())

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}."


class ArtifactError(RuntimeError):
    """An artifact directory is incomplete, altered, or of another kind than asked for."""


class DivergedError(RuntimeError):
    """Training went wrong: a value that is not finite, or a loss far above its start for long."""
