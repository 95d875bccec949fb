// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
)

// exportDestination is where an export goes and in what form.
type exportDestination struct {
	uri    string     // a pre-authenticated request's URL
	ref    *objectRef // or an object of the caller's own
	format string
}

// bucketURL matches the URL of a bucket's objects that names none of them.
var bucketURL = regexp.MustCompile(`/b/[^/]+/o/?$`)

func (c *Cloud) parseExportDestination(q *call) (exportDestination, error) {
	var byURI struct {
		DestinationType string  `json:"destinationType"`
		DestinationURI  string  `json:"destinationUri" oci:"required"`
		ExportFormat    *string `json:"exportFormat"`
	}
	var byTuple struct {
		DestinationType string  `json:"destinationType"`
		BucketName      string  `json:"bucketName" oci:"required"`
		NamespaceName   string  `json:"namespaceName" oci:"required"`
		ObjectName      string  `json:"objectName" oci:"required"`
		ExportFormat    *string `json:"exportFormat"`
	}
	kind, err := decodeUnion(q.body, "destinationType",
		map[string]any{"objectStorageUri": &byURI, "objectStorageTuple": &byTuple})
	if err != nil {
		return exportDestination{}, err
	}
	var d exportDestination
	if kind == "objectStorageUri" {
		d = exportDestination{uri: byURI.DestinationURI, format: orElse(byURI.ExportFormat, "OCI")}
		if err := checkObjectURL(d.uri); err != nil {
			return exportDestination{}, errInvalid("Invalid destinationUri: %v", err)
		}
		// A pre-authenticated request for a bucket ends in "/o/", to which
		// the object's name must be appended.
		if bucketURL.MatchString(d.uri) {
			return exportDestination{}, errInvalid("Invalid destinationUri: it names no object")
		}
	} else {
		d.format = orElse(byTuple.ExportFormat, "OCI")
		ref, err := c.tupleRef(q, byTuple.NamespaceName, byTuple.BucketName, byTuple.ObjectName)
		if err != nil || c.objects.checkBucket(ref.bucketRef) != nil {
			return exportDestination{}, errInvalid("Invalid bucketName")
		}
		d.ref = &ref
	}
	switch d.format {
	case "OCI", "QCOW2":
		return d, nil
	case "VMDK", "VHD", "VDI":
		return exportDestination{}, errNotSimulated("exportFormat " + d.format)
	default:
		return exportDestination{}, errInvalid("Unknown exportFormat %s", d.format)
	}
}

// exportImage writes an image to Object Storage. Whatever happens, the image
// is AVAILABLE afterwards: only the work request and the object tell whether
// the export worked.
func (c *Cloud) exportImage(q *call) (*reply, error) {
	img, err := c.findImage(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	if img.tenancy == nil {
		return nil, errInvalid("Platform image %s cannot be exported", img.body.ID)
	}
	destination, err := c.parseExportDestination(q)
	if err != nil {
		return nil, err
	}
	if err := img.ifMatch(q); err != nil {
		return nil, err
	}
	switch {
	case img.body.LifecycleState == "EXPORTING":
		return nil, errImageConflict()
	case img.body.LifecycleState != "AVAILABLE":
		return nil, errState("Image %s is %s", img.body.ID, img.body.LifecycleState)
	}
	lost := c.faults.hit(q.target(), FaultExportLost)
	c.imageBecomes(img, "EXPORTING")
	img.touch()
	meta := img.metadata()
	work := c.newWork(img.place, "ExportImage", *img.body.CompartmentID, "image", img.body.ID, "UPDATED")
	c.background(func(ctx context.Context) {
		c.mu.Lock()
		work.begin()
		c.mu.Unlock()
		err := c.spend(ctx, img.place, "ExportImage", "EXPORTING", c.delays.Export)
		if err == nil && lost == nil {
			err = c.deliver(ctx, img.path, meta, destination)
		}
		c.finishExport(img, work, lost, err)
	})
	return imageReply(img, work), nil
}

func (c *Cloud) finishExport(img *image, work *workRequest, lost *Fault, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.imageBecomes(img, "AVAILABLE")
	img.touch()
	var api *apiError
	switch {
	case errors.As(err, &api):
		work.fail(api.code, api.message)
	case err != nil:
		work.fail("InternalError", err.Error())
	case lost != nil && lost.Message != "":
		work.fail("ExportFailed", lost.Message)
	default: // also the silent loss: nothing but the missing object tells
		work.end("SUCCEEDED")
	}
}

// metadata is what an .oci archive says about the image.
func (img *image) metadata() ImageMetadata {
	o := img.body.LaunchOptions
	meta := ImageMetadata{
		Version: ociMetadataVersion, OperatingSystem: img.body.OperatingSystem,
		OperatingSystemVersion: img.body.OperatingSystemVersion,
		ExternalLaunchOptions: &ExternalLaunchOptions{
			Firmware: o.Firmware, NetworkType: o.NetworkType, BootVolumeType: o.BootVolumeType,
			RemoteDataVolumeType: o.RemoteDataVolumeType, LocalDataVolumeType: "PARAVIRTUALIZED",
			LaunchOptionsSource: "PARAVIRTUALIZED", PvAttachmentVersion: 2,
			PvEncryptionInTransitEnabled: orElse(o.PVEncryption, false),
			ConsistentVolumeNamingEnable: orElse(o.ConsistentVolumeNaming, false),
		},
		AdditionalMetadata: &AdditionalMetadata{ShapeCompatibilities: []ShapeCompatibility{}},
	}
	for _, e := range img.shapes {
		meta.AdditionalMetadata.ShapeCompatibilities = append(meta.AdditionalMetadata.ShapeCompatibilities,
			ShapeCompatibility{e.Shape, e.OCPUConstraints, e.MemoryConstraints})
	}
	return meta
}

// deliver writes the export to its destination.
func (c *Cloud) deliver(ctx context.Context, disk string, meta ImageMetadata, to exportDestination) error {
	write := func(w io.Writer) error {
		if to.format == "OCI" {
			return writeOCIArchive(&cancelWriter{ctx, w}, meta, disk)
		}
		f, err := os.Open(disk)
		if err != nil {
			return fmt.Errorf("read the image: %w", err)
		}
		defer func() { _ = f.Close() }()
		_, err = io.Copy(&cancelWriter{ctx, w}, f)
		return err
	}
	if to.ref != nil {
		return c.objects.writeObject(*to.ref, write)
	}
	return c.putByURL(ctx, to.uri, write)
}

// putByURL uploads through a pre-authenticated request. The object is written
// to a file first, since its length must be known.
func (c *Cloud) putByURL(ctx context.Context, uri string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Join(c.cfg.WorkDir, "images"), "export-*")
	if err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	defer func() { _ = f.Close() }() // what counts was read from it before
	if err := write(f); err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	length, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, uri, io.NopCloser(f))
	if err != nil {
		return fail(http.StatusBadRequest, "InvalidDestination", "The destination URI is not valid.")
	}
	req.ContentLength = length
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.cfg.Fetch.Do(req)
	if err != nil {
		return fmt.Errorf("upload the export: %w", withoutURL(err))
	}
	_ = resp.Body.Close() // its content is of no interest
	if resp.StatusCode != http.StatusOK {
		return fail(http.StatusBadRequest, "InvalidDestination",
			"The destination cannot be written: Object Storage answered %s", resp.Status)
	}
	return nil
}

// cancelWriter stops a long write when its context ends.
type cancelWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c *cancelWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
