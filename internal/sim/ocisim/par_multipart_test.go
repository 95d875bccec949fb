// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

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

// An upload in parts by a PAR's URL: its own URL is good for its parts only, as long as
// the PAR is there, and the owner commits it.
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
	if _, err := s.client.DeletePreauthenticatedRequest(t.Context(), objectstorage.DeletePreauthenticatedRequestRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b"), ParId: p.Id}); err != nil {
		t.Fatal(err)
	}
	if code, body := s.anonymous("PUT", parHost+made.AccessURI+"2", "data"); code != 401 {
		t.Errorf("after the PAR: %d %s", code, body)
	}
	_, err = s.client.CommitMultipartUpload(t.Context(), objectstorage.CommitMultipartUploadRequest{
		NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: new("dir/o"), UploadId: &made.UploadID,
		CommitMultipartUploadDetails: objectstorage.CommitMultipartUploadDetails{PartsToCommit: []objectstorage.CommitMultipartUploadPartDetails{{PartNum: new(1), Etag: parts.Items[0].Etag}}},
	})
	if err != nil {
		t.Error(err)
	}
}
