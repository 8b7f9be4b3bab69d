"""Which version was champion before, by what is written down."""

import pytest

from include.registry.history import ChampionChange, champion_changes, promotion_chain, rolled_back


def history(*steps: tuple[str, str]) -> list[ChampionChange]:
    made, before = [], None
    for number, (kind, version) in enumerate(steps):
        name = {"p": "promotion", "r": "roll-back"}[kind]
        made.append(ChampionChange(f"2026-01-01T0000{number:02}.0Z", name, version, before, "why", "who", str(number)))
        before = version
    return made


@pytest.mark.parametrize(
    ("steps", "champion", "wanted"),
    [
        ([("p", "1"), ("p", "2")], "2", ["1", "2"]),
        ([("p", "1"), ("p", "2"), ("p", "3"), ("r", "2")], "2", ["1", "2"]),
        ([("p", "1"), ("p", "2"), ("p", "3"), ("r", "2"), ("r", "1")], "1", ["1"]),
        ([("p", "1"), ("p", "2"), ("r", "1"), ("p", "4")], "4", ["1", "4"]),
        ([("p", "1"), ("p", "2"), ("r", "1"), ("r", "2")], "2", ["1", "2"]),
        ([("p", "1"), ("p", "2"), ("p", "2")], "2", ["1", "2"]),  # a task that was tried twice
        ([("p", "1"), ("p", "2"), ("p", "3")], "2", ["1", "2"]),  # killed before the alias moved
        ([("p", "1")], "7", ["1", "7"]),  # given by hand, in MLflow
        ([("p", "1"), ("p", "2"), ("p", "1"), ("p", "3")], "3", ["1", "2", "1", "3"]),
        ([("p", "1"), ("p", "2"), ("r", "1"), ("p", "2")], "2", ["1", "2"]),  # promoted by hand after a roll-back
        ([], "7", ["7"]),
        ([], None, []),
    ],
)
def test_the_line_to_the_champion_leaves_out_what_was_rolled_back_from(steps, champion, wanted):
    assert promotion_chain(history(*steps), champion) == wanted


@pytest.mark.parametrize(
    ("steps", "champion", "wanted"),
    [
        ([("p", "1"), ("p", "2"), ("r", "1")], "1", {"2"}),
        ([("p", "1"), ("p", "2"), ("p", "3"), ("r", "2"), ("r", "1")], "1", {"2", "3"}),
        ([("p", "1"), ("p", "2"), ("r", "1"), ("r", "2")], "2", {"1"}),
        ([("p", "1"), ("p", "2"), ("r", "1"), ("p", "3")], "3", {"2"}),
        ([("p", "1"), ("p", "2"), ("r", "1")], "2", set()),  # killed before the alias moved
        ([("p", "1"), ("p", "2")], "2", set()),
    ],
)
def test_a_version_counts_as_rolled_back_from_until_it_is_champion_again(steps, champion, wanted):
    assert set(rolled_back(history(*steps), champion)) == wanted


def test_the_champion_of_before_the_first_entry_counts():
    first = ChampionChange("2026-01-01T000000.0Z", "promotion", "2", "1", "why", "who", "t")

    assert promotion_chain([first], "2") == ["1", "2"]


def test_changes_are_read_back_from_tags_in_their_order():
    made = history(("p", "1"), ("p", "2"), ("r", "1"))
    tags = {"team": "iris", **dict(change.tag() for change in reversed(made))}

    assert champion_changes(tags) == made


def test_a_change_is_described_with_versions_time_person_and_reason():
    change = ChampionChange("2026-11-27T081530.5Z", "roll-back", "2", "3", "wrong labels", "anna", "t")

    assert change.described() == "roll-back from version 3 to 2 on 2026-11-27 08:15 UTC by anna (wrong labels)"
