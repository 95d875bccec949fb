// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// SourceImage is the image that the machine starts from, once Plan has found it.
func (b *Build) SourceImage() SourceImage { return sourceOf(b.found.image) }

// Origin is the same image by its id and its name.
func (b *Build) Origin() (id, name string) {
	s := b.SourceImage()
	return s.ID, s.Name
}

func sourceOf(i types.Image) SourceImage {
	return SourceImage{
		ID: aws.ToString(i.ImageId), Name: aws.ToString(i.Name), CreationDate: aws.ToString(i.CreationDate),
		Owner: aws.ToString(i.OwnerId), OwnerName: aws.ToString(i.ImageOwnerAlias), Tags: tagMap(i.Tags),
	}
}

// findImage looks for the image that the machine starts from, and renders what
// speaks of it.
func (s *survey) findImage(ctx context.Context, f *finding) {
	b := s.b
	option := cmp.Or(b.cfg.Source.From, "source_ami")
	img, err := b.sourceImage(ctx)
	switch {
	case missing(err):
		f.problemf("%s: there is no such image in %s that this user may see; an image's id belongs to one region: %w", option, b.Region, err)
		return
	case err != nil:
		f.problemf("%s: %w", option, err)
		return
	}
	s.image = img
	id := aws.ToString(img.ImageId)
	switch {
	case img.State != types.ImageStateAvailable:
		f.problemf("%s: image %s is %s, it must be available", option, id, img.State)
	case img.RootDeviceType != types.DeviceTypeEbs:
		f.problemf("%s: the root device of image %s is of the type %s, it must be ebs", option, id, img.RootDeviceType)
	case img.Platform == types.PlatformValuesWindows:
		f.problemf("%s: image %s is Windows, which no ARM64 machine of EC2 runs", option, id)
	}
	if size := imageGB(img); b.cfg.Root.SizeNamed && b.cfg.Root.SizeGB < size {
		f.problemf("the root volume: image %s needs %d GB, %d is too small", id, size, b.cfg.Root.SizeGB)
	}
	if e := b.cfg.Image.Encrypt; e != nil && !*e && encryptedImage(img) {
		f.problemf("encrypt_boot: image %s is encrypted, and no image that is made of it can be without; leave encrypt_boot out", id)
	}
	if b.cfg.Render != nil {
		if s.words, err = b.cfg.Render(sourceOf(img)); err != nil {
			f.problem(err)
		}
	}
}

// sourceImage finds the one image that the configuration means.
func (b *Build) sourceImage(ctx context.Context) (types.Image, error) {
	src := b.cfg.Source
	in := ec2.DescribeImagesInput{}
	if src.Parameter != "" {
		id, err := b.parameterValue(ctx, src.Parameter)
		if err != nil {
			return types.Image{}, err
		}
		src.ID = id
	}
	if src.ID != "" {
		in.ImageIds = []string{src.ID}
		in.IncludeDeprecated = aws.Bool(true) // who names it wants it
	}
	if q := src.Filter; q != nil {
		in.Owners, in.Filters, in.IncludeDeprecated = q.Owners, filters(q.Filters), aws.Bool(q.IncludeDeprecated)
	}
	all, err := b.imageList(ctx, in)
	switch {
	case err != nil:
		return types.Image{}, err
	case len(all) == 0 && src.Filter == nil:
		return types.Image{}, &Error{Op: "describe image", Subject: src.ID, Code: "InvalidAMIID.NotFound", Message: "it is not there"}
	case len(all) == 0:
		return types.Image{}, fmt.Errorf("no image in %s meets the filter", b.Region)
	case len(all) > 1 && !src.Filter.MostRecent:
		return types.Image{}, fmt.Errorf("%d images in %s meet the filter, such as %s and %s; set most_recent = true to take the newest, or make the filter narrower",
			len(all), b.Region, aws.ToString(all[0].Name), aws.ToString(all[1].Name))
	}
	return slices.MaxFunc(all, func(x, y types.Image) int {
		return strings.Compare(aws.ToString(x.CreationDate), aws.ToString(y.CreationDate))
	}), nil
}

// parameterValue reads the id of an image from a parameter of SSM.
func (b *Build) parameterValue(ctx context.Context, name string) (id string, err error) {
	err = b.repeat(ctx, "get parameter", name, func(ctx context.Context) (err error) {
		id, err = b.parameterIn(ctx, name)
		return err
	})
	switch {
	case code(err, "ParameterNotFound"):
		return "", fmt.Errorf("there is no parameter %s in %s", name, b.Region)
	case forbidden(err):
		return "", fmt.Errorf("this user may not read the parameter %s (ssm:GetParameter): %w", name, err)
	case err == nil && !strings.HasPrefix(id, "ami-"):
		return "", fmt.Errorf("the parameter %s is %q, and not the id of an image", name, id)
	}
	return id, err
}
