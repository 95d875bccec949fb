// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// message is a text in the code that people will read.
type message struct {
	file *source
	line int
	text string
	said bool // a line of its own; else an error, which becomes a part of one
}

// messages are the texts that are said and those of errors, where they are literals.
func messages(t *tree) []message {
	said := []string{"Say", "Sayf", "say", "Warn", "Warnf", "warn"}
	var list []message
	for _, f := range t.files {
		if f.ast == nil || !f.product() || strings.Contains(f.path, "/cmd/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			lit, ok := call.Args[0].(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil || text == "" {
				return true
			}
			x, _ := sel.X.(*ast.Ident)
			of := func(name string) bool { return x != nil && x.Name == name }
			m := message{file: f, line: t.fset.Position(lit.Pos()).Line, text: text}
			switch name := sel.Sel.Name; {
			case slices.Contains(said, name), (name == "Error" || name == "Errorf") && of("ui"):
				m.said = true
			case of("errors") && name == "New", of("fmt") && name == "Errorf":
			default:
				return true
			}
			list = append(list, m)
			return true
		})
	}
	return list
}

var (
	// foreign are words in which programs, and not people, speak of what went wrong.
	foreign = regexp.MustCompile(`(?i)\bfailed to\b|\bunable to\b|\berrors?: |\bcannot be nil\b|\bstate ?bag\b|\bmultistep\b|\bgoroutine\b|\bunmarshal|\boperation error\b|\boops\b|!$`)
	verb    = regexp.MustCompile(`^%[-+# 0-9.*]*[a-z]`)
)

// voice is what is wrong with a message: who says something begins a sentence, and
// who wraps an error goes on in one; neither ends it, since more may follow.
func voice(m message) (wrong []string) {
	first := []rune(strings.TrimLeft(m.text, " "))
	if m.said && len(first) > 0 && unicode.IsLower(first[0]) {
		// An option, a command or a name of ours stays as it is written.
		word, _, _ := strings.Cut(string(first), " ")
		if !strings.ContainsAny(word, "_=/.-") && len(strings.Fields(m.text)) > 2 && !strings.HasSuffix(word, ":") {
			wrong = append(wrong, "begins with a small letter")
		}
	}
	if !m.said && len(first) > 1 && unicode.IsUpper(first[0]) && unicode.IsLower(first[1]) && !verb.MatchString(m.text) {
		word, _, _ := strings.Cut(string(first), " ")
		names := []string{"Amazon", "Amazon's", "Ampere", "Debian", "GitHub", "Object", "Oracle", "Oracle's", "Packer", "Packer's"}
		if !slices.Contains(names, word) {
			wrong = append(wrong, "begins with a capital letter")
		}
	}
	if strings.HasSuffix(m.text, ".") && !strings.HasSuffix(m.text, "...") && strings.Count(m.text, ". ") == 0 {
		wrong = append(wrong, "ends with a full stop")
	}
	if strings.HasSuffix(m.text, "\n") {
		wrong = append(wrong, "ends with a line end")
	}
	if f := foreign.FindString(m.text); f != "" {
		wrong = append(wrong, fmt.Sprintf("has %q", f))
	}
	return wrong
}

// messageRules keep what people read in one voice.
func messageRules() []rule {
	return []rule{{
		name: "messages",
		check: func(t *tree) []finding {
			var out []finding
			for _, m := range messages(t) {
				for _, w := range voice(m) {
					out = append(out, finding{m.file.path, fmt.Sprintf("line %d: %q %s", m.line, m.text, w)})
				}
			}
			return out
		},
		fine: map[string]string{"a.go": `package a
var x = errors.New("this user may not delete it: allow it to")
func f() {
	ui.Sayf("Terminating machine %s and its disk", id)
	ui.Say("ssh_pty is set, so the image is captured without")
	ui.Say("%s is left out")
	fmt.Errorf("OCI in %s does not let %s in: %w")
	fmt.Errorf("Oracle's list has no %s")
	b.say("Made it. Now it is there.")
}`},
		broken: map[string]map[string]string{
			`"making an image of it" begins with a small`:   {"a.go": "package a\nfunc f() { ui.Say(\"making an image of it\") }"},
			`"Cannot reach it" begins with a capital`:       {"a.go": "package a\nvar x = errors.New(\"Cannot reach it\")"},
			`"it is gone." ends with a full stop`:           {"a.go": "package a\nvar x = fmt.Errorf(\"it is gone.\")"},
			`"Made it\n" ends with a line end`:              {"a.go": "package a\nfunc f() { b.say(\"Made it\\n\") }"},
			`"failed to launch it" has "failed to"`:         {"a.go": "package a\nvar x = errors.New(\"failed to launch it\")"},
			`"Error: no machine: %v" has "Error: "`:         {"a.go": "package a\nfunc f() { c.Warn(\"Error: no machine: %v\", err) }"},
			`"operation error EC2" has "operation error"`:   {"a.go": "package a\nvar x = errors.New(\"operation error EC2\")"},
			`"the StateBag lacks a machine" has "StateBag"`: {"a.go": "package a\nvar x = errors.New(\"the StateBag lacks a machine\")"},
			`"It is there!" has "!"`:                        {"a.go": "package a\nfunc f() { ui.Errorf(\"It is there!\") }"},
		},
	}}
}
