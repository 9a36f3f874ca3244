"""full_size.py: with boto3, the sizes at which clients break. $AWS_* and $BUCKET say where, $LOCAL is an empty folder; sizes are $FILES,
$MULTIPART_MIB and $KEYS. Prints how long each step took; ends with 0 when everything was as it should be.
"""
import concurrent.futures
import hashlib
import http.client
import os
import random
import ssl
import sys
import time
import urllib.parse
import urllib.request

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError
except ImportError:
    print("SKIPPED: no boto3 for the Python of WEIR_PYTHON")
    sys.exit(77)

BUCKET = os.environ["BUCKET"]
ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
FILES = int(os.environ.get("FILES", 80))
MULTIPART_MIB = int(os.environ.get("MULTIPART_MIB", 24))
KEYS = int(os.environ.get("KEYS", 500))
THREADS = 16
PART_MIB = 8 if MULTIPART_MIB < 512 else 16
RACERS = 32

S3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, signature_version="s3v4", retries={"max_attempts": 1},
                                      max_pool_connections=RACERS))
CONTEXT = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE")) if ENDPOINT.startswith("https") else None
RANDOM = random.Random(int(os.environ.get("WEIR_SEED", 1)))


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def in_parallel(call, items, threads=THREADS):
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(call, items))


def trees():
    """A tree there and back."""
    names = [f"d{i % 13}/e{i % 7}/file {i}+&.bin" for i in range(FILES)]
    sizes = [0, 100, 5_000, 70_000]
    digests = {}
    for i, name in enumerate(names):
        path = os.path.join("tree", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        body = RANDOM.randbytes(sizes[i % 4])
        with open(path, "wb") as file:
            file.write(body)
        digests[name] = hashlib.md5(body).hexdigest()
        os.makedirs(os.path.dirname(os.path.join("back", name)), exist_ok=True)
    in_parallel(lambda name: S3.upload_file(os.path.join("tree", name), BUCKET, "tree/" + name), names)
    pages = S3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="tree/")
    listed = {entry["Key"][5:]: entry["ETag"].strip('"') for page in pages for entry in page.get("Contents", [])}
    expect(listed == digests, "the listing and what was sent")
    in_parallel(lambda name: S3.download_file(BUCKET, "tree/" + name, os.path.join("back", name)), names)
    for name in names:
        with open(os.path.join("back", name), "rb") as file:
            expect(hashlib.md5(file.read()).hexdigest() == digests[name], name + " came back as another")
    for at in range(0, FILES, 1000):
        gone = S3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "tree/" + name} for name in names[at:at + 1000]]})
        expect("Errors" not in gone and len(gone["Deleted"]) == len(names[at:at + 1000]), "batch delete")
    expect("Contents" not in S3.list_objects_v2(Bucket=BUCKET, Prefix="tree/"), "nothing is left of the tree")


def cut_off(url, body):
    """Sends half of a body and goes away."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, **({"context": CONTEXT} if CONTEXT else {}))
    connection.putrequest("PUT", parts.path + "?" + parts.query)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[:len(body) // 2])
    connection.close()


def multipart():
    """One object in parts, one of which was cut off and sent again; read back in ranges."""
    size = PART_MIB << 20
    count = MULTIPART_MIB // PART_MIB
    retried = count // 2
    upload = S3.create_multipart_upload(Bucket=BUCKET, Key="large")["UploadId"]
    digests = {}

    def body_of(number):
        return random.Random(number).randbytes(size - (number == count))

    def send(number):
        body = body_of(number)
        digests[number] = hashlib.md5(body).digest()
        if number == retried:
            cut_off(S3.generate_presigned_url("upload_part", Params={"Bucket": BUCKET, "Key": "large", "UploadId": upload,
                                                                     "PartNumber": number}), body)
            S3.upload_part(Bucket=BUCKET, Key="large", UploadId=upload, PartNumber=number, Body=body[::-1])
        etag = S3.upload_part(Bucket=BUCKET, Key="large", UploadId=upload, PartNumber=number, Body=body)["ETag"]
        expect(etag == f'"{hashlib.md5(body).hexdigest()}"', "the etag of a part")
        return {"PartNumber": number, "ETag": etag}

    parts = in_parallel(send, range(1, count + 1), 4)
    done = S3.complete_multipart_upload(Bucket=BUCKET, Key="large", UploadId=upload, MultipartUpload={"Parts": parts})
    whole = hashlib.md5(b"".join(digests[number] for number in range(1, count + 1))).hexdigest()
    expect(done["ETag"] == f'"{whole}-{count}"', done["ETag"])
    length = size * count - 1
    expect(S3.head_object(Bucket=BUCKET, Key="large")["ContentLength"] == length, "the length")

    def check(number):
        begin = size * (number - 1)
        end = min(begin + size, length)
        got = S3.get_object(Bucket=BUCKET, Key="large", Range=f"bytes={begin}-{end - 1}")
        expect(got["ContentRange"] == f"bytes {begin}-{end - 1}/{length}", got["ContentRange"])
        expect(hashlib.md5(got["Body"].read()).digest() == digests[number], f"part {number} is another one")

    in_parallel(check, range(1, count + 1), 4)
    for _ in range(50):
        begin = RANDOM.randrange(length)
        end = min(begin + RANDOM.randrange(1, 100_000), length)
        number = begin // size + 1
        got = S3.get_object(Bucket=BUCKET, Key="large", Range=f"bytes={begin}-{end - 1}")["Body"].read()
        content = body_of(number) + (body_of(number + 1) if end > number * size else b"")
        expect(got == content[begin - (number - 1) * size:end - (number - 1) * size], f"bytes {begin} to {end}")
    tail = S3.get_object(Bucket=BUCKET, Key="large", Range="bytes=-10")["Body"].read()
    expect(tail == body_of(count)[-10:], "the last ten bytes")
    expect_error("InvalidRange", lambda: S3.get_object(Bucket=BUCKET, Key="large", Range=f"bytes={length}-"))
    S3.copy_object(Bucket=BUCKET, Key="large", CopySource={"Bucket": BUCKET, "Key": "large"}, MetadataDirective="REPLACE",
                   Metadata={"mtime": "1700000000"})
    head = S3.head_object(Bucket=BUCKET, Key="large")
    expect(head["Metadata"] == {"mtime": "1700000000"} and head["ETag"] == done["ETag"], "a copy onto itself")
    S3.delete_object(Bucket=BUCKET, Key="large")


def expect_error(code, call):
    try:
        call()
    except ClientError as error:
        expect(error.response["Error"]["Code"] == code, f"{code} expected: {error}")
        return
    raise AssertionError(f"{code} expected, but the call worked")


def racing_creations():
    def create(number, key):
        try:
            S3.put_object(Bucket=BUCKET, Key=key, Body=str(number).encode(), IfNoneMatch="*")
            return number
        except ClientError as error:
            expect(error.response["Error"]["Code"] in ["PreconditionFailed", "ConditionalRequestConflict"], error)
            return None

    for turn in range(5):
        winners = [w for w in in_parallel(lambda number: create(number, f"race/{turn}"), range(RACERS), RACERS) if w is not None]
        expect(len(winners) == 1, f"{len(winners)} of {RACERS} racing creations won")
        expect(S3.get_object(Bucket=BUCKET, Key=f"race/{turn}")["Body"].read() == str(winners[0]).encode(), "the winner's content")
        S3.delete_object(Bucket=BUCKET, Key=f"race/{turn}")


def presigned():
    body = RANDOM.randbytes(3_000_000)
    put = S3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "pre signed"}, ExpiresIn=60)
    request = urllib.request.Request(put, data=body, method="PUT")
    expect(urllib.request.urlopen(request, context=CONTEXT).status == 200, "presigned PUT")
    get = S3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "pre signed"}, ExpiresIn=60)
    expect(urllib.request.urlopen(get, context=CONTEXT).read() == body, "presigned GET")
    S3.delete_object(Bucket=BUCKET, Key="pre signed")


def grouped(keys, prefix, delimiter):
    """What a listing shows, in its order."""
    shown = []
    for key in keys:
        if not key.startswith(prefix):
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        entry = key if end < 0 else key[:end + len(delimiter)]
        if not shown or shown[-1] != (entry, end >= 0):
            shown.append((entry, end >= 0))
    return shown


def listings():
    """Many keys, in every grouping and page by page."""
    keys = [f"list/{'ab' if i % 3 else 'a-b'}/{i % 17:02}/{i:06}{'' if i % 5 else '.x'}" for i in range(KEYS)]
    in_parallel(lambda key: S3.put_object(Bucket=BUCKET, Key=key, Body=b""), keys)
    keys.sort(key=lambda key: key.encode())
    for prefix, delimiter, page in [("list/", "", 1000), ("list/", "/", 1000), ("list/", "/", 1), ("list/ab/", "/", 5), ("list/a", "", 777),
                                    ("list/", "-", 1000), ("list/", "0", 1000), ("list/ab/0", ".x", 1000), ("list/ab", "b/1", 3),
                                    ("list/none", "/", 1000)]:
        for version in ["list_objects_v2", "list_objects"]:
            if version == "list_objects" and not delimiter and page == 1000:
                continue  # the same pages once more
            found = []
            expected = grouped(keys, prefix, delimiter)
            for got in S3.get_paginator(version).paginate(Bucket=BUCKET, Prefix=prefix, Delimiter=delimiter,
                                                          PaginationConfig={"PageSize": page}):
                entries = [(entry["Key"], False) for entry in got.get("Contents", [])]
                entries += [(entry["Prefix"], True) for entry in got.get("CommonPrefixes", [])]
                expect(len(entries) <= page, "the size of a page")
                found += sorted(entries, key=lambda entry: entry[0].encode())
            expect(found == expected, f"{version} of {prefix} by '{delimiter}' in pages of {page}: {len(found)}, not {len(expected)} entries")
    for _ in range(20):
        after = RANDOM.choice(keys)
        got = S3.list_objects_v2(Bucket=BUCKET, Prefix="list/", StartAfter=after, MaxKeys=3)
        at = keys.index(after)
        expect([entry["Key"] for entry in got.get("Contents", [])] == keys[at + 1:at + 4], "behind " + after)
    in_parallel(lambda at: S3.delete_objects(Bucket=BUCKET, Delete={"Quiet": True, "Objects": [{"Key": key} for key in keys[at:at + 1000]]}),
                range(0, KEYS, 1000), 4)
    expect("Contents" not in S3.list_objects_v2(Bucket=BUCKET, Prefix="list/"), "nothing is left of the keys")


os.chdir(os.environ["LOCAL"])
print(f"{ENDPOINT}: {FILES} files, {MULTIPART_MIB} MiB in parts, {KEYS} keys")
for step in [trees, multipart, racing_creations, presigned, listings]:
    begin = time.monotonic()
    step()
    print(f"{step.__name__} {time.monotonic() - begin:.1f} s", flush=True)
