"""The version of dynalake, which the build of the wheel reads here."""

VERSION = "0.1.0"
"""By https://semver.org. `docs/life.md` says what may change within a major version."""
