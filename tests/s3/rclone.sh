#!/bin/bash
# rclone: trees there and back in parts, checks by hash, modification times, server-side moves.
. "$(dirname "$0")/client.bash"
command -v rclone >/dev/null || lacks "no rclone"
[[ -z ${AWS_CA_BUNDLE-} ]] || export RCLONE_CA_CERT=$AWS_CA_BUNDLE
unset AWS_CA_BUNDLE
export RCLONE_CONFIG=$PWD/rclone.conf
cat >"$RCLONE_CONFIG" <<END
[weir]
type = s3
provider = Other
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
endpoint = $AWS_ENDPOINT_URL
chunk_size = 5Mi
upload_cutoff = 8Mi
END

make_tree tree
rclone -q sync tree "weir:$BUCKET/rclone"
rclone -q check tree "weir:$BUCKET/rclone"
rclone -q sync "weir:$BUCKET/rclone" back
diff -r tree back
rclone sync --dry-run --stats-one-line --stats 0 -v tree "weir:$BUCKET/rclone" 2>&1 | grep "There was nothing to transfer" >out
rclone -q moveto "weir:$BUCKET/rclone/big" "weir:$BUCKET/rclone/moved"
rclone -q cat "weir:$BUCKET/rclone/moved" | cmp - tree/big
touch -d 2001-02-03T04:05:06Z "tree/d1/e1/file 1+&x.bin"
rclone -q copy tree/d1 "weir:$BUCKET/rclone/d1"
rclone lsl "weir:$BUCKET/rclone/d1/e1" | grep "2001-02-03 .*file 1+&x.bin" >out
rclone -q purge "weir:$BUCKET/rclone"
[[ -z $(rclone lsf "weir:$BUCKET/rclone" 2>/dev/null) ]]
