// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto/subtle"
	"net/http"
	"strings"
)

// errPARGone is the answer to every use of a PAR that does not exist (any
// more), has expired, or is for something else. Which of these it was, the
// holder of a URL does not learn.
func (s *objectStore) errPARGone() *apiError {
	if s.cloud.cfg.Switches.GonePARIsNotFound {
		return fail(http.StatusNotFound, "NotAuthorizedOrNotFound", "The pre-authenticated request does not exist or is expired.")
	}
	return fail(http.StatusUnauthorized, "NotAuthenticated", "PAR does not exist")
}

// admit finds the bucket that a PAR's URL leads to and the PAR itself. The
// store's lock is held.
func (s *objectStore) admit(q *call) (*bucket, *par, error) {
	ref := bucketRef{q.region().name, q.vars["namespace"], q.vars["bucket"]}
	b, ok := s.buckets[ref]
	if !ok || (q.namespace != "" && q.namespace != ref.namespace) {
		return nil, nil, s.errPARGone()
	}
	for _, p := range b.pars {
		if subtle.ConstantTimeCompare([]byte(p.token), []byte(q.vars["token"])) == 1 && !p.expired() {
			return b, p, nil
		}
	}
	return nil, nil, s.errPARGone()
}

// admitObject names the object that a PAR's URL leads to, if the PAR allows
// what the caller wants with it.
func (s *objectStore) admitObject(q *call, write bool) (objectRef, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, p, err := s.admit(q)
	if err != nil {
		return objectRef{}, err
	}
	if !p.allows(q.vars["object"], write) {
		return objectRef{}, s.errPARGone()
	}
	return objectRef{b.ref, q.vars["object"]}, nil
}

func (s *objectStore) getByPAR(q *call) (*reply, error) {
	ref, err := s.admitObject(q, false)
	if err != nil {
		return nil, err
	}
	return s.get(q, ref)
}

func (s *objectStore) headByPAR(q *call) (*reply, error) {
	ref, err := s.admitObject(q, false)
	if err != nil {
		return nil, err
	}
	return s.head(q, ref)
}

func (s *objectStore) putByPAR(q *call) (*reply, error) {
	if q.Header.Get("opc-multipart") == "true" {
		return s.beginByPAR(q)
	}
	ref, err := s.admitObject(q, true)
	if err != nil {
		return nil, err
	}
	return s.put(q, ref)
}

func (s *objectStore) listByPAR(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, p, err := s.admit(q)
	if err != nil {
		return nil, err
	}
	if p.details.BucketListingAction != "ListObjects" {
		return nil, s.errPARGone()
	}
	return b.list(q, p.details.ObjectName)
}

// withoutPARToken hides what a PAR's path gives away from the request log.
func withoutPARToken(path string) string {
	rest, isPAR := strings.CutPrefix(path, "/p/")
	if !isPAR {
		return path
	}
	_, rest, _ = strings.Cut(rest, "/")
	return "/p/…/" + rest
}
