// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parameter is one of an account's own in Systems Manager's parameter store.
type parameter struct {
	name, value, kind, dataType, description string
	version                                  int64
	changed                                  time.Time
	tags                                     tagMap
}

// parameterKey says where a parameter is.
type parameterKey struct {
	home
	name string
}

// parameterStore is the service SSM, as far as it has parameters.
func (c *Cloud) parameterStore() *api {
	return &api{
		name: "ssm", prefix: "ssm", identify: jsonTarget("AmazonSSM"), failure: jsonFailure, problems: jsonProblems,
		ops: operations(
			jsonOp("GetParameter", c.getParameter), jsonOp("GetParameters", c.getParameters), jsonOp("GetParametersByPath", c.getParametersByPath),
			jsonOp("PutParameter", c.putParameter), jsonOp("DeleteParameter", c.deleteParameter),
		),
	}
}

type parameterJSON struct {
	ARN              string
	DataType         string
	LastModifiedDate float64
	Name             string
	Selector         string `json:",omitempty"`
	Type             string
	Value            string
	Version          int64
}

func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// parameterARN is the resource behind a name.
func (q *call) parameterARN(name string) string {
	account := q.who.Account.ID
	if strings.HasPrefix(name, "/aws/service/") {
		account = ""
	}
	return "arn:aws:ssm:" + q.region.name + ":" + account + ":parameter/" + strings.TrimPrefix(name, "/")
}

// parameterResource is a parameter as IAM sees it.
func (c *Cloud) parameterResource(q *call, name string, gets tagMap) AccessResource {
	var has tagMap
	if p := c.parameters[parameterKey{q.home(), name}]; p != nil {
		has = p.tags
	}
	x := iamResource(q.parameterARN(name), has, gets)
	for k, v := range has {
		x.Context["ssm:resourceTag/"+k] = []string{v}
	}
	return x
}

// splitName takes the selector from a name, and the name out of an ARN.
func splitName(q *call, text string) (name, selector string) {
	if rest, is := strings.CutPrefix(text, "arn:aws:ssm:"+q.region.name+":"); is {
		_, text, _ = strings.Cut(rest, ":parameter")
	}
	name, selector, has := strings.Cut(text, ":")
	if has {
		selector = ":" + selector
	}
	return name, selector
}

// lookUpParameter finds a parameter of the account or a public one.
func (c *Cloud) lookUpParameter(q *call, text string, decrypt bool) (parameterJSON, error) {
	name, selector := splitName(q, text)
	missing := refuse("ParameterNotFound", "Parameter %s not found.", text)
	if strings.HasPrefix(name, "/aws/service/") {
		id, ok := c.imageParameter(q.region, name)
		img, is := c.resources.byID[id].(*image)
		if !ok || !is || selector != "" && selector != ":1" {
			return parameterJSON{}, missing
		}
		return parameterJSON{q.parameterARN(name), "aws:ec2:image", epoch(img.created), name, selector, "String", id, 1}, nil
	}
	p := c.parameters[parameterKey{q.home(), name}]
	switch {
	case p == nil:
		return parameterJSON{}, missing
	case selector != "" && selector != ":"+strconv.FormatInt(p.version, 10):
		return parameterJSON{}, refuse("ParameterVersionNotFound", "Systems Manager could not find version%s of %s.", selector, name)
	}
	row := parameterJSON{q.parameterARN(name), p.dataType, epoch(p.changed), name, selector, p.kind, p.value, p.version}
	if p.kind == "SecureString" && !decrypt {
		row.Value = "AQICAHh" + document(row.Value) // nobody can read it
	}
	return row, nil
}

func (c *Cloud) getParameter(q *call, in *struct {
	Name           string `aws:",required"`
	WithDecryption bool
}) (any, error) {
	name, _ := splitName(q, in.Name)
	if err := c.authorize(q, []AccessResource{c.parameterResource(q, name, nil)}); err != nil {
		return nil, err
	}
	found, err := c.lookUpParameter(q, in.Name, in.WithDecryption)
	if err != nil {
		return nil, err
	}
	return struct{ Parameter parameterJSON }{found}, nil
}

func (c *Cloud) getParameters(q *call, in *struct {
	Names          []string `aws:",required"`
	WithDecryption bool
}) (any, error) {
	if len(in.Names) > 10 {
		return nil, refuse("ValidationException", "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length less than or equal to 10")
	}
	var asked []AccessResource
	for _, text := range in.Names {
		name, _ := splitName(q, text)
		asked = append(asked, c.parameterResource(q, name, nil))
	}
	if err := c.authorize(q, asked); err != nil {
		return nil, err
	}
	found, invalid := []parameterJSON{}, []string{}
	for _, text := range in.Names {
		if p, err := c.lookUpParameter(q, text, in.WithDecryption); err == nil {
			found = append(found, p)
		} else {
			invalid = append(invalid, text)
		}
	}
	return struct {
		InvalidParameters []string
		Parameters        []parameterJSON
	}{invalid, found}, nil
}

// publicParameters are the names of the public parameters of a region.
func (c *Cloud) publicParameters(r *region) []string {
	names := map[string]bool{}
	for _, img := range c.publicImages(r) {
		parts := strings.SplitN(img.name, "-", 4)
		if len(parts) != 4 || parts[0] != "debian" {
			continue
		}
		for _, release := range []string{parts[1], map[string]string{"12": "bookworm", "13": "trixie"}[parts[1]]} {
			for _, build := range []string{"latest", parts[3]} {
				names["/aws/service/debian/release/"+release+"/"+build+"/"+parts[2]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (c *Cloud) getParametersByPath(q *call, in *struct {
	Path             string `aws:",required"`
	Recursive        bool
	WithDecryption   bool
	MaxResults       int
	NextToken        string
	ParameterFilters []any
}) (any, error) {
	if err := c.authorize(q, []AccessResource{c.parameterResource(q, strings.TrimSuffix(in.Path, "/"), nil)}); err != nil {
		return nil, err
	}
	if len(in.ParameterFilters) > 0 {
		return nil, errNotSimulated("filters of parameters")
	}
	if in.MaxResults == 0 {
		in.MaxResults = 10
	}
	if !strings.HasPrefix(in.Path, "/") || in.MaxResults < 1 || in.MaxResults > 10 {
		return nil, refuse("ValidationException", "The path must begin with /, and MaxResults be between 1 and 10")
	}
	names := c.publicParameters(q.region)
	for key := range c.parameters {
		if key.home == q.home() {
			names = append(names, key.name)
		}
	}
	slices.Sort(names)
	found, next := []parameterJSON{}, ""
	for _, name := range names {
		rest, below := strings.CutPrefix(name, strings.TrimSuffix(in.Path, "/")+"/")
		if !below || strings.Contains(rest, "/") && !in.Recursive || name < in.NextToken {
			continue
		}
		if len(found) == in.MaxResults {
			next = name
			break
		}
		p, err := c.lookUpParameter(q, name, in.WithDecryption)
		if err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return struct {
		NextToken  string `json:",omitempty"`
		Parameters []parameterJSON
	}{next, found}, nil
}

var parameterForm = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)

func (c *Cloud) putParameter(q *call, in *struct {
	Name        string `aws:",required"`
	Value       string `aws:",required"`
	Type        string
	Description string
	DataType    string
	KeyID       string `json:"KeyId"`
	Overwrite   bool
	Tier        string
	Tags        []tagParam
}) (any, error) {
	tags := tagMap{}
	for _, t := range in.Tags {
		if t.Value != nil {
			tags[t.Key] = *t.Value
		}
	}
	if err := c.authorize(q, []AccessResource{c.parameterResource(q, in.Name, tags)}); err != nil {
		return nil, err
	}
	key := parameterKey{q.home(), in.Name}
	old := c.parameters[key]
	first := strings.ToLower(strings.TrimPrefix(in.Name, "/"))
	switch {
	case strings.HasPrefix(first, "aws") || strings.HasPrefix(first, "ssm"):
		return nil, refuse("ValidationException", `Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`)
	case !parameterForm.MatchString(in.Name) || strings.Contains(in.Name[1:], "/") && in.Name[0] != '/':
		return nil, refuse("ValidationException", "Parameter name must be a fully qualified name.")
	case in.Type == "" && old == nil:
		return nil, refuse("ValidationException", "A parameter type is required when you create a parameter.")
	case in.Type != "" && !slices.Contains([]string{"String", "StringList", "SecureString"}, in.Type):
		return nil, refuse("ValidationException", "1 validation error detected: Value '%s' at 'type' failed to satisfy constraint: Member must satisfy enum value set: [String, StringList, SecureString]", in.Type)
	case len(in.Value) > 4096:
		return nil, refuse("ValidationException", "Standard tier parameters support a maximum parameter value of 4096 characters.")
	case old != nil && !in.Overwrite:
		return nil, refuse("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	case in.Overwrite && len(tags) > 0:
		return nil, refuse("ValidationException", "Invalid request: tags and overwrite can't be used together.")
	case in.DataType != "" && in.DataType != "text" && in.DataType != "aws:ec2:image":
		return nil, refuse("ValidationException", "The following data type is not supported: %s.", in.DataType)
	}
	if in.DataType == "aws:ec2:image" {
		if img, is := c.resources.byID[in.Value].(*image); !is || !img.usable(q) {
			return nil, refuse("ValidationException", "The AMI %s does not exist.", in.Value)
		}
	}
	p := &parameter{name: in.Name, value: in.Value, kind: in.Type, dataType: orText(in.DataType, "text"), description: in.Description, version: 1,
		changed: time.Now(), tags: tags}
	if old != nil {
		p.version, p.tags, p.kind = old.version+1, old.tags, orText(in.Type, old.kind)
	}
	if c.parameters == nil {
		c.parameters = map[parameterKey]*parameter{}
	}
	c.parameters[key] = p
	return struct {
		Tier    string
		Version int64
	}{"Standard", p.version}, nil
}

func (c *Cloud) deleteParameter(q *call, in *struct {
	Name string `aws:",required"`
}) (any, error) {
	if err := c.authorize(q, []AccessResource{c.parameterResource(q, in.Name, nil)}); err != nil {
		return nil, err
	}
	key := parameterKey{q.home(), in.Name}
	if c.parameters[key] == nil {
		return nil, refuse("ParameterNotFound", "Parameter %s not found.", in.Name)
	}
	delete(c.parameters, key)
	return struct{}{}, nil
}
