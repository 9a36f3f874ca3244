# program.bash -- what the scripts of this folder share; sourced.
#
# $WORK is an empty folder of the mount, $LOCAL one beside it. Nothing of the user's configuration is seen.
set -euo pipefail
: "${WORK:?}" "${LOCAL:?}"
export HOME="$LOCAL/home" XDG_CONFIG_HOME="$LOCAL/home/.config" LC_ALL=C
mkdir -p "$HOME"

# skip REASON: ends the script; the test is then SKIPPED.
skip() { echo "$*"; exit 77; }

# need PROGRAM...
need() {
  local program
  for program; do command -v "$program" >/dev/null || skip "$program is not installed"; done
}

# fail MESSAGE
fail() { echo "FAILED: $*" >&2; exit 1; }

trap 'echo "FAILED: $0, line $LINENO: $BASH_COMMAND" >&2' ERR
