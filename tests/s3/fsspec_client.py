"""fsspec's s3fs: pipes, streams in blocks, appending, trees, moves. $AWS_* and $BUCKET say where; the folder is the current one."""
import os
import sys

try:
    import s3fs
except ImportError:
    print("SKIPPED: no s3fs for the Python of WEIR_PYTHON")
    sys.exit(77)

verify = os.environ.get("AWS_CA_BUNDLE")
fs = s3fs.S3FileSystem(endpoint_url=os.environ["AWS_ENDPOINT_URL"], client_kwargs={"verify": verify} if verify else {})
root = os.environ["BUCKET"] + "/fsspec"

fs.pipe(f"{root}/small", b"x" * 100)
with fs.open(f"{root}/big", "wb", block_size=5 << 20) as out:
    for i in range(13):
        out.write(bytes([i]) * 1_000_000)
assert fs.size(f"{root}/big") == 13_000_000
with fs.open(f"{root}/big", "rb") as stream:
    stream.seek(5_999_999)
    assert stream.read(2) == b"\x05\x06"
with fs.open(f"{root}/small", "ab") as out:
    out.write(b"y" * 10)
assert fs.cat(f"{root}/small") == b"x" * 100 + b"y" * 10
os.makedirs("tree/a/b")
for i in range(50):
    with open(f"tree/a/b/{i}", "wb") as file:
        file.write(os.urandom(i * 100))
fs.put("tree", f"{root}/tree", recursive=True)
assert len(fs.find(f"{root}/tree")) == 50
fs.get(f"{root}/tree", "back", recursive=True)
for i in range(50):
    assert open(f"tree/a/b/{i}", "rb").read() == open(f"back/a/b/{i}", "rb").read()
fs.mv(f"{root}/big", f"{root}/moved")
assert not fs.exists(f"{root}/big") and fs.size(f"{root}/moved") == 13_000_000
assert sorted(fs.ls(root)) == [f"{root}/moved", f"{root}/small", f"{root}/tree"]
fs.rm(root, recursive=True)
assert not fs.exists(root)
