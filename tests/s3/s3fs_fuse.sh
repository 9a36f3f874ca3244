#!/bin/bash
# s3fs-fuse: a mount over the endpoint: files, folders, renames, modes, writes in the middle of a large file.
. "$(dirname "$0")/client.bash"
command -v s3fs >/dev/null || lacks "no s3fs"
[[ -w /dev/fuse ]] || lacks "no access to /dev/fuse"
mkdir mnt
(umask 077 && echo "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" >passwd)
[[ -z ${AWS_CA_BUNDLE-} ]] || export CURL_CA_BUNDLE=$AWS_CA_BUNDLE
s3fs "$BUCKET" mnt -o "passwd_file=$PWD/passwd,url=$AWS_ENDPOINT_URL,use_path_request_style,endpoint=us-east-1"
trap 'umount mnt || umount -l mnt' EXIT

mkdir -p mnt/fuse/folder
head -c 30000000 /dev/urandom >big
cp big mnt/fuse/big
cmp big mnt/fuse/big
echo hello >mnt/fuse/folder/x
mv mnt/fuse/folder/x mnt/fuse/y
[[ $(cat mnt/fuse/y) == hello ]]
chmod 600 mnt/fuse/y
touch -d 2001-02-03T04:05:06Z mnt/fuse/y
[[ $(stat -c '%a %y' mnt/fuse/y) == "600 2001-02-03 04:05:06"* ]]
for file in big mnt/fuse/big; do
  dd if=/dev/zero of=$file bs=1000 seek=15000 count=100 conv=notrunc status=none
done
cmp big mnt/fuse/big
ln -s y mnt/fuse/link
[[ $(readlink mnt/fuse/link) == y ]]
mv mnt/fuse/folder mnt/fuse/renamed
[[ $(ls mnt/fuse | sort | paste -sd ' ') == "big link renamed y" ]]
rm -r mnt/fuse
[[ -z $(ls mnt) ]]
