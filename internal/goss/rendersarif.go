// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path"
	"slices"
	"strings"
)

// SARIF 2.1.0: failing tests and what lint found are results; a rule is a
// property of a type of resource, or a rule of lint.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
		Properties  map[string]any    `json:"properties,omitempty"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		URI     string      `json:"informationUri"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID    string       `json:"id"`
		Short sarifMessage `json:"shortDescription"`
	}
	sarifInvocation struct {
		Successful bool        `json:"executionSuccessful"`
		Notes      []sarifNote `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNote struct {
		Level   string       `json:"level"`
		Message sarifMessage `json:"message"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifMessage      `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   map[string]any    `json:"properties,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
)

func (r *Result) sarif(about About) ([]byte, error) {
	run := sarifRun{
		Tool: sarifTool{sarifDriver{
			Name: "goss", Version: strings.TrimPrefix(clean(about.Goss.Version), "v"),
			URI: "https://github.com/goss-org/goss", Rules: []sarifRule{},
		}},
		Invocations: []sarifInvocation{{Successful: true}},
		Results:     []sarifResult{},
	}
	if about.Build != "" {
		run.Properties = map[string]any{"build": clean(about.Build)}
	}
	inv := &run.Invocations[0]
	for _, p := range append(slices.Clone(r.Problems), r.Waived...) {
		level := "error"
		if slices.Contains(r.Waived, p) {
			level = "warning"
		}
		inv.Successful = inv.Successful && p.Reason >= TooFew // else goss itself is at fault
		inv.Notes = append(inv.Notes, sarifNote{level, sarifMessage{cleanAll(p.Error())}})
	}
	for i := range r.Suites {
		s := &r.Suites[i]
		for _, f := range s.Findings {
			level := map[Level]string{LevelError: "error", LevelStrict: "warning"}[f.Level]
			if level == "" {
				level = "note"
			}
			run.add(sarifResult{
				RuleID: "lint/" + f.Rule, Level: level, Message: sarifMessage{cleanAll(f.Sentence)},
				Locations:    []sarifLocation{{Physical: physical(Place{f.File, f.Line})}},
				Fingerprints: fingerprint(f.File, f.Rule, f.Sentence),
			}, "A rule about gossfiles: "+f.Rule)
		}
		if s.Report == nil {
			continue
		}
		for j := range s.Report.Tests {
			t := &s.Report.Tests[j]
			if t.Outcome != Fail {
				continue
			}
			level := "error"
			switch severity := t.Severity(); {
			case severity <= Low:
				level = "note"
			case r.state(t) == warned, severity == Medium:
				level = "warning"
			}
			run.add(sarifResult{
				RuleID: ruleID(t.Type, t.Property), Level: level, Message: sarifMessage{t.name() + "\n" + t.details()},
				Locations: []sarifLocation{{
					Physical: physical(s.place(t)),
					Logical:  []sarifLogical{{clean(t.Type) + " " + clean(t.ID), "resource"}},
				}},
				Fingerprints: fingerprint(s.Name, t.Type, t.ID, t.Property),
				Properties:   map[string]any{"severity": t.Severity().String()},
			}, "The property "+clean(t.Property)+" of a "+clean(t.Type))
		}
	}
	return marshal(sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	})
}

func ruleID(typ, property string) string {
	return strings.ReplaceAll(clean(typ)+"/"+clean(property), " ", "-")
}

func (run *sarifRun) add(result sarifResult, about string) {
	rules := &run.Tool.Driver.Rules
	result.RuleIndex = slices.IndexFunc(*rules, func(x sarifRule) bool { return x.ID == result.RuleID })
	if result.RuleIndex < 0 {
		result.RuleIndex = len(*rules)
		*rules = append(*rules, sarifRule{result.RuleID, sarifMessage{about}})
	}
	run.Results = append(run.Results, result)
}

// physical is a place as SARIF has it: a URI, relative unless the path is not.
func physical(p Place) sarifPhysical {
	out := sarifPhysical{Artifact: sarifArtifact{uri(p.File)}}
	if p.Line > 0 {
		out.Region = &sarifRegion{p.Line}
	}
	return out
}

func uri(file string) string {
	u := url.URL{Path: path.Clean(clean(strings.ReplaceAll(file, `\`, "/")))}
	if path.IsAbs(u.Path) {
		u.Scheme = "file"
	}
	return u.String()
}

// fingerprint names a result across runs, whatever line it is in.
func fingerprint(parts ...string) map[string]string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return map[string]string{"armfreeGoss/v1": hex.EncodeToString(sum[:16])}
}
