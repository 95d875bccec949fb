// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// sent is a request as it went over the wire.
type sent struct {
	op    string // "POST /instances", "GET /images/*"
	host  string
	key   string // the header Authorization
	query url.Values
	body  any
}

// at is a value of a request: "sourceDetails.imageId" of its body, "?shape" of
// its query, "host".
func (s sent) at(path string) any {
	if name, ok := strings.CutPrefix(path, "?"); ok {
		if v := s.query[name]; len(v) > 0 {
			return v[0]
		}
		return nil
	}
	if path == "host" {
		return s.host
	}
	value := s.body
	for path != "" {
		m, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		key, rest, _ := strings.Cut(path, "/")
		value, path = m[key], rest
	}
	return value
}

// tap notes every request that the builder sends.
type tap struct {
	next  http.RoundTripper
	until string
	pull  func()

	mu   sync.Mutex
	list []sent
}

// sweeps says whether a request looks for leftovers of earlier builds, which every
// build does first and no option changes.
func (s sent) sweeps() bool {
	if s.op == "GET /computeImageCapabilitySchemas" {
		return !s.query.Has("imageId")
	}
	q := maps.Clone(s.query)
	q.Del("compartmentId")
	q.Del("page")
	return s.op == "GET /images" && len(q) == 0
}

// RoundTrip implements http.RoundTripper.
func (w *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	var raw []byte
	if r.Body != nil {
		var err error
		if raw, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(raw))
	}
	parts := strings.Split(r.URL.Path, "/")[2:] // behind the version
	for i, p := range parts {
		if strings.HasPrefix(p, "ocid1.") {
			parts[i] = "*"
		}
	}
	s := sent{op: r.Method + " /" + strings.Join(parts, "/"), host: r.URL.Host, key: r.Header.Get("Authorization"), query: r.URL.Query()}
	if len(raw) > 0 && json.Unmarshal(raw, &s.body) != nil {
		s.body = string(raw)
	}
	if s.sweeps() {
		return w.next.RoundTrip(r)
	}
	w.mu.Lock()
	w.list = append(w.list, s)
	w.mu.Unlock()
	resp, err := w.next.RoundTrip(r)
	if err == nil && s.op == "GET /vnics/*" {
		err = public(resp)
	}
	if w.until != "" && s.op == w.until {
		w.pull()
	}
	return resp, err
}

// publicIP stands for the address that the machine has for the world: in the
// simulator it is the private one.
const publicIP = "203.0.113.7"

func public(resp *http.Response) error {
	raw, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	raw = regexp.MustCompile(`"publicIp":"[^"]+"`).ReplaceAll(raw, []byte(`"publicIp":"`+publicIP+`"`))
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	resp.Header.Del("Content-Length")
	return nil
}

// requests are those of a build with some options, in order. It has no
// connection unless they say so; until, if set, is a request at which it is
// cancelled, so that it need not connect.
func (s *wireSet) requests(t *testing.T, faults []ocisim.Fault, until string, set ...options) ([]sent, string, error) {
	t.Helper()
	s.ResetFaults()
	if err := s.AddFaults(faults...); err != nil {
		t.Fatal(err)
	}
	in := s.settings()
	for _, m := range set {
		maps.Copy(in, m)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &tap{next: s.http.Transport, until: until, pull: cancel}
	b := &Builder{Mask: new(mask.Masker), HTTP: &http.Client{Transport: w}}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	a, err := b.Run(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, inpacker.Hook(nothing))
	list := w.list
	if until != "" && errors.Is(err, context.Canceled) {
		err = nil
	}
	if err == nil && a != nil {
		if err := a.Destroy(); err != nil {
			t.Error(err)
		}
	}
	return list, out.String(), err
}

// nothing is a template without provisioners.
func nothing(context.Context, packersdk.Ui, packersdk.Communicator) error { return nil }

type options = map[string]interface{}

// onWire is what an option changes in the requests of a build.
type onWire struct {
	options []string // "disk_size", "shape_config.ocpus"
	set     options
	with    options // what else the template says, so that the option matters
	faults  []ocisim.Fault
	// op is the request that is looked at, the first of its kind, and want its
	// values: nil is none, a func(any) bool looks itself.
	op   string
	want map[string]any
	// gone: there is no such request any more. fails: the build is refused.
	gone  bool
	fails string
	alone bool   // without the option the build fails
	until string // the request at which the build is cancelled; see requests
	says  string // said with the option, and not without it
}

// differs says in what the requests are not those that the row wants.
func (o onWire) differs(list []sent) (wrong []string) {
	i := slices.IndexFunc(list, func(s sent) bool { return s.op == o.op })
	if o.gone {
		if i >= 0 {
			wrong = append(wrong, "there is a "+o.op)
		}
		return wrong
	}
	if i < 0 {
		return []string{"there is no " + o.op}
	}
	for path, want := range o.want {
		got := list[i].at(path)
		if f, ok := want.(func(any) bool); ok {
			if !f(got) {
				wrong = append(wrong, fmt.Sprintf("%s of %s is %v", path, o.op, got))
			}
		} else if !reflect.DeepEqual(got, want) {
			wrong = append(wrong, fmt.Sprintf("%s of %s is %v, want %v", path, o.op, got, want))
		}
	}
	return wrong
}

// Every option that OCI is told of, as a template has it, and as it goes over the
// wire. A build without the option must not send the same, or a row would prove
// nothing.
func TestOptionsOnTheWire(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "/nowhere") // nobody connects to it
	var plain plainBuilds
	for i, r := range newWireSet(t).rows(t) {
		t.Run(strings.Join(r.options, ", "), func(t *testing.T) {
			t.Parallel()
			files := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := newWireSet(t)
				s.files = files // a test has none of its own here
				s.furnish(t)
				s.rows(t)[i].prove(t, s, &plain)
			})
		})
	}
}

// plainBuilds are what builds without an option sent and said: many rows compare
// with the same.
type plainBuilds struct {
	mu   sync.Mutex
	sent map[string][]sent
	said map[string]string
}

func (p *plainBuilds) build(t *testing.T, s *wireSet, o onWire) ([]sent, string) {
	key := dump([]any{o.with, o.faults, o.until})
	p.mu.Lock()
	list, said := p.sent[key], p.said[key]
	p.mu.Unlock()
	if list != nil {
		return list, said
	}
	list, said, err := s.requests(t, o.faults, o.until, o.with)
	if (err != nil) != o.alone {
		t.Fatalf("without it: %v\n%s", err, said)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent == nil {
		p.sent, p.said = map[string][]sent{}, map[string]string{}
	}
	p.sent[key], p.said[key] = list, said
	return list, said
}

func (o onWire) prove(t *testing.T, s *wireSet, builds *plainBuilds) {
	plain, said := builds.build(t, s, o)
	list, now, err := s.requests(t, o.faults, o.until, o.with, o.set)
	if o.fails != "" {
		if err == nil || !strings.Contains(err.Error(), o.fails) {
			t.Errorf("%v", err)
		}
		if slices.ContainsFunc(list, func(s sent) bool { return s.op == launch }) {
			t.Error("a machine was asked for")
		}
		return
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, now)
	}
	for _, d := range o.differs(list) {
		t.Error(d)
	}
	if !strings.Contains(now, o.says) || o.says != "" && strings.Contains(said, o.says) {
		t.Errorf("%q is not said, or is said without the option, too:\n%s", o.says, now)
	}
	if len(o.want) == 0 && o.says == "" && len(o.differs(plain)) == 0 {
		t.Error("it is the same without the option")
	}
	for path, want := range o.want {
		if len(onWire{op: o.op, want: map[string]any{path: want}}.differs(plain)) == 0 {
			t.Errorf("%s is the same without the option", path)
		}
	}
	if left := s.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

const (
	otherRegion           = "uk-london-1"
	launch, making        = "POST /instances", "POST /images"
	addShape, bareShape   = "PUT /images/*/shapes/BM.Standard.A1.160", "BM.Standard.A1.160"
	otherShape            = "VM.Standard.A2.Flex"
	schemas, newBastion   = "POST /computeImageCapabilitySchemas", "POST /bastions"
	newSession, theirKeys = "POST /sessions", "metadata/ssh_authorized_keys"
)

// begins looks for how a text begins.
func begins(prefix string) func(any) bool {
	return func(v any) bool { text, ok := v.(string); return ok && strings.HasPrefix(text, prefix) }
}

// holds looks for a text in the user data.
func holds(part string) func(any) bool {
	return func(v any) bool {
		text, _ := v.(string)
		plain, err := base64.StdEncoding.DecodeString(text)
		return err == nil && strings.Contains(string(plain), part)
	}
}

// publicKey looks at a public key.
func publicKey(fits func(key ssh.PublicKey, comment string) bool) func(any) bool {
	return func(v any) bool {
		text, _ := v.(string)
		key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
		return err == nil && fits(key, comment)
	}
}
