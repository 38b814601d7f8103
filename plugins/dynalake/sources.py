"""Files that dynalake deploys besides its modules: the Lambda's code, and the templates of the stacks."""

from __future__ import annotations

import os
from pathlib import Path

from dynalake.errors import SettingsError


def source_folder(name: str, variable: str, pattern: str) -> Path:
    """Return the folder `name` of dynalake's sources, such as `lambda_src`.

    The environment's `variable` names it; without one it is inside the installed package, or next to the plugins
    folder. Raises `SettingsError` where nothing in it matches `pattern`.
    """
    package = Path(__file__).parent
    installed = package / "bundled" / name
    folder = Path(os.environ.get(variable) or (installed if installed.is_dir() else package.parents[1] / name))
    if not any(folder.glob(pattern)):
        raise SettingsError(
            f"There is no {pattern} in {folder}",
            allowed=f"the folder {name} of the dynalake sources",
            action=f"put it next to the plugins folder, or set {variable} to its path",
        )
    return folder
