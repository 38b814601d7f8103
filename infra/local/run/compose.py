"""Write `.local/compose.env`, for `docker compose --profile local` to start local AWS and an Airflow on it.

    python3 -m infra.local.run.compose

Its secrets are random and differ on each machine, because anyone with access to local AWS can run code in its
container. An existing file is kept, because the database keeps the password that it was created with.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from infra.local.aws.door import KEY_VARIABLE
from infra.local.run.keeper import REPOSITORY, publish
from infra.local.run.kept import new_key

FILE = REPOSITORY / ".local" / "compose.env"


def write(file: Path = FILE) -> None:
    """Write the file, readable by its owner only, unless it exists."""
    if file.exists():
        return
    key = new_key()
    values = {
        "AIRFLOW_SECRET": secrets.token_hex(32),
        "AIRFLOW_API_SECRET": secrets.token_hex(32),
        "AIRFLOW_FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        KEY_VARIABLE: key,
        "AWS_ENDPOINT_URL": "http://aws:4566",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    publish(file, "".join(f"{name}={value}\n" for name, value in values.items()))


if __name__ == "__main__":
    write()
    print(f"docker compose --env-file {FILE.relative_to(REPOSITORY)} --profile local up")
