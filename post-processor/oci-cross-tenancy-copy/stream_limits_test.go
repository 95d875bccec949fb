// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Reading an AMI needs four permissions and no more; what is missing is named.
func TestStreamPermissions(t *testing.T) {
	needed := []string{"ec2:DescribeImages", "ec2:DescribeSnapshots", "ebs:ListSnapshotBlocks", "ebs:GetSnapshotBlock"}
	for _, missing := range append([]string{""}, needed...) {
		t.Run("without "+missing, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				granted := slices.DeleteFunc(slices.Clone(needed), func(a string) bool { return a == missing })
				_, keys, err := f.aws.AddUserWithPolicy(f.account, "copier", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["`+strings.Join(granted, `","`)+`"],"Resource":"*"}]}`)
				if err != nil {
					t.Fatal(err)
				}
				in := f.settings()
				in["aws"] = map[string]interface{}{"region": awsRegion, "access_key": keys.AccessKeyID, "secret_key": keys.SecretAccessKey}
				image, said, err := f.copy(t.Context(), t, in)
				if missing == "" {
					if err != nil {
						t.Fatalf("%v\n%s", err, said)
					}
					f.mustLeave(t, image, said)
					if unused := f.aws.UnusedGrants(f.account, "copier"); len(unused) > 0 {
						t.Errorf("nothing needed %v", unused)
					}
					return
				}
				if err == nil || !strings.Contains(said, missing) || !strings.Contains(said, "nothing was started") {
					t.Errorf("%v\n%s", err, said)
				}
				if left := f.left(); len(left) > 0 {
					t.Errorf("left %q", left)
				}
			})
		})
	}
}

// A way that takes too long ends, and the message says which option limits it.
func TestStreamTakesTooLong(t *testing.T) {
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		in := f.settings()
		in["export_timeout"] = "1m"
		var asked atomic.Int64 // the first block is read before anything begins
		f.wire.reset(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
			if strings.HasPrefix(r.URL.Path, "/snapshots/") && strings.Contains(r.URL.Path, "/blocks/") && asked.Add(1) > 1 {
				select {
				case <-time.After(50 * time.Second):
				case <-r.Context().Done():
				}
				panic(http.ErrAbortHandler)
			}
			return false
		})
		_, said, err := f.copy(t.Context(), t, in)
		if err == nil || !strings.Contains(said, "could not be read and uploaded within 1m0s (the limit is the option \"export_timeout\")") {
			t.Errorf("%v\n%s", err, said)
		}
		if left := f.left(); len(left) > 0 {
			t.Errorf("left %q", left)
		}
	})
}
