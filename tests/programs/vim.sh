#!/bin/bash
# vim with a swap file beside the edited file, writing in place and by rename, with and without a backup left.
. "$(dirname "$0")/program.bash"
need vim
cd "$WORK"
edit() {
  # edit FILE COMMAND...
  local file=$1 arguments=()
  shift
  for command; do arguments+=(-c "$command"); done
  vim -es -u NONE -i NONE -N --not-a-term --cmd 'set directory=. swapfile backupskip=' "${arguments[@]}" "$file" \
    </dev/null || fail "vim: $?"
}
# Its swap file is there while the file is edited.
swap_seen='call writefile([swapname("%"), filereadable(swapname("%"))], $LOCAL . "/swap")'

for copy in yes no auto; do
  for backup in backup nobackup; do
    name="$copy-$backup.txt"
    seq 2000 >"$name"
    chmod 640 "$name"
    touch -d '2020-01-01' "$name"
    inode=$(stat -c %i "$name")
    edit "$name" "set backupcopy=$copy $backup writebackup" '%s/^7\(.*\)$/seven \1/' 'normal Gothe end' \
      "$swap_seen" 'wq'
    diff "$name" <(seq 2000 | sed 's/^7\(.*\)$/seven \1/'; echo 'the end')
    [ "$(stat -c %a "$name")" = 640 ]
    [ "$(date -r "$name" +%Y)" != 2020 ]
    [ "$copy" != yes ] || [ "$(stat -c %i "$name")" = "$inode" ]
    [ "$copy" != no ] || [ "$(stat -c %i "$name")" != "$inode" ]
    if [ $backup = backup ]; then diff "$name~" <(seq 2000); else [ ! -e "$name~" ]; fi
    sed -n 1p "$LOCAL/swap" | grep -q '\.sw[a-p]$' || fail "no swap file: $(cat "$LOCAL/swap")"
    [ "$(sed -n 2p "$LOCAL/swap")" = 1 ]
  done
done

# Through a symlink, and with an undo file.
ln -s yes-backup.txt link
edit link 'set undofile undodir=.' 'normal ggiat the top' 'w' 'undo' 'wq'
[ -L link ]
diff yes-backup.txt <(seq 2000 | sed 's/^7\(.*\)$/seven \1/'; echo 'the end')
ls -A | grep -q '\.un~$'
# Nothing but what was asked for is left.
if ls -A | grep '\.sw[a-p]$\|^4913$'; then fail "vim left files of its own"; fi
