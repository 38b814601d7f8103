"""The text of a run's note: its order, its length, and what Airflow's Markdown makes of hostile names."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dynalake.errors import meant
from dynalake.operators.task.note_text import LIMIT, MARK, Failure, cut_words, escape, failed_lines, name_tables, note

# Airflow's: GitHub's Markdown without raw HTML (react-markdown with remark-gfm and skipHtml).
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from("\\`*_[]()<>!#|~-+&;=.1aß \n"))


def shown(markdown: str) -> tuple[set[str], str]:
    """Return the kinds of Markdown in a text, and the text that a reader sees."""
    kinds, text = set(), []
    for token in MARKDOWN.parse(markdown):
        kinds.add(token.type)
        for child in token.children or ():
            kinds.add(child.type)
            text.append(child.content)
    return kinds, "".join(text)


@given(PRINTABLE)
@example("[the AWS console](https://evil.example)")
@example("![](https://evil.example/seen.png) <script>alert(1)</script> &#60;b&#62;")
@example("| a | b |\n|---|---|\n| # x |")
@example("__ORDERS__: *all is well*\n\n# FAILED\n- [ ] x\n===\n~~~\n```")
@example("_a_ b_c_d _ x__y")
def test_an_escaped_text_is_shown_as_it_is(text: str) -> None:
    kinds, seen = shown(escape(f"x {text}"))
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}
    assert re.sub(r"\s", "", seen) == re.sub(r"\s", "", f"x {text}".replace(MARK, ""))


@given(st.lists(st.text("ab ", min_size=1, max_size=300), min_size=1), st.integers(0, 3), st.integers(0, LIMIT))
def test_a_note_fits_and_keeps_what_matters(paragraphs: list[str], links: int, length: int) -> None:
    """What a user wrote is never cut, nor is a link; the first line comes first."""
    own, link = "x" * length, "[l](https://airflow.example)"
    text = note(own, paragraphs, [link] * links)
    assert len(text) <= LIMIT
    assert text.endswith(own)
    if length < LIMIT - 310:
        assert text.startswith(MARK + paragraphs[0])
    assert text.count("http") == text.count(link) <= links
    assert note(text, paragraphs, [link] * links) == text, "the next run replaces its own text only"


def test_the_last_paragraph_is_cut_and_links_stay_whole() -> None:
    link = "[Page of the table](https://airflow.example/dynalake/tables/ORDERS?environment=dev)"
    text = note(None, ["ORDERS: done", "word " * 400, "never shown"], [link])
    assert len(text) <= LIMIT
    assert text.startswith(f"{MARK}ORDERS: done\n\nword word")
    assert text.endswith(f"word …\n\n{link}{MARK}")
    assert "never" not in text
    crowded = note("x" * 940, ["ORDERS: done", "more"], [link])
    assert "ORDERS: done" in crowded
    assert "Page" not in crowded


def test_a_note_keeps_what_a_user_wrote() -> None:
    first = note(None, ["read 1"])
    assert first == f"{MARK}read 1{MARK}"
    for edited in (f"{first} mine", f"mine\n{first}", f"mine\n\n{first}"):
        assert note(edited, ["read 2"]) == f"{MARK}read 2{MARK}\n\nmine"
    full = "y" * LIMIT
    assert note(full, ["read 1"]) == full


def test_a_text_is_cut_between_words() -> None:
    assert cut_words("one two three", 13) == "one two three"
    assert cut_words("one two three", 12) == "one two …"
    assert cut_words("onetwothree", 5) == ""


def test_the_first_line_names_a_few_tables() -> None:
    assert name_tables(["A", "B", "C"]) == "A, B, C"
    assert name_tables([str(n) for n in range(1200)]) == "1,200 tables"


@pytest.mark.parametrize(
    ("failures", "lines"),
    [
        (
            [
                Failure("check_source", "There is no table 'ORDRS'.", "a table", "correct it"),
                Failure("report", "repeated"),
            ],
            [
                "ORDERS: FAILED in check_source: There is no table 'ORDRS'.",
                "Needed: a table.",
                "What to do: correct it.",
                "Also failed: report",
            ],
        ),
        (
            [Failure("scan (segment 1)"), Failure("scan (segment 2)", "A\nB " * 200)],
            [
                f"ORDERS: FAILED in scan (segment 2): {('A B ' * 200)[:300]}….",
                "What to do: read the log of the task, repair the cause, and clear the task or trigger the DAG again.",
                "Also failed: scan (segment 1)",
            ],
        ),
        ([], ["ORDERS: FAILED: it took too long"]),
    ],
)
def test_a_failed_run_says_what_failed_and_what_to_do(failures: list[Failure], lines: list[str]) -> None:
    assert failed_lines("ORDERS", failures, "it took too long") == lines


def test_many_failed_tasks_are_counted() -> None:
    lines = failed_lines("", [Failure(f"compact (T{n})", "x", action="y") for n in range(20)], "")
    assert lines[0] == "FAILED in compact (T0): x."
    assert lines[2] == "Also failed: " + ", ".join(f"compact (T{n})" for n in range(1, 7)) + " and 13 more"


def test_the_nearest_names_are_suggested_in_any_case() -> None:
    assert meant(["ordrs", "x"], ["ORDERS", "Receipts"]) == ". Did you mean 'ORDERS'?"
    assert meant(["x"], ["ORDERS"]) == ""
