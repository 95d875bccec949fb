// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package owner

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestNameRoundTrip(t *testing.T) {
	b := NewBuild(time.Now(), 3*time.Hour)
	for _, role := range []string{RoleImage, RoleExport, "two-words"} {
		got, r, err := ParseName(b.Name(role))
		if err != nil || r != role || got != b {
			t.Errorf("ParseName(%q) = %v, %q, %v", b.Name(role), got, r, err)
		}
	}
	for _, foreign := range []string{"", "armfree-", "armfree-x", "backup-abc-image-5", "armfree-abc-image-tomorrow", "armfree--image-5", "armfree-abc--5"} {
		if got, r, err := ParseName(foreign); err == nil {
			t.Errorf("ParseName(%q) = %v, %q: not ours, but taken", foreign, got, r)
		}
	}
}

func TestTag(t *testing.T) {
	b := NewBuild(time.Now(), time.Hour)
	want := b.Tag(RoleImage)
	want.Attempt, want.Unfinished, want.Failed = b.Token("x"), true, true
	all := want.With(map[string]string{"Name": "mine", "empty": ""})
	if v, ok := all["empty"]; len(all) != 3 || all["Name"] != "mine" || !ok || v != "" {
		t.Errorf("tags: %v", all)
	}
	if n := len(all[Key]); n > 256 {
		t.Errorf("a value of %d characters", n)
	}
	got, err := ParseTag(all[Key] + " later=word")
	if err != nil || got != want {
		t.Errorf("%q gives %+v, %v, want %+v", all[Key], got, err, want)
	}
	stays, err := ParseTag(Tag{Build: "b", Role: RoleImage}.String())
	if err != nil || !stays.Expires.IsZero() || stays.Unfinished {
		t.Errorf("a finished image: %+v, %v", stays, err)
	}
	for _, foreign := range []string{"", "yes", "build=x", "role=image", "build=x role=image expires=tomorrow"} {
		if got, err := ParseTag(foreign); err == nil {
			t.Errorf("%q is not ours, but taken: %+v", foreign, got)
		}
	}
}

func TestCheckTags(t *testing.T) {
	nine, ten := map[string]string{}, map[string]string{}
	for i := range 10 {
		if i < 9 {
			nine[fmt.Sprint(i)] = ""
		}
		ten[fmt.Sprint(i)] = ""
	}
	if err := CheckTags("tags", nine); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]map[string]string{
		"OCI allows 10": ten, `the key "armfree"`: {Key: "x"}, "a value up to 256": {"k": strings.Repeat("x", 257)}, "1 to 100": {strings.Repeat("x", 101): ""},
	} {
		if err := CheckTags("tags", bad); err == nil || !strings.Contains(err.Error(), "tags: ") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestToken(t *testing.T) {
	b := NewBuild(time.Now(), time.Hour)
	first := b.Token("a", "b")
	if again := b.Token("a", "b"); again != first {
		t.Error("the same request has two tokens")
	}
	seen := map[string]bool{}
	for _, tok := range []string{b.Token("a", "b"), b.Token("ab"), b.Token("", "ab"), NewBuild(time.Now(), time.Hour).Token("a", "b")} {
		if seen[tok] {
			t.Errorf("two requests share the token %s", tok)
		}
		seen[tok] = true
		if len(tok) > 64 {
			t.Errorf("token of %d characters", len(tok))
		}
	}
}

func TestDerive(t *testing.T) {
	now := time.Now()
	a, b := Derive(now, time.Hour, "x", "y"), Derive(now.Add(time.Hour), time.Hour, "x", "y")
	if a.ID != b.ID || a.Expires.Equal(b.Expires) {
		t.Errorf("%v and %v", a, b)
	}
	if c := Derive(now, time.Hour, "xy"); c.ID == a.ID {
		t.Error("other parts, and the same id")
	}
	if got, role, err := ParseName(a.Name(RoleCopy)); err != nil || got != a || role != RoleCopy {
		t.Errorf("ParseName(%q) = %v, %q, %v", a.Name(RoleCopy), got, role, err)
	}
}

// A copy's tag tells where it comes from, as far as there is room.
func TestProvenance(t *testing.T) {
	b := NewBuild(time.Now(), time.Hour)
	source := "ocid1.image.oc1.ap-chuncheon-1." + strings.Repeat("a", 60)
	done := Tag{Build: b.ID, Role: RoleImport, Attempt: b.Token("x"), Verified: "0123456789ab", Source: source, Origin: "abcdefghijklmnop"}
	if got, err := ParseTag(done.String()); err != nil || got != done {
		t.Errorf("%q gives %+v, %v", done.String(), got, err)
	}
	followed := done
	followed.Series = Series("a")
	if got, err := ParseTag(followed.String()); err != nil || got.Series != followed.Series || got.Source != source || len(followed.String()) > 256 {
		t.Errorf("with a series: %q gives %+v, %v", followed.String(), got, err)
	}
	done.Form = "vmdk"
	if got, err := ParseTag(done.String()); err != nil || got.Form != done.Form || got.Source != source || len(done.String()) > 256 {
		t.Errorf("with a form: %q gives %+v, %v", done.String(), got, err)
	}
	digest := followed // the most that there is
	digest.Source, digest.Origin = "sha512:"+strings.Repeat("0f", 64), ""
	if got, err := ParseTag(digest.String()); err != nil || got != digest || len(digest.String()) > 256 {
		t.Errorf("of a digest: %q gives %+v, %v", digest.String(), got, err)
	}
	if got, err := ParseTag("build=b role=import source=" + digest.Source); err != nil || got.Source != digest.Source {
		t.Errorf("of a digest, as it was written before: %+v, %v", got, err)
	}
	for _, other := range []string{"sha512:" + strings.Repeat("0F", 64), "sha512:0f", "sha512:" + strings.Repeat("x", 128), "sha512:" + strings.Repeat("A", 86)} {
		if got, err := ParseTag(Tag{Build: "b", Role: RoleImport, Source: other}.String()); err != nil || got.Source != other {
			t.Errorf("%q became %q, %v", other, got.Source, err)
		}
	}
	done.Form, done.Source = "", strings.Repeat("s", 300)
	if got, err := ParseTag(done.String()); err != nil || got.Source != "" || got.Origin != done.Origin || len(done.String()) > 256 {
		t.Errorf("%q gives %+v, %v", done.String(), got, err)
	}
}
