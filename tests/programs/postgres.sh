#!/bin/bash
# PostgreSQL in the mount: initdb, pgbench, SIGKILL under load, recovery, and its own checks.
. "$(dirname "$0")/program.bash"
need setpriv
[ "$(id -u)" = 0 ] || skip "PostgreSQL must not run as root, and only root can become another user"
id postgres >/dev/null 2>&1 || skip "there is no user postgres"
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -x "$bin/initdb" ] && [ -x "$bin/pgbench" ] || skip "PostgreSQL is not installed (/usr/lib/postgresql/*/bin)"

data="$WORK/data"
socket="$LOCAL/socket"
mkdir "$data" "$socket"
chown postgres: "$data" "$socket" "$LOCAL"
chmod 700 "$data"
cd "$LOCAL"
as() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
sql() { as "$bin/psql" -h "$socket" -U postgres -X -A -t -q -v ON_ERROR_STOP=1 -c "$1"; }

server=
start() {
  setpriv --reuid=postgres --regid=postgres --init-groups "$bin/postgres" -D "$data" -k "$socket" -c listen_addresses= \
    -c max_wal_size=64MB -c min_wal_size=32MB -c checkpoint_timeout=30s -c shared_buffers=16MB -c log_checkpoints=off \
    >>"$LOCAL/server.log" 2>&1 &
  server=$!
  for _ in $(seq 1200); do
    if as "$bin/pg_isready" -q -h "$socket" -t 5; then return; fi
    kill -0 $server 2>/dev/null || fail "the server ended: $(tail -20 "$LOCAL/server.log")"
    sleep 0.1
  done
  fail "the server does not answer: $(tail -20 "$LOCAL/server.log")"
}
stop() {
  kill -INT $server
  wait $server || fail "the server stopped with $?"
  server=
}
# Its children notice that it is gone and end by themselves.
kill_server() {
  local children
  children=$(ps -o pid= --ppid $server)
  kill -9 $server
  wait $server || true
  server=
  for child in $children; do
    for _ in $(seq 600); do kill -0 "$child" 2>/dev/null || break; sleep 0.1; done
    if kill -0 "$child" 2>/dev/null; then fail "child $child of the server lives on"; fi
  done
}
trap '[ -z "$server" ] || kill -9 $server' EXIT
balanced() {
  [ "$(sql 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)
      AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history)
      AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)')" = t ]
}

as "$bin/initdb" -D "$data" -U postgres --auth=trust --data-checksums --wal-segsize=4 >"$LOCAL/initdb.log" 2>&1 ||
  fail "initdb: $(cat "$LOCAL/initdb.log")"
start
as "$bin/pgbench" -h "$socket" -U postgres -i -q -s 1 >"$LOCAL/pgbench.log" 2>&1 || fail "$(cat "$LOCAL/pgbench.log")"
as "$bin/pgbench" -h "$socket" -U postgres -n -c 4 -j 2 -t 100 >"$LOCAL/pgbench.log" 2>&1 ||
  fail "$(cat "$LOCAL/pgbench.log")"
[ "$(sql 'SELECT count(*) FROM pgbench_history')" = 400 ]
balanced

# What was acknowledged before the kill must be there after it.
as "$bin/pgbench" -h "$socket" -U postgres -n -c 4 -j 2 -T 120 >"$LOCAL/pgbench.log" 2>&1 &
load=$!
for _ in $(seq 600); do
  acknowledged=$(sql 'SELECT count(*) FROM pgbench_history')
  [ "$acknowledged" -lt 500 ] || break
  sleep 0.1
done
kill_server
wait $load || true
start
recovered=$(sql 'SELECT count(*) FROM pgbench_history')
[ "$recovered" -ge "$acknowledged" ] || fail "$recovered transactions after the kill, $acknowledged before"
grep -q 'automatic recovery in progress' "$LOCAL/server.log" || fail "the server did not recover: was it killed?"
balanced
sql 'CREATE EXTENSION amcheck'
as "$bin/pg_amcheck" -h "$socket" -U postgres --heapallindexed postgres
sql 'VACUUM FULL'
sql 'REINDEX DATABASE postgres'
balanced
stop
as "$bin/pg_checksums" --check -D "$data" >"$LOCAL/checksums.log" || fail "$(cat "$LOCAL/checksums.log")"
start
balanced
stop
