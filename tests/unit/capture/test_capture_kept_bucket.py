"""What a lake reports about a bucket that its storage stack did not create."""

from __future__ import annotations

import json

from cfnlint.decode import cfn_yaml

from dynalake.capture.lake.bucket import BUCKET_OPTIONS, kept_bucket
from dynalake.capture.stacks.specs import template_folder
from dynalake.names import Lake
from dynalake.options.lake_options import LakeOptions

LAKE = Lake("dev", "123456789012", "us-east-1")


def test_options_without_effect_on_an_existing_bucket_are_listed() -> None:
    """Exactly the parameters that the template uses only for the bucket and its alarm."""
    resources = cfn_yaml.loads((template_folder() / "storage.yaml").read_text())["Resources"]
    bound = {n for n, r in resources.items() if r.get("Condition") == "MakesBucket"}
    of_bucket = json.dumps({n: r for n, r in resources.items() if n in bound})
    of_others = json.dumps({n: r for n, r in resources.items() if n not in bound})
    for field in LakeOptions.described():
        parameter = "".join(part.capitalize() for part in field.name.split("_"))
        flag = {"AccessLogBucket": "HasAccessLog", "RejectedRetentionDays": "ExpiresRejected"}.get(parameter, parameter)
        used_by_others = f'"{parameter}"' in of_others or f"${{{parameter}}}" in of_others
        of_bucket_alone = f'"{flag}"' in of_bucket and not used_by_others
        assert of_bucket_alone == (field.name in BUCKET_OPTIONS), field.name
    text = kept_bucket(LAKE)
    assert all(name in text for name in (*BUCKET_OPTIONS, LAKE.bucket, "no alarm reports rejected objects"))
