# What Weir builds itself, and from where: the one place that names versions. Sourced by the scripts.

# libfuse: passthrough and FUSE over io_uring are complete from here on. The suites are tried in order.
LIBFUSE_MIN=3.18
LIBFUSE_SUITES_debian="forky sid"
LIBFUSE_SUITES_ubuntu="resolute devel"

# MinIO: the S3 server of the tests.
MINIO_MODULE=github.com/minio/minio
MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c

# S3 clients of the tests, from PyPI: two sets, because fsspec's wants an older botocore.
CLIENT_PACKAGES=(boto3==1.44.8 "botocore[crt]==1.44.8" awscli==1.46.3 pyarrow==26.0.1)
FSSPEC_PACKAGES=(s3fs==2026.9.0 duckdb==2.0.1)

# Go, only to build MinIO and only when the machine has none that is new enough.
GO_MIN=1.24
GO_SUITES_debian="trixie forky"
GO_SUITES_ubuntu="noble-updates resolute"
