// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"maps"
	"net/http"
	"slices"
	"time"
)

func (c *Cloud) iamUserOps() []*operation {
	return []*operation{
		iamOp("CreateUser", c.createUser), iamOp("GetUser", c.getUser), iamOp("DeleteUser", c.deleteUser), iamOp("ListUsers", c.listUsers),
		iamOp("TagUser", c.tagUser), iamOp("UntagUser", c.untagUser), iamOp("ListUserTags", c.listUserTags),
		iamOp("CreateAccessKey", c.createAccessKey), iamOp("ListAccessKeys", c.listAccessKeys), iamOp("DeleteAccessKey", c.deleteAccessKey),
		iamOp("ListGroupsForUser", c.listGroupsForUser),
	}
}

type userXML struct {
	Path             string
	UserName         string
	ID               string                `xml:"UserId"`
	ARN              string                `xml:"Arn"`
	CreateDate       string                `xml:"CreateDate"`
	Tags             *memberSet[iamTagXML] `xml:"Tags,omitempty"`
	PasswordLastUsed string                `xml:",omitempty"`
}

func (in *iamAccount) userXML(u *iamUser) userXML {
	return userXML{u.path, u.name, u.id, in.userARN(u), iamTime(u.created), iamTagList(u.tags), ""}
}

type userIn struct {
	UserName string `aws:",required"`
}

// iamOf is what IAM knows of the caller's account.
func (c *Cloud) iamOf(q *call) *iamAccount { return c.iam.of(q.who.Account) }

// user finds a user and asks IAM about the operation; without a name it is the
// caller.
func (c *Cloud) user(q *call, name string) (*iamAccount, *iamUser, error) {
	in := c.iamOf(q)
	if name == "" {
		if name = q.who.Name; name == "" {
			return nil, nil, refuse("ValidationError", "Must specify userName when calling with non-User credentials")
		}
	}
	u := in.users[name]
	x := iamResource(in.arn("user", "/", name), nil, nil)
	if u != nil {
		x = iamResource(in.userARN(u), u.tags, nil)
	}
	if err := c.may(q, x); err != nil {
		return nil, nil, err
	}
	if u == nil {
		return nil, nil, errNoEntity("The user with name %s cannot be found.", name)
	}
	return in, u, nil
}

func (c *Cloud) createUser(q *call, in *struct {
	userIn
	Path                string
	Tags                memberTags
	PermissionsBoundary string
}) (any, error) {
	tags, err := in.Tags.read()
	if err != nil {
		return nil, err
	}
	if err := checkName("userName", in.UserName, 64); err != nil {
		return nil, err
	}
	if err := checkPath(&in.Path); err != nil {
		return nil, err
	}
	of := c.iamOf(q)
	if err := c.may(q, iamResource(of.arn("user", in.Path, in.UserName), nil, tags)); err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		if err := c.allows(q, Access{q.who, "iam:TagUser", []AccessResource{iamResource(of.arn("user", in.Path, in.UserName), nil, tags)}, q.accessContext()}); err != nil {
			return nil, err
		}
	}
	if in.PermissionsBoundary != "" {
		return nil, errNotSimulated("permissions boundaries")
	}
	if of.users[in.UserName] != nil {
		return nil, errExists("User with name %s already exists.", in.UserName)
	}
	u := of.newUser(in.UserName, in.Path, "AIDA"+randomUpper(17))
	u.tags = tags
	return struct{ User userXML }{of.userXML(u)}, nil
}

func (c *Cloud) getUser(q *call, in *struct{ UserName string }) (any, error) {
	of, u, err := c.user(q, in.UserName)
	if err != nil {
		return nil, err
	}
	return struct{ User userXML }{of.userXML(u)}, nil
}

func (c *Cloud) listUsers(q *call, in *struct {
	PathPrefix string
	paged
}) (any, error) {
	of := c.iamOf(q)
	if err := c.may(q, iamResource(of.arn("user", "/", ""), nil, nil)); err != nil {
		return nil, err
	}
	var out memberSet[userXML]
	for _, name := range slices.Sorted(maps.Keys(of.users)) {
		row := of.userXML(of.users[name])
		row.Tags = nil // IAM leaves them out of lists
		out.Items = append(out.Items, row)
	}
	return struct {
		Users memberSet[userXML]
		whole
	}{out, whole{}}, nil
}

func (c *Cloud) deleteUser(q *call, in *userIn) (any, error) {
	of, u, err := c.user(q, in.UserName)
	if err != nil {
		return nil, err
	}
	switch {
	case len(u.keys) > 0:
		return nil, errConflict("Cannot delete entity, must delete access keys first.")
	case len(u.inline) > 0:
		return nil, errConflict("Cannot delete entity, must delete policies first.")
	case len(u.attached) > 0:
		return nil, errConflict("Cannot delete entity, must detach all policies first.")
	}
	delete(of.users, u.name)
	return nil, nil
}

func (c *Cloud) tagUser(q *call, in *struct {
	userIn
	Tags memberTags
}) (any, error) {
	tags, err := in.Tags.read()
	if err != nil {
		return nil, err
	}
	_, u, err := c.user(q, in.UserName)
	if err != nil {
		return nil, err
	}
	maps.Copy(u.tags, tags)
	c.renew(q, u)
	return nil, nil
}

func (c *Cloud) untagUser(q *call, in *struct {
	userIn
	TagKeys struct {
		Items []string `aws:"member"`
	}
}) (any, error) {
	_, u, err := c.user(q, in.UserName)
	if err != nil {
		return nil, err
	}
	for _, k := range in.TagKeys.Items {
		delete(u.tags, k)
	}
	c.renew(q, u)
	return nil, nil
}

// renew lets a user's keys sign as the user is now.
func (c *Cloud) renew(q *call, u *iamUser) {
	for _, k := range u.keys {
		c.keys[k.id].who = c.iamOf(q).principal(u)
	}
}

func (c *Cloud) listUserTags(q *call, in *struct {
	userIn
	paged
}) (any, error) {
	_, u, err := c.user(q, in.UserName)
	if err != nil {
		return nil, err
	}
	tags := iamTagList(u.tags)
	if tags == nil {
		tags = &memberSet[iamTagXML]{}
	}
	return struct {
		Tags memberSet[iamTagXML]
		whole
	}{*tags, whole{}}, nil
}

// listGroupsForUser is what scripts ask before they delete a user. There are
// no groups.
func (c *Cloud) listGroupsForUser(q *call, in *struct {
	userIn
	paged
}) (any, error) {
	if _, _, err := c.user(q, in.UserName); err != nil {
		return nil, err
	}
	return struct {
		Groups memberSet[string]
		whole
	}{}, nil
}

// newAccessKey gives a user a key. The cloud's lock is held.
func (c *Cloud) newAccessKey(in *iamAccount, u *iamUser) Credentials {
	made := Credentials{AccessKeyID: "AKIA" + randomUpper(16), SecretAccessKey: randomHex(20)}
	u.keys = append(u.keys, &accessKey{made.AccessKeyID, time.Now()})
	c.keys[made.AccessKeyID] = &credential{who: in.principal(u), secret: made.SecretAccessKey}
	return made
}

// visibleFrom is when the rest of Amazon knows what a request to IAM makes.
func (c *Cloud) visibleFrom(q *call) time.Time {
	if f := c.faults.hit(q.target(), FaultInvisible); f != nil {
		return time.Now().Add(time.Duration(f.Delay))
	}
	return time.Time{}
}

func (c *Cloud) createAccessKey(q *call, in *struct{ UserName string }) (any, error) {
	of, u, err := c.user(q, in.UserName)
	if err != nil {
		return nil, err
	}
	if len(u.keys) >= 2 {
		return nil, fail(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
	}
	made := c.newAccessKey(of, u)
	c.keys[made.AccessKeyID].visible = c.visibleFrom(q)
	type key struct {
		UserName        string
		AccessKeyID     string `xml:"AccessKeyId"`
		Status          string
		SecretAccessKey string
		CreateDate      string
	}
	return struct{ AccessKey key }{key{u.name, made.AccessKeyID, "Active", made.SecretAccessKey, iamTime(time.Now())}}, nil
}

func (c *Cloud) listAccessKeys(q *call, in *struct {
	UserName string
	paged
}) (any, error) {
	_, u, err := c.user(q, in.UserName)
	if err != nil {
		return nil, err
	}
	type key struct {
		UserName    string
		AccessKeyID string `xml:"AccessKeyId"`
		Status      string
		CreateDate  string
	}
	var out memberSet[key]
	for _, k := range u.keys {
		out.Items = append(out.Items, key{u.name, k.id, "Active", iamTime(k.created)})
	}
	return struct {
		Keys memberSet[key] `xml:"AccessKeyMetadata"`
		whole
	}{out, whole{}}, nil
}

func (c *Cloud) deleteAccessKey(q *call, in *struct {
	UserName    string
	AccessKeyID string `aws:"AccessKeyId,required"`
}) (any, error) {
	_, u, err := c.user(q, in.UserName)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(u.keys, func(k *accessKey) bool { return k.id == in.AccessKeyID })
	if at < 0 {
		return nil, errNoEntity("The Access Key with id %s cannot be found.", in.AccessKeyID)
	}
	u.keys = slices.Delete(u.keys, at, at+1)
	delete(c.keys, in.AccessKeyID)
	return nil, nil
}
