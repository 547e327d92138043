"""A check-in series as its documents show it: the base, the weeks that exist, and which response is which week's. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from backtrail import Entity, Row
from backtrail.catalog.checkin_series.values import (
    MOST_WEEKS,
    completion,
    flag,
    names,
    text,
    time_of,
    week_number,
    weeks_later,
)

ASSIGNMENTS: Final = "check_in_assignments"
RESPONSES: Final = "formResponses"

Document = Mapping[str, Any]


class Series:
    """The assignments and responses of one client and form."""

    def __init__(self, entity: Entity) -> None:
        self.assignments: list[Row] = entity.rows(ASSIGNMENTS)
        self.responses: list[Row] = entity.rows(RESPONSES)

    # -- assignments ----------------------------------------------------------------------------------------------

    @cached_property
    def base(self) -> Row | None:
        """The assignment of week 1; where no assignment says so, the best of those that name no week."""
        first = [row for row in self.assignments if week_number(row.get("recurringWeek")) == 1]
        unnumbered = [row for row in self.assignments if row.get("recurringWeek") is None]
        return min(first or unnumbered, key=_rank_as_base, default=None)

    @cached_property
    def weeks(self) -> dict[int, list[Row]]:
        """The assignments of every week that has one, each week's in the order of their ids."""
        weeks: dict[int, list[Row]] = {}
        for row in self.assignments:
            week = 1 if row is self.base else week_number(row.get("recurringWeek"))
            if week is not None:
                weeks.setdefault(week, []).append(row)
        return weeks

    @property
    def is_recurring(self) -> bool:
        """Whether the base says that there are weeks to come."""
        if self.base is None:
            return False
        says = flag(self.base.get("isRecurring"))
        return self.base.get("totalWeeks") is not None if says is None else says

    @property
    def total(self) -> int | None:
        """How many weeks the base says there are; None where it says nothing that can be believed."""
        number = None if self.base is None else week_number(self.base.get("totalWeeks"))
        return number if number is not None and number <= MOST_WEEKS else None

    def missing(self) -> list[int]:
        """The weeks that are to be created: those up to the total, and those of responses, which have no assignment."""
        wanted = set(range(2, (self.total or 1) + 1)) if self.is_recurring else set()
        wanted |= {week for week in self.answers if week <= MOST_WEEKS}
        return sorted(wanted - self.weeks.keys())

    def obstacle(self) -> str | None:
        """Why no week can be created; None where nothing is in the way."""
        if self.base is None:
            return "the series has no base assignment: no weeks are created"
        if not self.is_recurring:
            return "the assignment does not recur: no weeks are created"
        if weeks_later(self.base.get("dueDate"), 0) is None:
            return "the base assignment's dueDate is missing or no date: no weeks are created"
        if not isinstance(self.base["_id"], str) and type(self.base["_id"]).__name__ != "ObjectId":
            return "the base assignment's _id is neither an ObjectId nor a text: no weeks are created"
        return None

    def due(self, week: int) -> Any:
        """When the week is due, in the form of the base's date; None where no such date can be written."""
        return None if self.base is None else weeks_later(self.base.get("dueDate"), week - 1)

    # -- responses ------------------------------------------------------------------------------------------------

    @cached_property
    def answers(self) -> dict[int, list[Row]]:
        """The responses of every week that has one, the oldest first; of one moment, in the order of their ids."""
        answers: dict[int, list[Row]] = {}
        for response in self.responses:
            week = self.week(response)
            if week is not None:
                answers.setdefault(week, []).append(response)
        return {week: sorted(rows, key=_given_at) for week, rows in sorted(answers.items())}

    def week(self, response: Row) -> int | None:
        """The week that the response says it is of, or else the one week that its links leave; None where that is open."""
        said = week_number(response.get("recurringWeek"))
        return said if said is not None else self._linked_week(response)

    def target(self, week: int) -> Row | None:
        """The assignment that the week's responses go to; of several the one that is linked already, or else the first."""
        rows = self.weeks.get(week, [])
        answers = self.answers.get(week)
        if not answers:
            return rows[0] if rows else None
        return min(rows, key=lambda row: _rank_as_target(row, answers), default=None)

    def _linked_week(self, response: Row) -> int | None:
        claims = self._claims.get(text(response["_id"]), set())
        if len(claims) == 1:
            return next(iter(claims))
        link = response.get("assignmentId")
        week = None if link is None else self._week_of_id.get(text(link))
        # All weeks of a series that recurs used to be linked to the base, so that this link tells no week.
        return week if week != 1 or not self.is_recurring else None

    @cached_property
    def _claims(self) -> dict[str, set[int]]:
        """The weeks whose assignments name a response, by its id."""
        claims: dict[str, set[int]] = {}
        for week, rows in self.weeks.items():
            for row in rows:
                if row.get("responseId") is not None:
                    claims.setdefault(text(row["responseId"]), set()).add(week)
        return claims

    @cached_property
    def _week_of_id(self) -> dict[str, int]:
        return {text(row["_id"]): week for week, rows in self.weeks.items() for row in rows}


def _rank_as_base(row: Document) -> tuple[bool, bool]:
    # Neither is ever changed by the migration, so that a second run finds the same base.
    return flag(row.get("isRecurring")) is not True, week_number(row.get("totalWeeks")) is None


def _rank_as_target(row: Document, answers: Sequence[Document]) -> tuple[bool, bool, bool]:
    # What is linked stays so; and what is chosen is linked thereafter, so that a second run chooses the same.
    link, latest = row.get("responseId"), answers[-1]
    strange = link is not None and not any(names(link, answer["_id"]) for answer in answers)
    return not names(link, latest["_id"]), not names(latest.get("assignmentId"), row["_id"]), strange


def new_id(entity: Entity, week: int, like: Any) -> Any:
    """The id of the assignment that is created for a week, of the type that the base's id has; the same on every run."""
    created = entity.new_object_id("week", week)
    return str(created) if isinstance(like, str) else created


def _given_at(response: Document) -> float:
    moment = time_of(completion(response))
    # What has no time is older than all that has one.
    return float("-inf") if moment is None else moment.timestamp()
