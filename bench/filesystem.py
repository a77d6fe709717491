"""What the data lies on, and a journaled ext4 to compare it with."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time

JOURNALED_BYTES = 6 << 30
JOURNALED_BYTES_QUICK = 1 << 30


def describe(path):
    """Such as "ext4 without a journal"."""
    kind, device = mount_of(path)
    if kind in ("tmpfs", "ramfs"):
        return f"{kind}: memory, so nothing here is durable"
    if kind in ("ext3", "ext4"):
        return f"{kind} {'with' if has_journal(device) else 'without'} a journal"
    return kind


def mount_of(path):
    """File system and device of the innermost mount that holds path."""
    path = os.path.realpath(path)
    best = ("", "unknown", "")
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            before, after = line.split(" - ", 1)
            point = before.split()[4].encode().decode("unicode_escape")
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best[0]):
                kind, device = after.split()[:2]
                best = (point, kind, device)
    return best[1], best[2]


def has_journal(device):
    name = os.path.basename(os.path.realpath(device))
    with contextlib.suppress(FileNotFoundError):
        return any(entry.rsplit("-", 1)[0] == name for entry in os.listdir("/proc/fs/jbd2"))
    return False


class NoJournaled(Exception):
    """There is no loop-mounted image, and this is why."""


@contextlib.contextmanager
def journaled(base, size):
    """A directory on an ext4 with a journal, in an image below base; all of it is gone afterwards, whatever happens."""
    if os.geteuid() != 0:
        raise NoJournaled("mounting an image takes root")
    if shutil.which("mkfs.ext4") is None:
        raise NoJournaled("there is no mkfs.ext4")
    work = tempfile.mkdtemp(prefix="journaled-", dir=base)
    point = os.path.join(work, "mounted")
    try:
        mount_image(os.path.join(work, "image"), point, size)
        try:
            yield point
        finally:
            unmount(point)
    finally:
        shutil.rmtree(work)


def unmount(point):
    """A server that was killed a moment ago may still be on its way out."""
    for _ in range(50):
        done = subprocess.run(["umount", point], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(done.stderr.strip())


def mount_image(image, point, size):
    os.mkdir(point)
    with open(image, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    # Nothing is left for the kernel to do later: that would be in the way of what is measured.
    options = "lazy_itable_init=0,lazy_journal_init=0"
    for command in (["mkfs.ext4", "-q", "-F", "-E", options, image], ["mount", "-o", "loop", image, point]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoJournaled(f"{command[0]}: {done.stderr.strip()}")
