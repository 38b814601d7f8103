"""Airflow imports every file below plugins/ as a separate module, unless .airflowignore says otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"


def test_airflow_loads_only_the_plugin_from_the_package() -> None:
    from airflow.utils.file import find_path_from_directory

    loaded = {
        Path(path).relative_to(PLUGINS).as_posix()
        for path in find_path_from_directory(str(PLUGINS), ".airflowignore")
        if path.endswith(".py")
    }
    assert loaded == {"dynalake/airflow_plugin.py"}


def test_no_module_of_the_package_shadows_the_standard_library() -> None:
    """After the plugin loader has run, `import errors`, `import settings`… must not find our files."""
    script = (
        "from airflow import plugins_manager as p;"
        "(getattr(p, 'ensure_plugins_loaded', None) or p.get_import_errors)();"
        "import sys;"
        f"print([n for n, m in sys.modules.items() if (getattr(m, '__file__', '') or '').startswith({str(PLUGINS)!r})"
        " and not n.startswith('dynalake')])"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "['airflow_plugin']"
