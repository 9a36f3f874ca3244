#!/bin/bash
# GNU tar with extended attributes: unpacked into the mount, compared, packed from it.
. "$(dirname "$0")/program.bash"
need tar setfattr
tar --version | grep -q 'GNU tar' || skip "tar is not GNU tar"
src="$LOCAL/src"
mkdir -p "$src"/{empty,deep/er}
cd "$src"
for i in $(seq 300); do echo "file $i" >"deep/er/$i"; done
head -c 300000 /dev/urandom >bytes
truncate -s 5M sparse
printf hole | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none
ln -s deep/er link
chmod 750 deep
chmod 4711 bytes
chown 1001:1002 deep/er/1
setfattr -n user.comment -v 'with an attribute' bytes
setfattr -n user.dir -v directory deep
touch -d '1999-12-31 23:59:59.999999999' deep/er/2
touch -h -d '2002-02-02 02:02:02.2' link
touch -d '2003-03-03 03:03:03.3' deep/er deep empty .

options=(--xattrs '--xattrs-include=user.*' --numeric-owner --format=posix)
# Columns are as wide as what came before in the archive, whose order is the directory's.
members() { tar "${options[@]}" --full-time -tvf "$1" | tr -s ' ' | sort; }
tar "${options[@]}" -cf "$LOCAL/plain.tar" .
tar "${options[@]}" --sparse -cf "$LOCAL/sparse.tar" .

for archive in plain sparse; do
  mkdir "$WORK/$archive"
  cd "$WORK/$archive"
  tar "${options[@]}" -xpf "$LOCAL/$archive.tar"
  tar "${options[@]}" --compare -f "$LOCAL/$archive.tar"
  [ "$(getfattr --only-values -n user.comment bytes)" = 'with an attribute' ]
  [ "$(getfattr --only-values -n user.dir deep)" = directory ]
  tar "${options[@]}" -cf "$WORK/$archive-again.tar" .
  diff <(members "$LOCAL/$archive.tar") <(members "$WORK/$archive-again.tar")
  diff -r --no-dereference "$src" .
  tar "${options[@]}" --sparse -cf "$WORK/$archive-sparse.tar" .
  tar --compare -f "$WORK/$archive-sparse.tar" -C "$src"
done

# Over what is there: files are replaced, attributes taken.
cd "$WORK/plain"
echo changed >bytes
chmod 600 bytes
tar "${options[@]}" -xpf "$LOCAL/plain.tar"
tar "${options[@]}" --compare -f "$LOCAL/plain.tar"
tar "${options[@]}" -xpf "$LOCAL/plain.tar" --overwrite
tar "${options[@]}" --compare -f "$LOCAL/plain.tar"
# Growing an archive in the mount writes over its end.
tar --format=posix -rf "$WORK/plain-again.tar" -C "$src" bytes
tar -tf "$WORK/plain-again.tar" | grep -c '^bytes$\|^./bytes$' | grep -qx 2
