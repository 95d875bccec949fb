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
// reply has a URL with a token of its own, which is good for the parts of that upload
// as long as the PAR is: Oracle documents the form of both, and how parts are put.

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

// uploadPartByPAR puts a part. The path ends with "/id/", the upload's id and the
// number of the part.
func (s *objectStore) uploadPartByPAR(q *call) (*reply, error) {
	path := q.vars["object"]
	i := strings.LastIndex(path, "/id/")
	if i < 0 {
		return nil, s.errPARGone()
	}
	object := path[:i]
	id, text, _ := strings.Cut(path[i+len("/id/"):], "/")
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 || number > maxParts {
		return nil, errInvalid("The number of a part must be between 1 and %d", maxParts)
	}
	find := func() (*upload, error) {
		ref := bucketRef{q.region().name, q.vars["namespace"], q.vars["bucket"]}
		b, found := s.buckets[ref]
		if !found || q.namespace != "" && q.namespace != ref.namespace {
			return nil, s.errPARGone()
		}
		u := b.uploads[id]
		if u == nil || u.object != object || u.token == "" || subtle.ConstantTimeCompare([]byte(u.token), []byte(q.vars["token"])) != 1 {
			return nil, s.errPARGone()
		}
		if p := b.pars[u.par]; p == nil || p.expired() {
			return nil, s.errPARGone()
		}
		return u, nil
	}
	return s.receivePart(q, number, find, conditionOf(q.Header))
}
