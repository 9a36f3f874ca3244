"""DuckDB over fsspec's s3fs: tables written, globbed, joined. $AWS_* and $BUCKET say where."""
import os
import sys

try:
    import duckdb
    import s3fs
except ImportError as missing:
    print(f"SKIPPED: the Python of WEIR_PYTHON and the second environment of scripts/setup lack {missing.name}")
    sys.exit(77)

verify = os.environ.get("AWS_CA_BUNDLE")
fs = s3fs.S3FileSystem(endpoint_url=os.environ["AWS_ENDPOINT_URL"], client_kwargs={"verify": verify} if verify else {})
root = "s3://" + os.environ["BUCKET"] + "/duckdb"
db = duckdb.connect()
db.register_filesystem(fs)

db.execute(f"COPY (SELECT range AS id, range % 7 AS kind, 'text ' || range AS word FROM range(200000)) TO '{root}/all.parquet' (FORMAT parquet)")
assert db.execute(f"SELECT count(*), sum(id), count(DISTINCT kind) FROM '{root}/all.parquet'").fetchone() == (200000, 19999900000, 7)
assert db.execute(f"SELECT word FROM '{root}/all.parquet' WHERE id = 123456").fetchone() == ("text 123456",)
for kind in range(7):
    db.execute(f"COPY (SELECT * FROM '{root}/all.parquet' WHERE kind = {kind}) TO '{root}/parts/{kind}.csv' (FORMAT csv, HEADER)")
assert db.execute(f"SELECT count(*) FROM read_csv('{root}/parts/*.csv')").fetchone() == (200000,)
assert db.execute(f"SELECT count(*) FROM '{root}/all.parquet' a JOIN read_csv('{root}/parts/3.csv') b USING (id)").fetchone() == (28571,)
fs.invalidate_cache()
assert len(fs.find(root)) == 8
fs.rm(root, recursive=True)
assert not fs.exists(root)
