// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// oidcProvider is an issuer of tokens that an account knows, such as GitHub.
type oidcProvider struct {
	url         string // without https://
	clients     []string
	thumbprints []string
	created     time.Time
	tags        tagMap
}

func (c *Cloud) iamProviderOps() []*operation {
	return []*operation{
		iamOp("CreateOpenIDConnectProvider", c.createProvider), iamOp("GetOpenIDConnectProvider", c.getProvider),
		iamOp("ListOpenIDConnectProviders", c.listProviders), iamOp("DeleteOpenIDConnectProvider", c.deleteProvider),
	}
}

// texts in a request.
type memberTexts struct {
	Items []string `aws:"member"`
}

var thumbprintForm = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)

func (in *iamAccount) providerARN(url string) string { return in.arn("oidc-provider", "/", url) }

func (c *Cloud) createProvider(q *call, in *struct {
	URL         string      `aws:"Url,required"`
	Clients     memberTexts `aws:"ClientIDList"`
	Thumbprints memberTexts `aws:"ThumbprintList"`
	Tags        memberTags
}) (any, error) {
	tags, err := in.Tags.read()
	if err != nil {
		return nil, err
	}
	url, secure := strings.CutPrefix(in.URL, "https://")
	if !secure || url == "" || strings.ContainsAny(url, "?#") {
		return nil, refuse("ValidationError", "Invalid Open ID Connect Provider URL")
	}
	for _, t := range in.Thumbprints.Items {
		if !thumbprintForm.MatchString(t) {
			return nil, refuse("ValidationError", "1 validation error detected: the thumbprint %s has not 40 hexadecimal digits", t)
		}
	}
	of := c.iamOf(q)
	arn := of.providerARN(strings.TrimSuffix(url, "/"))
	if err := c.may(q, iamResource(arn, nil, tags)); err != nil {
		return nil, err
	}
	if of.providers[arn] != nil {
		return nil, errExists("Provider with url %s already exists.", in.URL)
	}
	of.providers[arn] = &oidcProvider{strings.TrimSuffix(url, "/"), in.Clients.Items, in.Thumbprints.Items, time.Now(), tags}
	return struct {
		ARN  string                `xml:"OpenIDConnectProviderArn"`
		Tags *memberSet[iamTagXML] `xml:"Tags,omitempty"`
	}{arn, iamTagList(tags)}, nil
}

type providerIn struct {
	ARN string `aws:"OpenIDConnectProviderArn,required"`
}

func (c *Cloud) provider(q *call, arn string) (*iamAccount, *oidcProvider, error) {
	of := c.iamOf(q)
	p := of.providers[arn]
	var tags tagMap
	if p != nil {
		tags = p.tags
	}
	if err := c.may(q, iamResource(arn, tags, nil)); err != nil {
		return nil, nil, err
	}
	if p == nil {
		return nil, nil, errNoEntity("OpenIDConnect Provider not found for arn %s", arn)
	}
	return of, p, nil
}

func (c *Cloud) getProvider(q *call, in *providerIn) (any, error) {
	_, p, err := c.provider(q, in.ARN)
	if err != nil {
		return nil, err
	}
	return struct {
		URL         string            `xml:"Url"`
		Clients     memberSet[string] `xml:"ClientIDList"`
		Thumbprints memberSet[string] `xml:"ThumbprintList"`
		CreateDate  string
		Tags        *memberSet[iamTagXML] `xml:"Tags,omitempty"`
	}{p.url, memberSet[string]{p.clients}, memberSet[string]{p.thumbprints}, iamTime(p.created), iamTagList(p.tags)}, nil
}

func (c *Cloud) listProviders(q *call, _ *struct{}) (any, error) {
	of := c.iamOf(q)
	if err := c.may(q, iamResource(of.arn("oidc-provider", "/", "*"), nil, nil)); err != nil {
		return nil, err
	}
	type row struct {
		ARN string `xml:"Arn"`
	}
	var out memberSet[row]
	for _, arn := range slices.Sorted(maps.Keys(of.providers)) {
		out.Items = append(out.Items, row{arn})
	}
	return struct {
		Providers memberSet[row] `xml:"OpenIDConnectProviderList"`
	}{out}, nil
}

func (c *Cloud) deleteProvider(q *call, in *providerIn) (any, error) {
	of, _, err := c.provider(q, in.ARN)
	if err != nil {
		return nil, err
	}
	delete(of.providers, in.ARN)
	return nil, nil
}
