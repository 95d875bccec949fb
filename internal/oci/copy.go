// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/workrequests"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Exporter is an image in the tenancy that it is copied from; it implements
// imagecopy.Exporter.
type Exporter struct {
	*Client
	Image   string
	Timeout time.Duration // of one export
	Say     func(format string, args ...any)

	compartment string // of the image; known after Describe
}

// Describe implements imagecopy.Exporter.
func (x *Exporter) Describe(ctx context.Context) (cloud.Image, error) {
	if _, err := x.signIn(ctx); err != nil && !missing(err) {
		return cloud.Image{ID: x.Image}, fmt.Errorf("source: %w", err)
	}
	img, err := x.image(ctx, x.Image)
	found := cloud.Image{
		ID: x.Image, Name: img.name, OS: img.os, OSVersion: img.osVersion, SizeGB: img.billableGB, Tags: img.tags,
		Busy: img.state == core.ImageLifecycleStateExporting,
	}
	x.compartment = img.compartment
	switch {
	case missing(err):
		return found, fmt.Errorf("source_image_ocid: there is no image %s in %s that this user may see; an image's OCID belongs to one region and one tenancy: %w", x.Image, x.Region, err)
	case err != nil:
		return found, fmt.Errorf("source_image_ocid: %w", err)
	case img.compartment == "":
		return found, fmt.Errorf("source_image_ocid: image %s (%s) is one of Oracle's own, which cannot be exported; every tenancy has it already, under another OCID in each region", x.Image, img.name)
	case img.listed:
		return found, fmt.Errorf("source_image_ocid: image %s (%s) is from the Marketplace or was made of one that is, and cannot be exported", x.Image, img.name)
	case img.state != core.ImageLifecycleStateAvailable && !found.Busy:
		return found, fmt.Errorf("source_image_ocid: image %s (%s) is %s, it must be AVAILABLE", x.Image, img.name, img.state)
	}
	return found, nil
}

// Export implements imagecopy.Exporter. The image is written through a link and
// not by bucket and name, which works for every kind of credentials.
func (x *Exporter) Export(ctx context.Context, to cloud.Link, token string) (job string, err error) {
	err = repeatWithToken(ctx, patience{limit: repeatFor}, "export image", x.Image, token, func(ctx context.Context, token string) error {
		r, err := x.compute.ExportImage(shield(ctx), core.ExportImageRequest{
			ImageId: &x.Image,
			ExportImageDetails: core.ExportImageViaObjectStorageUriDetails{
				DestinationUri: &to.URL, ExportFormat: core.ExportImageDetailsExportFormatOci,
			},
			OpcRetryToken: &token, RequestMetadata: once(),
		})
		job = text(r.OpcWorkRequestId)
		return err
	})
	return job, err
}

// LastExport implements imagecopy.Exporter.
func (x *Exporter) LastExport(ctx context.Context) string {
	return x.lastWork(ctx, x.compartment, x.Image, "ExportImage")
}

// AwaitExport implements imagecopy.Exporter.
func (x *Exporter) AwaitExport(ctx context.Context, job string, progress func(float64)) error {
	w := awaiting{op: "export image", work: job, limit: x.Timeout, option: "export_timeout"}
	return x.awaitCopy(ctx, x.Image, w, progress)
}

// Remove implements imagecopy.Exporter.
func (x *Exporter) Remove(ctx context.Context) error { return x.DeleteImage(ctx, x.Image) }

// lastWork is the latest work request of a kind on a resource, or empty. Who may
// not list them, or finds none, goes by the resource's state alone.
func (c *Client) lastWork(ctx context.Context, compartment, resource, kind string) string {
	var last workrequests.WorkRequestSummary
	err := cloud.Pages(func(page *string) (*string, error) {
		var r workrequests.ListWorkRequestsResponse
		err := repeat(ctx, "list work requests of", resource, func(ctx context.Context) (err error) {
			r, err = c.work.ListWorkRequests(shield(ctx), workrequests.ListWorkRequestsRequest{CompartmentId: &compartment, ResourceId: &resource, Page: page, RequestMetadata: once()})
			return err
		})
		for _, w := range r.Items {
			if text(w.OperationType) == kind && w.TimeAccepted != nil && (last.TimeAccepted == nil || w.TimeAccepted.After(last.TimeAccepted.Time)) {
				last = w
			}
		}
		return r.OpcNextPage, err
	})
	if err != nil {
		log.Printf("[WARN] the work requests of %s are not known: %v", resource, err)
	}
	return text(last.Id)
}

// Importer is one tenancy and region that an image is copied to; it implements
// imagecopy.Destination.
type Importer struct {
	*Client
	Label       string
	Compartment string
	Shapes      []string
	Tags        map[string]string
	DefinedTags DefinedTags
	Carry       []string // keys of the source image's tags that the copy has, too
	OS          string   // replaces what the source image says
	OSVersion   string
	Owner       owner.Build
	Timeout     time.Duration // of one import
	Say         func(format string, args ...any)
	Series      string // the mark of the series that the copy belongs to; empty is that of the source image
	Keep        int    // how many copies of it stay, the new one among them; 0 keeps all
	// VMDK says that what is imported is a bare disk in that format, which says nothing of
	// itself, in place of an .oci archive.
	VMDK bool
	// Form is noted on the image: what it travelled as, where the template has a choice.
	Form string
}

// Name implements imagecopy.Destination.
func (m *Importer) Name() string { return m.Label }

// Lost implements imagecopy.Destination.
func (*Importer) Lost(err error) bool { return lost(err) }

// importing is what messages call it.
const importing = "import image"

// Refused implements imagecopy.Destination: the request was refused as wrong, or
// what it led to came to nothing. How the service words that it cannot read a
// link is unverified against the real service, so that the words are not looked at. What
// is about the image itself is no reason to bring the same image by another route.
func (*Importer) Refused(err error) bool {
	var e *Error
	if !errors.As(err, &e) || errors.As(err, new(*cloud.FormError)) {
		return false
	}
	return code(err, "InvalidParameter", "CannotParseRequest") || e.Op == importing && e.Status == 0
}

// Import implements imagecopy.Destination. Neither the launch mode nor the type
// of the source is sent: for an .oci object the service takes both from the
// object. For a VMDK all of it is said.
func (m *Importer) Import(ctx context.Context, i cloud.Import) (string, string, error) {
	source := core.ImageSourceViaObjectStorageUriDetails{SourceUri: &i.From.URL}
	var with *launchOptions
	if m.VMDK {
		source.SourceImageType, with = core.ImageSourceDetailsSourceImageTypeVmdk, ampereOptions()
		name, version := m.system(i.Source)
		source.OperatingSystem, source.OperatingSystemVersion = optional(name), optional(version)
	}
	id, work, err := m.createImage(ctx, patience{limit: m.Timeout, option: "import_timeout", say: m.Say}, i.Token, core.CreateImageDetails{
		CompartmentId:      &m.Compartment,
		DisplayName:        &i.Name,
		FreeformTags:       unfinished(m.Owner, owner.RoleImport, m.tags(i), i.Mark),
		DefinedTags:        m.DefinedTags,
		ImageSourceDetails: source,
	}, with)
	if with != nil && aboutLaunch(err) {
		err = &cloud.FormError{Err: fmt.Errorf("OCI does not take the launch options without which a VMDK starts by BIOS, as no machine on Ampere does; set image_format = \"oci\": an archive says by itself how it starts: %w", err)}
	}
	return id, text(work), err
}

// aboutLaunch says that a request was refused for how machines of the image are to start.
// How the service words that is unverified: the names of the fields are what it would
// hardly leave out.
func aboutLaunch(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Status != http.StatusBadRequest {
		return false
	}
	m := strings.ToLower(e.Message)
	return strings.Contains(m, "launchoptions") || strings.Contains(m, "launchmode")
}

// system is the operating system that an image is to say it holds.
func (m *Importer) system(source cloud.Image) (name, version string) {
	return cmp.Or(m.OS, source.OS), cmp.Or(m.OSVersion, source.OSVersion)
}

// tags are the user's, and what the source image says of itself, as far as OCI's
// limit allows.
func (m *Importer) tags(i cloud.Import) map[string]string {
	all := withVerified(m.Tags, i.Verified)
	for _, key := range m.Carry {
		v, has := i.Source.Tags[key]
		if _, taken := all[key]; has && !taken {
			addTag(all, key, v)
		}
	}
	return all
}

// Images implements imagecopy.Destination.
func (m *Importer) Images(ctx context.Context) ([]cloud.Found, error) {
	if _, err := m.signIn(ctx); err != nil && !missing(err) {
		return nil, err
	}
	var found []cloud.Found
	err := cloud.Pages(func(page *string) (*string, error) {
		var r core.ListImagesResponse
		err := repeat(ctx, "list images in", m.Compartment, func(ctx context.Context) (err error) {
			r, err = m.compute.ListImages(shield(ctx), core.ListImagesRequest{CompartmentId: &m.Compartment, Page: page, RequestMetadata: once()})
			return err
		})
		for _, i := range r.Items {
			// A platform image is everybody's.
			if i.Id == nil || text(i.CompartmentId) != m.Compartment || i.LifecycleState == core.ImageLifecycleStateDeleted {
				continue
			}
			f := cloud.Found{ID: *i.Id, Name: text(i.DisplayName), Ready: i.LifecycleState == core.ImageLifecycleStateAvailable || i.LifecycleState == core.ImageLifecycleStateExporting}
			if t, err := owner.ParseTag(i.FreeformTags[owner.Key]); err == nil && t.Role == owner.RoleImport {
				f.Mark, f.Unfinished, f.Failed, f.Source, f.Form = t.Attempt, t.Unfinished, t.Failed, t.Source, t.Form
				f.Verified, f.Tags = verifiedOf(t, i.FreeformTags), i.FreeformTags
			}
			found = append(found, f)
		}
		return r.OpcNextPage, err
	})
	if missing(err) {
		return nil, fmt.Errorf("there is no compartment %s that this user may list images in: %w", m.Compartment, err)
	}
	return found, err
}

// AwaitImport implements imagecopy.Destination.
func (m *Importer) AwaitImport(ctx context.Context, id, job string, progress func(float64)) error {
	if job == "" {
		job = m.lastWork(ctx, m.Compartment, id, "CreateImage")
	}
	w := awaiting{op: importing, work: job, limit: m.Timeout, option: "import_timeout"}
	if err := m.awaitCopy(ctx, id, w, progress); err != nil {
		return err
	}
	return m.fit(ctx, id, m.completion())
}

// Pend implements imagecopy.Destination.
func (m *Importer) Pend(ctx context.Context, id string, i cloud.Import, failed bool) error {
	t := m.Owner.Tag(owner.RoleImport)
	t.Attempt, t.Unfinished, t.Failed = i.Mark, true, failed
	w := m.completion()
	w.name, w.tags, w.say = i.Name, t.With(m.tags(i)), nil
	return m.seal(ctx, id, w)
}

// Seal implements imagecopy.Destination. Operating system and version, by which
// people look images up, are what the source image says.
func (m *Importer) Seal(ctx context.Context, id string, i cloud.Import) error {
	w := m.completion()
	t := owner.Tag{Build: m.Owner.ID, Role: owner.RoleImport, Attempt: i.Mark, Series: m.seriesOf(i.Source), Source: i.Source.ID, Form: m.Form}
	if made, err := owner.ParseTag(i.Source.Tags[owner.Key]); err == nil {
		t.Origin = made.Build
	}
	if v := i.Verified; v != nil {
		t.Verified = v.By
	}
	if i.Has != nil {
		had, _ := owner.ParseTag(i.Has[owner.Key])
		t.Form = had.Form // it is not imported again
		w.tags = t.With(withVerified(i.Has, i.Verified))
		return m.seal(ctx, id, w)
	}
	w.name, w.tags = i.Name, t.With(m.tags(i))
	w.os, w.osVersion = m.system(i.Source)
	return m.seal(ctx, id, w)
}

func (m *Importer) completion() completion {
	return completion{shapes: m.Shapes, patience: patience{limit: m.Timeout, option: "import_timeout", say: m.Say}}
}

// Delete implements imagecopy.Destination.
func (m *Importer) Delete(ctx context.Context, id string) error { return m.DeleteImage(ctx, id) }

// awaiting is what an image is awaited for.
type awaiting struct {
	op, work string
	limit    time.Duration
	option   string
}

// tellPercent is how often it is asked how far a copy is.
const tellPercent = 20 * time.Second

// awaitCopy waits for an export or an import and tells how far it is.
func (c *Client) awaitCopy(ctx context.Context, id string, w awaiting, progress func(float64)) error {
	progress(-1)
	return c.awaitImageIn(ctx, w.op, id, w.work, wait.Loop{
		Timeout: w.limit, Option: w.option, ProgressEvery: tellPercent, Progress: func(time.Duration) { progress(c.done(ctx, w.work)) },
	})
}
