"""Run outside, as root or as an ordinary user: launches one program and reports as JSON.

argv: the folder that holds the ``controlplane`` package, and the specification.
"""

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from controlplane.jobs import sandbox

given = json.loads(sys.argv[2])
limits = sandbox.Limits(**given.pop("limits", {}))
relays = tuple(sandbox.Relay(*relay) for relay in given.pop("relays", []))
exit_file = given.pop("exit_file", None)
work = Path(given.pop("work"))
readonly = tuple(Path(path) for path in given.pop("readonly", []))
is_held = given.pop("hold", False)
spec = sandbox.SandboxSpec(
    argv=tuple(given.pop("argv")),
    cwd=work,
    writable=(work,),
    readonly=readonly,
    limits=limits,
    relays=relays,
    exit_file=Path(exit_file) if exit_file else None,
    **given,
)
try:
    process = sandbox.launch(spec, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
except sandbox.SandboxError as error:
    sys.stdout.write(json.dumps({"error": str(error)}))
    sys.exit(0)
if is_held:
    sys.stdout.write(json.dumps({"shim": process.pid}) + "\n")
    sys.stdout.flush()
output, complaints = process.communicate()
sys.stdout.write(
    json.dumps(
        {
            "level": sandbox.probe().level,
            "code": process.returncode,
            "output": output.decode(),
            "complaints": complaints.decode(),
        }
    )
)
