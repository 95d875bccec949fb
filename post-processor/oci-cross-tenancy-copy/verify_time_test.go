// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// launches calls see with the owner of every machine that is asked for.
func launches(t *testing.T, see func(owner.Tag)) func(http.ResponseWriter, *http.Request, int) bool {
	return func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method != http.MethodPost || !strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/instances") {
			return false
		}
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(text))
		var body struct{ FreeformTags map[string]string }
		if err := json.Unmarshal(text, &body); err != nil {
			t.Error(err)
		}
		tag, err := owner.ParseTag(body.FreeformTags[owner.Key])
		if err != nil {
			t.Errorf("%v: %s", err, text)
		}
		see(tag)
		return false
	}
}

// However long the export and the import take, a machine is nobody's leftover as long
// as it may be needed.
func TestVerifyAfterHours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		for _, slow := range []ocisim.Fault{
			{Kind: ocisim.FaultSlow, State: "EXPORTING", Delay: ocisim.Duration(3 * time.Hour)},
			{Kind: ocisim.FaultSlow, State: "IMPORTING", Delay: ocisim.Duration(3 * time.Hour)},
		} {
			if err := v.AddFaults(slow); err != nil {
				t.Fatal(err)
			}
		}
		start, n := time.Now(), 0
		v.wire.reset(launches(t, func(tag owner.Tag) {
			n++
			open := slices.DeleteFunc(v.left(), func(x string) bool { // the note waits for the end
				return !strings.HasPrefix(x, "link ") && (!strings.HasPrefix(x, "object ") || strings.Contains(x, "-"+owner.RoleCopy+"-"))
			})
			if len(open) > 0 {
				t.Errorf("while the copy is being verified there is still %q", open)
			}
			if left := time.Until(tag.Expires); left < 2*time.Hour {
				t.Errorf("after %s a machine is launched that is a leftover in %s", time.Since(start), left)
			}
		}))
		in := v.settings("verify")
		in["export_timeout"] = "4h"
		in["destination"].([]interface{})[0].(map[string]interface{})["import_timeout"] = "4h"
		image, said, err := v.copy(t.Context(), t, in)
		if err != nil || n != 1 || time.Since(start) < 6*time.Hour {
			t.Errorf("%v, %d machines after %s\n%s", err, n, time.Since(start), said)
		}
		v.mustLeave(t, image, said)
	})
}

// An image that an earlier run left is a leftover until a run of the same copy takes it up:
// from then on it is needed for as long as that one may take.
func TestAdoptedImageIsNoLeftover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		v.wire.reset(launches(t, func(owner.Tag) { cancel() }))
		if _, said, err := v.copy(ctx, t, v.settings("verify")); err == nil || !strings.Contains(said, "It stays") {
			t.Fatalf("%v\n%s", err, said)
		}
		time.Sleep(48 * time.Hour)
		images := func() (all []ocisim.Resource) { return v.Inventory().Tenancies[1].Regions[0].Images }
		expiry := func() time.Duration {
			if len(images()) != 1 {
				t.Fatalf("images %+v", images())
			}
			tag, err := owner.ParseTag(images()[0].FreeformTags[owner.Key])
			if err != nil || !tag.Unfinished {
				t.Errorf("%+v, %v", tag, err)
			}
			return time.Until(tag.Expires)
		}
		if left := expiry(); left > 0 {
			t.Fatalf("after two days what was left expires in %s", left)
		}
		n := 0
		v.wire.reset(launches(t, func(owner.Tag) {
			n++
			if left := expiry(); left < 2*time.Hour {
				t.Errorf("an image is verified that is a leftover in %s", left)
			}
		}))
		image, said, err := v.copy(t.Context(), t, v.settings("verify"))
		if err != nil || n != 1 {
			t.Errorf("%v, %d machines\n%s", err, n, said)
		}
		v.mustLeave(t, image, said)
	})
}
