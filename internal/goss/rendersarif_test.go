// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif" // has the schema
	"github.com/xeipuuv/gojsonschema"
)

// sarifSchema is the schema of SARIF 2.1.0 by OASIS, as the library go-sarif
// carries it. It does not export it, and validates only what it made itself.
func sarifSchema(t *testing.T) *gojsonschema.Schema {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "pkg", "report", "v210", "sarif", "schema.go")
	file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && len(lit.Value) > len(text) {
			text, err = strconv.Unquote(lit.Value)
		}
		return err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	schema, err := gojsonschema.NewSchema(gojsonschema.NewStringLoader(text))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestSARIFSchema holds the report against the schema.
func TestSARIFSchema(t *testing.T) {
	schema := sarifSchema(t)
	said := func(report []byte) []gojsonschema.ResultError {
		result, err := schema.Validate(gojsonschema.NewBytesLoader(report))
		if err != nil {
			t.Fatal(err)
		}
		return result.Errors()
	}
	for name, r := range results(t) {
		report := rendered(t, "sarif", r)
		for _, e := range said(report) {
			t.Errorf("%s: %v", name, e)
		}
		// The schema is one that says no.
		for _, wrong := range []string{`"Version": "2.1.0"`, `"version": "2.0.0"`} {
			if len(said(bytes.Replace(report, []byte(`"version": "2.1.0"`), []byte(wrong), 1))) == 0 {
				t.Errorf("%s is taken", wrong)
			}
		}
	}
}

// TestSARIF holds the report against what readers of it rely on and the schema
// does not demand.
func TestSARIF(t *testing.T) {
	for name, r := range results(t) {
		t.Run(name, func(t *testing.T) {
			var log struct {
				Schema  string `json:"$schema"`
				Version string `json:"version"`
				Runs    []struct {
					Tool struct {
						Driver struct {
							Name  string `json:"name"`
							Rules []struct {
								ID string `json:"id"`
							} `json:"rules"`
						} `json:"driver"`
					} `json:"tool"`
					Invocations []map[string]any `json:"invocations"`
					Results     []struct {
						RuleID    string `json:"ruleId"`
						RuleIndex *int   `json:"ruleIndex"`
						Level     string `json:"level"`
						Message   struct {
							Text string `json:"text"`
						} `json:"message"`
						Locations []struct {
							Physical struct {
								Artifact struct {
									URI string `json:"uri"`
								} `json:"artifactLocation"`
								Region *struct {
									StartLine int `json:"startLine"`
								} `json:"region"`
							} `json:"physicalLocation"`
						} `json:"locations"`
						Fingerprints map[string]string `json:"partialFingerprints"`
					} `json:"results"`
				} `json:"runs"`
			}
			if err := json.Unmarshal(rendered(t, "sarif", r), &log); err != nil {
				t.Fatal(err)
			}
			if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name != "goss" || log.Runs[0].Results == nil {
				t.Fatalf("%+v", log)
			}
			run, seen := log.Runs[0], map[string]bool{}
			if _, ok := run.Invocations[0]["executionSuccessful"].(bool); !ok {
				t.Error("no executionSuccessful")
			}
			for _, rule := range run.Tool.Driver.Rules {
				if rule.ID == "" || seen[rule.ID] {
					t.Errorf("the rule %q", rule.ID)
				}
				seen[rule.ID] = true
			}
			for _, x := range run.Results {
				if x.RuleIndex == nil || run.Tool.Driver.Rules[*x.RuleIndex].ID != x.RuleID || x.Message.Text == "" ||
					!slices.Contains([]string{"error", "warning", "note", "none"}, x.Level) || len(x.Fingerprints) == 0 || len(x.Locations) != 1 {
					t.Errorf("%+v", x)
					continue
				}
				place := x.Locations[0].Physical
				if place.Artifact.URI == "" || strings.ContainsAny(place.Artifact.URI, " \\<>\"") || place.Region != nil && place.Region.StartLine < 1 {
					t.Errorf("location %+v", place)
				}
			}
		})
	}
	text := string(rendered(t, "sarif", hostileResult(t, "")))
	for _, want := range []string{`"uri": "tests/a%20b.yaml"`, `"uri": "tests/inc.yaml"`, `"startLine": 7`, `"ruleId": "File/exists"`, `"level": "note"`, `"executionSuccessful": false`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	if got := uri("/srv/a.yaml"); got != "file:///srv/a.yaml" {
		t.Errorf("an absolute path is %s", got)
	}
}
