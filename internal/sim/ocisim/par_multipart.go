// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A PUT to a PAR's URL with the header opc-multipart begins an upload in parts. The
// reply has a URL with a token of its own, which is good for that upload as long as the PAR
// is: a PUT to it with a number behind it puts a part, a POST to it commits, a DELETE to it
// removes all parts. That much Oracle documents, with examples in which neither POST nor
// DELETE has a body ("Pre-Authenticated Request Object URLs in Object Storage", To put a
// large object). Which parts a POST commits it does not say: all that are there, here. Nor
// does it say that the URL lists parts, or what a body of a POST would do: neither is
// possible here.

// multipartView is the reply.
type multipartView struct {
	uploadView
	AccessURI string `json:"accessUri"`
}

// beginByPAR begins an upload.
func (s *objectStore) beginByPAR(q *call) (*reply, error) {
	if q.ContentLength > 0 {
		return nil, errInvalid("A request with opc-multipart: true has no body")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, p, err := s.admit(q)
	if err != nil {
		return nil, err
	}
	object := q.vars["object"]
	if !p.allows(object, true) {
		return nil, s.errPARGone()
	}
	if err := s.checkWrite(objectRef{b.ref, object}, conditionOf(q.Header)); err != nil {
		return nil, err
	}
	u := &upload{id: newETag(), object: object, created: time.Now(), tier: "Standard", headers: http.Header{}, parts: map[int]*part{}, par: p.id, token: newPARToken()}
	b.uploads[u.id] = u
	uri := "/p/" + u.token + "/n/" + b.ref.namespace + "/b/" + b.ref.bucket + "/u/" + object + "/id/" + u.id + "/"
	return ok(multipartView{b.uploadView(u), uri}), nil
}

// uploadByPAR finds the upload that a path ends with: "/id/", the upload's id, a slash, and
// what comes after it. find must be called with the store's lock held.
func (s *objectStore) uploadByPAR(q *call) (find func() (*bucket, *upload, error), rest string, err error) {
	path := q.vars["object"]
	i := strings.LastIndex(path, "/id/")
	if i < 0 {
		return nil, "", s.errPARGone()
	}
	object := path[:i]
	id, rest, complete := strings.Cut(path[i+len("/id/"):], "/")
	if !complete {
		return nil, "", s.errPARGone()
	}
	return func() (*bucket, *upload, error) {
		ref := bucketRef{q.region().name, q.vars["namespace"], q.vars["bucket"]}
		b, found := s.buckets[ref]
		if !found || q.namespace != "" && q.namespace != ref.namespace {
			return nil, nil, s.errPARGone()
		}
		u := b.uploads[id]
		if u == nil || u.object != object || u.token == "" || subtle.ConstantTimeCompare([]byte(u.token), []byte(q.vars["token"])) != 1 {
			return nil, nil, s.errPARGone()
		}
		if p := b.pars[u.par]; p == nil || p.expired() {
			return nil, nil, s.errPARGone()
		}
		return b, u, u.busy()
	}, rest, nil
}

// uploadPartByPAR puts a part, whose number ends the path.
func (s *objectStore) uploadPartByPAR(q *call) (*reply, error) {
	find, text, err := s.uploadByPAR(q)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 || number > maxParts {
		return nil, errInvalid("The number of a part must be between 1 and %d", maxParts)
	}
	only := func() (*upload, error) {
		_, u, err := find()
		return u, err
	}
	return s.receivePart(q, number, only, conditionOf(q.Header))
}

// commitByPAR makes the object of all parts that are there.
func (s *objectStore) commitByPAR(q *call) (*reply, error) {
	find, rest, err := s.uploadByPAR(q)
	if err != nil {
		return nil, err
	}
	if rest != "" {
		return nil, s.errPARGone()
	}
	if q.ContentLength > 0 {
		return nil, errInvalid("A commit by a pre-authenticated request has no body")
	}
	all := func(u *upload) (d commitDetails) {
		for _, p := range u.parts {
			d.PartsToCommit = append(d.PartsToCommit, partToCommit{p.number, p.etag})
		}
		return d
	}
	return s.commit(find, all, conditionOf(q.Header))
}

// abortByPAR removes an upload and its parts.
func (s *objectStore) abortByPAR(q *call) (*reply, error) {
	find, rest, err := s.uploadByPAR(q)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, u, err := find()
	if err == nil && rest != "" {
		err = s.errPARGone()
	}
	if err != nil {
		return nil, err
	}
	b.drop(u)
	return noContent(), nil
}
