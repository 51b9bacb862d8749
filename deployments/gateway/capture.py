"""What was asked and answered, on disk before the answer leaves.

A segment is a file of records `u32 length | u32 crc32 | JSON`, little endian. The process writes
each record at once (so that a killed gateway loses none), a thread brings them to the platter
every 100 ms, and a finished segment is renamed from `.open` to `.seg` for the loader.
"""

import contextlib
import fcntl
import logging
import os
import struct
import threading
import time
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger("gatehouse.capture")

RECORD = struct.Struct("<II")
SEGMENT_BYTES = 8 * 1024 * 1024
SEGMENT_SECONDS = 5.0
SYNC_SECONDS = 0.1
# Above these shares of a full disk, inputs and then whole records are left out.
INPUTS_UNTIL = 0.80
RECORDS_UNTIL = 0.95
_LARGEST_RECORD = 64 * 1024 * 1024


class Capture:
    """The open segment of one gateway process."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.written = 0
        self.dropped = 0
        self.disk_share = 0.0
        self._name = "".join(c if c.isalnum() else "-" for c in name)
        self._lock = threading.Lock()
        self._descriptor = -1
        self._path = folder
        self._size = 0
        self._opened_at = 0.0
        self._unsynced = False
        self._detached: deque[tuple[int, Path]] = deque()
        self._stop = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self._measure_disk()
        self._thread = threading.Thread(target=self._run, name="capture-sync", daemon=True)
        self._thread.start()

    @property
    def can_write(self) -> bool:
        return self.disk_share <= RECORDS_UNTIL

    def append(self, record: dict[str, Any]) -> bool:
        """Write the record and return whether it is kept; a full disk never raises.

        When it returns True the record survives the end of this process, and after at most
        100 ms also a power cut.
        """
        if not self.can_write:
            self.dropped += 1
            return False
        if self.disk_share > INPUTS_UNTIL:
            record = {**record, "features": []}
        body = orjson.dumps(record)
        data = RECORD.pack(len(body), zlib.crc32(body)) + body
        try:
            with self._lock:
                if self._descriptor < 0:
                    self._open()
                self._write(data)
        except OSError as error:
            self.dropped += 1
            log.error("capture_failed error=%s", error)
            return False
        self.written += 1
        return True

    def close(self) -> None:
        """Finish the open segment; the loader may take it afterwards."""
        self._stop.set()
        self._thread.join()
        with self._lock:
            self._detach()
        self._seal_detached()

    def _write(self, data: bytes) -> None:
        done = os.write(self._descriptor, data)
        if done < len(data):
            # A torn record would hide all that follow it in this segment.
            os.ftruncate(self._descriptor, self._size)
            self._detach()
            raise OSError("the disk took only a part of the record")
        self._size += done
        self._unsynced = True
        if self._size >= SEGMENT_BYTES:
            self._detach()

    def _open(self) -> None:
        self._path = self.folder / f"{time.time_ns()}-{self._name}-{os.getpid()}.open"
        self._descriptor = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600
        )
        # Held until the process ends: this is how the loader tells a dead gateway's segment.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = 0
        self._opened_at = time.monotonic()

    def _detach(self) -> None:
        """Let the next record open a new segment; the thread seals the old one."""
        if self._descriptor >= 0:
            self._detached.append((self._descriptor, self._path))
            self._descriptor = -1
            self._unsynced = False

    def _seal_detached(self) -> None:
        while self._detached:
            descriptor, path = self._detached.popleft()
            with contextlib.suppress(OSError):
                os.fsync(descriptor)
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".seg"))
            os.close(descriptor)

    def _run(self) -> None:
        measured = 0.0
        while not self._stop.wait(SYNC_SECONDS):
            if time.monotonic() - measured > 1:
                measured = time.monotonic()
                self._measure_disk()
            with self._lock:
                if time.monotonic() - self._opened_at > SEGMENT_SECONDS:
                    self._detach()
                due = self._descriptor >= 0 and self._unsynced
                copy = os.dup(self._descriptor) if due else -1
                self._unsynced = False
            # Outside the lock: a slow disk must not hold up answers.
            self._seal_detached()
            if copy >= 0:
                with contextlib.suppress(OSError):
                    os.fsync(copy)
                os.close(copy)

    def _measure_disk(self) -> None:
        disk = os.statvfs(self.folder)
        self.disk_share = 1 - disk.f_bavail / disk.f_blocks if disk.f_blocks else 0.0


def read_segment(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """Return the records up to the first that is torn, and whether the segment is whole."""
    found: list[dict[str, Any]] = []
    with path.open("rb") as file:
        while head := file.read(RECORD.size):
            if len(head) < RECORD.size:
                return found, False
            size, checksum = RECORD.unpack(head)
            body = file.read(size) if size <= _LARGEST_RECORD else b""
            if len(body) < size or zlib.crc32(body) != checksum:
                return found, False
            found.append(orjson.loads(body))
    return found, True
