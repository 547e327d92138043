"""Judges a migration of check-in series by the plan's text, from the documents before and after. Shares no code with the migration."""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from typing import Any

from bson import ObjectId

Document = dict[str, Any]
Tables = dict[str, list[Document]]

A, R = "check_in_assignments", "formResponses"
MAY_CHANGE = {A: {"responseId", "status", "score", "completedAt", "recurringWeek"}, R: {"assignmentId"}}
NOT_COPIED = {"_id", "recurringWeek", "dueDate", "status", "responseId", "score", "completedAt"}


def whole(value: Any) -> int:
    """The week or number of weeks that is meant; 0 for what is none."""
    match = re.match(r"^(\d+)(\.0+)?$", str(value))
    return int(match[1]) if match else 0


def moment(value: Any) -> dt.datetime | None:
    if isinstance(value, str):
        for form in ("%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"):
            try:
                found = dt.datetime.strptime(value, form)
                return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
            except ValueError:
                continue
        return None
    return value


def given(response: Document) -> Any:
    return response.get("submittedAt") or response.get("completedAt") or response.get("createdAt")


def will_not(before: Tables, after: Tables) -> list[str]:
    """What was deleted, or changed though it must not: the plan's list of what the migration will NOT do."""
    found: list[str] = []
    for name, rows in before.items():
        left = {repr(row["_id"]): row for row in after[name]}
        for row in rows:
            now = left.get(repr(row["_id"]))
            if now is None:
                found.append(f"{name}: a document is gone")
                continue
            changed = {field for field in {*row, *now} if repr(row.get(field, "absent")) != repr(now.get(field, "absent"))}
            found += [f"{name}: {field} changed" for field in changed - MAY_CHANGE.get(name, set())]
            if [field for field in now if field in row] != list(row):
                found.append(f"{name}: fields are in another order")
            if "recurringWeek" in changed and (name != A or row.get("recurringWeek") is not None or now["recurringWeek"] != 1):
                found.append(f"{name}: recurringWeek became {now.get('recurringWeek')!r}")
        if name != A and len(rows) != len(after[name]):
            found.append(f"{name}: documents were added")
    return found


def grouped(rows: list[Document]) -> dict[tuple[Any, Any], list[Document]]:
    groups: dict[tuple[Any, Any], list[Document]] = defaultdict(list)
    for row in rows:
        groups[row.get("clientId"), row.get("formId")].append(row)
    return groups


def judge(before: Tables, after: Tables) -> list[str]:
    """Everything in which the documents after are not what the plan makes of those before."""
    found = will_not(before, after)
    old, new, responses = grouped(before[A]), grouped(after[A]), grouped(before[R])
    linked = {repr(row["_id"]): row.get("assignmentId") for row in after[R]}
    for key in {*old, *responses}:
        if None in key:
            if old[key] != new[key]:
                found.append(f"{key}: changed without a client or form")
            continue
        found += [f"{key}: {text}" for text in judge_series(old[key], new[key], responses[key], linked)]
    return found


def judge_series(old: list[Document], new: list[Document], responses: list[Document], linked: dict[str, Any]) -> list[str]:
    found: list[str] = []
    had = {repr(row["_id"]) for row in old}
    fresh = [row for row in new if repr(row["_id"]) not in had]
    base = next((row for row in old if whole(row.get("recurringWeek", 1) or 1) == 1), None)
    expected = weeks_to_create(old, base, responses)
    if sorted(row["recurringWeek"] for row in fresh) != sorted(expected):
        found.append(f"created {sorted(row['recurringWeek'] for row in fresh)}, not {sorted(expected)}")
    for row in fresh:
        found += judge_fresh(row, base)
    for week in {whole(row.get("recurringWeek")) for row in responses} - {0}:
        of_week = [row for row in responses if whole(row.get("recurringWeek")) == week]
        found += judge_week(week, [row for row in new if whole(row.get("recurringWeek")) == week], of_week, old, linked)
    return found


def weeks_to_create(old: list[Document], base: Document | None, responses: list[Document]) -> set[int]:
    if base is None or base.get("isRecurring") is False or moment(base.get("dueDate")) is None:
        return set()
    total = whole(base.get("totalWeeks"))
    weeks = {
        week for week in range(1, 521) if week <= total <= 520 or any(whole(r.get("recurringWeek")) == week for r in responses)
    }
    return weeks - {1} - {whole(row.get("recurringWeek")) for row in old}


def judge_fresh(row: Document, base: Document | None) -> list[str]:
    if base is None:
        return ["a week was created without a base"]
    week = row["recurringWeek"]
    found = [
        f"week {week}: {field} is not the base's" for field in base if field not in NOT_COPIED and row.get(field) != base[field]
    ]
    found += [f"week {week}: {field} is new" for field in row if field not in base and field not in NOT_COPIED]
    if type(row["dueDate"]) is not type(base["dueDate"]):
        found.append(f"week {week}: its due date is of another type")
    if (moment(row["dueDate"]) - moment(base["dueDate"])).total_seconds() != (week - 1) * 7 * 86400:  # type: ignore[operator]
        found.append(f"week {week}: due {row['dueDate']}")
    if type(row["_id"]) is not type(base["_id"]) or not ObjectId.is_valid(str(row["_id"])):
        found.append(f"week {week}: its id is {row['_id']!r}")
    if row["responseId"] is None and (row["status"] != "pending" or {"score", "completedAt"} & row.keys()):
        found.append(f"week {week}: it is answered by nothing")
    return found


def judge_week(
    week: int, rows: list[Document], responses: list[Document], old: list[Document], linked: dict[str, Any]
) -> list[str]:
    if not rows:
        return []
    found: list[str] = []
    ids = {str(row["_id"]) for row in rows}
    if any(str(linked.get(repr(row["_id"]))) not in ids for row in responses):
        found.append(f"week {week}: a response names another week's assignment")
    latest = max(responses, key=lambda row: moment(given(row)) or dt.datetime.min.replace(tzinfo=dt.UTC))
    row = next((one for one in rows if str(one["_id"]) == str(linked.get(repr(latest["_id"])))), None)
    if row is None:
        return found
    was = next((one.get("responseId") for one in old if one["_id"] == row["_id"]), None)
    if was is not None and str(was) not in {str(one["_id"]) for one in responses}:
        return found if row["responseId"] == was else [*found, f"week {week}: a mismatching link did not stay"]
    if str(row["responseId"]) != str(latest["_id"]):
        found.append(f"week {week}: the latest response is not linked")
    if row["status"] != "completed" or moment(row.get("completedAt")) != moment(given(latest)):
        found.append(f"week {week}: it is not completed when its response was given")
    if "score" in latest and row.get("score") != latest["score"]:
        found.append(f"week {week}: its score is not its response's")
    return found
