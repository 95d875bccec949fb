// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// policy is a document of IAM's policy language.
type policy struct {
	name      string // of the policy that has the document
	variables bool   // version 2012-10-17: ${…} means something
	rules     []policyRule
}

// policyRule is a statement.
type policyRule struct {
	id         string // its Sid, or its number
	deny       bool
	actions    []string
	notActions bool
	resources  []string
	notRes     bool
	principals []policyPrincipal // of trust policies
	conditions []policyCondition
}

// policyPrincipal is whom a trust policy is about.
type policyPrincipal struct{ kind, id string }

// policyKind says which elements a document has.
type policyKind int

const (
	identityPolicy policyKind = iota // what somebody may do
	trustPolicy                      // who may assume a role
)

const newestPolicyVersion = "2012-10-17"

// errPolicy is IAM's refusal of a document.
func errPolicy(format string, args ...any) *apiError {
	return refuse("MalformedPolicyDocument", format, args...)
}

// parsePolicy reads a document. It is as strict as IAM: elements must be known,
// there once, and make sense together.
func parsePolicy(name, text string, kind policyKind) (*policy, error) {
	top, err := jsonObject([]byte(text))
	if err != nil {
		return nil, errPolicy("Syntax errors in policy: %v", err)
	}
	p := &policy{name: name}
	for key, raw := range top {
		switch key {
		case "Version":
			var version string
			if json.Unmarshal(raw, &version) != nil || version != newestPolicyVersion && version != "2008-10-17" {
				return nil, errPolicy("Policy document must be version 2012-10-17 or 2008-10-17.")
			}
			p.variables = version == newestPolicyVersion
		case "Id":
			var id string
			if json.Unmarshal(raw, &id) != nil {
				return nil, errPolicy("Syntax errors in policy: Id is not a text")
			}
		case "Statement":
			if err := p.readRules(raw, kind); err != nil {
				return nil, err
			}
		default:
			return nil, errPolicy("Syntax errors in policy: unknown element %s", key)
		}
	}
	if len(p.rules) == 0 {
		return nil, errPolicy("Syntax errors in policy: there is no statement")
	}
	return p, nil
}

func (p *policy) readRules(raw json.RawMessage, kind policyKind) error {
	list := []json.RawMessage{raw}
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		list = nil
		if err := json.Unmarshal(raw, &list); err != nil {
			return errPolicy("Syntax errors in policy: %v", err)
		}
	}
	seen := map[string]bool{}
	for n, item := range list {
		rule, err := readRule(item, kind)
		if err != nil {
			return err
		}
		if rule.id != "" && seen[rule.id] {
			return errPolicy("Statement IDs (SID) in a single policy must be unique.")
		}
		if seen[rule.id] = true; rule.id == "" {
			rule.id = fmt.Sprintf("#%d", n+1)
		}
		p.rules = append(p.rules, rule)
	}
	return nil
}

var sidForm = regexp.MustCompile(`^[0-9A-Za-z]*$`)

func readRule(raw json.RawMessage, kind policyKind) (policyRule, error) {
	r := policyRule{}
	fields, err := jsonObject(raw)
	if err != nil {
		return r, errPolicy("Syntax errors in policy: %v", err)
	}
	has := func(name string) bool { _, ok := fields[name]; return ok }
	for name, raw := range fields {
		var err error
		switch name {
		case "Sid":
			if json.Unmarshal(raw, &r.id) != nil || !sidForm.MatchString(r.id) {
				return r, errPolicy("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
			}
		case "Effect":
			var effect string
			if json.Unmarshal(raw, &effect) != nil || effect != "Allow" && effect != "Deny" {
				return r, errPolicy("Syntax errors in policy: Effect is Allow or Deny, not %s", raw)
			}
			r.deny = effect == "Deny"
		case "Action", "NotAction":
			r.actions, err = texts(raw)
			r.notActions = name == "NotAction"
		case "Resource", "NotResource":
			r.resources, err = texts(raw)
			r.notRes = name == "NotResource"
		case "Principal", "NotPrincipal":
			if kind != trustPolicy || name == "NotPrincipal" {
				return r, errPolicy("Policy document should not specify a principal.")
			}
			r.principals, err = readPrincipals(raw)
		case "Condition":
			r.conditions, err = readConditions(raw)
		default:
			err = fmt.Errorf("unknown element %s", name)
		}
		if err != nil {
			return r, errPolicy("Syntax errors in policy: %v", err)
		}
	}
	switch {
	case !has("Effect"):
		return r, errPolicy("Syntax errors in policy: a statement needs an Effect")
	case has("Action") == has("NotAction") || len(r.actions) == 0:
		return r, errPolicy("Policy statement must contain actions.")
	case kind == trustPolicy && (has("Resource") || has("NotResource")):
		return r, errPolicy("Has prohibited field Resource")
	case kind == trustPolicy && len(r.principals) == 0:
		return r, errPolicy("Missing required field Principal")
	case kind == identityPolicy && (has("Resource") == has("NotResource") || len(r.resources) == 0):
		return r, errPolicy("Policy statement must contain resources.")
	}
	if err := r.checkProviders(); err != nil {
		return r, err
	}
	return r, r.check(kind)
}

// checkProviders refuses trust in all tokens of an issuer that everybody can
// get tokens of, such as GitHub.
func (r policyRule) checkProviders() error {
	for _, p := range r.principals {
		_, host, is := strings.Cut(p.id, ":oidc-provider/")
		if p.kind != "Federated" || !is || r.deny || host != "token.actions.githubusercontent.com" {
			continue
		}
		if !slices.ContainsFunc(r.conditions, func(c policyCondition) bool {
			return strings.EqualFold(c.key, host+":sub") && !slices.Contains(c.values, "*")
		}) {
			return errPolicy("The trust policy must evaluate the condition key %s:sub, and not with a wildcard alone.", host)
		}
	}
	return nil
}

var actionForm = regexp.MustCompile(`^[A-Za-z0-9-]+:[A-Za-z0-9*?]+$`)

// check looks at the form of actions and resources.
func (r policyRule) check(kind policyKind) error {
	for _, a := range r.actions {
		switch {
		case a == "*" && kind == identityPolicy:
		case !strings.Contains(a, ":"):
			return errPolicy("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
		case !actionForm.MatchString(a):
			return errPolicy("The policy failed legacy parsing")
		case kind == trustPolicy && !strings.HasPrefix(strings.ToLower(a), "sts:"):
			return errPolicy("AssumeRole policy may only specify STS AssumeRole actions.")
		}
	}
	for _, x := range r.resources {
		parts := strings.SplitN(x, ":", 6)
		switch {
		case x == "*":
		case parts[0] != "arn":
			return errPolicy("Resource %s must be in ARN format or \"*\".", x)
		case len(parts) < 6 && !strings.HasSuffix(x, "*"):
			return errPolicy("Resource %s must be in ARN format or \"*\".", x)
		case len(parts) > 1 && !slices.Contains([]string{"aws", "*"}, parts[1]):
			return errPolicy("Partition \"%s\" is not valid for resource \"%s\".", parts[1], x)
		case len(parts) > 2 && parts[2] == "*" && len(parts) > 3:
			return errPolicy("IAM resource path must not have a wildcard for the vendor: %s", x)
		}
	}
	return nil
}

// readPrincipals reads "*" or {"AWS": …, "Service": …, "Federated": …}.
func readPrincipals(raw json.RawMessage) ([]policyPrincipal, error) {
	var all string
	if json.Unmarshal(raw, &all) == nil {
		if all != "*" {
			return nil, fmt.Errorf("the principal %q is not valid", all)
		}
		return []policyPrincipal{{"AWS", "*"}}, nil
	}
	fields, err := jsonObject(raw)
	if err != nil {
		return nil, err
	}
	var list []policyPrincipal
	for kind, raw := range fields {
		if !slices.Contains([]string{"AWS", "Service", "Federated"}, kind) {
			return nil, fmt.Errorf("the kind of principal %q is not valid", kind)
		}
		ids, err := texts(raw)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			list = append(list, policyPrincipal{kind, id})
		}
	}
	return list, nil
}

// texts reads a text or a list of texts.
func texts(raw json.RawMessage) ([]string, error) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s is neither a text nor a list of texts", raw)
	}
	return list, nil
}

// jsonObject reads an object whose names are all different, which
// encoding/json does not look at.
func jsonObject(raw []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("an object is needed")
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		fields[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("there is something behind the document")
	}
	return fields, nil
}

// policySize is what IAM counts against its limits: white space is free.
func policySize(text string) int {
	return len(strings.Join(strings.Fields(text), ""))
}

// checkPolicySize refuses what is too large for one policy, or for all that
// somebody has.
func checkPolicySize(kind, name string, limit int, documents ...string) error {
	total := 0
	for _, d := range documents {
		total += policySize(d)
	}
	if total > limit {
		return fail(http.StatusConflict, "LimitExceeded", "Maximum policy size of %d bytes exceeded for %s %s", limit, kind, name)
	}
	return nil
}
