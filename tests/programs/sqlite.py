#!/usr/bin/env python3
"""SQLite with a rollback journal and with a write-ahead log: several writing processes, readers beside them, one writer
killed in the middle of its transaction."""
import multiprocessing
import os
import signal
import sqlite3
import sys

WORK = os.environ["WORK"]
WRITERS = 4
TRANSACTIONS = 25
BUSY_SECONDS = 120


def connect(path, journal):
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    db.execute(f"PRAGMA journal_mode={journal}")
    db.execute("PRAGMA synchronous=FULL")
    return db


def write(path, journal, writer):
    db = connect(path, journal)
    for number in range(TRANSACTIONS):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO entry VALUES (?, ?, ?)", (writer, number, os.urandom(500 + 97 * number)))
        db.execute("UPDATE total SET entries = entries + 1")
        db.execute("COMMIT")
    db.close()


def read(path, journal, stop):
    """A reader never sees half of a transaction."""
    db = connect(path, journal)
    while not stop.is_set():
        db.execute("BEGIN")
        total = db.execute("SELECT entries FROM total").fetchone()[0]
        count = db.execute("SELECT count(*) FROM entry").fetchone()[0]
        db.execute("COMMIT")
        assert total == count, f"{total} entries were counted, {count} are there"
    db.close()


def die_in_transaction(path, journal, ready):
    db = connect(path, journal)
    db.execute("PRAGMA cache_size=1")  # so that changed pages reach the file before the commit
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE total SET entries = 1000000")
    db.execute("UPDATE entry SET body = zeroblob(length(body))")
    ready.set()
    signal.pause()


def end_well(processes):
    for process in processes:
        process.join()
        assert process.exitcode == 0, f"a process ended with {process.exitcode}"


def check(path, journal, entries):
    db = connect(path, journal)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("SELECT entries FROM total").fetchone()[0] == entries
    rows = db.execute("SELECT writer, number, length(body), body = zeroblob(length(body)) FROM entry").fetchall()
    assert len(rows) == entries, f"{len(rows)} rows instead of {entries}"
    assert all(length == 500 + 97 * number and not zero for _, number, length, zero in rows)
    db.close()


def exercise(journal):
    path = f"{WORK}/{journal}.db"
    db = connect(path, journal)
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == journal
    db.execute("CREATE TABLE entry (writer, number, body, PRIMARY KEY (writer, number))")
    db.execute("CREATE TABLE total (entries)")
    db.execute("INSERT INTO total VALUES (0)")
    db.close()

    stop = multiprocessing.Event()
    readers = [multiprocessing.Process(target=read, args=(path, journal, stop))]
    writers = [multiprocessing.Process(target=write, args=(path, journal, i)) for i in range(WRITERS)]
    for process in readers + writers:
        process.start()
    end_well(writers)
    stop.set()
    end_well(readers)
    check(path, journal, WRITERS * TRANSACTIONS)

    ready = multiprocessing.Event()
    victim = multiprocessing.Process(target=die_in_transaction, args=(path, journal, ready))
    victim.start()
    assert ready.wait(BUSY_SECONDS)
    victim.kill()
    victim.join()
    check(path, journal, WRITERS * TRANSACTIONS)

    db = connect(path, journal)
    db.execute("DELETE FROM entry WHERE writer > 0")
    db.execute("UPDATE total SET entries = (SELECT count(*) FROM entry)")
    db.execute("VACUUM")
    db.close()
    check(path, journal, TRANSACTIONS)


def main():
    for journal in ("delete", "truncate", "persist", "wal"):
        exercise(journal)


if __name__ == "__main__":
    sys.exit(main())
