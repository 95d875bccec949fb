// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

var tagged = regexp.MustCompile(`^packer-plugin-armfree_(v[0-9.]+)_SHA256SUMS$`)

// host plays releases.hashicorp.com, which does not know this plugin, and GitHub, which
// has one release of it: the files of a folder, changed on their way if a test asks.
type host struct {
	dir, tag string
	change   func(name string, b []byte) []byte
	asked    []string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{dir: os.Getenv("ACC_RELEASE")}
	if h.dir == "" {
		t.Skip(`there are no artifacts of a release: "make release-dry-run" makes them for "make testacc"`)
	}
	files, err := os.ReadDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if m := tagged.FindStringSubmatch(f.Name()); m != nil {
			h.tag = m[1]
		}
	}
	if h.tag == "" {
		t.Fatalf("no digests in %s", h.dir)
	}
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.asked = append(h.asked, r.Host+r.URL.Path)
	const repository = "/armfree/packer-plugin-armfree/"
	download := repository + "releases/download/" + h.tag + "/"
	switch {
	case r.Host == "api.github.com" && r.URL.Path == "/repos"+repository+"git/matching-refs/tags":
		_, _ = fmt.Fprintf(w, `[{"ref":"refs/tags/%s"}]`, h.tag)
	case r.Host == "github.com" && strings.HasPrefix(r.URL.Path, download):
		name := strings.TrimPrefix(r.URL.Path, download)
		b, err := os.ReadFile(filepath.Join(h.dir, filepath.Base(name)))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		if h.change != nil {
			b = h.change(name, b)
		}
		_, _ = w.Write(b)
	default:
		http.NotFound(w, r)
	}
}

// The real Packer finds a release as on GitHub, verifies and installs it, and builds with
// it, over both of its protocols. One whose bytes are others is refused.
func TestAccInit(t *testing.T) {
	acceptance(t)
	h := newHost(t)
	net, err := simnet.Start(h, simnet.Options{Domains: []string{"com"}})
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	ca, err := net.CAFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	template := t.TempDir()
	if err := os.CopyFS(template, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/pipeline.pkr.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("required_plugins")) {
		text = append([]byte(required), text...)
	}
	file := filepath.Join(template, "init.pkr.hcl")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}

	t.Run("other bytes", func(t *testing.T) {
		h.change = func(name string, b []byte) []byte {
			if strings.HasSuffix(name, ".zip") {
				b = bytes.Clone(b)
				b[len(b)/2] ^= 1
			}
			return b
		}
		defer func() { h.change = nil }()
		p, err := runpacker.Bare(os.Getenv("ACC_PACKER"), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var out inpacker.Output
		if err := p.Run(t.Context(), template, net.Env(ca), &out, "init", file); err == nil {
			t.Errorf("it was installed:\n%s", out.String())
		}
	})

	home := t.TempDir()
	p, err := runpacker.Bare(os.Getenv("ACC_PACKER"), home)
	if err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	err = p.Run(t.Context(), template, net.Env(ca), &out, "init", file)
	t.Logf("%s\nasked: %q", out.String(), h.asked)
	if err != nil || !strings.Contains(out.String(), "Installed plugin "+runpacker.Source+" "+h.tag) {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(h.asked, func(a string) bool { return strings.HasSuffix(a, "_SHA256SUMS") }) {
		t.Error("nobody asked for the digests")
	}
	for _, protocol := range []struct{ env, logged string }{{"PACKER_FORCE_GOB=0", "Using protobuf for communication"}, {"PACKER_FORCE_GOB=1", "forcing use of Gob"}} {
		t.Run(protocol.env, func(t *testing.T) {
			s := stage.ForTest(t, stage.Options{})
			var out inpacker.Output
			env := append(s.Env(), protocol.env, "PACKER_LOG=1")
			if err := p.Run(t.Context(), template, env, &out, "build", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), file); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			said := out.String()
			for _, want := range []string{protocol.logged, "An image was created: 'pipeline'", "The image 'copied' was copied:"} {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said", want)
				}
			}
			if left := s.Left(imageID.FindAllString(said, -1)...); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
