// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"
)

// beginByURL begins an upload by the URL of a PAR.
func (s *storage) beginByURL(url, body string) (int, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("opc-multipart", "true")
	return s.send(req)
}

// An upload in parts by a PAR's URL: its own URL is good for that upload only, as long as
// the PAR is there, and the owner may commit it.
func TestPARMultipart(t *testing.T) {
	s := newStorage(t)
	s.bucket(s.client, s.mine, "b")
	p := s.mustPAR("ObjectWrite", "dir/o")
	if code, body := s.beginByURL(parHost+*p.AccessUri, "data"); code != 400 {
		t.Errorf("with a body: %d %s", code, body)
	}
	if code, body := s.beginByURL(parHost+*s.mustPAR("ObjectRead", "dir/o").AccessUri, ""); code != 401 {
		t.Errorf("by a link that reads: %d %s", code, body)
	}
	code, body := s.beginByURL(parHost+*p.AccessUri, "")
	var made struct{ UploadID, AccessURI, Object string }
	if err := json.Unmarshal([]byte(body), &made); err != nil || code != 200 || made.Object != "dir/o" || !strings.HasSuffix(made.AccessURI, "/u/dir/o/id/"+made.UploadID+"/") {
		t.Fatalf("%d %s, %v", code, body, err)
	}
	for path, want := range map[string]int{
		made.AccessURI + "1": 200, made.AccessURI + "0": 400, made.AccessURI + "10001": 400, made.AccessURI + "x": 400, made.AccessURI: 400,
		strings.Replace(made.AccessURI, "/p/", "/p/x", 1) + "1":                        401,
		strings.Replace(made.AccessURI, made.UploadID, "other", 1) + "1":               401,
		strings.Replace(made.AccessURI, "/u/dir/o/", "/u/dir/p/", 1) + "1":             401,
		strings.Replace(*p.AccessUri, "/o/", "/u/", 1) + "/id/" + made.UploadID + "/1": 401,
	} {
		if code, body := s.anonymous("PUT", parHost+path, "data"); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	parts, err := s.client.ListMultipartUploadParts(t.Context(), objectstorage.ListMultipartUploadPartsRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: new("dir/o"), UploadId: &made.UploadID})
	if err != nil || len(parts.Items) != 1 || *parts.Items[0].PartNumber != 1 || *parts.Items[0].Size != 4 {
		t.Fatalf("%+v, %v", parts.Items, err)
	}
	for method, want := range map[string]int{"GET": 405, "HEAD": 405} { // parts are not listed: it is not documented
		if code, body := s.anonymous(method, parHost+made.AccessURI, ""); code != want {
			t.Errorf("%s: %d %s, want %d", method, code, body, want)
		}
	}
	if _, err := s.client.DeletePreauthenticatedRequest(t.Context(), objectstorage.DeletePreauthenticatedRequestRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b"), ParId: p.Id}); err != nil {
		t.Fatal(err)
	}
	if code, body := s.anonymous("PUT", parHost+made.AccessURI+"2", "data"); code != 401 {
		t.Errorf("after the PAR: %d %s", code, body)
	}
	for _, method := range []string{"POST", "DELETE"} {
		if code, body := s.anonymous(method, parHost+made.AccessURI, ""); code != 401 {
			t.Errorf("%s after the PAR: %d %s", method, code, body)
		}
	}
	_, err = s.client.CommitMultipartUpload(t.Context(), objectstorage.CommitMultipartUploadRequest{
		NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: new("dir/o"), UploadId: &made.UploadID,
		CommitMultipartUploadDetails: objectstorage.CommitMultipartUploadDetails{PartsToCommit: []objectstorage.CommitMultipartUploadPartDetails{{PartNum: new(1), Etag: parts.Items[0].Etag}}},
	})
	if err != nil {
		t.Error(err)
	}
}

// The upload's own URL is also what commits it, with all parts that are there, and what
// removes it.
func TestPARMultipartEnds(t *testing.T) {
	s := newStorage(t, func(c *Config) { c.MinPartSize = 4 })
	s.bucket(s.client, s.mine, "b")
	begin := func(object string) (id, uri string) {
		t.Helper()
		code, body := s.beginByURL(parHost+*s.mustPAR("ObjectWrite", object).AccessUri, "")
		var made struct{ UploadID, AccessURI string }
		if err := json.Unmarshal([]byte(body), &made); err != nil || code != 200 {
			t.Fatalf("%d %s, %v", code, body, err)
		}
		return made.UploadID, made.AccessURI
	}
	expect := func(what, method, path, data string, want int) {
		t.Helper()
		if code, body := s.anonymous(method, parHost+path, data); code != want {
			t.Errorf("%s: %d %s, want %d", what, code, body, want)
		}
	}
	id, uri := begin("dir/o")
	expect("a commit without parts", "POST", uri, "", 400)
	expect("the second part", "PUT", uri+"2", "last", 200)
	expect("the first part", "PUT", uri+"1", "data", 200)
	expect("a commit with a body", "POST", uri, "{}", 400)
	expect("a commit of a part", "POST", uri+"1", "", 401)
	expect("a commit without the slash", "POST", strings.TrimSuffix(uri, "/"), "", 401)
	expect("a commit with another token", "POST", strings.Replace(uri, "/p/", "/p/x", 1), "", 401)
	expect("a commit of another upload", "POST", strings.Replace(uri, id, "other", 1), "", 401)
	expect("a removal with another token", "DELETE", strings.Replace(uri, "/p/", "/p/x", 1), "", 401)
	expect("a commit", "POST", uri, "", 200)
	for _, method := range []string{"POST", "DELETE"} {
		expect("after the commit", method, uri, "", 401)
	}
	expect("a part after the commit", "PUT", uri+"3", "more", 401)
	if o, err := s.client.GetObject(t.Context(), objectstorage.GetObjectRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: new("dir/o")}); err != nil {
		t.Error(err)
	} else if b, err := io.ReadAll(o.Content); err != nil || string(b) != "datalast" || !strings.HasSuffix(*o.OpcMultipartMd5, "-2") {
		t.Errorf("%q, %s, %v", b, *o.OpcMultipartMd5, err)
	}

	id, uri = begin("p")
	expect("a part", "PUT", uri+"1", "data", 200)
	expect("a removal", "DELETE", uri, "", 204)
	expect("a part after the removal", "PUT", uri+"1", "data", 401)
	_, err := s.client.ListMultipartUploadParts(t.Context(), objectstorage.ListMultipartUploadPartsRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: new("p"), UploadId: &id})
	var gone common.ServiceError
	if !errors.As(err, &gone) || gone.GetHTTPStatusCode() != 404 {
		t.Errorf("its parts: %v", err)
	}
}
