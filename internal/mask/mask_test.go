// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"net/url"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

const key = `-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7
d/+Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zg==
-----END PRIVATE KEY-----
`

func TestEveryFormIsMasked(t *testing.T) {
	var m Masker
	par := "https://objectstorage.eu-frankfurt-1.oraclecloud.com/p/a+b/c=:x/n/ns/b/bkt/o/image.oci"
	m.Add(key, par, "hunter2 and \"friends\"", "abc")
	j, _ := json.Marshal(map[string]string{"key": key})
	for name, text := range map[string]string{
		"whole":       key,
		"prefixed":    "==> oci: " + strings.ReplaceAll(key, "\n", "\n==> oci: "),
		"quoted":      fmt.Sprintf("%q", key),
		"json":        string(j),
		"url":         "?x=" + url.QueryEscape(par),
		"base64":      base64.StdEncoding.EncodeToString([]byte(strings.TrimSpace(key))),
		"par":         "GET " + par + " 200",
		"quoted word": fmt.Sprintf("%q", "hunter2 and \"friends\""),
	} {
		got := m.Text(text)
		for _, leak := range []string{"MIIEvQ", "d/+Zm9v", "a+b/c", "a%2Bb", "hunter2", "TUlJRXZR"} {
			if strings.Contains(got, leak) {
				t.Errorf("%s: %q is still in %q", name, leak, got)
			}
		}
		if !strings.Contains(got, Hidden) {
			t.Errorf("%s: nothing was masked in %q", name, got)
		}
	}
	if s := "the alphabet begins with abc"; m.Text(s) != s {
		t.Error("a short value was masked")
	}
}

func TestUiAndLog(t *testing.T) {
	var m Masker
	m.Add("topsecret")
	var out bytes.Buffer
	basic := &packersdk.BasicUi{Writer: &out, ErrorWriter: &out, TTY: yes{}}
	ui := m.Ui(basic)
	ui.Say("a topsecret")
	ui.Sayf("b %s", "topsecret")
	ui.Error("c topsecret")
	ui.Errorf("d %s", "topsecret")
	ui.Message("e topsecret")
	if _, err := ui.Ask("f topsecret?"); err != nil {
		t.Fatal(err)
	}
	log.New(m.Writer(&out), "", 0).Printf("g %q", "topsecret")
	if s := out.String(); strings.Contains(s, "topsecret") || strings.Count(s, Hidden) != 7 {
		t.Error(s)
	}
}

// A masker that knows some keys masks a log without much delay.
func BenchmarkText(b *testing.B) {
	m := &Masker{}
	var words []string
	for k := range 8 {
		line := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(k), byte(k * 31), 7}, 16))
		for n := range 27 {
			words = append(words, fmt.Sprintf("%c%c%s", 'A'+n, 'a'+k, line))
		}
	}
	m.Add(strings.Join(words, "\n"))
	text := strings.Repeat("2026/11/26 21:00:00 [INFO] POST https://iaas.eu-frankfurt-1.oraclecloud.com/20160918/instances 200 in 0.2s\n", 100)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		m.Text(text)
	}
}

type yes struct{}

func (yes) ReadString() (string, error) { return "y", nil }
func (yes) Close() error                { return nil }

func TestURLIsMaskedWithoutItsHost(t *testing.T) {
	var m Masker
	m.AddURL("https://objectstorage.eu-frankfurt-1.oraclecloud.com/p/a%2Bb-c_d/n/ns/b/bkt/o/image.oci")
	for _, s := range []string{"GET /p/a%2Bb-c_d/n/ns/b/bkt/o/image.oci: 404", "no /p/a+b-c_d/n/ns/b/bkt/o/image.oci"} {
		if got := m.Text(s); strings.Contains(got, "b-c_d") {
			t.Errorf("%q is not masked", got)
		}
	}
}
