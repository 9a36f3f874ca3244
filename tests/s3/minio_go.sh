#!/bin/bash
# MinIO's Go client: objects, parts, copies, conditions, signed URLs, listings. Built from what is in the module cache, or from the proxy.
sources=$(realpath "$(dirname "$0")")/minio_go
. "$(dirname "$0")/client.bash"
PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || lacks "no Go"
cp "$sources"/* .
# As MinIO was built, so that what it has compiled is not compiled again.
GOFLAGS="-trimpath -mod=readonly" timeout 200 go build -ldflags=-s -o minio_go . >build.log 2>&1 || lacks "MinIO's Go client cannot be built: $(tail -1 build.log)"
exec ./minio_go
