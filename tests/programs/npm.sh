#!/bin/bash
# npm: a package packed, installed from the file, run, taken away and installed again from the lock file.
. "$(dirname "$0")/program.bash"
need npm node
export npm_config_cache="$WORK/cache" npm_config_offline=true npm_config_audit=false npm_config_fund=false
export npm_config_update_notifier=false npm_config_loglevel=error

# A package with a command and a dependency that travels inside it.
mkdir -p "$WORK/package/node_modules/inner" "$WORK/package/lib" "$WORK/app"
cd "$WORK/package"
cat >package.json <<'END'
{"name": "outer", "version": "1.2.3", "main": "lib/index.js", "bin": {"outer-run": "lib/run.js"},
 "dependencies": {"inner": "1.0.0"}, "bundleDependencies": ["inner"]}
END
echo '{"name": "inner", "version": "1.0.0", "main": "index.js"}' >node_modules/inner/package.json
echo 'module.exports = (x) => x * 2;' >node_modules/inner/index.js
for i in $(seq 100); do echo "module.exports = $i;" >"lib/m$i.js"; done
cat >lib/index.js <<'END'
const twice = require("inner");
let sum = 0;
for (let i = 1; i <= 100; ++i) sum += twice(require(`./m${i}.js`));
module.exports = sum;
END
printf '#!/usr/bin/env node\nconsole.log("sum", require("./index.js"));\n' >lib/run.js
chmod +x lib/run.js
npm pack --pack-destination "$WORK/app" >/dev/null

cd "$WORK/app"
echo '{"name": "app", "version": "0.0.1", "private": true}' >package.json
npm install ./outer-1.2.3.tgz >/dev/null
[ "$(node -e 'console.log(require("outer"))')" = 10100 ]
[ -L node_modules/.bin/outer-run ]
[ "$(node_modules/.bin/outer-run)" = 'sum 10100' ]
npm ls --all | grep -q 'inner@1.0.0'
diff -r "$WORK/package/lib" node_modules/outer/lib

npm ci >/dev/null
[ "$(node_modules/.bin/outer-run)" = 'sum 10100' ]
npm uninstall outer >/dev/null
[ ! -e node_modules/outer ]
npm install ./outer-1.2.3.tgz >/dev/null
[ "$(node_modules/.bin/outer-run)" = 'sum 10100' ]
npm cache verify >/dev/null
