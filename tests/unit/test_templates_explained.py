"""The templates are secure by default, and every skipped check has a reason next to it."""

from __future__ import annotations

import itertools
import re
from dataclasses import fields
from pathlib import Path

import pytest

from dynalake.options.lake_options import LakeOptions
from dynalake.options.settings import TableSettings

TEMPLATES = sorted(Path("infra/cloudformation").glob("*.yaml"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_skipped_check_has_a_reason(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    skipped = re.findall(r"- id: (CKV\w+)\n +comment: (?:>-\n +)?(\S[^\n]+)", text)
    assert len(skipped) == text.count("CKV")
    assert all(len(reason) > 40 for _, reason in skipped)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_wildcard_resource_has_a_reason(path: Path) -> None:
    """A comment precedes each statement with a wildcard resource."""
    text = path.read_text(encoding="utf-8")
    statements = re.split(r"(?=^ +- Sid: )", text, flags=re.MULTILINE)
    for before, statement in itertools.pairwise(statements):
        if 'Resource: "*"' in statement and "Effect: Allow" in statement:
            above = [line.strip() for line in before.rstrip().splitlines()[-4:]]
            assert any(line.startswith("#") for line in above), statement.splitlines()[0]


def test_a_setting_and_an_option_never_share_a_name() -> None:
    """They are on the same form."""
    assert not {f.name for f in fields(TableSettings)} & {f.name for f in fields(LakeOptions)}


def test_spark_has_the_module_versions_of_the_tests() -> None:
    """Glue's own versions are older, and have neither pyiceberg nor S3's conditional writes."""
    text = Path("infra/cloudformation/spark.yaml").read_text(encoding="utf-8")
    (default,) = re.findall(r"^    Default: (boto3==.+)$", text, re.MULTILINE)
    pinned = re.findall(r"^[a-z0-9]+==[0-9.]+", Path("requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"boto3", "numba", "pyarrow", "pyiceberg"} == {module.partition("==")[0] for module in default.split(",")}
    assert set(default.split(",")) <= set(pinned)
