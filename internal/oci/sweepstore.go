// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// listBuckets lists what copies have in the buckets of a compartment. Nothing there
// has tags: all of it is known by name.
func (l *Leftovers) listBuckets(ctx context.Context, compartment string, see func(sweep.Thing)) error {
	b := Bucket{Client: l.Client}
	if err := b.findNamespace(ctx); err != nil {
		return err
	}
	return cloud.Pages(func(page *string) (*string, error) {
		var r objectstorage.ListBucketsResponse
		err := repeat(ctx, "list buckets", "", func(ctx context.Context) (err error) {
			r, err = l.objects.ListBuckets(shield(ctx), objectstorage.ListBucketsRequest{NamespaceName: &b.Namespace, CompartmentId: &compartment, Page: page, RequestMetadata: once()})
			return err
		})
		for _, i := range r.Items {
			b.Bucket = text(i.Name)
			things, lerr := b.things(ctx)
			for _, t := range things {
				see(t)
			}
			if lerr != nil && err == nil {
				err = lerr
			}
		}
		return r.OpcNextPage, err
	})
}

// listBucket lists what copies and captures have in one bucket.
func (l *Leftovers) listBucket(ctx context.Context, see func(sweep.Thing)) error {
	b := Bucket{Client: l.Client, Namespace: l.Bucket.Namespace, Bucket: l.Bucket.Bucket}
	if err := b.findNamespace(ctx); err != nil {
		return err
	}
	things, err := b.things(ctx)
	for _, t := range things {
		see(t)
	}
	return err
}

// things lists the links, uploads and objects of a bucket.
func (b *Bucket) things(ctx context.Context) (all []sweep.Thing, err error) {
	var n needs
	where := b.Namespace + "/" + b.Bucket
	links, err := b.links(ctx)
	for _, p := range links {
		t := thing(sweep.Link, p.Id, p.Name, nil, p.TimeCreated, where)
		if t.Mark, t.Ours = nameMark(t.Name); t.Ours {
			n.link(t.Mark)
		}
		all = append(all, t)
	}
	if err != nil {
		return all, err
	}
	objects, err := b.ownObjects(ctx)
	if err != nil {
		return all, err
	}
	for _, o := range objects {
		if m, is := noteMark(text(o.Name)); is {
			n.note(m)
		}
	}
	used := map[string][]string{} // ids of the objects and uploads of a copy
	see := func(t sweep.Thing) {
		all = append(all, t)
		if t.Ours {
			used[t.Mark.Build] = append(used[t.Mark.Build], t.ID)
		}
	}
	var notes []sweep.Thing
	for _, o := range objects {
		t := thing(sweep.Object, o.Name, o.Name, nil, o.TimeCreated, where)
		t.ID = where + "/" + t.Name
		if t.Mark, t.Ours = noteMark(t.Name); t.Ours {
			t.Kind = sweep.Note
			notes = append(notes, t)
			continue
		}
		t.Mark, t.Ours = objectMark(sweep.Object, t.Name, n)
		see(t)
	}
	uploads, err := b.uploads(ctx)
	named := namedUploads{bucket: b, read: map[string]cloud.Note{}}
	for _, u := range uploads {
		t := thing(sweep.Upload, u.UploadId, u.Object, nil, u.TimeCreated, where)
		if t.Mark, t.Ours = objectMark(sweep.Upload, t.Name, n); !t.Ours && err == nil {
			t.Mark, t.Ours, err = named.mark(ctx, t, notes, n)
		}
		see(t)
	}
	if err != nil {
		return all, err // what the notes are there for is not known: they stay
	}
	// A note says until when its copy needs the rest, so it goes last.
	for _, t := range notes {
		if n, read := named.read[t.Name]; read && n.Object == "" {
			continue // it is gone, or it is not known what it is there for
		}
		t.UsedBy = used[t.Mark.Build]
		all = append(all, t)
	}
	return all, nil
}

// namedUploads finds out which copy began an upload of an object whose name the template
// chose. Only the note of that copy tells, so that each is read where that is needed.
type namedUploads struct {
	bucket *Bucket
	read   map[string]cloud.Note // by its name; without an object if it is not there to be read
}

// mark is that of the copy whose note names the object and was there, and not over, when
// the upload was begun.
func (u *namedUploads) mark(ctx context.Context, t sweep.Thing, notes []sweep.Thing, n needs) (owner.Tag, bool, error) {
	for _, note := range notes {
		if !cloud.Within(t.Created, note.Created, note.Mark.Expires) {
			continue
		}
		read, known := u.read[note.Name]
		if !known {
			var err error
			if read, err = u.bucket.readNote(ctx, note.Name); err != nil && !missing(err) {
				return owner.Tag{}, false, err
			}
			u.read[note.Name] = read
		}
		if read.Object == t.Name && !read.Given {
			return owner.Tag{Build: note.Mark.Build, Role: owner.RoleCopy, Expires: n.any[note.Mark.Build]}, true, nil
		}
	}
	return owner.Tag{}, false, nil
}

// ownObjects lists the objects whose names may be of this plugin.
func (b *Bucket) ownObjects(ctx context.Context) (all []objectstorage.ObjectSummary, err error) {
	prefix, fields := owner.Key+"-", "name,timeCreated"
	err = cloud.Pages(func(start *string) (*string, error) {
		var r objectstorage.ListObjectsResponse
		err := repeat(ctx, "list objects of", b.Bucket, func(ctx context.Context) (err error) {
			r, err = b.objects.ListObjects(shield(ctx), objectstorage.ListObjectsRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, Prefix: &prefix, Fields: &fields, Start: start, RequestMetadata: once()})
			return err
		})
		all = append(all, r.Objects...)
		return r.NextStartWith, err
	})
	return all, err
}

// unchanged looks at the notes once more right before something is removed: a new run of
// the same copy may need it by now, and a captured disk may be finished.
func (b *Bucket) unchanged(ctx context.Context, t sweep.Thing) error {
	if !t.Ours || t.Kind == sweep.Note {
		return nil
	}
	objects, err := b.ownObjects(ctx)
	if err != nil {
		return err
	}
	var n needs
	for _, o := range objects {
		if m, is := noteMark(text(o.Name)); is {
			n.note(m)
		}
	}
	until, mark := n.notes[t.Mark.Build], t.Mark
	finished := mark.Role == owner.RoleCapture && until.IsZero() && !mark.Expires.IsZero()
	if !finished && !until.After(mark.Expires) {
		return nil
	}
	mark.Expires = until
	return &sweep.Changed{Mark: mark, Ours: true}
}

// removeStored removes what is in a bucket.
func (l *Leftovers) removeStored(ctx context.Context, t sweep.Thing) error {
	namespace, bucket, _ := strings.Cut(t.In, "/")
	b := Bucket{Client: l.Client, Namespace: namespace, Bucket: bucket}
	id, name := t.ID, t.Name
	if err := b.unchanged(ctx, t); err != nil {
		return err
	}
	switch t.Kind {
	case sweep.Link:
		return deleted(ctx, "pre-authenticated request", name, func(ctx context.Context) error {
			_, err := l.objects.DeletePreauthenticatedRequest(shield(ctx), objectstorage.DeletePreauthenticatedRequestRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ParId: &id, RequestMetadata: once()})
			return err
		}, func(ctx context.Context) error {
			_, err := l.objects.GetPreauthenticatedRequest(shield(ctx), objectstorage.GetPreauthenticatedRequestRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ParId: &id, RequestMetadata: once()})
			return wrap("get pre-authenticated request", name, err)
		})
	case sweep.Upload:
		return deleted(ctx, "upload of", name, func(ctx context.Context) error {
			_, err := l.objects.AbortMultipartUpload(shield(ctx), objectstorage.AbortMultipartUploadRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &name, UploadId: &id, RequestMetadata: once()})
			return err
		}, func(ctx context.Context) error {
			_, _, err := b.partsOf(ctx, name, id)
			return err
		})
	}
	return deleted(ctx, "object", name, func(ctx context.Context) error {
		_, err := l.objects.DeleteObject(shield(ctx), objectstorage.DeleteObjectRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &name, RequestMetadata: once()})
		return err
	}, func(ctx context.Context) error {
		_, err := l.objects.HeadObject(shield(ctx), objectstorage.HeadObjectRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &name, RequestMetadata: once()})
		return wrap("find object", name, err)
	})
}
