#!/bin/bash
# rsync there and back: trees with everything that it carries.
. "$(dirname "$0")/program.bash"
need rsync setfattr setfacl
src="$LOCAL/src"
mkdir -p "$src"/{empty,a/b/c,'with space',names}
cd "$src"
for size in 0 1 4095 4096 4097 131072 1048577; do head -c $size /dev/urandom >a/b/size$size; done
truncate -s 3M sparse
printf x | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
printf 'tool' >a/tool
chmod 4755 a/tool
chmod 2775 a/b
chmod 1777 empty
chmod 0 a/b/size0
chown 1234:4321 a/b/size1
ln -s a/b/c link
ln -s /absolute/and/dangling dangling
touch -h -d '2001-02-03 04:05:06.123456789' link
touch -d '2010-11-12 13:14:15.987654321' a/b/size4096
touch -d '2038-01-20 00:00:00' a/tool
touch "names/$(printf 'n%.0s' $(seq 255))" 'names/new
line' 'names/*' 'names/ü' 'names/-dash'
setfattr -n user.color -v red a/b/size4096
setfattr -n user.empty -v '' a/b
setfattr -n user.binary -v 0x00ff10 a/tool
for i in $(seq 200); do echo $i >"a/b/c/small$i"; done
setfacl -m u:1234:rw,g:4321:r a/b/size4097
setfacl -d -m u:1234:rwx a/b/c
ln a/b/size131072 a/linked
ln a/b/size131072 names/linked
mkfifo fifo
touch -d '2005-06-07 08:09:10.5' a/b/c a/b a empty names .

flags=-aHAX
same() {
  local found
  found=$(rsync $flags --checksum --delete --dry-run --itemize-changes "$1/" "$2/")
  [ -z "$found" ] || fail "$1 and $2 differ:
$found"
}

rsync $flags "$src/" "$WORK/there/"
same "$src" "$WORK/there"
rsync $flags "$WORK/there/" "$LOCAL/back/"
same "$src" "$LOCAL/back"
# By size and time alone, it must have nothing to do.
[ -z "$(rsync $flags --itemize-changes "$src/" "$WORK/there/")" ]

# Changes, deletions, in place, sparse, and by the delta algorithm.
echo more >>a/b/size4097
rm -r a/b/c names
mkdir a/b/c
echo fresh >a/b/c/fresh
chmod 600 a/b/size131072
setfattr -x user.color a/b/size4096
rsync $flags --delete "$src/" "$WORK/there/"
same "$src" "$WORK/there"
dd if=/dev/urandom of=a/b/size1048577 bs=4096 seek=17 count=2 conv=notrunc status=none
rsync $flags --delete --inplace --no-whole-file "$src/" "$WORK/there/"
same "$src" "$WORK/there"
rsync $flags --delete --sparse "$src/" "$WORK/sparse/"
same "$src" "$WORK/sparse"
# Inside the mount, and with unchanged files linked to those of another copy.
rsync $flags "$WORK/there/" "$WORK/copy/"
same "$WORK/there" "$WORK/copy"
rsync $flags --backup --backup-dir="$WORK/old" --delete "$LOCAL/back/" "$WORK/copy/"
same "$LOCAL/back" "$WORK/copy"
