// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"crypto/md5" //nolint:gosec // S3's own tag of an object
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// s3Bucket is a bucket of S3. Names are unique among all accounts.
type s3Bucket struct {
	home
	name    string
	created time.Time
	objects map[string]*s3Object
}

// s3Object is an object whose bytes are in a file.
type s3Object struct {
	path string
	size int64
	etag string
	made time.Time
}

// arn is that of an object, or of the bucket.
func (b *s3Bucket) arn(key string) string { return s3ARN(b.name, key) }

func s3ARN(bucket, key string) string {
	if key == "" {
		return "arn:aws:s3:::" + bucket
	}
	return "arn:aws:s3:::" + bucket + "/" + key
}

// objectStore is S3, as much of it as an exported image needs.
func (c *Cloud) objectStore() *api {
	op := func(name, action string, run func(*call, *s3Bucket) (*reply, error)) *operation {
		return &operation{name: name, run: func(q *call) (*reply, error) { return c.s3Run(q, action, run) }}
	}
	return &api{
		name: "s3", prefix: "s3", identify: s3Identify, failure: s3Failure, problems: s3Problems,
		ops: operations(
			op("CreateBucket", "s3:CreateBucket", c.createBucket),
			op("DeleteBucket", "s3:DeleteBucket", c.deleteBucket),
			op("HeadBucket", "s3:ListBucket", c.headBucket),
			op("GetBucketLocation", "s3:GetBucketLocation", c.getBucketLocation),
			op("ListObjectsV2", "s3:ListBucket", c.listObjects),
			op("GetObject", "s3:GetObject", c.getObject),
			op("HeadObject", "s3:GetObject", c.getObject),
			op("DeleteObject", "s3:DeleteObject", c.deleteObject),
		),
	}
}

// s3Identify tells an operation by the method, and whether there is a key.
func s3Identify(q *call) error {
	bucket, key := q.bucket, strings.TrimPrefix(q.URL.Path, "/")
	if bucket == "" {
		bucket, key, _ = strings.Cut(key, "/")
	}
	if bucket == "" {
		return errNotSimulated("lists of buckets")
	}
	q.vars = map[string]string{"bucket": bucket, "key": key}
	query := q.URL.Query()
	var name string
	var known []string
	switch {
	case key != "":
		name = map[string]string{http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodDelete: "DeleteObject"}[q.Method]
	case query.Has("location") && q.Method == http.MethodGet:
		name, known = "GetBucketLocation", []string{"location"}
	case query.Get("list-type") == "2" && q.Method == http.MethodGet:
		name, known = "ListObjectsV2", []string{"list-type", "prefix", "encoding-type", "max-keys"}
	default:
		name = map[string]string{http.MethodPut: "CreateBucket", http.MethodHead: "HeadBucket", http.MethodDelete: "DeleteBucket"}[q.Method]
	}
	for param := range query {
		if !slices.Contains(known, param) && param != "x-id" { // which newer SDKs add, and S3 ignores
			return errNotSimulated("requests to S3 with the parameter " + param)
		}
	}
	if q.op = q.api.ops[name]; q.op == nil {
		return fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	}
	return nil
}

// s3Failure writes an error as S3 does, without a body for HEAD.
func s3Failure(q *call, e *apiError) *reply {
	if q.Method == http.MethodHead {
		return &reply{contentType: "application/xml"}
	}
	body := xml.Header + "<Error>" + string(members(struct{ Code, Message, RequestId string }{e.code, e.message, q.requestID})) + "</Error>" //nolint:revive // S3's spelling
	return &reply{contentType: "application/xml", body: []byte(body)}
}

// s3Problems are the words of S3.
func s3Problems(p problem, args ...any) *apiError {
	switch p {
	case unsigned, notAllowed:
		return fail(http.StatusForbidden, "AccessDenied", "Access Denied")
	case malformed:
		return refuse("AuthorizationHeaderMalformed", "%v", fmt.Sprint(args...))
	case unknownKey:
		return fail(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
	case wrongSecret:
		return fail(http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.")
	case wrongScope:
		return refuse("AuthorizationHeaderMalformed", "The authorization header is malformed; the region is wrong")
	case outdated:
		return fail(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
	case expired:
		return refuse("ExpiredToken", "The provided token has expired.")
	case throttled:
		return fail(http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
	}
	return ec2Problems(p, args...)
}

// s3Run finds the bucket and asks IAM.
func (c *Cloud) s3Run(q *call, action string, run func(*call, *s3Bucket) (*reply, error)) (*reply, error) {
	q.asked = true
	name, key := q.vars["bucket"], q.vars["key"]
	b := c.buckets[name]
	if b != nil && b.account != q.who.Account { // no bucket here is shared
		return nil, s3Problems(notAllowed)
	}
	if err := c.allows(q, Access{q.who, action, []AccessResource{{ARN: s3ARN(name, key)}}, q.accessContext()}); err != nil {
		return nil, err
	}
	if b == nil && q.op.name != "CreateBucket" {
		return nil, fail(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	}
	if b != nil && b.region != q.region && q.op.name != "GetBucketLocation" && q.op.name != "CreateBucket" {
		return nil, fail(http.StatusMovedPermanently, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.")
	}
	return run(q, b)
}

var bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (c *Cloud) createBucket(q *call, b *s3Bucket) (*reply, error) {
	var in struct {
		Region string `xml:"LocationConstraint"`
	}
	if len(q.body) > 0 && xml.Unmarshal(q.body, &in) != nil {
		return nil, refuse("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	switch wanted := orText(in.Region, defaultRegion); {
	case b != nil:
		return nil, fail(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	case !bucketForm.MatchString(q.vars["bucket"]):
		return nil, refuse("InvalidBucketName", "The specified bucket is not valid.")
	case in.Region == defaultRegion:
		return nil, refuse("InvalidLocationConstraint", "The specified location-constraint is not valid")
	case wanted != q.region.name:
		return nil, refuse("IllegalLocationConstraintException", "The %s location constraint is incompatible for the region specific endpoint this request was sent to.", orText(in.Region, "unspecified"))
	}
	c.addBucket(q.home(), q.vars["bucket"])
	return &reply{header: http.Header{"Location": {"/" + q.vars["bucket"]}}}, nil
}

func (c *Cloud) addBucket(at home, name string) {
	c.buckets[name] = &s3Bucket{home: at, name: name, created: time.Now(), objects: map[string]*s3Object{}}
}

// AddBucket makes a bucket.
func (c *Cloud) AddBucket(a *Account, region, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.lookUpRegion(region)
	if err != nil {
		return err
	}
	if c.buckets[name] != nil || !bucketForm.MatchString(name) {
		return fmt.Errorf("there is a bucket %q, or there cannot be one", name)
	}
	c.addBucket(home{a, r}, name)
	return nil
}

func (c *Cloud) deleteBucket(_ *call, b *s3Bucket) (*reply, error) {
	if len(b.objects) > 0 {
		return nil, fail(http.StatusConflict, "BucketNotEmpty", "The bucket you tried to delete is not empty")
	}
	delete(c.buckets, b.name)
	return &reply{status: http.StatusNoContent}, nil
}

func (*Cloud) headBucket(_ *call, b *s3Bucket) (*reply, error) {
	return &reply{header: http.Header{"X-Amz-Bucket-Region": {b.region.name}}}, nil
}

func (*Cloud) getBucketLocation(_ *call, b *s3Bucket) (*reply, error) {
	where := b.region.name
	if where == defaultRegion {
		where = ""
	}
	return &reply{contentType: "application/xml", body: []byte(xml.Header + `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` + where + `</LocationConstraint>`)}, nil
}

func (*Cloud) listObjects(q *call, b *s3Bucket) (*reply, error) {
	type row struct {
		Key          string
		LastModified string
		ETag         string
		Size         int64
		StorageClass string
	}
	var out struct {
		XMLName     xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
		Name        string
		Prefix      string
		KeyCount    int
		MaxKeys     int
		IsTruncated bool
		Contents    []row
	}
	out.Name, out.Prefix, out.MaxKeys = b.name, q.URL.Query().Get("prefix"), 1000
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if o := b.objects[key]; strings.HasPrefix(key, out.Prefix) {
			out.Contents = append(out.Contents, row{key, stamp(o.made), o.etag, o.size, "STANDARD"})
		}
	}
	if out.KeyCount = len(out.Contents); out.KeyCount > out.MaxKeys {
		return nil, errNotSimulated("pages of objects")
	}
	body, err := xml.Marshal(out)
	return &reply{contentType: "application/xml", body: body}, err
}

// putFile makes an object of a file.
func (c *Cloud) putFile(b *s3Bucket, key, path string) error {
	f, err := os.Open(path) //nolint:gosec // the cloud's own file
	if err != nil {
		return err
	}
	defer f.Close()
	sum := md5.New() //nolint:gosec // S3's own tag of an object
	n, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if old := b.objects[key]; old != nil && old.path != path {
		_ = os.Remove(old.path)
	}
	b.objects[key] = &s3Object{path: path, size: n, etag: `"` + hex.EncodeToString(sum.Sum(nil)) + `"`, made: time.Now()}
	return nil
}

// getObject sends an object, or a range of it; of a HEAD, what there is to know of it.
func (c *Cloud) getObject(q *call, b *s3Bucket) (*reply, error) {
	o := b.objects[q.vars["key"]]
	if o == nil {
		// Who may not list the bucket does not learn what is in it.
		if c.allows(q, Access{q.who, "s3:ListBucket", []AccessResource{{ARN: b.arn("")}}, q.accessContext()}) != nil {
			return nil, s3Problems(notAllowed)
		}
		return nil, fail(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	}
	if want := q.Header.Get("If-Match"); want != "" && want != o.etag && want != "*" {
		return nil, fail(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	}
	header := http.Header{
		"Etag": {o.etag}, "Accept-Ranges": {"bytes"}, "Last-Modified": {o.made.UTC().Format(http.TimeFormat)}, "X-Amz-Server-Side-Encryption": {"AES256"},
	}
	out := &reply{header: header, contentType: "binary/octet-stream"}
	from, to, ranged, err := byteRange(q.Header.Get("Range"), o.size)
	if err != nil {
		return nil, err
	}
	if ranged {
		out.status = http.StatusPartialContent
		header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, o.size))
	}
	if q.Method == http.MethodHead {
		out.length = to - from
		return out, nil
	}
	f, err := os.Open(o.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out.body = make([]byte, to-from)
	if _, err := f.ReadAt(out.body, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if c.faults.hit(q.target(), FaultCutBody) != nil {
		out.cut = max(1, len(out.body)/2)
	}
	return out, nil
}

// byteRange reads "bytes=0-99", "bytes=100-" and "bytes=-10".
func byteRange(text string, size int64) (from, to int64, ranged bool, err error) {
	spec, is := strings.CutPrefix(text, "bytes=")
	first, last, ok := strings.Cut(spec, "-")
	if !is || !ok || strings.Contains(spec, ",") {
		return 0, size, false, nil // S3 sends all of it then
	}
	a, aerr := strconv.ParseInt(first, 10, 64)
	b, berr := strconv.ParseInt(last, 10, 64)
	switch {
	case first == "" && berr == nil && b > 0:
		from, to = max(0, size-b), size
	case aerr == nil && last == "":
		from, to = a, size
	case aerr == nil && berr == nil && b >= a:
		from, to = a, min(size, b+1)
	default:
		return 0, size, false, nil
	}
	if from >= size {
		return 0, 0, false, fail(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable")
	}
	return from, to, true, nil
}

func (c *Cloud) deleteObject(q *call, b *s3Bucket) (*reply, error) {
	if o := b.objects[q.vars["key"]]; o != nil {
		_ = os.Remove(o.path)
		delete(b.objects, q.vars["key"])
	}
	return &reply{status: http.StatusNoContent}, nil
}

// storedObjects are what is in the buckets of an account in a region.
func (c *Cloud) storedObjects(at home) (list []Resource) {
	for _, name := range slices.Sorted(maps.Keys(c.buckets)) {
		b := c.buckets[name]
		if b.home != at {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(b.objects)) {
			list = append(list, Resource{Kind: "object", ID: name + "/" + key, Tags: map[string]string{}})
		}
	}
	return list
}
