"""boto3: does with it what programs do, and checks what comes back. $AWS_* and $BUCKET say where."""
import base64
import concurrent.futures
import hashlib
import io
import os
import sys
import urllib.request
import ssl

try:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config
    from botocore.exceptions import ClientError
except ImportError:
    print("SKIPPED: no boto3 for the Python of WEIR_PYTHON")
    sys.exit(77)

BUCKET = os.environ["BUCKET"]
CA_FILE = os.environ.get("AWS_CA_BUNDLE")

PART = 8 << 20


def client(**config):
    return boto3.client(
        "s3",
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4", retries={"max_attempts": 1},
                      max_pool_connections=40, **config))


S3 = client()


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def expect_error(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        expect(found == code, f"{code} expected, got {found}: {error}")
        return
    raise AssertionError(f"{code} expected, but the call worked")


def keys_of(pages):
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def put_and_get():
    body = os.urandom(100_000)
    put = S3.put_object(Bucket=BUCKET, Key="a/b c+d%/\u00e4.bin", Body=body, ContentType="text/plain", Metadata={"colour": "blue"},
                        Tagging="project=weir", CacheControl="no-store")
    expect(put["ETag"] == '"' + hashlib.md5(body).hexdigest() + '"', put["ETag"])
    expect("ChecksumCRC32" in put, "the checksum that boto3 sent comes back")
    got = S3.get_object(Bucket=BUCKET, Key="a/b c+d%/\u00e4.bin", ChecksumMode="ENABLED")
    expect(got["Body"].read() == body, "the body")
    expect(got["ContentType"] == "text/plain" and got["Metadata"] == {"colour": "blue"} and got["CacheControl"] == "no-store", got)
    expect(got["ChecksumCRC32"] == put["ChecksumCRC32"], got)
    head = S3.head_object(Bucket=BUCKET, Key="a/b c+d%/\u00e4.bin")
    expect(head["ContentLength"] == len(body) and head["ETag"] == put["ETag"], head)
    part = S3.get_object(Bucket=BUCKET, Key="a/b c+d%/\u00e4.bin", Range="bytes=10-19")
    expect(part["Body"].read() == body[10:20] and part["ContentRange"] == "bytes 10-19/100000", part)
    expect_error("NoSuchKey", S3.get_object, Bucket=BUCKET, Key="missing")
    expect_error("404", S3.head_object, Bucket=BUCKET, Key="missing")
    expect_error("NoSuchBucket", S3.list_objects_v2, Bucket="no-such-bucket")
    for algorithm in ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]:
        try:
            S3.put_object(Bucket=BUCKET, Key="sum", Body=b"content", ChecksumAlgorithm=algorithm)
        except Exception as missing:  # those that need a library which is not there
            if "crt" not in str(missing):
                raise
            continue
        attributes = S3.get_object_attributes(Bucket=BUCKET, Key="sum", ObjectAttributes=["Checksum", "ObjectSize", "ETag"])
        expect("Checksum" + algorithm in attributes["Checksum"], attributes)
        expect(attributes["ObjectSize"] == 7, attributes)


class Unseekable(io.RawIOBase):
    def __init__(self, data):
        self.stream = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self.stream.read(min(len(buffer), 50_000))
        buffer[:len(data)] = data
        return len(data)


def transfers():
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=8)
    # Over one connection: an empty body must not confuse the next request.
    single = client()
    for body in [b"", b"x", b"", b"", b"yy"]:
        single.put_object(Bucket=BUCKET, Key="empty or not", Body=io.BytesIO(body))
        expect(single.get_object(Bucket=BUCKET, Key="empty or not")["Body"].read() == body, "an empty body and the next")
    for size in [0, 1, PART - 1, PART, 3 * PART + 12345]:
        data = os.urandom(size)
        S3.upload_fileobj(io.BytesIO(data), BUCKET, "transfer", Config=config)
        back = io.BytesIO()
        S3.download_fileobj(BUCKET, "transfer", back, Config=config)
        expect(back.getvalue() == data, f"{size} bytes came back as others")
    expect(S3.head_object(Bucket=BUCKET, Key="transfer")["ETag"].endswith('-4"'), "the entity tag of four parts")
    first = S3.get_object(Bucket=BUCKET, Key="transfer", PartNumber=1)
    expect(first["Body"].read() == data[:PART] and first["PartsCount"] == 4, "the first part")
    data = os.urandom(20_000_000)
    S3.upload_fileobj(Unseekable(data), BUCKET, "unseekable", Config=config)
    expect(S3.get_object(Bucket=BUCKET, Key="unseekable")["Body"].read() == data, "an unseekable stream")


def multipart_by_hand():
    upload = S3.create_multipart_upload(Bucket=BUCKET, Key="parts", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
    data = [os.urandom(6 << 20), os.urandom(5 << 20), b"tail"]
    parts = []
    for number, body in enumerate(data, 1):
        S3.upload_part(Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=number, Body=b"x" * 10)
        sent = S3.upload_part(Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32": sent["ChecksumCRC32"]})
    listed = S3.list_parts(Bucket=BUCKET, Key="parts", UploadId=upload)
    expect([p["Size"] for p in listed["Parts"]] == [len(d) for d in data], listed)
    expect(any(u["UploadId"] == upload for u in S3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]), "the upload is listed")
    expect_error("InvalidPart", S3.complete_multipart_upload, Bucket=BUCKET, Key="parts", UploadId=upload,
                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"0"'}]})
    done = S3.complete_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    expect(done["ChecksumType"] == "FULL_OBJECT", done)
    import zlib
    whole = b"".join(data)
    expect(base64.b64decode(done["ChecksumCRC32"]) == zlib.crc32(whole).to_bytes(4, "big"), done)
    expect(S3.get_object(Bucket=BUCKET, Key="parts")["Body"].read() == whole, "the joined parts")
    again = S3.complete_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    expect(again["ETag"] == done["ETag"], "completing again gives the same answer")
    # By copies.
    upload = S3.create_multipart_upload(Bucket=BUCKET, Key="copied")["UploadId"]
    parts = []
    for number, (begin, end) in enumerate([(0, 6 << 20), (6 << 20, len(whole))], 1):
        copied = S3.upload_part_copy(Bucket=BUCKET, Key="copied", UploadId=upload, PartNumber=number,
                                     CopySource={"Bucket": BUCKET, "Key": "parts"}, CopySourceRange=f"bytes={begin}-{end - 1}")
        parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
    S3.complete_multipart_upload(Bucket=BUCKET, Key="copied", UploadId=upload, MultipartUpload={"Parts": parts})
    expect(S3.get_object(Bucket=BUCKET, Key="copied")["Body"].read() == whole, "the copied parts")
    upload = S3.create_multipart_upload(Bucket=BUCKET, Key="aborted")["UploadId"]
    S3.abort_multipart_upload(Bucket=BUCKET, Key="aborted", UploadId=upload)
    expect_error("NoSuchUpload", S3.list_parts, Bucket=BUCKET, Key="aborted", UploadId=upload)


def conditional_writes():
    def create(i):
        try:
            S3.put_object(Bucket=BUCKET, Key="race", Body=str(i).encode(), IfNoneMatch="*")
            return True
        except ClientError as error:
            expect(error.response["Error"]["Code"] in ["PreconditionFailed", "ConditionalRequestConflict"], error)
            return False

    S3.delete_object(Bucket=BUCKET, Key="race")
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        expect(sum(pool.map(create, range(32))) == 1, "one of 32 racing creations wins")
    etag = S3.head_object(Bucket=BUCKET, Key="race")["ETag"]
    expect_error("PreconditionFailed", S3.put_object, Bucket=BUCKET, Key="race", Body=b"", IfMatch='"other"')
    S3.put_object(Bucket=BUCKET, Key="race", Body=b"new", IfMatch=etag)
    expect_error("PreconditionFailed", S3.delete_object, Bucket=BUCKET, Key="race", IfMatch=etag)
    expect_error("304", S3.get_object, Bucket=BUCKET, Key="race", IfNoneMatch='"' + hashlib.md5(b"new").hexdigest() + '"')


def copies():
    S3.put_object(Bucket=BUCKET, Key="source", Body=b"content", Metadata={"k": "v"}, Tagging="t=1")
    S3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "source"})
    expect(S3.head_object(Bucket=BUCKET, Key="copy")["Metadata"] == {"k": "v"}, "metadata travels")
    expect(S3.get_object_tagging(Bucket=BUCKET, Key="copy")["TagSet"] == [{"Key": "t", "Value": "1"}], "tags travel")
    before = S3.head_object(Bucket=BUCKET, Key="copy")["ETag"]
    S3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "copy"}, MetadataDirective="REPLACE",
                   Metadata={"mtime": "1700000000"})
    head = S3.head_object(Bucket=BUCKET, Key="copy")
    expect(head["Metadata"] == {"mtime": "1700000000"} and head["ETag"] == before, head)
    S3.put_object_tagging(Bucket=BUCKET, Key="copy", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    expect(S3.get_object_tagging(Bucket=BUCKET, Key="copy")["TagSet"] == [{"Key": "a", "Value": "b"}], "new tags")
    S3.delete_object_tagging(Bucket=BUCKET, Key="copy")
    expect(S3.get_object_tagging(Bucket=BUCKET, Key="copy")["TagSet"] == [], "no tags")
    S3.rename_object(Bucket=BUCKET, Key="dir/renamed", RenameSource="/copy", SourceIfMatch=before)
    renamed = S3.head_object(Bucket=BUCKET, Key="dir/renamed")
    expect(renamed["Metadata"] == {"mtime": "1700000000"} and renamed["ETag"] == before, renamed)
    expect_error("404", S3.head_object, Bucket=BUCKET, Key="copy")
    expect_error("PreconditionFailed", S3.rename_object, Bucket=BUCKET, Key="source", RenameSource="/dir/renamed", DestinationIfNoneMatch="*")


def listings():
    names = [f"list/{d}/{i:04}" for d in ["a", "a-b", "a0"] for i in range(400)] + ["list/a", "list/z"]
    names.remove("list/a")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: S3.put_object(Bucket=BUCKET, Key=key, Body=b""), names))
    expected = sorted(names)
    for operation in ["list_objects_v2", "list_objects"]:
        found = keys_of(S3.get_paginator(operation).paginate(Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 300}))
        expect(found == expected, f"{operation}: {len(found)} keys")
    versions = [v["Key"] for page in S3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix="list/") for v in page["Versions"]]
    expect(versions == expected, "versions")
    pages = S3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 2})
    prefixes = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
    expect(prefixes == ["list/a-b/", "list/a/", "list/a0/"], prefixes)
    after = S3.list_objects_v2(Bucket=BUCKET, Prefix="list/", StartAfter="list/a/0398", MaxKeys=2)
    expect([e["Key"] for e in after["Contents"]] == ["list/a/0399", "list/a0/0000"], after)
    for i in range(0, len(names), 1000):
        result = S3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in names[i:i + 1000]]})
        expect("Errors" not in result and len(result["Deleted"]) == len(names[i:i + 1000]), "batch delete")
    expect(S3.list_objects_v2(Bucket=BUCKET, Prefix="list/")["KeyCount"] == 0, "everything is gone")


def presigned():
    context = ssl.create_default_context(cafile=CA_FILE) if CA_FILE else None
    put = S3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "pre signed"}, ExpiresIn=60)
    request = urllib.request.Request(put, data=b"by url", method="PUT")
    expect(urllib.request.urlopen(request, context=context).status == 200, "presigned PUT")
    get = S3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "pre signed", "ResponseContentType": "text/x"})
    response = urllib.request.urlopen(get, context=context)
    expect(response.read() == b"by url" and response.headers["Content-Type"] == "text/x", "presigned GET")
    form = S3.generate_presigned_post(BUCKET, "form/${filename}", Fields={"success_action_status": "201"},
                                      Conditions=[{"success_action_status": "201"}, ["content-length-range", 1, 100]], ExpiresIn=60)

    def post(content):
        parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in form["fields"].items()]
        parts.append(f'--x\r\nContent-Disposition: form-data; name="file"; filename="a b"\r\n\r\n{content}\r\n--x--\r\n')
        request = urllib.request.Request(form["url"], data="".join(parts).encode(), headers={"Content-Type": "multipart/form-data; boundary=x"})
        return urllib.request.urlopen(request, context=context)

    expect(post("by form").status == 201, "a form")
    expect(S3.get_object(Bucket=BUCKET, Key="form/a b")["Body"].read() == b"by form", "what a form sent")
    try:
        post("x" * 101)
        raise AssertionError("a form sent more than its policy lets it")
    except urllib.error.HTTPError as error:
        expect(error.code == 400, error.code)
    try:
        urllib.request.urlopen(get.replace("pre%20signed", "source"), context=context)
        raise AssertionError("a URL for one key opened another")
    except urllib.error.HTTPError as error:
        expect(error.code == 403, error.code)


def buckets():
    expect(BUCKET in [b["Name"] for b in S3.list_buckets()["Buckets"]], "the bucket is listed")
    S3.head_bucket(Bucket=BUCKET)
    S3.get_bucket_location(Bucket=BUCKET)
    expect("Status" not in S3.get_bucket_versioning(Bucket=BUCKET), "no versions")
    S3.get_bucket_acl(Bucket=BUCKET)
    expect_error("NoSuchBucketPolicy", S3.get_bucket_policy, Bucket=BUCKET)
    expect_error("AccessDenied", S3.create_bucket, Bucket="another-bucket")


for step in [put_and_get, transfers, multipart_by_hand, conditional_writes, copies, listings, presigned, buckets]:
    step()
    print(step.__name__, "ok", flush=True)
