// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"encoding/xml"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// element is a node of an XML document.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

// TestJUnit holds the report against the rules of the schema that Jenkins's
// xunit plugin has for JUnit (junit-10.xsd), written down here as a table.
func TestJUnit(t *testing.T) {
	type rule struct {
		required, optional []string
		children           []string
	}
	note := rule{optional: []string{"message", "type"}}
	schema := map[string]rule{
		"testsuites": {optional: []string{"name", "time", "tests", "failures", "errors"}, children: []string{"testsuite"}},
		"testsuite": {required: []string{"name", "tests", "failures", "errors"}, optional: []string{"time", "skipped", "timestamp", "hostname", "id", "package"},
			children: []string{"properties", "testcase", "system-out", "system-err"}},
		"properties": {children: []string{"property"}},
		"property":   {required: []string{"name", "value"}},
		"testcase": {required: []string{"name"}, optional: []string{"time", "classname", "group"},
			children: []string{"skipped", "error", "failure", "system-out", "system-err"}},
		"skipped": note, "error": note, "failure": note, "system-out": {}, "system-err": {},
	}
	surefireTime := regexp.MustCompile(`^(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?$`)
	numbers := []string{"tests", "failures", "errors", "skipped", "id"}
	var walk func(t *testing.T, e element)
	walk = func(t *testing.T, e element) {
		r, known := schema[e.XMLName.Local]
		if !known {
			t.Fatalf("element %s", e.XMLName.Local)
		}
		var have []string
		for _, a := range e.Attrs {
			have = append(have, a.Name.Local)
			if !slices.Contains(append(r.required, r.optional...), a.Name.Local) {
				t.Errorf("%s has the attribute %s", e.XMLName.Local, a.Name.Local)
			}
			if _, err := strconv.Atoi(a.Value); slices.Contains(numbers, a.Name.Local) && err != nil {
				t.Errorf("%s=%q", a.Name.Local, a.Value)
			}
			if _, err := strconv.ParseFloat(a.Value, 64); a.Name.Local == "time" && (err != nil || !surefireTime.MatchString(a.Value)) {
				t.Errorf("%s=%q", a.Name.Local, a.Value)
			}
			if _, err := time.Parse("2006-01-02T15:04:05", a.Value); a.Name.Local == "timestamp" && err != nil {
				t.Errorf("%s=%q", a.Name.Local, a.Value)
			}
		}
		for _, a := range r.required {
			if !slices.Contains(have, a) {
				t.Errorf("%s lacks %s", e.XMLName.Local, a)
			}
		}
		last := 0
		for _, c := range e.Children {
			at := slices.Index(r.children, c.XMLName.Local)
			if at < 0 {
				t.Errorf("%s in %s", c.XMLName.Local, e.XMLName.Local)
			} else if e.XMLName.Local == "testsuite" && at < last {
				t.Errorf("%s comes too late", c.XMLName.Local)
			}
			last = max(last, at)
			walk(t, c)
		}
	}
	attr := func(e element, name string) string {
		for _, a := range e.Attrs {
			if a.Name.Local == name {
				return a.Value
			}
		}
		return ""
	}
	for name, r := range results(t) {
		t.Run(name, func(t *testing.T) {
			var root element
			if err := xml.Unmarshal(rendered(t, "junit", r), &root); err != nil {
				t.Fatal(err)
			}
			walk(t, root)
			total := 0
			for _, s := range root.Children {
				count := map[string]int{}
				for _, c := range s.Children {
					if c.XMLName.Local != "testcase" {
						continue
					}
					count["tests"]++
					total++
					for _, what := range c.Children {
						count[map[string]string{"failure": "failures", "error": "errors", "skipped": "skipped"}[what.XMLName.Local]]++
					}
				}
				for _, a := range []string{"tests", "failures", "errors", "skipped"} {
					if attr(s, a) != strconv.Itoa(count[a]) {
						t.Errorf("suite %s says %s=%s and holds %d", attr(s, "name"), a, attr(s, a), count[a])
					}
				}
			}
			if attr(root, "tests") != strconv.Itoa(total) {
				t.Errorf("tests=%s of %d", attr(root, "tests"), total)
			}
			// Whoever reads the file must see what the verdict was.
			bad := attr(root, "failures") != "0" || attr(root, "errors") != "0"
			if bad != (r.Err() != nil) {
				t.Errorf("the file says bad=%v, the verdict is %v", bad, r.Err())
			}
		})
	}
	text := string(rendered(t, "junit", mixedResult(t)))
	for _, want := range []string{
		`<testcase classname="goss.goss_yaml.File" name="must exist: File /etc/no-such-file: exists"`,
		`<failure message="must exist: File /etc/no-such-file: exists: expected to equal true, got false" type="high">expected to equal true`,
		`<property name="os" value="Debian GNU/Linux 12 (bookworm)">`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}
