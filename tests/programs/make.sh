#!/bin/bash
# A C project with dependencies: built with four jobs, run from the mount, built again after a change.
. "$(dirname "$0")/program.bash"
need make gcc ar
cd "$WORK"
mkdir include src
sources=24
{ echo '#pragma once'; for i in $(seq $sources); do echo "int part$i(void);"; done; } >include/parts.h
echo '#define SCALE 1' >include/scale.h
for i in $(seq $sources); do
  {
    echo '#include "parts.h"'
    # Every fourth depends on the header that changes.
    if ((i % 4 == 0)); then echo '#include "scale.h"'; else echo '#define SCALE 1'; fi
    echo "int part$i(void) { return $i * SCALE; }"
  } >"src/part$i.c"
done
{
  echo '#include <stdio.h>'
  echo '#include "parts.h"'
  echo 'int main(void) { int sum = 0;'
  for i in $(seq $sources); do echo "sum += part$i();"; done
  echo 'printf("%d\n", sum); return 0; }'
} >src/main.c
cat >Makefile <<'END'
objects := $(patsubst src/%.c,build/%.o,$(wildcard src/part*.c))
build/program: build/main.o build/libparts.a
	gcc -o $@ $^
build/libparts.a: $(objects)
	rm -f $@
	ar rcs $@ $^
build/%.o: src/%.c | build
	gcc -Iinclude -MMD -MP -c -o $@ $<
	@echo $< >>compiled
build:
	mkdir -p $@
-include $(wildcard build/*.d)
END

make -j4 >/dev/null
[ "$(build/program)" = $((sources * (sources + 1) / 2)) ]
[ "$(sort -u compiled | wc -l)" = $((sources + 1)) ]
[ "$(wc -l <compiled)" = $((sources + 1)) ]
make -q

rm compiled
echo '#define SCALE 2' >include/scale.h
if make -q; then fail 'make overlooks a changed header'; fi
make -j4 >/dev/null
[ "$(wc -l <compiled)" = $((sources / 4)) ]
expected=0
for i in $(seq $sources); do expected=$((expected + (i % 4 == 0 ? 2 * i : i))); done
[ "$(build/program)" = $expected ]
make -q
cp -r build copy
cmp build/program copy/program
rm -rf build
make -j4 >/dev/null
[ "$(build/program)" = $expected ]
