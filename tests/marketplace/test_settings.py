"""Settings: what a tree of sections holds, and where two differ."""

from dataclasses import dataclass, field, replace

from marketplace.settings import SettingRange, changes, setting, settings_of


@dataclass(frozen=True)
class Oven:
    heat: float = setting(180.0, "of the air", unit="degrees", least=50, most=300)
    trays: tuple[int, ...] = setting((1, 3), "heights in use", least=1, most=5)
    door: int = 0  # no setting


@dataclass(frozen=True)
class Kitchen:
    fuel: str = setting("gas", "what it burns", choices=("gas", "wood", ""))
    oven: Oven = field(default_factory=Oven)


def test_a_tree_holds_its_sections_settings_in_order():
    assert [one.name for one in settings_of(Kitchen)] == ["fuel", "oven.heat", "oven.trays"]
    fuel, heat, trays = settings_of(Kitchen)
    assert (fuel.default, heat.kind, heat.range.unit, trays.of(Kitchen())) == ("gas", float, "degrees", (1, 3))
    assert list(map(str, (fuel.range, heat.range, SettingRange("", least=0), SettingRange("")))) == [
        'gas, wood, ""',
        "50 .. 300",
        "0 or more",
        "",
    ]


def test_a_range_holds_for_every_entry():
    fuel, heat, trays = (one.range for one in settings_of(Kitchen))
    assert [fuel.holds(value) for value in ("wood", "coal")] == [True, False]
    assert [heat.holds(value) for value in (300, 300.1, float("nan"))] == [True, False, False]
    assert [trays.holds(value) for value in ((1, 5), (1, 6))] == [True, False]


def test_changes_are_named_with_both_values():
    hot = Kitchen(oven=replace(Oven(), heat=220.0))
    assert list(changes(Kitchen(), hot)) == [("oven.heat", 180.0, 220.0)]
