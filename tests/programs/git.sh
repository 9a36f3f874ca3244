#!/bin/bash
# A repository with history: cloned into the mount, worked on, collected, checked, pushed from.
. "$(dirname "$0")/program.bash"
need git
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.org
export GIT_COMMITTER_NAME=Ann GIT_COMMITTER_EMAIL=ann@example.org
git config --global init.defaultBranch main
git config --global gc.auto 0

git init -q "$LOCAL/origin"
cd "$LOCAL/origin"
for commit in $(seq 1 12); do
  for file in $(seq 1 10); do
    mkdir -p "part$((file % 3))/deep/er"
    echo "commit $commit of file $file" >>"part$((file % 3))/deep/er/file$file.txt"
  done
  head -c 20000 /dev/urandom >blob.bin
  git add -A
  git commit -qm "commit $commit"
done
git mv part1/deep part1/shallow
git rm -q part2/deep/er/file2.txt
ln -s part1/shallow link
printf '#!/bin/sh\necho ran\n' >tool
chmod +x tool
git add -A
git commit -qm "rename, remove, link, tool"
git checkout -qb side HEAD~3
echo side >side.txt
git add -A
git commit -qm side
git checkout -q main
git merge -qm merged side
git tag -a v1 -m v1

cd "$WORK"
git clone -q "file://$LOCAL/origin" clone
cd clone
[ "$(git rev-parse HEAD)" = "$(git -C "$LOCAL/origin" rev-parse HEAD)" ]
[ -z "$(git status --porcelain)" ]
[ "$(./tool)" = ran ]
diff -r --no-dereference --exclude=.git . "$LOCAL/origin"

for commit in $(seq 1 8); do
  echo "line $commit" >>"part0/deep/er/new$commit.txt"
  echo "more $commit" >>side.txt
  git add -A
  git commit -qm "work $commit"
done
git checkout -q -b topic HEAD~4
echo topic >topic.txt
git add topic.txt
git commit -qm topic
git rebase -q main
git stash list
git checkout -q main
git merge -q --no-edit topic
git reset -q --hard HEAD~1
git merge -q --no-edit topic
# The index's stat data must still be true when nothing was written since: else git would read every file again.
git update-index -q --refresh
git diff-files --quiet
git gc -q --prune=now
git fsck --full --strict --no-dangling
git repack -q -a -d -f
git fsck --full --strict --no-dangling
git push -q origin main:pushed
[ "$(git -C "$LOCAL/origin" rev-parse pushed)" = "$(git rev-parse main)" ]

cd "$WORK"
git clone -q clone second
git -C second fsck --full --strict --no-dangling
diff -r --no-dereference --exclude=.git clone second
git clone -q --bare clone bare.git
git -C bare.git worktree add -q ../tree main
[ -z "$(git -C tree status --porcelain)" ]
rm -rf second
