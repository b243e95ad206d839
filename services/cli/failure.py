"""The one way in which a command ends badly."""

from services.cli.core.complaint import Problem
from services.cli.core.exits import Exit, exit_of


class Failure(Exception):
    """What went wrong, for people and, as *problem*, for programs."""

    def __init__(
        self, doing: str, problem: Problem, exit_code: Exit | None = None, *, passing: bool = False
    ) -> None:
        super().__init__(problem["detail"])
        self.doing = doing
        self.problem = problem
        self.exit_code = exit_of(problem.get("code", "")) if exit_code is None else exit_code
        self.passing = passing
        """Whether the same request may succeed in a moment."""
