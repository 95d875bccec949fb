// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	iamVersion   = "2010-05-08"
	iamNamespace = "https://iam.amazonaws.com/doc/2010-05-08/"
)

// identityAndAccess is the service IAM, as far as a script that sets up an
// account for builds needs it.
func (c *Cloud) identityAndAccess() *api {
	return &api{
		name: "iam", prefix: "iam", global: true, identify: queryAction(iamVersion), failure: queryFailure, problems: queryProblems,
		ops: operations(slices.Concat(c.iamUserOps(), c.iamPolicyOps(), c.iamRoleOps(), c.iamProfileOps(), c.iamProviderOps())...),
	}
}

// resultOp is an operation of the services with forms whose answers have a
// result and a piece with the request's id: IAM and STS.
func resultOp[T any](name, namespace string, run func(q *call, in *T) (any, error)) *operation {
	return &operation{name: name, run: func(q *call) (*reply, error) {
		maps.DeleteFunc(q.params.members, func(_ string, p *params) bool { // how some clients write an empty list
			return p.value != nil && *p.value == "" && len(p.members) == 0
		})
		in := new(T)
		if err := q.params.decode(in); err != nil {
			return nil, validationError(err)
		}
		body, err := run(q, in)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		b.WriteString("<" + name + "Response xmlns=\"" + namespace + "\">")
		if body != nil {
			b.WriteString("<" + name + "Result>")
			b.Write(members(body))
			b.WriteString("</" + name + "Result>")
		}
		b.WriteString("<ResponseMetadata><RequestId>" + q.requestID + "</RequestId></ResponseMetadata></" + name + "Response>")
		return &reply{contentType: "text/xml", body: b.Bytes()}, nil
	}}
}

func iamOp[T any](name string, run func(q *call, in *T) (any, error)) *operation {
	return resultOp(name, iamNamespace, func(q *call, in *T) (any, error) {
		if _, assumed := roleOfSession(q.who.ARN); q.who.Session && !assumed {
			// What GetSessionToken gives without MFA is not for IAM.
			return nil, q.api.problem(unknownKey)
		}
		return run(q, in)
	})
}

// validationError words a problem with a parameter as IAM and STS do.
func validationError(err error) error {
	var e *apiError
	if errors.As(err, &e) && slices.Contains([]string{"UnknownParameter", "MissingParameter", "InvalidParameterValue"}, e.code) {
		return refuse("ValidationError", "1 validation error detected: %s", e.message)
	}
	return err
}

// memberSet is a list in the XML of IAM.
type memberSet[T any] struct {
	Items []T `xml:"member"`
}

// memberTags are tags in a request.
type memberTags struct {
	Items []tagParam `aws:"member"`
}

// paged is what lists can be asked for. Everything fits into one page.
type paged struct {
	Marker   string
	MaxItems int
}

// whole ends a list.
type whole struct {
	Truncated bool `xml:"IsTruncated"`
}

// iamTime is a time as IAM and STS write it.
func iamTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// document is a policy in an answer.
func document(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

var iamName = regexp.MustCompile(`^[\w+=,.@-]+$`)

// checkName refuses what cannot be a name.
func checkName(what, name string, limit int) error {
	if !iamName.MatchString(name) || len(name) > limit {
		return refuse("ValidationError", "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy "+
			"regular expression pattern: [\\w+=,.@-]+ and have at most %d characters", name, what, limit)
	}
	return nil
}

// checkPath refuses what cannot be a path; without one it is "/".
func checkPath(path *string) error {
	if *path == "" {
		*path = "/"
	}
	if !strings.HasPrefix(*path, "/") || !strings.HasSuffix(*path, "/") {
		return refuse("ValidationError", "1 validation error detected: Value '%s' at 'path' failed to satisfy constraint: it must begin and end with /", *path)
	}
	return nil
}

// iamTags reads tags.
func (t memberTags) read() (tagMap, error) {
	tags := tagMap{}
	for _, tag := range t.Items {
		if _, twice := tags[tag.Key]; twice {
			return nil, refuse("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		if tag.Value == nil || tag.Key == "" || len(tag.Key) > 128 || len(*tag.Value) > 256 || strings.HasPrefix(strings.ToLower(tag.Key), "aws:") {
			return nil, refuse("ValidationError", "1 validation error detected: the tag %s is not valid", tag.Key)
		}
		tags[tag.Key] = *tag.Value
	}
	if len(tags) > maxTags {
		return nil, fail(http.StatusConflict, "LimitExceeded", "The number of tags has reached the maximum limit.")
	}
	return tags, nil
}

// iamTagXML is a tag in the XML of IAM.
type iamTagXML struct{ Key, Value string }

func iamTagList(t tagMap) *memberSet[iamTagXML] {
	if len(t) == 0 {
		return nil
	}
	out := &memberSet[iamTagXML]{}
	for _, k := range slices.Sorted(maps.Keys(t)) {
		out.Items = append(out.Items, iamTagXML{k, t[k]})
	}
	return out
}

// iamResource is something of IAM's that an action is about, with its tags and
// those that it is to get.
func iamResource(arn string, has, gets tagMap) AccessResource {
	x := AccessResource{ARN: arn, Context: map[string][]string{}}
	for k, v := range has {
		x.Context["aws:ResourceTag/"+k] = []string{v}
		x.Context["iam:ResourceTag/"+k] = []string{v}
	}
	for k, v := range gets {
		x.Context["aws:RequestTag/"+k] = []string{v}
	}
	if len(gets) > 0 {
		x.Context["aws:TagKeys"] = slices.Sorted(maps.Keys(gets))
	}
	return x
}

// may asks IAM about one resource.
func (c *Cloud) may(q *call, x AccessResource) error {
	return c.authorize(q, []AccessResource{x})
}

func errNoEntity(format string, args ...any) error {
	return fail(http.StatusNotFound, "NoSuchEntity", format, args...)
}

func errExists(format string, args ...any) error {
	return fail(http.StatusConflict, "EntityAlreadyExists", format, args...)
}

func errConflict(format string, args ...any) error {
	return fail(http.StatusConflict, "DeleteConflict", format, args...)
}
