// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/sim/disks"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// importSource is where an import comes from and what it is.
type importSource struct {
	uri  string     // a pre-authenticated request's URL
	ref  *objectRef // or an object of the caller's own
	kind string     // sourceImageType: QCOW2, VMDK, or "" for an .oci archive
	os   string     // overrides what the archive says
	osv  string
}

// objectURI and objectTuple are the two forms of imageSourceDetails.
type objectURI struct {
	SourceType             string  `json:"sourceType"`
	SourceURI              string  `json:"sourceUri" oci:"required"`
	OperatingSystem        *string `json:"operatingSystem"`
	OperatingSystemVersion *string `json:"operatingSystemVersion"`
	SourceImageType        *string `json:"sourceImageType"`
}

type objectTuple struct {
	SourceType             string  `json:"sourceType"`
	BucketName             string  `json:"bucketName" oci:"required"`
	NamespaceName          string  `json:"namespaceName" oci:"required"`
	ObjectName             string  `json:"objectName" oci:"required"`
	OperatingSystem        *string `json:"operatingSystem"`
	OperatingSystemVersion *string `json:"operatingSystemVersion"`
	SourceImageType        *string `json:"sourceImageType"`
}

func (c *Cloud) parseImportSource(q *call, raw []byte) (importSource, error) {
	var byURI objectURI
	var byTuple objectTuple
	kind, err := decodeUnion(raw, "sourceType", map[string]any{"objectStorageUri": &byURI, "objectStorageTuple": &byTuple})
	if err != nil {
		return importSource{}, err
	}
	var s importSource
	if kind == "objectStorageUri" {
		s = importSource{uri: byURI.SourceURI, kind: orElse(byURI.SourceImageType, ""),
			os: orElse(byURI.OperatingSystem, ""), osv: orElse(byURI.OperatingSystemVersion, "")}
		if err := checkObjectURL(s.uri); err != nil {
			return importSource{}, errInvalid("Invalid sourceUri: %v", err)
		}
	} else {
		s = importSource{kind: orElse(byTuple.SourceImageType, ""),
			os: orElse(byTuple.OperatingSystem, ""), osv: orElse(byTuple.OperatingSystemVersion, "")}
		ref, err := c.tupleRef(q, byTuple.NamespaceName, byTuple.BucketName, byTuple.ObjectName)
		if err != nil {
			return importSource{}, err
		}
		object, err := c.objects.openObject(ref)
		if err != nil {
			return importSource{}, errNoSuchSource()
		}
		_ = object.Close() // only whether it can be opened was in question
		s.ref = &ref
	}
	switch s.kind {
	case "", "QCOW2", "VMDK":
		return s, nil
	default:
		return importSource{}, errInvalid("Unknown sourceImageType %s", s.kind)
	}
}

// errNoSuchSource is worded as in oci-cli issue 384.
func errNoSuchSource() *apiError {
	return errInvalid("Invalid objectName: Specified object or bucket or namespace to import image from does not exist")
}

// tupleRef resolves a bucket and object named in a Compute request. Compute
// passes the caller's rights on to Object Storage only for API keys: everybody
// else is told that there is no such object and must use a pre-authenticated
// request.
func (c *Cloud) tupleRef(q *call, namespace, bucket, object string) (objectRef, error) {
	if q.who.session || namespace != q.tenancy().Namespace {
		return objectRef{}, errNoSuchSource()
	}
	return objectRef{bucketRef{q.region().name, namespace, bucket}, object}, nil
}

// checkObjectURL admits URLs of Object Storage only, as Oracle does.
func checkObjectURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.User != nil {
		return errors.New("not an https URL")
	}
	svc, _, _, err := parseHost(u.Host)
	if err != nil || svc != objectStorage || u.Port() != "" {
		return errors.New("not an Object Storage URL")
	}
	if !strings.HasPrefix(u.EscapedPath(), "/p/") && !strings.HasPrefix(u.EscapedPath(), "/n/") {
		return errors.New("not the URL of an object")
	}
	return nil
}

func (c *Cloud) importImage(q *call, d createImageDetails) (*reply, error) {
	source, err := c.parseImportSource(q, d.Source)
	if err != nil {
		return nil, err
	}
	img := c.newImage(q, d, "IMPORTING")
	img.body.OperatingSystem, img.body.OperatingSystemVersion = source.os, source.osv
	// On the command line Oracle assumes BIOS for whatever it knows nothing
	// about; only an archive or explicit launch options say otherwise.
	img.body.LaunchOptions = paravirtualized(machine.BIOS).inMode(img.body.LaunchMode)
	if d.LaunchOptions != nil {
		img.body.LaunchOptions = *d.LaunchOptions
	}
	img.setShapes(defaultShapes())
	if c.faults.hit(q.target(), FaultNoShapes) != nil {
		img.shapes = nil
	}
	broken := c.faults.hit(q.target(), FaultImportFails)
	work := c.newWork(img.place, "CreateImage", d.CompartmentID, "image", img.body.ID, "CREATED")
	c.background(func(ctx context.Context) {
		c.mu.Lock()
		work.begin()
		c.mu.Unlock()
		err := c.spend(ctx, img.place, "CreateImage", "IMPORTING", c.delays.Import)
		if err == nil && broken != nil {
			message := "The image could not be imported."
			if broken.Message != "" {
				message = broken.Message
			}
			err = fail(http.StatusInternalServerError, "ImportFailed", "%s", message)
		}
		if err == nil {
			err = c.fetchImage(ctx, img, source, d)
		}
		c.finishImage(img, work, err)
	})
	return imageReply(img, work), nil
}

// fetchImage brings the bytes of an import into the image's file.
func (c *Cloud) fetchImage(ctx context.Context, img *image, source importSource, d createImageDetails) error {
	in, err := c.openSource(ctx, source)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	if source.kind != "" {
		return c.fetchDisk(ctx, img, source.kind, in)
	}
	meta, err := readOCIArchive(in, img.path)
	if err != nil {
		return fail(http.StatusBadRequest, "InvalidImage", "%v", err)
	}
	size, err := checkQCOW2(img.path)
	if err != nil {
		return fail(http.StatusBadRequest, "InvalidImage", "%v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	img.adopt(meta, size, c.cfg.Switches.ImportRegistersShapes, d.LaunchOptions == nil)
	return nil
}

// fetchDisk brings a bare disk into the image's file. What it holds, nobody has said.
func (c *Cloud) fetchDisk(ctx context.Context, img *image, kind string, in io.Reader) error {
	into := saveQCOW2
	if kind == "VMDK" {
		into = saveVMDK
	}
	size, err := into(ctx, in, img.path)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	img.body.SizeInMBs = bootSizeMB(size)
	if img.body.OperatingSystem == "" {
		img.body.OperatingSystem, img.body.OperatingSystemVersion = "Custom", "1"
	}
	return nil
}

func saveQCOW2(ctx context.Context, in io.Reader, path string) (size int64, err error) {
	if err := save(ctx, in, path); err != nil {
		return 0, err
	}
	if size, err = checkQCOW2(path); err != nil {
		return 0, fail(http.StatusBadRequest, "InvalidImage", "%v", err)
	}
	return size, nil
}

// saveVMDK makes a qcow2 file of a VMDK, which is what the cloud has its disks in.
func saveVMDK(ctx context.Context, in io.Reader, path string) (size int64, err error) {
	from := path + ".vmdk"
	defer func() { _ = os.Remove(from) }()
	if err := save(ctx, in, from); err != nil {
		return 0, err
	}
	disk, err := disks.OpenVMDK(from)
	if err != nil {
		return 0, fail(http.StatusBadRequest, "InvalidImage", "%v", err)
	}
	defer func() { _ = disk.Close() }()
	var damage error
	err = machine.WriteDisk(path, disk.Size(), func(yield func(machine.DiskPart, error) bool) {
		for g, err := range disk.Grains() {
			if damage = errors.Join(err, ctx.Err()); !yield(machine.DiskPart{Offset: g.Offset, Data: g.Data}, damage) {
				return
			}
		}
	})
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case damage != nil:
		return 0, fail(http.StatusBadRequest, "InvalidImage", "%v", damage)
	}
	return disk.Size(), err
}

// adopt takes over what an archive says about an image: how to launch it and
// what it holds. Name and tags are not part of an archive.
func (img *image) adopt(meta ImageMetadata, size int64, shapes, options bool) {
	img.body.SizeInMBs = bootSizeMB(size)
	if img.body.OperatingSystem == "" {
		img.body.OperatingSystem, img.body.OperatingSystemVersion = meta.OperatingSystem, meta.OperatingSystemVersion
	}
	if o := meta.ExternalLaunchOptions; o != nil && options {
		img.body.LaunchOptions = launchOptions{BootVolumeType: o.BootVolumeType, Firmware: o.Firmware,
			NetworkType: o.NetworkType, RemoteDataVolumeType: o.RemoteDataVolumeType,
			PVEncryption: &o.PvEncryptionInTransitEnabled, ConsistentVolumeNaming: &o.ConsistentVolumeNamingEnable}
		img.body.LaunchMode = "PARAVIRTUALIZED"
	}
	if shapes && meta.AdditionalMetadata != nil {
		for _, s := range meta.AdditionalMetadata.ShapeCompatibilities {
			if img.entry(s.InternalShapeName) == nil {
				img.shapes = append(img.shapes, shapeEntry{ImageID: img.body.ID, Shape: s.InternalShapeName,
					MemoryConstraints: s.MemoryConstraints, OCPUConstraints: s.OcpuConstraints})
			}
		}
	}
}

// openSource opens the bytes of an import: over HTTP if it is a URL.
func (c *Cloud) openSource(ctx context.Context, source importSource) (io.ReadCloser, error) {
	if source.ref != nil {
		return c.objects.openObject(*source.ref)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source.uri, nil)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "InvalidSource", "The source URI is not valid.")
	}
	resp, err := c.cfg.Fetch.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch the source: %w", withoutURL(err))
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // its content is of no interest
		return nil, fail(http.StatusBadRequest, "InvalidSource",
			"The source object cannot be read: Object Storage answered %s", resp.Status)
	}
	return resp.Body, nil
}

// withoutURL strips the URL, which is a secret, from an HTTP client's error.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// save writes a stream to a file.
func save(ctx context.Context, in io.Reader, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("save the image: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, in); err != nil {
		return fmt.Errorf("save the image: %w", err)
	}
	return ctx.Err()
}
