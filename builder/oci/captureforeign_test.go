// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/e2e/capturekit"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// sly is a machine that does more with the URL of its upload than to put parts: after each
// part that has arrived.
type sly struct {
	http.RoundTripper
	after func(do func(method, suffix, body string) int)
}

func (s sly) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err != nil || r.Method != http.MethodPut || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	url := r.URL.String()
	url = url[:strings.LastIndexByte(url, '/')+1]
	s.after(func(method, suffix, body string) int {
		req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), method, url+suffix, bytes.NewReader([]byte(body)))
		if err != nil {
			return 0
		}
		got, err := s.RoundTripper.RoundTrip(req)
		if err != nil {
			return 0
		}
		_ = got.Body.Close()
		return got.StatusCode
	})
	return resp, nil
}

// The URL that a machine has for its parts is good for committing and removing the whole
// upload, too. A machine that does so fails its build, and what it made of the object does
// not stay.
func TestCaptureByAMachineThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	lost := &ocisim.Fault{Kind: ocisim.FaultCutAfterEffect, Op: "CommitMultipartUpload", Times: 1}
	for name, tt := range map[string]struct {
		does  func(do func(method, suffix, body string) int) int // what it gets for it last
		want  int
		fault *ocisim.Fault
	}{
		"commits what is there": {does: func(do func(method, suffix, body string) int) int { return do("POST", "", "") }, want: 200},
		"removes it":            {does: func(do func(method, suffix, body string) int) int { return do("DELETE", "", "") }, want: 204},
		"puts another part in its place": {does: func(do func(method, suffix, body string) int) int {
			return do("PUT", "1", "something else")
		}, want: 200},
		"puts another part beside it": {does: func(do func(method, suffix, body string) int) int {
			return do("PUT", "2", "something else")
		}, want: 200},
		"commits something else": {does: func(do func(method, suffix, body string) int) int {
			do("PUT", "1", "something else")
			return do("POST", "", "")
		}, want: 200},
		"commits something else, and the reply to our own commit is lost": {does: func(do func(method, suffix, body string) int) int {
			do("PUT", "1", "something else")
			return do("POST", "", "")
		}, want: 200, fault: lost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s *stage.Stage
			var got atomic.Int32
			client := func() *http.Client {
				return &http.Client{Transport: sly{s.Net.Client().Transport, func(do func(method, suffix, body string) int) { got.Store(int32(tt.does(do))) }}}
			}
			s = stage.ForTest(t, stage.Options{Driver: capturekit.Machine{Client: client}.Driver(), Adjust: noImages})
			if tt.fault != nil {
				if err := s.Cloud.AddFaults(*tt.fault); err != nil {
					t.Fatal(err)
				}
			}
			_, said, err := captureBuild(t.Context(), t, s, nil, nil)
			if int(got.Load()) != tt.want {
				t.Fatalf("it got %d\n%s", got.Load(), said)
			}
			if err == nil || !strings.Contains(err.Error(), "somebody who has its URL, which only the machine was given") {
				t.Errorf("%v\n%s", err, said)
			}
			if left := s.Left(); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}
