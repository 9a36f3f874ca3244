#!/bin/bash
# awscli: trees there and back, moves, streams, batch deletes.
. "$(dirname "$0")/client.bash"
AWS=${PYTHON:+$(dirname "$PYTHON")/aws}
[[ -x $AWS ]] || lacks "no awscli beside the Python of WEIR_PYTHON"

printf '[default]\ns3 =\n  signature_version = s3v4\n' >config
export AWS_CONFIG_FILE=$PWD/config

FILES=${FILES:-60} # it takes its time for each
make_tree tree
"$AWS" s3 sync --no-progress tree "s3://$BUCKET/aws" >out
"$AWS" s3 sync --no-progress "s3://$BUCKET/aws" back >out
diff -r tree back
[[ -z $("$AWS" s3 sync tree "s3://$BUCKET/aws") ]] # nothing is left to do
"$AWS" s3 mv --quiet "s3://$BUCKET/aws/big" "s3://$BUCKET/aws/moved"
"$AWS" s3 cp --quiet "s3://$BUCKET/aws/moved" - | cmp - tree/big
"$AWS" s3 cp --quiet - "s3://$BUCKET/aws/stream" <tree/big
"$AWS" s3api head-object --bucket "$BUCKET" --key aws/stream --checksum-mode ENABLED >head.json
grep -q '"ContentLength": 30000000' head.json
curl -q -sf --noproxy '*' ${AWS_CA_BUNDLE:+--cacert "$AWS_CA_BUNDLE"} -o signed "$("$AWS" s3 presign "s3://$BUCKET/aws/stream")"
cmp signed tree/big
"$AWS" s3 rm --quiet --recursive "s3://$BUCKET/aws"
[[ -z $("$AWS" s3 ls "s3://$BUCKET/aws/") ]]
