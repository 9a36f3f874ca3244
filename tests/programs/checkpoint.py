#!/usr/bin/env python3
"""Eight processes write checkpoints into temporary directories, sync them, rename them into place and rename a pointer over
the last one; two readers find every checkpoint that a pointer names whole."""
import errno
import hashlib
import multiprocessing
import os
import pathlib
import sys

WORK = pathlib.Path(os.environ["WORK"])
WRITERS, READERS, STEPS, SHARDS, SHARD_BYTES = 8, 2, 6, 3, 300_000


def synced(path, data):
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def write(rank):
    home = WORK / f"rank-{rank}"
    for step in range(STEPS):
        temporary, final = home / f"step-{step}.tmp", home / f"step-{step}"
        temporary.mkdir()
        sums = []
        for shard in range(SHARDS):
            data = os.urandom(SHARD_BYTES + shard)
            synced(temporary / f"shard-{shard}", data)
            sums.append(hashlib.sha256(data).hexdigest())
        synced(temporary / "sums", "\n".join(sums).encode())
        sync_directory(temporary)
        temporary.rename(final)
        synced(home / "latest.tmp", final.name.encode())
        (home / "latest.tmp").rename(home / "latest")
        sync_directory(home)


def latest(home):
    # Between its lookup and its open a name can be replaced more often than the kernel tries again.
    while True:
        try:
            return (home / "latest").read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise


def check(home, name):
    sums = (home / name / "sums").read_text().split("\n")
    for shard, expected in enumerate(sums):
        found = hashlib.sha256((home / name / f"shard-{shard}").read_bytes()).hexdigest()
        assert found == expected, f"{home / name}: shard {shard} is not what was written"


def read(done):
    last = {}
    while True:
        over = done.is_set()
        for rank in range(WRITERS):
            home = WORK / f"rank-{rank}"
            name = latest(home)
            assert name is not None or rank not in last, f"{home / 'latest'} is gone"
            if name is not None:
                assert name >= last.get(rank, ""), f"{home / 'latest'} went back to {name}"
                last[rank] = name
                check(home, name)
        if over:
            assert set(last.values()) == {f"step-{STEPS - 1}"}, last
            return


def main():
    for rank in range(WRITERS):
        (WORK / f"rank-{rank}").mkdir()
    done = multiprocessing.Event()
    writers = [multiprocessing.Process(target=write, args=(rank,)) for rank in range(WRITERS)]
    readers = [multiprocessing.Process(target=read, args=(done,)) for _ in range(READERS)]
    for process in writers + readers:
        process.start()
    for process in writers:
        process.join()
    done.set()
    for process in readers:
        process.join()
    failed = [process.name for process in writers + readers if process.exitcode != 0]
    sys.exit(f"failed: {failed}" if failed else 0)


if __name__ == "__main__":
    main()
