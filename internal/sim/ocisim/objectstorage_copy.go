// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// copyJob is an object copy and its work request. Object Storage keeps work
// requests of its own, at another path and with other states (COMPLETED) than
// Compute.
type copyJob struct {
	id          string
	owner       *Tenancy
	compartment string
	from, to    objectRef
	cond        condition
	details     copyObjectDetails

	status   string
	accepted time.Time
	started  time.Time
	finished time.Time
	failure  error
	cancel   context.CancelFunc
}

// copyObjectDetails is CopyObject's body.
type copyObjectDetails struct {
	SourceObjectName                 string            `json:"sourceObjectName" oci:"required"`
	SourceObjectIfMatchETag          string            `json:"sourceObjectIfMatchETag"`
	SourceVersionID                  string            `json:"sourceVersionId"`
	DestinationRegion                string            `json:"destinationRegion" oci:"required"`
	DestinationNamespace             string            `json:"destinationNamespace" oci:"required"`
	DestinationBucket                string            `json:"destinationBucket" oci:"required"`
	DestinationObjectName            string            `json:"destinationObjectName" oci:"required"`
	DestinationObjectIfMatchETag     string            `json:"destinationObjectIfMatchETag"`
	DestinationObjectIfNoneMatchETag string            `json:"destinationObjectIfNoneMatchETag"`
	DestinationObjectMetadata        map[string]string `json:"destinationObjectMetadata"`
	DestinationObjectStorageTier     string            `json:"destinationObjectStorageTier"`
}

// copyObject starts a copy within a tenancy, to any region that it subscribes
// to. Copies into another tenancy need policies on both sides, which are not
// simulated: they are refused as they are without these policies.
func (s *objectStore) copyObject(q *call) (*reply, error) {
	var d copyObjectDetails
	if err := q.decode(&d); err != nil {
		return nil, err
	}
	if d.SourceVersionID != "" {
		return nil, errInvalid("Object versions are not simulated")
	}
	if err := checkObjectName(d.DestinationObjectName); err != nil {
		return nil, err
	}
	if _, err := checkTier(d.DestinationObjectStorageTier); err != nil {
		return nil, err
	}
	if err := addMetadata(http.Header{}, d.DestinationObjectMetadata); err != nil {
		return nil, err
	}
	to := objectRef{bucketRef{d.DestinationRegion, d.DestinationNamespace, d.DestinationBucket}, d.DestinationObjectName}
	if !q.tenancy().subscribed(d.DestinationRegion) {
		return nil, errInvalid("The destination region %s is not valid", d.DestinationRegion)
	}
	if d.DestinationNamespace != q.tenancy().Namespace {
		return nil, errBucketNotFound(to.bucketRef)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	job := &copyJob{
		id: newOCID("objectstorageworkrequest", q.region().ocid), owner: q.tenancy(), compartment: b.compartment,
		from: objectRef{b.ref, d.SourceObjectName}, to: to, details: d,
		cond:   condition{d.DestinationObjectIfMatchETag, d.DestinationObjectIfNoneMatchETag},
		status: "ACCEPTED", accepted: time.Now(),
	}
	if err := s.checkCopy(job); err != nil {
		return nil, err
	}
	s.copies.put(job.id, job)
	ctx, cancel := context.WithCancel(s.cloud.base)
	job.cancel = cancel
	s.cloud.work.Go(func() {
		defer cancel()
		s.runCopy(ctx, job)
	})
	return (&reply{status: http.StatusAccepted}).with("Opc-Work-Request-Id", job.id), nil
}

// checkCopy tells whether a copy can be made. The store's lock is held.
func (s *objectStore) checkCopy(job *copyJob) error {
	o, err := s.find(job.from)
	if err != nil {
		return err
	}
	if err := (condition{match: job.details.SourceObjectIfMatchETag}).check(o.etag); err != nil {
		return err
	}
	return s.checkWrite(job.to, job.cond)
}

func (s *objectStore) runCopy(ctx context.Context, job *copyJob) {
	half := s.cloud.delays.Copy / 2
	var source *copySource
	err := schedule.Pause(ctx, half)
	if err == nil {
		s.mu.Lock()
		job.status, job.started = "IN_PROGRESS", time.Now()
		s.mu.Unlock()
		if s.cloud.cfg.Switches.CopiesOutliveSource {
			source, err = s.openSource(job)
		}
	}
	if err == nil {
		err = schedule.Pause(ctx, half)
	}
	if err == nil && source == nil {
		source, err = s.openSource(job)
	}
	if err == nil {
		err = s.makeCopy(job, source)
	}
	if source != nil {
		_ = source.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	job.finished = time.Now()
	switch {
	case err == nil:
		job.status = "COMPLETED"
	case ctx.Err() != nil:
		job.status = "CANCELED"
	default:
		job.status, job.failure = "FAILED", err
	}
}

// copySource is an object that is being copied: it can be read, whatever becomes of it.
type copySource struct {
	*object
	io.ReadCloser
}

// openSource looks at both objects again, since much may have happened since the copy
// was accepted, and opens the source.
func (s *objectStore) openSource(job *copyJob) (*copySource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkCopy(job); err != nil {
		return nil, err
	}
	source := s.buckets[job.from.bucketRef].objects[job.from.object]
	reader, err := source.open()
	if err != nil {
		return nil, err
	}
	return &copySource{source, reader}, nil
}

// makeCopy copies the bytes of an object.
func (s *objectStore) makeCopy(job *copyJob, source *copySource) error {
	w, err := s.newBlob(http.Header{})
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, source); err != nil {
		w.abandon()
		return fmt.Errorf("copy an object: %w", err)
	}
	b, err := w.finish()
	if err != nil {
		return err
	}
	headers := source.headers.Clone()
	if job.details.DestinationObjectMetadata != nil {
		headers = http.Header{}
		if err := addMetadata(headers, job.details.DestinationObjectMetadata); err != nil {
			b.discard()
			return err
		}
	}
	tier := job.details.DestinationObjectStorageTier
	if tier == "" {
		tier = source.tier
	}
	return s.store(job.to, &object{name: job.to.object, blob: b, tier: tier, headers: headers, multipartMD5: source.multipartMD5}, job.cond)
}

// copyOf is the work request that a call is about: only in the region where
// the copy was asked for. The store's lock is held.
func (s *objectStore) copyOf(q *call) (*copyJob, error) {
	job, ok := s.copies.get(q.vars["id"])
	if !ok || job.owner != q.tenancy() || job.from.region != q.region().name {
		return nil, errNotFound()
	}
	return job, nil
}

func (s *objectStore) getCopy(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	job, err := s.copyOf(q)
	if err != nil {
		return nil, err
	}
	type resource struct {
		ActionType string            `json:"actionType"`
		EntityType string            `json:"entityType"`
		Identifier string            `json:"identifier"`
		EntityURI  string            `json:"entityUri"`
		Metadata   map[string]string `json:"metadata"`
	}
	describe := func(action string, ref objectRef) resource {
		path := "/n/" + ref.namespace + "/b/" + ref.bucket + "/o/" + ref.object
		return resource{action, "object", path, path, map[string]string{
			"REGION": ref.region, "NAMESPACE": ref.namespace, "BUCKET": ref.bucket, "OBJECT": ref.object,
		}}
	}
	written := "WRITTEN"
	if job.finished.IsZero() {
		written = "IN_PROGRESS"
	}
	view := struct {
		OperationType   string     `json:"operationType"`
		Status          string     `json:"status"`
		ID              string     `json:"id"`
		CompartmentID   string     `json:"compartmentId"`
		Resources       []resource `json:"resources"`
		PercentComplete float32    `json:"percentComplete"`
		TimeAccepted    wireTime   `json:"timeAccepted"`
		TimeStarted     *wireTime  `json:"timeStarted"`
		TimeFinished    *wireTime  `json:"timeFinished"`
	}{
		OperationType: "COPY_OBJECT", Status: job.status, ID: job.id, CompartmentID: job.compartment,
		Resources:    []resource{describe("READ", job.from), describe(written, job.to)},
		TimeAccepted: wireTime{job.accepted},
	}
	if !job.started.IsZero() {
		view.TimeStarted, view.PercentComplete = &wireTime{job.started}, 50
	}
	if !job.finished.IsZero() {
		view.TimeFinished, view.PercentComplete = &wireTime{job.finished}, 100
	}
	return ok(view), nil
}

func (s *objectStore) listCopyErrors(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	job, err := s.copyOf(q)
	if err != nil {
		return nil, err
	}
	type entry struct {
		Code      string   `json:"code"`
		Message   string   `json:"message"`
		Timestamp wireTime `json:"timestamp"`
	}
	var list []entry
	if job.failure != nil {
		e := entry{"InternalError", job.failure.Error(), wireTime{job.finished}}
		var api *apiError
		if errors.As(job.failure, &api) {
			e.Code, e.Message = api.code, api.message
		}
		list = append(list, e)
	}
	return paginate(q, list)
}

func (s *objectStore) cancelCopy(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	job, err := s.copyOf(q)
	if err != nil {
		return nil, err
	}
	if !job.finished.IsZero() {
		return nil, errState("The work request %s is %s.", job.id, job.status)
	}
	job.status = "CANCELING"
	job.cancel()
	return &reply{status: http.StatusAccepted}, nil
}
