# The paths every script shares, and how a script reports. Sourced after `set -euo pipefail`.
#
#   WEIR_DEPS_DIR   what is built once per machine (libfuse, MinIO); default build/deps
#   WEIR_BUILD_DIR  the CMake build tree; default build/tree

export LC_ALL=C.UTF-8
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
DEPS=${WEIR_DEPS_DIR:-$ROOT/build/deps}
TREE=${WEIR_BUILD_DIR:-$ROOT/build/tree}

say() { printf '%s\n' "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

can_be_root() { ((EUID == 0)) || command -v sudo >/dev/null; }

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# phase NAME COMMAND...: runs a command and says how long it took.
phase() {
  local name=$1 start=$SECONDS status=0
  shift
  say "== $name"
  "$@" || status=$?
  say "== $name: $((SECONDS - start)) s"
  return $status
}

# logged LOG COMMAND...: runs a command with its output in LOG; shows the end of it on failure.
logged() {
  local log=$1 status=0
  shift
  mkdir -p "$(dirname "$log")"
  "$@" >"$log" 2>&1 || status=$?
  ((status == 0)) || {
    tail -n 30 "$log" >&2
    say "'$*' failed ($status); all of its output: $log" >&2
  }
  return $status
}

# content_id FILE...: one word that changes when the content of any of the files does.
content_id() { cat "$@" | sha256sum | cut -c1-16; }
