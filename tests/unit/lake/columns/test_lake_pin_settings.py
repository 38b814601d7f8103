"""The pinned columns of a table's settings."""

from __future__ import annotations

import pytest

from dynalake.errors import SettingsError
from dynalake.lake.columns.pins import Pins


def test_a_setting_gives_the_pins() -> None:
    pins = Pins.of_setting('{"never": ["debug"], "types": {"zip": "text"}, "names": {"userId": "user_id"}}')

    assert pins == Pins(("debug",), {"zip": "text"}, {"userId": "user_id"})
    assert Pins.of_setting("") == Pins()
    assert Pins.of_setting("", closed=True) == Pins(closed=True) == Pins.from_dict(Pins(closed=True).to_dict())
    assert bool(Pins(closed=True))
    assert hash(Pins(closed=True)) != hash(Pins())


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', "1", '{"nevr": []}', '{"types": {"zip": 1}}', '{"never": "debug"}', '{"closed": true}']
)
def test_a_malformed_setting_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="Needed: "):
        Pins.of_setting(text)
