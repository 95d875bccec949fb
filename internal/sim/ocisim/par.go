// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// par is a pre-authenticated request: whoever knows its token may do with an
// object, or with all objects of a bucket, what its access type says, until it
// expires or is deleted. It cannot be changed.
type par struct {
	id      string
	token   string // told once, in the reply to its creation
	created time.Time
	details createPARDetails
}

// createPARDetails is CreatePreauthenticatedRequest's body.
type createPARDetails struct {
	Name                string    `json:"name" oci:"required"`
	AccessType          string    `json:"accessType" oci:"required"`
	TimeExpires         time.Time `json:"timeExpires" oci:"required"`
	BucketListingAction string    `json:"bucketListingAction"`
	// ObjectName is the object, or with AnyObject… a prefix that object names
	// must have.
	ObjectName string `json:"objectName"`
}

// parSummary is what can be read of a PAR later: all but its URL.
type parSummary struct {
	ID                  string   `json:"id"`
	Name                string   `json:"name"`
	ObjectName          *string  `json:"objectName"`
	BucketListingAction *string  `json:"bucketListingAction"`
	AccessType          string   `json:"accessType"`
	TimeExpires         wireTime `json:"timeExpires"`
	TimeCreated         wireTime `json:"timeCreated"`
}

func (p *par) summary() parSummary {
	d := p.details
	return parSummary{p.id, d.Name, nullable(d.ObjectName), nullable(d.BucketListingAction), d.AccessType, wireTime{d.TimeExpires}, wireTime{p.created}}
}

func (p *par) expired() bool { return !time.Now().Before(p.details.TimeExpires) }

// single tells whether the PAR is for one object.
func (p *par) single() bool { return !strings.HasPrefix(p.details.AccessType, "Any") }

// allows tells whether the PAR lets its holder read, or write, an object.
func (p *par) allows(name string, write bool) bool {
	if p.single() && name != p.details.ObjectName || !strings.HasPrefix(name, p.details.ObjectName) {
		return false
	}
	if write {
		return strings.HasSuffix(p.details.AccessType, "Write")
	}
	return strings.Contains(p.details.AccessType, "Read")
}

func (d createPARDetails) check() error {
	if strings.TrimSpace(d.Name) == "" {
		return errMissing("name")
	}
	switch d.AccessType {
	case "ObjectRead", "ObjectWrite", "ObjectReadWrite":
		if d.ObjectName == "" {
			return errMissing("objectName")
		}
	case "AnyObjectRead", "AnyObjectWrite", "AnyObjectReadWrite":
	default:
		return errInvalid("Unknown accessType %q", d.AccessType)
	}
	if d.ObjectName != "" {
		if err := checkObjectName(d.ObjectName); err != nil {
			return err
		}
	}
	switch d.BucketListingAction {
	case "", "Deny":
	case "ListObjects":
		if d.AccessType != "AnyObjectRead" && d.AccessType != "AnyObjectReadWrite" {
			return errInvalid("bucketListingAction ListObjects needs an accessType that reads any object")
		}
	default:
		return errInvalid("Unknown bucketListingAction %q", d.BucketListingAction)
	}
	if !time.Now().Before(d.TimeExpires) {
		return errInvalid("timeExpires %s is not in the future", d.TimeExpires.UTC().Format(time.RFC3339))
	}
	return nil
}

func (s *objectStore) createPAR(q *call) (*reply, error) {
	var d createPARDetails
	if err := q.decode(&d); err != nil {
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	p := &par{id: newPARID(d.ObjectName), token: newPARToken(), created: time.Now(), details: d}
	b.pars[p.id] = p
	uri := "/p/" + p.token + "/n/" + b.ref.namespace + "/b/" + b.ref.bucket + "/o/"
	if p.single() {
		uri += escapeObject(d.ObjectName)
	}
	return ok(struct {
		parSummary
		AccessURI string `json:"accessUri"`
		FullPath  string `json:"fullPath"`
	}{
		p.summary(), uri,
		fmt.Sprintf("https://%s.objectstorage.%s.oci.customer-oci.com%s", b.ref.namespace, b.ref.region, uri),
	}), nil
}

// escapeObject makes an object's name fit for a URL but keeps its slashes.
func escapeObject(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// newPARID makes an id as awkward as the real ones: it always has a slash, a
// plus and an equals sign, and ends with the object's name. Clients that build
// a path from it must cope.
func newPARID(objectName string) string {
	raw := randomBase64(base64.StdEncoding, 33)
	id := raw[:12] + "/" + raw[12:28] + "+" + raw[28:] + "="
	if objectName != "" {
		id += ":" + objectName
	}
	return id
}

func newPARToken() string { return randomBase64(base64.RawURLEncoding, 48) }

func randomBase64(encoding *base64.Encoding, n int) string {
	raw := make([]byte, n)
	if _, err := rand.Read(raw); err != nil {
		panic(fmt.Sprintf("the system has no randomness: %v", err)) // documented never to happen
	}
	return encoding.EncodeToString(raw)
}

func (s *objectStore) listPARs(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	var list []parSummary
	for _, p := range b.pars {
		if strings.HasPrefix(p.details.ObjectName, q.param("objectNamePrefix")) {
			list = append(list, p.summary())
		}
	}
	slices.SortFunc(list, func(a, b parSummary) int {
		return cmp.Or(a.TimeCreated.Compare(b.TimeCreated.Time), cmp.Compare(a.ID, b.ID))
	})
	return paginate(q, list)
}

// parOf is the PAR that a signed request names by id. The store's lock is held.
func (s *objectStore) parOf(q *call) (*bucket, *par, error) {
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, nil, err
	}
	p, ok := b.pars[q.vars["par"]]
	if !ok {
		return nil, nil, fail(http.StatusNotFound, "NotAuthorizedOrNotFound", "The pre-authenticated request does not exist or is expired.")
	}
	return b, p, nil
}

func (s *objectStore) getPAR(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, p, err := s.parOf(q)
	if err != nil {
		return nil, err
	}
	return ok(p.summary()), nil
}

func (s *objectStore) deletePAR(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, p, err := s.parOf(q)
	if err != nil {
		return nil, err
	}
	delete(b.pars, p.id)
	return noContent(), nil
}
