from __future__ import annotations

import gzip

from dynalake.backfill.segment.parts import Part, part_key


def write(lines: list[str]) -> bytes:
    with Part() as part:
        for line in lines:
            part.add(line.encode())
        part.close()
        data = part.file.read()
        assert part.size == len(data)
        assert part.items == len(lines)
        return data


def test_lines_come_back_and_the_bytes_depend_only_on_them() -> None:
    lines = [f'{{"n":{n},"text":"ünï{"x" * (n % 700)}"}}' for n in range(5000)] + ["y" * 400_000]
    data = write(lines)
    assert gzip.decompress(data).decode() == "".join(f"{line}\n" for line in lines)
    assert write(lines) == data
    assert data[4:8] == b"\0\0\0\0"  # the time in the header


def test_an_empty_part_is_a_valid_gzip_file() -> None:
    assert gzip.decompress(write([])) == b""


def test_part_key() -> None:
    assert part_key("x/dt=00000000/run/", 3, 0) == "x/dt=00000000/run/segment-00003/part-00000.json.gz"
