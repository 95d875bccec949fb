// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// maxS3Answer bounds what is read of an answer that is not an object, in bytes.
const maxS3Answer = 1 << 20

// bucket is one of S3, as far as exported images need it. The SDK's client of S3 would
// cost several megabytes for four operations.
type bucket struct {
	*Client
	name string
}

// url is that of an object, or of the bucket itself. A bucket is a part of the host
// name, unless a dot in its name would keep certificates from fitting, or somebody has
// put an address of their own in place of Amazon's.
func (b bucket) url(key string) string {
	// What S3 signs has everything escaped that RFC 3986 does not leave alone, which is
	// more than a path needs.
	path := "/" + strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(key))
	base := os.Getenv("AWS_ENDPOINT_URL_S3")
	if c := b.by.cfg.BaseEndpoint; base == "" && c != nil {
		base = *c
	}
	if base != "" {
		return strings.TrimSuffix(base, "/") + "/" + b.name + path
	}
	host := "s3." + b.Region + ".amazonaws.com"
	if strings.HasPrefix(b.Region, "cn-") {
		host += ".cn"
	}
	if strings.Contains(b.name, ".") {
		return "https://" + host + "/" + b.name + path
	}
	return "https://" + b.name + "." + host + path
}

// s3Request is one request to S3.
type s3Request struct {
	op, action    string // for errors: what it is called, and the permission that it needs
	method, query string
	key           string
	header        map[string]string
}

// do makes a request once. An answer that is no success is an error like those of the
// SDK.
func (b bucket) do(ctx context.Context, r s3Request) (*http.Response, error) {
	address := b.url(r.key)
	if r.query != "" {
		address += "?" + r.query
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, nil)
	if err != nil {
		return nil, err
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if a := b.by.options.UserAgent; a != "" {
		req.Header.Set("User-Agent", a)
	}
	keys, err := b.by.keys.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if b.by.clockOff() != "" {
		now = now.Add(time.Duration(b.by.skew.Load()))
	}
	none := sha256.Sum256(nil)
	hash := hex.EncodeToString(none[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	// S3 alone signs a path as it is sent.
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(ctx, keys, req, hash, "s3", b.Region, now); err != nil {
		return nil, err
	}
	resp, err := b.connections(exportConnections).Do(req)
	if err != nil || resp.StatusCode < 300 {
		return resp, err
	}
	defer resp.Body.Close()
	var problem struct{ Code, Message string }
	if data, err := io.ReadAll(io.LimitReader(resp.Body, maxS3Answer)); err == nil {
		_ = xml.Unmarshal(data, &problem) // answers to HEAD have no body
	}
	if problem.Code == "" {
		problem.Code = map[int]string{http.StatusForbidden: "AccessDenied", http.StatusNotFound: "NoSuchKey", http.StatusMovedPermanently: "PermanentRedirect"}[resp.StatusCode]
	}
	if problem.Code == "AccessDenied" {
		problem.Message = strings.TrimSuffix(cmp.Or(problem.Message, "Access Denied"), ".") + ": the user needs the permission " + r.action
	}
	return nil, &awshttp.ResponseError{
		RequestID: resp.Header.Get("X-Amz-Request-Id"),
		ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: resp},
			Err:      &smithy.GenericAPIError{Code: problem.Code, Message: problem.Message},
		},
	}
}

// ask makes a request until it is answered, and hands over the answer.
func (b bucket) ask(ctx context.Context, r s3Request, take func(*http.Response) error) error {
	return b.repeat(ctx, r.op, strings.TrimSuffix(b.name+"/"+r.key, "/"), func(ctx context.Context) error {
		resp, err := b.do(ctx, r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return take(resp)
	})
}

// region is where the bucket is.
func (b bucket) region(ctx context.Context) (string, error) {
	var where struct {
		Region string `xml:",chardata"`
	}
	err := b.ask(ctx, s3Request{op: "find bucket", action: "s3:GetBucketLocation", method: http.MethodGet, query: "location="}, func(resp *http.Response) error {
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxS3Answer))
		if err == nil && xml.Unmarshal(data, &where) != nil {
			err = errNoAnswer
		}
		return err
	})
	switch where.Region {
	case "":
		where.Region = "us-east-1"
	case "EU": // what eu-west-1 was called
		where.Region = "eu-west-1"
	}
	return where.Region, err
}

// object is a file in a bucket; it implements io.ReaderAt. An object that is replaced
// meanwhile is an error.
type object struct {
	bucket
	key  string
	size int64
	etag string
	ctx  context.Context //nolint:containedctx // io.ReaderAt has no other way
}

// open finds an object. ctx limits all reading.
func (b bucket) open(ctx context.Context, key string) (*object, error) {
	o := &object{bucket: b, key: key, ctx: ctx}
	err := b.ask(ctx, s3Request{op: "find object", action: "s3:GetObject", method: http.MethodHead, key: key}, func(resp *http.Response) error {
		o.size, o.etag = resp.ContentLength, resp.Header.Get("Etag")
		if o.size < 0 || o.etag == "" {
			return errNoAnswer
		}
		return nil
	})
	return o, err
}

// ReadAt implements io.ReaderAt.
func (o *object) ReadAt(p []byte, at int64) (n int, err error) {
	end := min(at+int64(len(p)), o.size)
	if at < 0 || at >= end {
		return 0, io.EOF
	}
	want := p[:end-at]
	err = o.ask(o.ctx, s3Request{
		op: "read object", action: "s3:GetObject", method: http.MethodGet, key: o.key,
		header: map[string]string{"Range": "bytes=" + strconv.FormatInt(at, 10) + "-" + strconv.FormatInt(end-1, 10), "If-Match": o.etag},
	}, func(resp *http.Response) error {
		said := fmt.Sprintf("bytes %d-%d/%d", at, end-1, o.size)
		if resp.StatusCode != http.StatusPartialContent || resp.Header.Get("Content-Range") != said {
			return errNoAnswer
		}
		_, err := io.ReadFull(resp.Body, want)
		return err
	})
	switch {
	case code(err, "PreconditionFailed", "NoSuchKey"):
		return 0, fmt.Errorf("the object was replaced or deleted while it was being read: %w", err)
	case err != nil:
		return 0, err
	case len(want) < len(p):
		return len(want), io.EOF
	}
	return len(want), nil
}

// remove deletes an object. None is no error.
func (b bucket) remove(ctx context.Context, key string) error {
	return b.ask(ctx, s3Request{op: "delete object", action: "s3:DeleteObject", method: http.MethodDelete, key: key}, func(*http.Response) error { return nil })
}
