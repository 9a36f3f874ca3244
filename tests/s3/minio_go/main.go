// minio_go: does with MinIO's Go client what programs do with it, and checks what comes back. Settings as of client.bash.
package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/tags"
)

var (
	ctx    = context.Background()
	bucket = os.Getenv("BUCKET")
	client *minio.Client
	random = rand.New(rand.NewSource(1))
)

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Output(3, err.Error())
		os.Exit(1)
	}
}

func expect(condition bool, what string, about ...any) {
	if !condition {
		log.Output(2, fmt.Sprint(append([]any{what, ": "}, about...)...))
		os.Exit(1)
	}
}

func bodyOf(size int) []byte {
	body := make([]byte, size)
	random.Read(body)
	return body
}

func transport(secure bool) http.RoundTripper {
	made := must(minio.DefaultTransport(secure))
	made.Proxy = nil
	if file := os.Getenv("AWS_CA_BUNDLE"); secure && file != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(must(os.ReadFile(file)))
		made.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return made
}

func get(key string, options minio.GetObjectOptions) []byte {
	object := must(client.GetObject(ctx, bucket, key, options))
	defer object.Close()
	return must(io.ReadAll(object))
}

func keysOf(prefix string, recursive bool) []string {
	keys := []string{}
	for object := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: recursive, MaxKeys: 7}) {
		check(object.Err)
		keys = append(keys, object.Key)
	}
	return keys
}

func code(err error) string { return minio.ToErrorResponse(err).Code }

func buckets() {
	expect(must(client.BucketExists(ctx, bucket)), "the bucket exists")
	expect(!must(client.BucketExists(ctx, "no-such-bucket")), "another one does not")
	found := false
	for _, one := range must(client.ListBuckets(ctx)) {
		found = found || one.Name == bucket
	}
	expect(found, "the bucket is listed")
	must(client.GetBucketLocation(ctx, bucket))
}

func objects() {
	for _, size := range []int{0, 1, 100_000} {
		body := bodyOf(size)
		put := must(client.PutObject(ctx, bucket, "go/object", bytes.NewReader(body), int64(size), minio.PutObjectOptions{
			ContentType: "text/plain", UserMetadata: map[string]string{"Colour": "blue"}, UserTags: map[string]string{"a": "b"}}))
		digest := md5.Sum(body)
		expect(put.ETag == hex.EncodeToString(digest[:]), "the etag", put.ETag)
		expect(bytes.Equal(get("go/object", minio.GetObjectOptions{}), body), "the content", size)
	}
	stat := must(client.StatObject(ctx, bucket, "go/object", minio.StatObjectOptions{}))
	expect(stat.Size == 100_000 && stat.ContentType == "text/plain" && stat.UserMetadata["Colour"] == "blue", "what was said of it", stat)
	found := must(client.GetObjectTagging(ctx, bucket, "go/object", minio.GetObjectTaggingOptions{})).ToMap()
	expect(found["a"] == "b", "tags", found)
	check(client.PutObjectTagging(ctx, bucket, "go/object", must(tags.NewTags(map[string]string{"c": "d"}, true)), minio.PutObjectTaggingOptions{}))
	check(client.RemoveObjectTagging(ctx, bucket, "go/object", minio.RemoveObjectTaggingOptions{}))
	options := minio.GetObjectOptions{}
	check(options.SetRange(10, 19))
	expect(len(get("go/object", options)) == 10, "a range")
	_, err := client.StatObject(ctx, bucket, "go/missing", minio.StatObjectOptions{})
	expect(code(err) == "NoSuchKey", "what is missing", err)
}

func parts() {
	body := bodyOf(37 << 20)
	// In parts of a known and of an unknown size, with a checksum of the whole.
	for _, size := range []int64{int64(len(body)), -1} {
		put := must(client.PutObject(ctx, bucket, "go/large", bytes.NewReader(body), size, minio.PutObjectOptions{PartSize: 16 << 20, NumThreads: 4}))
		expect(strings.HasSuffix(put.ETag, "-3"), "an etag of three parts", put.ETag)
		expect(bytes.Equal(get("go/large", minio.GetObjectOptions{Checksum: true}), body), "the parts", size)
	}
	object := must(client.GetObject(ctx, bucket, "go/large", minio.GetObjectOptions{}))
	must(object.Seek(20<<20, io.SeekStart))
	piece := make([]byte, 100)
	must(io.ReadFull(object, piece))
	expect(bytes.Equal(piece, body[20<<20:20<<20+100]), "what is read behind a seek")
	object.Close()
	core := minio.Core{Client: client}
	upload := must(core.NewMultipartUpload(ctx, bucket, "go/left", minio.PutObjectOptions{}))
	must(core.PutObjectPart(ctx, bucket, "go/left", upload, 1, bytes.NewReader(body[:5<<20]), 5<<20, minio.PutObjectPartOptions{}))
	waiting := 0
	for one := range client.ListIncompleteUploads(ctx, bucket, "go/left", true) {
		check(one.Err)
		waiting++
	}
	expect(waiting == 1, "an incomplete upload", waiting)
	check(client.RemoveIncompleteUpload(ctx, bucket, "go/left"))
}

func copies() {
	source := minio.CopySrcOptions{Bucket: bucket, Object: "go/large"}
	must(client.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "go/copy"}, source))
	must(client.ComposeObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "go/composed"}, source, minio.CopySrcOptions{Bucket: bucket, Object: "go/copy"}))
	body := get("go/large", minio.GetObjectOptions{})
	expect(bytes.Equal(get("go/copy", minio.GetObjectOptions{}), body), "the copy")
	expect(bytes.Equal(get("go/composed", minio.GetObjectOptions{}), append(append([]byte{}, body...), body...)), "what was composed")
	must(client.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "go/copy", ReplaceMetadata: true, UserMetadata: map[string]string{"k": "v"}},
		minio.CopySrcOptions{Bucket: bucket, Object: "go/copy"}))
	expect(must(client.StatObject(ctx, bucket, "go/copy", minio.StatObjectOptions{})).UserMetadata["K"] == "v", "new metadata")
}

func conditions() {
	options := minio.PutObjectOptions{}
	options.SetMatchETagExcept("*")
	_, err := client.PutObject(ctx, bucket, "go/object", strings.NewReader("x"), 1, options)
	expect(code(err) == "PreconditionFailed", "a creation of what is there", err)
	options = minio.PutObjectOptions{}
	options.SetMatchETag(must(client.StatObject(ctx, bucket, "go/object", minio.StatObjectOptions{})).ETag)
	must(client.PutObject(ctx, bucket, "go/object", strings.NewReader("x"), 1, options))
}

func presigned() {
	web := &http.Client{Transport: transport(client.EndpointURL().Scheme == "https")}
	put := must(client.PresignedPutObject(ctx, bucket, "go/signed", time.Minute))
	request := must(http.NewRequest(http.MethodPut, put.String(), strings.NewReader("by url")))
	answer := must(web.Do(request))
	expect(answer.StatusCode == 200, "a signed PUT", answer.Status)
	answer = must(web.Get(must(client.PresignedGetObject(ctx, bucket, "go/signed", time.Minute, url.Values{})).String()))
	expect(string(must(io.ReadAll(answer.Body))) == "by url", "a signed GET")
}

func listings() {
	want := []string{}
	for i := range 40 {
		key := fmt.Sprintf("go/list/%c/%02d", 'a'+i%3, i)
		must(client.PutObject(ctx, bucket, key, strings.NewReader(key), int64(len(key)), minio.PutObjectOptions{}))
		want = append(want, key)
	}
	sort.Strings(want)
	expect(fmt.Sprint(keysOf("go/list/", true)) == fmt.Sprint(want), "all keys")
	expect(fmt.Sprint(keysOf("go/list/", false)) == "[go/list/a/ go/list/b/ go/list/c/]", "folders", keysOf("go/list/", false))
	all := make(chan minio.ObjectInfo)
	go func() {
		defer close(all)
		for object := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: "go/", Recursive: true}) {
			all <- object
		}
	}()
	for failed := range client.RemoveObjects(ctx, bucket, all, minio.RemoveObjectsOptions{}) {
		check(failed.Err)
	}
	expect(len(keysOf("go/", true)) == 0, "nothing is left")
}

func main() {
	log.SetFlags(log.Lshortfile)
	endpoint := must(url.Parse(os.Getenv("AWS_ENDPOINT_URL")))
	secure := endpoint.Scheme == "https"
	client = must(minio.New(endpoint.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
		Secure: secure, Transport: transport(secure), Region: os.Getenv("AWS_DEFAULT_REGION"), BucketLookup: minio.BucketLookupPath}))
	for _, step := range []func(){buckets, objects, parts, copies, conditions, presigned, listings} {
		step()
	}
}
