// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// renewing is a cloud that writes marks.
type renewing struct {
	cloud
	wrote []Thing
	fails map[string]error
}

func (r *renewing) Renew(_ context.Context, t Thing) error {
	r.wrote = append(r.wrote, t)
	return r.fails[t.ID]
}

func TestRenew(t *testing.T) {
	soon := expires(now.Add(time.Hour))
	r := &renewing{cloud: cloud{place: "x"}, fails: map[string]error{"g": errors.New("no")}}
	r.things = []Thing{
		of(Instance, "i", soon, func(t *Thing) { t.Mark.Attempt = "token" }), of(Group, "g", soon), of(KeyPair, "k", soon), of(Bastion, "b", soon), of(Volume, "v", soon),
		of(Volume, "kept", expires(time.Time{})), of(Instance, "long", expires(now.Add(9*time.Hour))),
		of(Image, "a", soon), of(Snapshot, "s", soon), of(Schema, "c", soon), of(Object, "o", soon), of(Link, "l", soon), of(Role, "r", soon),
		of(Instance, "another", soon, build("other")), of(Instance, "theirs", foreign),
		of(Instance, "odd", soon, func(t *Thing) { t.Mark.Role = "image" }),
	}
	err := Renew(t.Context(), []Cloud{&cloud{place: "old"}, &renewing{cloud: cloud{place: "deaf", deaf: errors.New("401")}}, r}, "dead", 8*time.Hour)
	if err == nil || !strings.Contains(err.Error(), "security group g: no") || !strings.Contains(err.Error(), "deaf: 401") {
		t.Errorf("%v", err)
	}
	if got := ids(r.wrote); got != "i g k v" {
		t.Errorf("renewed %q", got)
	}
	for _, x := range r.wrote {
		if !x.Mark.Expires.Equal(now.Add(8*time.Hour)) || x.Mark.Build != "dead" || x.ID == "i" && x.Mark.Attempt != "token" {
			t.Errorf("%s: %+v", x, x.Mark)
		}
	}
	// Whose clock is not known, nothing is written.
	if out := outlived(Listing{Things: r.things}, "dead", time.Hour); len(out) > 0 {
		t.Errorf("renewed %v", out)
	}
}
