"""Run inside the sandbox: tries to break out in ten ways and prints what came of each."""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

target = json.loads(sys.argv[1])


def read_the_data_folder() -> str:
    return Path(target["secret_file"]).read_text()


def read_environments_of_others() -> str:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if target["secret"].encode() in (entry / "environ").read_bytes():
                    return f"found in process {entry.name}"
    raise PermissionError("no environment with the secret can be read")


def reach_a_loopback_service() -> str:
    with socket.create_connection(("127.0.0.1", target["port"]), timeout=5) as connection:
        return connection.recv(100).decode()


def reach_the_database_socket() -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(target["socket"])
        return connection.recv(100).decode()


def signal_another_process() -> str:
    os.kill(target["process"], 0)
    return "the process can be signalled"


def fork_without_end() -> str:
    children: list[int] = []
    try:
        while len(children) < 1000:
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
    return f"{len(children)} processes"


def take_all_memory() -> str:
    return f"{len(bytearray(2 * 2**30))} bytes"


def fill_the_disk() -> str:
    with Path("large").open("wb") as stream:
        for _ in range(64):
            stream.write(b"x" * 2**20)
            stream.flush()
    return "64 MiB written"


def mount_something() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000 | 0x00020000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    return "mounted"


def become_root() -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import os; os.setuid(0); print(os.getuid())"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise PermissionError(done.stderr.strip().splitlines()[-1])
    return done.stdout


def main() -> None:
    outcome = {}
    for attempt in (
        read_the_data_folder,
        read_environments_of_others,
        reach_a_loopback_service,
        reach_the_database_socket,
        signal_another_process,
        fork_without_end,
        take_all_memory,
        fill_the_disk,
        mount_something,
        become_root,
    ):
        if attempt.__name__ in target["skip"]:
            continue
        try:
            outcome[attempt.__name__] = f"ESCAPED: {attempt()}"
        except (OSError, MemoryError) as error:
            outcome[attempt.__name__] = f"stopped: {error!r}"
    sys.stdout.write(json.dumps(outcome))


main()
