# What the scripts of this folder share. Sourced; they get AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_DEFAULT_REGION
# and $BUCKET, $LOCAL, an empty folder, $PYTHON, which may be empty, over https $AWS_CA_BUNDLE, and perhaps $FILES. They exit 77 when they lack something, with the reason as last line.
set -euo pipefail
cd "$LOCAL"

lacks() {
  echo "SKIPPED: $*"
  exit 77
}

# A tree of $FILES (300) files in 21 folders, some of them empty, and one of 30 MB.
make_tree() {
  local i folder
  for i in $(seq "${FILES:-300}"); do
    folder=$1/d$((i % 7))/e$((i % 3))
    mkdir -p "$folder"
    case $((i % 4)) in
      0) : >"$folder/file $i+&x.bin" ;;
      1) head -c 100 /dev/urandom >"$folder/file $i+&x.bin" ;;
      2) head -c 5000 /dev/urandom >"$folder/file $i+&x.bin" ;;
      3) head -c 200000 /dev/urandom >"$folder/file $i+&x.bin" ;;
    esac
  done
  head -c 30000000 /dev/urandom >"$1/big"
}
