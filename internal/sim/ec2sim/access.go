// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Principal is who signed a request.
type Principal struct {
	Account *Account
	// ARN such as arn:aws:iam::111122223333:user/packer, or of an assumed
	// role arn:aws:sts::111122223333:assumed-role/name/session.
	ARN string
	// ID is the unique id: AIDA… of a user, AROA…:session of an assumed role.
	ID string
	// Name of the user; "" for roles.
	Name string
	// Session is set for credentials that expire.
	Session bool
	// Extra are condition keys that hold for whatever this principal asks,
	// such as aws:PrincipalTag/team.
	Extra map[string][]string

	session []*policy // that narrow down what a session may do
}

// Access is one question to IAM: may the principal do this action to all of
// these resources?
type Access struct {
	Principal Principal
	Action    string // such as "ec2:RunInstances"
	// Resources must each be allowed by themselves. An action that knows no
	// resources has the one with ARN "*".
	Resources []AccessResource
	// Context has the condition keys of the whole request, in the case in
	// which AWS documents them: aws:RequestedRegion, aws:PrincipalArn,
	// aws:username, aws:SourceIp, aws:SecureTransport, aws:CurrentTime,
	// ec2:Region, and ec2:CreateAction for tags that are set on creation.
	Context map[string][]string
}

// AccessResource is one resource that an action needs.
type AccessResource struct {
	// ARN of the resource. One that the action will create has "*" for its
	// id, such as arn:aws:ec2:us-east-1:111122223333:instance/*; images and
	// snapshots have no account.
	ARN string
	// Context has the condition keys that hold for this resource alone:
	// aws:ResourceTag/k and ec2:ResourceTag/k of one that exists,
	// aws:RequestTag/k and aws:TagKeys of one that will be made, and others
	// by kind, such as ec2:InstanceType, ec2:Owner, ec2:MetadataHttpTokens.
	Context map[string][]string
}

// Authorizer decides about an action. An error means no; its text goes into
// the log and into the encoded message of the refusal.
type Authorizer func(Access) error

// everything is what actions on no particular resource are asked about.
func everything() []AccessResource { return []AccessResource{{ARN: "*"}} }

// authorize asks IAM about the operation of a request, and about setting the
// tags on those of its resources that are made with tags. Then, if the request
// is a dry run, it ends it. The cloud's lock is held.
func (c *Cloud) authorize(q *call, resources []AccessResource, tagged ...AccessResource) error {
	q.asked = true
	context := q.accessContext()
	if err := c.allows(q, Access{q.who, q.api.prefix + ":" + q.op.name, resources, context}); err != nil {
		return err
	}
	if len(tagged) > 0 {
		context = maps.Clone(context)
		context["ec2:CreateAction"] = []string{q.op.name}
		if err := c.allows(q, Access{q.who, "ec2:CreateTags", tagged, context}); err != nil {
			return err
		}
	}
	if q.dryRun {
		return errDryRun()
	}
	return nil
}

func errDryRun() *apiError {
	return fail(http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
}

// allows asks about one action.
func (c *Cloud) allows(q *call, a Access) error {
	q.asks = append(q.asks, a)
	decide := c.cfg.Authorize
	if decide == nil {
		decide = c.decide
	}
	if err := decide(a); err != nil {
		return q.api.problem(notAllowed, a.Principal, a.Action, err)
	}
	return nil
}

// accessContext has the condition keys that every request has.
func (q *call) accessContext() map[string][]string {
	context := map[string][]string{
		"aws:RequestedRegion":  {q.region.name},
		"aws:PrincipalArn":     {q.who.ARN},
		"aws:PrincipalAccount": {q.who.Account.ID},
		"aws:PrincipalType":    {"User"},
		"aws:userid":           {q.who.ID},
		"aws:SourceIp":         {q.source.String()},
		"aws:SecureTransport":  {strconv.FormatBool(q.secure)},
		"aws:CurrentTime":      {time.Now().UTC().Format(time.RFC3339)},
	}
	if q.who.Name != "" {
		context["aws:username"] = []string{q.who.Name}
	}
	if q.who.Session {
		context["aws:PrincipalType"] = []string{"AssumedRole"}
	}
	if q.api.prefix == "ec2" {
		context["ec2:Region"] = []string{q.region.name}
	}
	maps.Copy(context, q.who.Extra)
	return context
}

// arn is an ARN of the caller's account in the request's service and region.
func (q *call) arn(resource string) string {
	return "arn:aws:" + q.api.prefix + ":" + q.region.name + ":" + q.who.Account.ID + ":" + resource
}

// ec2ARN is the ARN of a resource of EC2.
func ec2ARN(region, account, kind, id string) string {
	if kind == "image" || kind == "snapshot" {
		account = ""
	}
	return "arn:aws:ec2:" + region + ":" + account + ":" + kind + "/" + id
}

// existing is a resource that there is.
func existing(r resource) AccessResource {
	b := r.base()
	x := AccessResource{ARN: ec2ARN(b.region.name, b.account.ID, b.kind, b.id), Context: map[string][]string{}}
	for k, v := range b.tags {
		x.Context["aws:ResourceTag/"+k] = []string{v}
		x.Context["ec2:ResourceTag/"+k] = []string{v}
	}
	return x
}

// planned is a resource that the request is to make.
func (q *call) planned(kind string, tags tagMap) AccessResource {
	x := AccessResource{ARN: ec2ARN(q.region.name, q.who.Account.ID, kind, "*"), Context: map[string][]string{}}
	for k, v := range tags {
		x.Context["aws:RequestTag/"+k] = []string{v}
	}
	if len(tags) > 0 {
		x.Context["aws:TagKeys"] = slices.Sorted(maps.Keys(tags))
	}
	return x
}

// with adds a condition key.
func (x AccessResource) with(key string, values ...string) AccessResource {
	x.Context[key] = values
	return x
}
