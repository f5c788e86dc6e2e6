"""The embedded contest: small programming problems with tests, and right and wrong solutions of each."""

from __future__ import annotations

from .prepare import prepare_contest
from .problems import SPLITS, ContestProblem, contest_problems, problem_row
from .rows import contest_rows

__all__ = ["SPLITS", "ContestProblem", "contest_problems", "contest_rows", "prepare_contest", "problem_row"]
