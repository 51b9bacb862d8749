"""uv does not read pip's configuration: what pip was told is handed on through variables."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

# pip's option -> the variable that tells uv the same.
_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
}


def hand_pip_configuration_to_uv() -> None:
    """Set uv's variables from pip's configuration; those that are set already stay."""
    for variable, value in variables_for_uv(_pip_configuration()).items():
        os.environ.setdefault(variable, value)


def variables_for_uv(pip: dict[str, str]) -> dict[str, str]:
    """Return the variables that make uv look for packages where pip would."""
    found = {_VARIABLES[name]: value for name, value in pip.items() if name in _VARIABLES}
    if "UV_FIND_LINKS" in found:
        found["UV_FIND_LINKS"] = ",".join(found["UV_FIND_LINKS"].split())
    if "UV_INDEX" in found:
        # pip takes the best version of all indexes; uv stops at the first that knows the name.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def _pip_configuration() -> dict[str, str]:
    """Return pip's options without their section; what the environment says comes last and wins."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.stdout.splitlines():
        name, _, quoted = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in sections:
            sections[section][option] = " ".join(str(ast.literal_eval(quoted)).split())
    from_environment = {
        variable.removeprefix("PIP_").lower().replace("_", "-"): value
        for variable, value in os.environ.items()
        if variable.startswith("PIP_")
    }
    return sections["global"] | sections["install"] | sections[":env:"] | from_environment
