"""pyarrow's S3FileSystem: datasets, background writes, folders, moves. $AWS_* and $BUCKET say where."""
import os
import sys

try:
    import pyarrow
    import pyarrow.dataset
    from pyarrow import fs
except ImportError:
    print("SKIPPED: no pyarrow: scripts/setup --with-clients gets it")
    sys.exit(77)

scheme, host = os.environ["AWS_ENDPOINT_URL"].split("://")
s3 = fs.S3FileSystem(access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
                     endpoint_override=host, scheme=scheme, region="us-east-1",
                     tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"))
root = os.environ["BUCKET"] + "/arrow"

s3.create_dir(f"{root}/empty")
table = pyarrow.table({"a": list(range(100_000)), "b": [i % 7 for i in range(100_000)]})
pyarrow.dataset.write_dataset(table, f"{root}/data", filesystem=s3, format="parquet", partitioning=["b"])
read = pyarrow.dataset.dataset(f"{root}/data", filesystem=s3, format="parquet", partitioning=["b"]).to_table()
assert sorted(read.column("a").to_pylist()) == list(range(100_000))
content = os.urandom(12 << 20)
with s3.open_output_stream(f"{root}/big") as out:
    for i in range(12):
        out.write(content[i << 20:(i + 1) << 20])
assert s3.open_input_stream(f"{root}/big").read() == content
with s3.open_input_file(f"{root}/big") as file:
    file.seek(7_000_000)
    assert file.read(1000) == content[7_000_000:7_001_000]
s3.move(f"{root}/big", f"{root}/moved")
s3.copy_file(f"{root}/moved", f"{root}/copied")
names = sorted(info.path for info in s3.get_file_info(fs.FileSelector(root)))
assert names == [f"{root}/{name}" for name in ["copied", "data", "empty", "moved"]], names
s3.delete_dir(root)
assert s3.get_file_info(root).type == fs.FileType.NotFound
