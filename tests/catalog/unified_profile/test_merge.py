"""The plan's unit tests, line by line: what becomes of the fields of old profiles."""

from __future__ import annotations

import copy

import pytest

from backtrail.catalog.unified_profile.merge import (
    Merged,
    aggregate_shared_data,
    combine_intents,
    extract_context_intent,
    intent_completeness,
    shared_completeness,
    sort_fields,
    unmapped_fields,
)

NOTHING = {"coreValues": [], "beliefs": {}, "interactionStyle": {}, "lifestyle": {}, "constraints": []}
COMPLETE = {
    "coreValues": ["honesty", "créativité"],
    "beliefs": {"politics": "moderate"},
    "interactionStyle": {"pace": "slow"},
    "lifestyle": {"smoking": "never"},
    "constraints": ["vegan"],
    "location": "Zürich",
    "ageRange": "25-34",
    "name": "李雷",
}
INTENTS = {
    "romantic": {
        "relationshipTimeline": "open_to_soon",
        "exclusivityExpectation": "monogamous",
        "familyIntentions": "open",
        "attractionImportance": "balanced",
    },
    "friendship": {
        "friendshipDepth": "close",
        "groupActivityPreference": "small_group",
        "emotionalSupportExpectation": "high",
    },
    "professional": {
        "partnershipType": "cofounder",
        "commitmentHorizon": "long_term",
        "complementarySkills": ["law", "sales"],
        "equityOrRevShare": "equity",
    },
    "creative": {
        "creativeType": "music",
        "roleNeeded": "co_creator",
        "processStyle": "hybrid",
        "egoBalance": "shared_vision",
        "compensationExpectation": "free",
    },
    "service": {
        "serviceType": "seeking",
        "budgetRange": "1k_5k",
        "timelineNeeded": "weeks",
        "credentialsRequired": "licensed",
    },
}
contexts = pytest.mark.parametrize("context_type", INTENTS)


# -- aggregateSharedData() ------------------------------------------------------------------------------------------------


def test_no_context_profiles_give_the_defaults():
    assert aggregate_shared_data([]) == (NOTHING, {})
    assert aggregate_shared_data([])[0]["beliefs"] is not aggregate_shared_data([])[0]["beliefs"]


def test_a_single_complete_profile_gives_its_data():
    assert aggregate_shared_data([COMPLETE | INTENTS["romantic"]]) == (COMPLETE, {})


def test_profiles_without_conflicts_are_merged():
    values, conflicts = aggregate_shared_data(
        [
            {"beliefs": {"politics": "moderate"}, "location": None, "constraints": ["vegan"]},
            {"beliefs": {"religion": "none", "politics": "moderate"}, "location": "Київ", "lifestyle": {"diet": None}},
            {"ageRange": "25-34", "lifestyle": {"diet": "vegan"}, "location": "Київ"},
        ]
    )
    assert not conflicts
    assert values == NOTHING | {
        "beliefs": {"politics": "moderate", "religion": "none"},
        "location": "Київ",
        "constraints": ["vegan"],
        "lifestyle": {"diet": "vegan"},
        "ageRange": "25-34",
    }


def test_of_conflicting_values_the_first_is_taken_and_all_are_reported():
    values, conflicts = aggregate_shared_data(
        [
            {"location": None, "name": "Zoë"},
            {"location": "SF", "beliefs": {"politics": "moderate", "religion": None}},
            {"location": "NYC", "beliefs": {"politics": "none", "religion": "x"}, "name": "Zoe"},
            {"location": "SF", "ageRange": "25-34"},
        ]
    )
    assert (values["location"], values["name"], values["beliefs"]) == ("SF", "Zoë", {"politics": "moderate", "religion": "x"})
    assert conflicts == {"location": ["SF", "NYC"], "name": ["Zoë", "Zoe"], "beliefs.politics": ["moderate", "none"]}


def test_three_different_values_are_one_conflict():
    _, conflicts = aggregate_shared_data([{"location": place} for place in ("SF", "NYC", "LA", "NYC")])
    assert conflicts == {"location": ["SF", "NYC", "LA"]}


def test_an_empty_text_is_a_value_since_it_is_not_null():
    assert aggregate_shared_data([{"location": ""}, {"location": "SF"}])[1] == {"location": ["", "SF"]}


def test_lists_are_united_without_duplicates_in_the_order_of_their_first_mention():
    values, conflicts = aggregate_shared_data(
        [{"coreValues": ["b", "a", "b"]}, {"coreValues": ["c", "a"], "constraints": []}, {"constraints": ["x"]}]
    )
    assert values["coreValues"] == ["b", "a", "c"]
    assert values["constraints"] == ["x"]
    assert not conflicts


def test_items_that_only_python_calls_equal_are_kept_apart():
    values, conflicts = aggregate_shared_data(
        [
            {"coreValues": [1, {"a": 1}], "beliefs": {"x": 1, "y": {"z": [True]}}},
            {"coreValues": [True, 1.0, {"a": True}, {"a": 1}, None, None], "beliefs": {"x": True, "y": {"z": [1]}}},
        ]
    )
    assert [repr(item) for item in values["coreValues"]] == ["1", "{'a': 1}", "True", "{'a': True}", "None"]
    assert set(conflicts) == {"beliefs.x", "beliefs.y"}


def test_a_value_of_the_wrong_type_is_left_to_the_unmapped_fields():
    wrong = {"coreValues": "honesty", "beliefs": ["x"], "location": {"city": "SF"}, "ageRange": 30, "name": True}
    assert aggregate_shared_data([wrong, {"location": "SF"}]) == (NOTHING | {"location": "SF"}, {})
    assert unmapped_fields("romantic", wrong) == wrong


def test_merging_changes_none_of_the_profiles():
    profiles = [copy.deepcopy(COMPLETE), {**COMPLETE, "beliefs": {"new": 1}, "coreValues": ["other"]}]
    before = copy.deepcopy(profiles)
    aggregate_shared_data(profiles)
    assert profiles == before


# -- extractContextIntent() ---------------------------------------------------------------------------------------------------


@contexts
def test_a_context_gives_its_own_fields(context_type):
    everything = COMPLETE | {field: value for fields in INTENTS.values() for field, value in fields.items()}
    assert extract_context_intent(context_type, everything) == INTENTS[context_type]


def test_an_unknown_context_gives_an_empty_object():
    assert extract_context_intent("travel", COMPLETE | INTENTS["romantic"]) == {}
    assert extract_context_intent(None, COMPLETE | INTENTS["romantic"]) == {}


@pytest.mark.parametrize("data", [None, {}])
def test_missing_data_gives_an_empty_object(data):
    assert extract_context_intent("romantic", data) == {}


def test_null_and_the_wrong_type_give_no_field():
    data = {"partnershipType": None, "commitmentHorizon": 3, "complementarySkills": "law", "equityOrRevShare": "tbd"}
    assert extract_context_intent("professional", data) == {"equityOrRevShare": "tbd"}


def test_two_intents_of_one_context_become_one():
    values, conflicts = combine_intents(
        "professional",
        [
            {"partnershipType": "advisor", "complementarySkills": ["law"]},
            {"partnershipType": "employee", "complementarySkills": ["sales", "law"], "equityOrRevShare": "tbd"},
        ],
    )
    assert values == {"partnershipType": "advisor", "complementarySkills": ["law", "sales"], "equityOrRevShare": "tbd"}
    assert conflicts == {"partnershipType": ["advisor", "employee"]}


def test_conflicts_come_in_the_order_of_the_plan_whatever_order_the_json_has():
    first = {"attractionImportance": "critical", "familyIntentions": "open", "relationshipTimeline": "open_to_soon"}
    second = {"familyIntentions": "want_kids", "attractionImportance": "balanced", "relationshipTimeline": "taking_my_time"}
    _, conflicts = combine_intents("romantic", [first, second])
    assert list(conflicts) == ["relationshipTimeline", "familyIntentions", "attractionImportance"]


def test_one_pass_sorts_each_field_to_its_place_once():
    shared = Merged({"location": "SF"}, {})
    data = COMPLETE | INTENTS["service"] | {"zodiacSign": "Leo", "budgetRange": 5, "nothing": None, "creativeType": "music"}
    own, unmapped = sort_fields("service", data, shared)
    assert own == {field: value for field, value in INTENTS["service"].items() if field != "budgetRange"}
    assert unmapped == {"zodiacSign": "Leo", "budgetRange": 5, "creativeType": "music"}
    assert shared == (COMPLETE | {"location": "SF"}, {"location": ["SF", "Zürich"]})


def test_a_list_with_the_same_item_twice_has_it_once_also_in_a_single_profile():
    for items, expected in (
        (["a", "b", "a"], ["a", "b"]),
        ([1, 1.0, True, "1"], [1, True, "1"]),
        ([["x"], ["x"], "x"], [["x"], "x"]),
        ([], []),
    ):
        found = aggregate_shared_data([{"coreValues": items}]).values["coreValues"]
        assert repr(found) == repr(expected)


# -- unmapped fields -------------------------------------------------------------------------------------------------------------


def test_what_is_neither_shared_nor_the_contexts_own_is_unmapped():
    data = COMPLETE | INTENTS["romantic"] | INTENTS["service"] | {"zodiacSign": "Leo", "nothing": None}
    assert unmapped_fields("romantic", data) == INTENTS["service"] | {"zodiacSign": "Leo"}
    assert unmapped_fields("travel", data) == INTENTS["romantic"] | INTENTS["service"] | {"zodiacSign": "Leo"}


# -- calculateSharedCompleteness() --------------------------------------------------------------------------------------------------


def test_an_empty_profile_is_0_percent_complete():
    required = ["coreValues", "beliefs", "interactionStyle", "lifestyle", "constraints", "location", "ageRange"]
    assert shared_completeness({}) == (0, required)
    assert shared_completeness(NOTHING | {"location": "", "name": "Zoë"}) == (0, required)


def test_a_complete_profile_is_100_percent_complete():
    assert shared_completeness(COMPLETE) == (100, [])
    assert shared_completeness({**COMPLETE, "name": None}) == (100, [])


@pytest.mark.parametrize(("filled", "percent"), [(1, 14), (2, 29), (3, 43), (4, 57), (5, 71), (6, 86)])
def test_a_partial_profile_is_complete_by_its_share_of_seven_fields(filled, percent):
    values = dict(list(COMPLETE.items())[:filled])
    assert shared_completeness(values) == (percent, list(COMPLETE)[filled:7])


# -- calculateIntentCompleteness() --------------------------------------------------------------------------------------------------


@contexts
def test_an_empty_intent_is_0_percent_complete(context_type):
    assert intent_completeness(context_type, {}) == (0, list(INTENTS[context_type]))


@contexts
def test_a_complete_intent_is_100_percent_complete(context_type):
    assert intent_completeness(context_type, INTENTS[context_type]) == (100, [])


@pytest.mark.parametrize(
    ("context_type", "percent"), [("romantic", 25), ("friendship", 33), ("professional", 25), ("creative", 20), ("service", 25)]
)
def test_a_partial_intent_is_complete_by_its_share_of_the_contexts_fields(context_type, percent):
    first, *others = INTENTS[context_type]
    assert intent_completeness(context_type, {first: "x"}) == (percent, others)


def test_an_unknown_context_is_0_percent_complete_and_misses_nothing():
    assert intent_completeness("travel", {"anything": 1}) == (0, [])
