"""What Athena shows of a lake: raw, compacted, widened; and at any moment between."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from dynalake.catalog.discover import observe_new_attributes
from dynalake.catalog.partitions import point_snapshot
from tests.unit.compact.lake import noon
from tests.unit.compact.test_compact_flow import Killed, killing

from dynalake.clients import Clients
from tests.aws.compact_lake import DAY, NEXT_DAY, AthenaLake, key, make_lake
from tests.unit.lake.recover import plain

NOW = noon("20240103")


@pytest.fixture
def lake(clients: Clients) -> AthenaLake:
    """A registered table with a name of its own."""
    return make_lake(clients)


SCALARS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {
            "Text": {"S": "1"},
            "int": {"N": "9007199254740993"},
            "huge": {"N": "1180591620717411303424"},
            "exact": {"N": "1234567890123456789012345678.9012345678"},
            "double": {"N": "1.5"},
            "flag": {"BOOL": True},
            "none": {"NULL": True},
            "mixed": {"S": "n/a"},
            "digits": {"N": "1E-30"},
        },
        {
            "Text": "1",
            "int": Decimal(9007199254740993),
            "huge": Decimal(2**70),
            "exact": Decimal("1234567890123456789012345678.9012345678"),
            "double": Decimal("1.5"),
            "flag": True,
            "mixed": "n/a",
            "digits": Decimal("1E-30"),
        },
    ),
    (
        {
            "Text": {"S": ""},
            "int": {"N": "-1"},
            "huge": {"N": "0"},
            "exact": {"N": "0.0000000001"},
            "double": {"N": "-0.00000012"},
            "flag": {"BOOL": False},
            "mixed": {"N": "10.5"},
            "digits": {"N": "12345678901234567890"},
        },
        {
            "Text": "",
            "int": Decimal(-1),
            "huge": Decimal(0),
            "exact": Decimal("0.0000000001"),
            "double": Decimal("-0.00000012"),
            "flag": False,
            "mixed": Decimal("10.5"),
            "digits": Decimal("12345678901234567890"),
        },
    ),
]


def test_scalars_are_the_same_from_json_and_from_parquet(lake: AthenaLake) -> None:
    images = [{**key(i), **image} for i, (image, _) in enumerate(SCALARS)]
    expected = [{"id": f"item {i}", "n": Decimal(i), **values} for i, (_, values) in enumerate(SCALARS)]
    lake.put(DAY, "1.gz", lake.lines(images))
    observe_new_attributes(lake.clients, lake.names, [DAY])
    assert lake.changes() == expected
    assert lake.current() == expected
    assert lake.run(NOW).through == DAY
    assert lake.changes() == expected
    assert lake.current() == expected
    assert lake.items(f'SELECT * FROM "{lake.names.typed_table}"') == expected
    rows = lake.query(f'SELECT * FROM "{lake.names.latest_view}" ORDER BY "id"')
    assert rows[0]["exact"] == Decimal("1234567890123456789012345678.9012345678")
    assert rows[0]["int"] == 9007199254740993


CONTAINERS: list[Any] = [
    {"Plain": {"M": {"Name": {"S": "x"}, "price": {"N": "12345678901234567.25"}, "tags": {"SS": ["a", "b"]}}}},
    {"Plain": {"M": {"Name": {"S": 'quote " and \\ and </tag> \n 5'}, "price": {"N": "7"}}}},
    {"numbers": {"NS": ["1.5", "12345678901234567890", "-3"]}, "deep": {"L": [{"L": [{"M": {"a": {"N": "1"}}}]}]}},
    {"deep": {"L": [{"L": []}, {"NULL": True}]}, "empty": {"M": {}}, "nothing": {"L": []}},
    {"cases": {"M": {"Id": {"N": "1.25"}, "id": {"S": "two"}, "a.b": {"BOOL": True}}}},
    {"cases": {"M": {"id": {"S": "12"}}}},
    {"odd": {"L": [{"N": "1.10"}, {"S": "1.10"}, {"M": {"x": {"N": "12345678901234567890.5"}}}, {"NULL": True}]}},
    {"half": {"M": {"n": {"N": "0.12345678901234567890"}, "any": {"N": "5"}, "K": {"M": {"Z": {"N": "3"}}}}}},
    {"half": {"M": {"any": {"S": "five"}, "K": {"M": {"z": {"S": "3"}}}}}},
    {"any": {"M": {"b": {"N": "1.5"}}}},
    {"any": {"L": [{"S": "</x>"}, {"N": "2"}]}},
    {"any": {"S": "text"}},
    {"bin": {"B": b"\x00\xff"}, "bins": {"BS": [b"\x01"]}, "__operation": {"S": "mine"}, "dt": {"N": "1"}},
]


def value(attribute: dict[str, Any]) -> Any:
    from base64 import b64encode

    ((kind, content),) = attribute.items()
    match kind:
        case "N":
            return Decimal(content)
        case "NULL":
            return None
        case "M":
            return {k: value(v) for k, v in content.items()}
        case "L":
            return [value(v) for v in content]
        case "NS":
            return sorted(map(Decimal, content))
        case "B":
            return b64encode(content).decode()
        case "BS":
            return [b64encode(c).decode() for c in content]
        case _:
            return content


def test_containers_are_the_same_from_json_and_from_parquet(lake: AthenaLake) -> None:
    images = [{**key(i), **image} for i, image in enumerate(CONTAINERS)]
    expected = sorted(
        (plain({k: value(v) for k, v in image.items()}) for image in images), key=lambda i: (i["id"], i["n"])
    )
    lake.put(DAY, "1.gz", lake.lines(images))
    observe_new_attributes(lake.clients, lake.names, [DAY])
    assert lake.changes() == expected
    assert lake.current() == expected
    assert lake.run(NOW).through == DAY
    assert lake.changes() == expected
    assert lake.current() == expected


def test_the_latest_image_counts_and_removed_items_are_gone(lake: AthenaLake) -> None:
    lake.put("00000000", "1.gz", lake.lines([{**key(i), "v": {"N": "0"}} for i in range(4)], "SNAPSHOT"), run="r")
    point_snapshot(lake.clients, lake.names, lake.names.snapshot_run("r"))
    lines = lake.lines([{**key(1), "v": {"N": "1"}}]) + lake.lines([{**key(2)}], "REMOVE")
    lake.put(DAY, "1.gz", [*lines, *lines])
    lake.put(NEXT_DAY, "1.gz", lake.lines([{**key(2), "v": {"N": "2"}}, {**key(9), "v": {"N": "9"}}]))
    canary = '{"__operation":"CANARY","__sequence_number":"' + "0" * 40 + '","__event_time":1,"__canary_id":"x"}\n'
    lake.put(NEXT_DAY, "2.gz", gzip.compress(b"broken line\n" + canary.encode()))
    observe_new_attributes(lake.clients, lake.names, ["00000000", DAY, NEXT_DAY])

    def check() -> None:
        assert [(i["id"], i["v"]) for i in lake.current()] == [
            ("item 0", 0), ("item 1", 1), ("item 2", 2), ("item 3", 0), ("item 9", 9)
        ]  # fmt: skip
        sql = f'SELECT __operation AS o, count(*) AS c FROM "{lake.names.changes_view}" GROUP BY 1 ORDER BY 1'
        assert [(r["o"], r["c"]) for r in lake.query(sql)] == [("INSERT", 3), ("REMOVE", 1), ("SNAPSHOT", 4)]

    check()
    assert lake.run(NOW, ["00000000"]).snapshot
    check()
    assert lake.run(datetime(2024, 1, 2, 2, tzinfo=UTC)).through == DAY
    check()


def test_a_value_that_does_not_fit_is_null_until_compaction_widens_the_type(lake: AthenaLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([{**key(0), "v": {"N": "1"}, "d": {"N": "1.5"}, "e": {"N": "1" * 20}}]))
    lake.run(NOW)
    odd = {"v": {"N": "1.5"}, "d": {"N": "0.12345678901234567"}, "e": {"N": "1.5"}}
    lake.put(NEXT_DAY, "1.gz", lake.lines([{**key(1), **odd}, {"id": {"S": "item 2"}, "n": {"N": "0.5"}}]))
    found = lake.query(f'SELECT * FROM "{lake.names.latest_view}" ORDER BY "id"')
    assert [[row[c] for c in "vde"] for row in found] == [[1, 1.5, Decimal("1" * 20)], [None] * 3, [None] * 3]
    published = lake.run(NOW)
    assert set(published.widened) == {"v", "d", "e", "n"}
    assert [
        {"id": "item 0", "n": 0, "v": 1, "d": Decimal("1.5"), "e": Decimal("1" * 20)},
        {"id": "item 1", "n": 1, "v": Decimal("1.5"), "d": Decimal("0.12345678901234567"), "e": Decimal("1.5")},
        {"id": "item 2", "n": Decimal("0.5")},
    ] == lake.current()


def test_readers_see_every_change_once_between_any_two_steps(clients: Clients) -> None:
    """The types of columns change: number → text, and a struct gets a field; a killed run is finished by the next."""
    first = {**key(0), "r": {"N": "1"}, "s": {"M": {"a": {"N": "1"}}}}
    second = {**key(1), "r": {"S": "x"}, "s": {"M": {"a": {"N": "2"}, "b": {"N": "3"}}}, "new": {"BOOL": True}}
    finished = False
    for step in count():
        lake = make_lake(clients)
        lake.put(DAY, "1.gz", lake.lines([first]))
        lake.run(noon(NEXT_DAY))
        lake.put(NEXT_DAY, "1.gz", lake.lines([second]))
        lake.clients, _ = killing(clients, step)
        try:
            lake.run(NOW)
            finished = True
        except Killed:
            pass
        lake.clients = clients
        lake.end_lease()
        for view in (lake.names.changes_view, lake.names.latest_view):
            # All of the struct is read, as files and types have it.
            (*one, _), (*two, _) = lake.ask(f'SELECT id, r, s.a, s FROM "{view}" ORDER BY id')
            assert one == ["item 0", "1", "1"]
            # A text among numbers is null until the type is wider.
            assert two in (["item 1", None, "2"], ["item 1", '"x"', "2"])
        if finished:
            break
        assert lake.run(NOW).through == NEXT_DAY
        assert [i["r"] for i in lake.current()] == [1, "x"]
    assert step > 8


@pytest.mark.parametrize("numbers", [("1", "2", "3"), ("0.5", "100000000000000000001", "-7"), ("1E+40", "1E-40", "7")])
def test_what_the_raw_side_repeats_of_the_last_compacted_day_is_shown_once(
    lake: AthenaLake, numbers: tuple[str, str, str]
) -> None:
    """Whatever type the key's numbers need."""
    midnight = round(noon(DAY).timestamp() * 1000) + 12 * 3_600_000
    images = [{"id": {"S": "a"}, "n": {"N": number}} for number in numbers]
    lines = lake.lines(images, made=midnight - 1000)
    lake.put(DAY, "1.gz", lines)
    lake.run(noon(NEXT_DAY))
    lake.put(NEXT_DAY, "1.gz", [*lines[:2], *lake.lines(images[2:], made=midnight + 3_600_000)])
    for _ in range(2):
        found = lake.query(f'SELECT "__sequence_number", dt FROM "{lake.names.changes_view}"')
        days = {int(row["__sequence_number"]): row["dt"] for row in found}
        assert len(found) == 4
        assert days == {1: DAY, 2: DAY, 3: DAY, 4: NEXT_DAY}
        lake.run(NOW)
