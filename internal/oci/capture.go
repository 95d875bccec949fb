// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Method is how the disk of a machine becomes what can be started elsewhere.
type Method string

// The methods.
const (
	// CustomImage asks the cloud for an image.
	CustomImage Method = "custom-image"
	// CaptureDisk makes an object of the disk, from within the machine.
	CaptureDisk Method = "capture"
	// AutoMethod captures where the tenancy may have no image.
	AutoMethod Method = "auto"
)

// CaptureConfig says whether the disk is captured, and into which bucket.
type CaptureConfig struct {
	Method    Method
	Bucket    string
	Namespace string // empty: the tenancy's own
	// NoEffect says of options that are for images that they have no effect where there is
	// none; empty if there are no such options.
	NoEffect string
}

// Captures says, once Plan has looked, whether the disk is captured.
func (b *Build) Captures() bool { return b.captures }

// CaptureBucket is the bucket for captured disks, in the build's region.
func (b *Build) CaptureBucket() *Bucket { return b.bucket }

// BeginCapture begins the object of a captured disk; see [Bucket.Capture]. It is needed
// for as long as what else the build makes now.
func (b *Build) BeginCapture(ctx context.Context, object string, direct bool, life time.Duration, secret func(string)) (*Captured, error) {
	return b.bucket.Capture(ctx, b.current(), object, direct, life, secret)
}

// System is the operating system of the base image, as the cloud calls it.
func (b *Build) System() (name, version string) { return b.os, b.osVersion }

// checkImaging sees whether the image can be made, or the disk be captured.
func (s *survey) checkImaging(ctx context.Context) {
	b := s.b
	b.captures = b.cfg.Image.Capture.Method == CaptureDisk
	if b.cfg.Image.Capture.Method == AutoMethod {
		left, known := b.imagesLeft(ctx)
		switch {
		case known && left <= 0:
			b.captures = true
			s.note("The tenancy may not have another custom image in %s (%d left), so the disk is captured into the bucket %q (image_method = \"auto\"): whoever imports it needs room for an image", b.Region, left, b.cfg.Image.Capture.Bucket)
		case !known:
			s.note("Whether the tenancy may have another custom image in %s is not known, so one is asked for; image_method = \"capture\" would do without", b.Region)
		}
	}
	if !b.captures {
		s.checkImageLimit(ctx)
		return
	}
	if b.cfg.Image.Capture.NoEffect != "" {
		s.note("No image is made in %s, so %s", b.Region, b.cfg.Image.Capture.NoEffect)
	}
	b.bucket = &Bucket{Client: b.Client, Namespace: b.cfg.Image.Capture.Namespace, Bucket: b.cfg.Image.Capture.Bucket}
	if err := b.bucket.Check(ctx); err != nil {
		s.problem(fmt.Errorf("capture_bucket: %w", err))
	}
}

// CheckCapture is Check for a build that takes place elsewhere and captures into the
// bucket, which an option names. An error is a [cloud.Refused], and a [cloud.Outage] if
// OCI may answer better later.
func (b *Bucket) CheckCapture(ctx context.Context, option string) error {
	err := b.Check(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	refused := cloud.Refuse(fmt.Errorf("%s: %w", option, b.notLetIn(ctx, err)))
	if passing(err) {
		return &cloud.Outage{Err: refused}
	}
	return refused
}

// capturePrefix begins the names of objects that are captured disks.
const capturePrefix = "armfree-capture-"

// notInName is what is left out of an image's name where it becomes part of an object's.
var notInName = regexp.MustCompile(`[^A-Za-z0-9._]+`)

// CaptureName names the object of a captured disk after its image and its build, by
// which a sweep knows it.
func CaptureName(image string, o owner.Build) string {
	slug := strings.Trim(notInName.ReplaceAllString(image, "_"), "_")
	return capturePrefix + cmp.Or(slug[:min(len(slug), 100)], "disk") + "-" + o.ID + ociSuffix
}

// Captured is the object that a captured disk becomes, in a bucket. It belongs to a
// build until Commit; a note beside it, which expires, says so.
type Captured struct {
	*Upload
	owner  owner.Build
	object string
	url    string // where the machine uploads parts to
}

// Object is its name.
func (c *Captured) Object() string { return c.object }

// Capture begins the object of a captured disk. With direct the machine gets a link to
// upload parts by itself for so long. What else it can do with that ends in an error of
// Commit: see [Bucket.beginByLink]. However it ends, also with an error, Commit or Discard
// must be called.
func (b *Bucket) Capture(ctx context.Context, o owner.Build, object string, direct bool, life time.Duration, secret func(string)) (_ *Captured, err error) {
	// The bucket may have to be tidied up also if nothing came of the upload, and of the
	// note.
	c := &Captured{owner: o, object: object, Upload: &Upload{bucket: b, object: object}}
	if err := b.Note(ctx, cloud.Note{Name: o.Name(owner.RoleCopy), Object: object}); err != nil {
		return c, fmt.Errorf("the bucket %q cannot be written to: %w", b.Bucket, err)
	}
	if !direct {
		if c.Upload, err = b.Upload(ctx, object); err != nil {
			c.Upload = &Upload{bucket: b, object: object}
		}
		return c, err
	}
	link, err := b.Share(ctx, object, o.Name(owner.RoleExport), cloud.Write, time.Now().Add(life))
	if err != nil {
		return c, err
	}
	secret(link.URL)
	id, uri, err := b.beginByLink(ctx, link)
	if err != nil {
		return c, err
	}
	host := link.URL[:strings.Index(link.URL, "/p/")]
	c.url = host + uri
	secret(c.url)
	c.Upload = &Upload{bucket: b, object: object, id: id, there: map[int]part{}, sent: map[int]part{}}
	return c, nil
}

// beginByLink begins a multipart upload by a link. The reply has a URL of the upload's own,
// by which its parts are put. Whoever has it can also commit that upload and remove it,
// Oracle documents; it names no other object. Commit does not trust the object that is
// there then: its own upload is gone, or the parts are others, and it says so. The link,
// and the URL with it, is closed before what there is gets removed.
func (b *Bucket) beginByLink(ctx context.Context, link cloud.Link) (id, uri string, err error) {
	const op = "begin upload by link"
	err = repeat(ctx, op, "", func(ctx context.Context) error {
		g, cancel := wait.Grace(ctx, requestGrace)
		defer cancel()
		req, err := http.NewRequestWithContext(g, http.MethodPut, link.URL, http.NoBody)
		if err != nil {
			return errors.New("the link is not a URL") // which is a secret
		}
		req.Header.Set("opc-multipart", "true")
		resp, err := b.plain.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			var e struct{ Code, Message string }
			_ = json.Unmarshal(body, &e)
			return &Error{Op: op, Status: resp.StatusCode, Code: e.Code, Message: cmp.Or(e.Message, http.StatusText(resp.StatusCode)), RequestID: requestID(op, "", resp.Header.Get("opc-request-id"))}
		}
		var made struct{ UploadID, AccessURI string }
		if err := json.Unmarshal(body, &made); err != nil || made.UploadID == "" || !strings.HasPrefix(made.AccessURI, "/p/") {
			return errNoAnswer
		}
		id, uri = made.UploadID, made.AccessURI
		return nil
	})
	return id, uri, err
}

// Direct implements capture.Object: where parts may be uploaded, and the certificates
// that OCI's SDK is told to trust.
func (c *Captured) Direct() (url, ca string) {
	if c.url == "" {
		return "", ""
	}
	if path := os.Getenv("OCI_DEFAULT_CERTS_PATH"); path != "" {
		if pem, err := os.ReadFile(path); err == nil { //nolint:gosec // the user's own setting
			ca = string(pem)
		}
	}
	return c.url, ca
}

// Arrived implements capture.Object.
func (c *Captured) Arrived(number int, size int64, etag, md5 string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.there[number] = part{etag, md5, size}
	c.sent[number] = c.there[number]
}

// Commit makes the object, and is sure of its content. It returns the checksum by which
// Object Storage knows it, opc-multipart-md5, and its size in bytes. From then on it
// belongs to the user.
func (c *Captured) Commit(ctx context.Context) (checksum string, size int64, err error) {
	err = c.Upload.Commit(ctx)
	if c.url != "" && code(err, "NoSuchUpload", "IfNoneMatchFailed", "InvalidUploadPart") {
		err = fmt.Errorf("the upload was committed, changed or removed by somebody who has its URL, which only the machine was given; see what runs on it: %w", err)
	}
	if err != nil {
		return "", 0, err
	}
	c.mu.Lock()
	for _, p := range c.sent {
		size += p.size
	}
	checksum, err = c.sum()
	c.mu.Unlock()
	if err != nil {
		return "", 0, err
	}
	if err := c.bucket.Unshare(ctx, c.owner.ID, owner.RoleExport); err != nil {
		return "", 0, fmt.Errorf("the pre-authenticated request %s is left: %w", c.owner.Name(owner.RoleExport), err)
	}
	// A lost reply may have left an upload that nobody knew of.
	if err := c.bucket.Abort(ctx, c.object, nil); err != nil {
		return "", 0, fmt.Errorf("an upload of the object %s is left: %w", c.object, err)
	}
	return checksum, size, c.bucket.Forget(ctx, c.owner.Name(owner.RoleCopy))
}

// Discard removes whatever there is of the object. ctx is one for cleaning up.
func (c *Captured) Discard(ctx context.Context) error {
	var errs []error
	if err := c.bucket.Unshare(ctx, c.owner.ID, owner.RoleExport); err != nil {
		errs = append(errs, fmt.Errorf("the pre-authenticated request %s is left: %w", c.owner.Name(owner.RoleExport), err))
	}
	if err := c.bucket.Remove(ctx, c.object); err != nil {
		errs = append(errs, fmt.Errorf("the object %s, or parts of it, are left: %w", c.object, err))
	}
	if len(errs) == 0 {
		errs = append(errs, c.bucket.Forget(ctx, c.owner.Name(owner.RoleCopy)))
	}
	return errors.Join(errs...)
}

// Content tells the content of an object from any other: opc-multipart-md5, which is empty
// if it was not uploaded in parts, and the ETag, which is another one whenever it is
// written. Both are empty if there is none.
func (b *Bucket) Content(ctx context.Context, object string) (checksum, etag string, err error) {
	i, _, err := b.head(ctx, object)
	return i.joined, i.etag, err
}

// CapturedImage is the image's name in the name of an object that is a captured disk.
func CapturedImage(object string) string {
	name, _ := strings.CutPrefix(strings.TrimSuffix(object, ociSuffix), capturePrefix)
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		name = name[:i]
	}
	return name
}
