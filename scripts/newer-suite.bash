# Reads a newer suite of this distribution from the mirror that apt is configured with. Sourced.
#
# Sources, lists and caches are private to one folder, so the system's apt configuration stays as it is. Signatures
# are checked with the distribution's keyring; a suite that does not verify counts as not there. A frozen mirror, whose
# signatures have run out, is as good as any: what is taken from it is held to a version by the caller.

# Where the suite opened last keeps its own everything: set by open_suite.
SUITE_OPTIONS=()

# suite_apt TOOL ARGUMENT...: apt-get or apt-cache on the suite opened last.
suite_apt() {
  local tool=$1
  shift
  "$tool" "${SUITE_OPTIONS[@]}" "$@"
}

mirror_sites() { apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | sort -u; }

archive_keyring() {
  local keyring
  for keyring in /usr/share/keyrings/"$1"-archive-keyring.{pgp,gpg}; do
    [[ -e $keyring ]] && printf '[signed-by=%s]' "$keyring" && return
  done
  return 0
}

# open_suite DIR TYPE SITE DISTRIBUTION SUITE: makes suite_apt read SUITE; TYPE is deb or deb-src. Fails when the
# mirror lacks it.
open_suite() {
  local dir=$1 type=$2 site=$3 distribution=$4 suite=$5
  rm -rf "$dir"
  mkdir -p "$dir"/{lists,cache/archives}/partial
  : >"$dir/status"
  printf '%s %s %s %s main\n' "$type" "$(archive_keyring "$distribution")" "$site" "$suite" >"$dir/sources.list"
  SUITE_OPTIONS=(
    -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
    -o Dir::State="$dir" -o Dir::State::status="$dir/status" -o Dir::State::lists="$dir/lists"
    -o Dir::Cache="$dir/cache" -o APT::Default-Release=
    -o APT::Get::List-Cleanup=false -o Acquire::Languages=none -o APT::Update::Error-Mode=any
    -o Acquire::Check-Valid-Until=false)
  suite_apt apt-get update
}

# in_newer_suites DIR TYPE WHAT COMMAND...: opens each suite of pin WHAT (LIBFUSE or GO) at each configured mirror
# until COMMAND succeeds in one.
in_newer_suites() {
  local dir=$1 type=$2 what=$3 distribution site suite suites
  shift 3
  distribution=$(. /etc/os-release && printf '%s' "$ID")
  suites=${what}_SUITES_$distribution
  for suite in ${!suites-}; do
    for site in $(mirror_sites); do
      if open_suite "$dir" "$type" "$site" "$distribution" "$suite" && "$@"; then
        return 0
      fi
    done
  done
  return 1
}
