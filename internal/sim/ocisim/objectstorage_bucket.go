// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"
)

// createBucketDetails is CreateBucket's body.
type createBucketDetails struct {
	Name                string                    `json:"name" oci:"required"`
	CompartmentID       string                    `json:"compartmentId" oci:"required"`
	Metadata            map[string]string         `json:"metadata"`
	PublicAccessType    string                    `json:"publicAccessType"`
	StorageTier         string                    `json:"storageTier"`
	ObjectEventsEnabled bool                      `json:"objectEventsEnabled"`
	FreeformTags        map[string]string         `json:"freeformTags"`
	DefinedTags         map[string]map[string]any `json:"definedTags"`
	KmsKeyID            string                    `json:"kmsKeyId"`
	IsBucketKeyEnabled  bool                      `json:"isBucketKeyEnabled"`
	Versioning          string                    `json:"versioning"`
	AutoTiering         string                    `json:"autoTiering"`
	BucketScope         string                    `json:"bucketScope"`
}

// bucketView is a bucket on the wire.
type bucketView struct {
	Namespace           string                    `json:"namespace"`
	Name                string                    `json:"name"`
	CompartmentID       string                    `json:"compartmentId"`
	Metadata            map[string]string         `json:"metadata"`
	CreatedBy           string                    `json:"createdBy"`
	TimeCreated         wireTime                  `json:"timeCreated"`
	ETag                string                    `json:"etag"`
	PublicAccessType    string                    `json:"publicAccessType"`
	StorageTier         string                    `json:"storageTier"`
	ObjectEventsEnabled bool                      `json:"objectEventsEnabled"`
	FreeformTags        map[string]string         `json:"freeformTags"`
	DefinedTags         map[string]map[string]any `json:"definedTags"`
	KmsKeyID            *string                   `json:"kmsKeyId"`
	ReplicationEnabled  bool                      `json:"replicationEnabled"`
	IsReadOnly          bool                      `json:"isReadOnly"`
	ID                  string                    `json:"id"`
	Versioning          string                    `json:"versioning"`
	AutoTiering         string                    `json:"autoTiering"`
	ApproximateCount    *int64                    `json:"approximateCount"`
	ApproximateSize     *int64                    `json:"approximateSize"`
}

// bucketSummary is a bucket in a list.
type bucketSummary struct {
	Namespace     string                    `json:"namespace"`
	Name          string                    `json:"name"`
	CompartmentID string                    `json:"compartmentId"`
	CreatedBy     string                    `json:"createdBy"`
	TimeCreated   wireTime                  `json:"timeCreated"`
	ETag          string                    `json:"etag"`
	FreeformTags  map[string]string         `json:"freeformTags"`
	DefinedTags   map[string]map[string]any `json:"definedTags"`
}

func (s *objectStore) getNamespace(q *call) (*reply, error) {
	if c := q.param("compartmentId"); c != "" && !q.tenancy().may(c) {
		return nil, errNotFound()
	}
	return ok(q.tenancy().Namespace), nil
}

func (s *objectStore) createBucket(q *call) (*reply, error) {
	if err := ownNamespace(q); err != nil {
		return nil, err
	}
	var d createBucketDetails
	if err := q.decode(&d); err != nil {
		return nil, err
	}
	if !bucketName.MatchString(d.Name) {
		return nil, fail(http.StatusBadRequest, "InvalidBucketName", "The bucket name %q is not valid.", d.Name)
	}
	if !q.tenancy().may(d.CompartmentID) {
		return nil, errNotFound()
	}
	// What the simulator does not play it refuses rather than ignores.
	for _, f := range []struct{ name, given, played string }{
		{"publicAccessType", d.PublicAccessType, "NoPublicAccess"},
		{"storageTier", d.StorageTier, "Standard"},
		{"versioning", d.Versioning, "Disabled"},
		{"autoTiering", d.AutoTiering, "Disabled"},
		{"bucketScope", d.BucketScope, "NAMESPACE"},
		{"kmsKeyId", d.KmsKeyID, ""},
	} {
		if f.given != "" && f.given != f.played {
			return nil, errInvalid("%s %q is not simulated", f.name, f.given)
		}
	}
	ref := bucketRef{q.region().name, q.tenancy().Namespace, d.Name}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, exists := s.buckets[ref]; exists {
		return nil, fail(http.StatusConflict, "BucketAlreadyExists",
			"Either the bucket '%s' in namespace '%s' already exists or you are not authorized to create it", ref.bucket, ref.namespace)
	}
	b := &bucket{
		ref: ref, id: newOCID("bucket", q.region().ocid), compartment: d.CompartmentID,
		createdBy: q.tenancy().UserID, created: time.Now(), etag: newETag(), details: d,
		objects: map[string]*object{}, uploads: map[string]*upload{}, pars: map[string]*par{},
	}
	s.buckets[ref] = b
	return ok(b.view()).with("Etag", b.etag).with("Location", "/n/"+ref.namespace+"/b/"+ref.bucket), nil
}

func (b *bucket) view() bucketView {
	return bucketView{
		Namespace: b.ref.namespace, Name: b.ref.bucket, CompartmentID: b.compartment,
		Metadata: orEmpty(b.details.Metadata), CreatedBy: b.createdBy, TimeCreated: wireTime{b.created}, ETag: b.etag,
		PublicAccessType: "NoPublicAccess", StorageTier: "Standard", ObjectEventsEnabled: b.details.ObjectEventsEnabled,
		FreeformTags: orEmpty(b.details.FreeformTags), DefinedTags: orEmpty(b.details.DefinedTags),
		ID: b.id, Versioning: "Disabled", AutoTiering: "Disabled",
	}
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

func (s *objectStore) getBucket(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	if err := conditionOf(q.Header).check(b.etag); err != nil {
		return nil, err
	}
	view := b.view()
	fields, err := fieldsOf(q, "approximateCount", "approximateSize", "autoTiering")
	if err != nil {
		return nil, err
	}
	if slices.Contains(fields, "approximateCount") {
		view.ApproximateCount = new(int64(len(b.objects)))
	}
	if slices.Contains(fields, "approximateSize") {
		view.ApproximateSize = new(b.size())
	}
	return ok(view).with("Etag", b.etag), nil
}

func (b *bucket) size() (total int64) {
	for _, o := range b.objects {
		total += o.blob.size
	}
	return total
}

// fieldsOf reads a comma-separated fields parameter.
func fieldsOf(q *call, allowed ...string) ([]string, error) {
	text := q.param("fields")
	if text == "" {
		return nil, nil
	}
	fields := strings.Split(text, ",")
	for i, f := range fields {
		fields[i] = strings.TrimSpace(f)
		if !slices.Contains(allowed, fields[i]) {
			return nil, errInvalid("Unknown field %q", f)
		}
	}
	return fields, nil
}

func (s *objectStore) headBucket(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	if err := conditionOf(q.Header).check(b.etag); err != nil {
		return nil, err
	}
	return (&reply{}).with("Etag", b.etag), nil
}

func (s *objectStore) listBuckets(q *call) (*reply, error) {
	if err := ownNamespace(q); err != nil {
		return nil, err
	}
	if !q.tenancy().may(q.param("compartmentId")) {
		return nil, errNotFound()
	}
	if _, err := fieldsOf(q, "tags"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []bucketSummary
	for ref, b := range s.buckets {
		if ref.region == q.region().name && ref.namespace == q.tenancy().Namespace && b.compartment == q.param("compartmentId") {
			v := b.view()
			list = append(list, bucketSummary{v.Namespace, v.Name, v.CompartmentID, v.CreatedBy, v.TimeCreated, v.ETag, v.FreeformTags, v.DefinedTags})
		}
	}
	slices.SortFunc(list, func(a, b bucketSummary) int { return cmp.Compare(a.Name, b.Name) })
	return paginate(q, list)
}

func (s *objectStore) deleteBucket(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	if err := conditionOf(q.Header).check(b.etag); err != nil {
		return nil, err
	}
	for _, what := range []struct {
		kind  string
		count int
	}{{"objects", len(b.objects)}, {"multipart uploads", len(b.uploads)}, {"pre-authenticated requests", len(b.pars)}} {
		if what.count > 0 {
			return nil, fail(http.StatusConflict, "BucketNotEmpty",
				"Bucket named '%s' is not empty. Delete all %s first.", b.ref.bucket, what.kind)
		}
	}
	delete(s.buckets, b.ref)
	return noContent(), nil
}
