// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package ocicrosstenancycopy

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/awscfg"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
	"github.com/armfree/packer-plugin-armfree/internal/imagefile"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Elsewhere says which image to copy if it is not on OCI. It is read, packed and
// uploaded by this computer, into the bucket of the block `source`.
type Elsewhere struct {
	// The AMI to copy, `ami-...`, in the region of the block `aws`. Defaults to the
	// artifact of the build, if that is one of AWS.
	SourceAMI string `mapstructure:"source_ami" required:"false"`
	// Who signs in to AWS to read the AMI. What is left out comes from the environment
	// and AWS's files, as for `armfree-aws`. The region defaults to that of the
	// artifact.
	AWS awscfg.Access `mapstructure:"aws" required:"false"`
	// Let EC2 export the AMI to a bucket of S3, from which it is read, in place of reading
	// its snapshot. See [`export_image`](#export_image).
	ExportImage *ExportImage `mapstructure:"export_image" required:"false"`
	// Copy an AMI that has no proof that it boots on OCI. Without this an AMI must say by
	// its tag `armfree-validated` that its machine passed a gossfile named
	// `oci-bootable`, as the builders of this plugin write it: no AMI of another builder
	// does. The same is asked of a build that captured the disk of a machine on AWS.
	// Defaults to `false`.
	AllowUnprovenImage bool `mapstructure:"allow_unproven_image" required:"false"`
	// An image file to copy: qcow2, raw, VMDK (streamOptimized or monolithicSparse), or an
	// `.oci` archive, of which the disk is taken. It may be the cloud image of a
	// distribution, say, or what a builder makes; behind the builder `null` it must be
	// there beforehand. It must be one for ARM64 that boots by UEFI from virtio-scsi, as
	// Debian's `genericcloud-arm64` does; that is not looked at.
	SourceFile string `mapstructure:"source_file" required:"false"`
	// The same at an http or https URL. It is kept in the folder for temporary files
	// while it is read.
	SourceURL string `mapstructure:"source_url" required:"false"`
	// The file's digest, in hexadecimal, after `sha256:` or `sha512:`. Nothing is read of
	// a file that has another one. Required with `source_url`. With `source_object` it is
	// the checksum by which Object Storage knows the object (`opc-multipart-md5`), as the
	// build says it; nothing is started for an object that has another one.
	SourceChecksum string `mapstructure:"source_checksum" required:"false"`
	// A captured disk to copy: the name of an object in the bucket of the block `source`,
	// as a build of `armfree-oci` or `armfree-aws` with `image_method = "capture"` left it.
	// It is imported as it is, and stays. Nothing says where its machine ran, so that no
	// proof is asked for that it boots on OCI.
	SourceObject string `mapstructure:"source_object" required:"false"`
	// How the disk of an AMI or a file is compressed on its way: `zstd`, `deflate`, which
	// is what older readers of qcow2 know, or `none`. Defaults to `zstd`, which is the
	// fastest. A VMDK has `deflate` only.
	Compression string `mapstructure:"compression" required:"false"`
	// What the disk of an AMI or a file travels as. `oci` is an `.oci` archive around a
	// qcow2 file, which says itself that the image boots by UEFI. `vmdk` is a
	// streamOptimized VMDK, of which each import says so, by a field that Oracle's
	// documentation does not have; it is for the case that OCI refuses the archive, or
	// that what it makes of it does not boot. Unverified against the real service.
	// Defaults to `oci`. See [Image format](#image-format).
	ImageFormat string `mapstructure:"image_format" required:"false"`
}

// ExportImage has EC2 write the AMI as a VMDK into a bucket of S3. The way without it
// needs no bucket and no role, and works for more images; this one is for accounts in
// which the EBS direct APIs are not allowed. EC2 does not export images from the
// Marketplace, images of other accounts and images with encrypted volumes, which is
// checked before anything is started; nor, says its documentation, disks on which GRUB
// is there for BIOS and UEFI, and it does not say that it exports images for ARM64 at
// all. A failed export is reported with EC2's own reason. Unverified against the real
// service.
type ExportImage struct {
	// The bucket, in the region and account of the AMI, encrypted by S3's own keys. The
	// object in it is deleted at the end; a bucket that keeps versions keeps it.
	S3BucketName string `mapstructure:"s3_bucket_name" required:"true"`
	// What the object's name begins with, such as `exports/`. EC2 adds the id of the
	// export.
	S3Prefix string `mapstructure:"s3_prefix" required:"false"`
	// The role by which EC2 writes to the bucket: VM Import/Export must be allowed to
	// assume it. Defaults to `vmimport`.
	RoleName string `mapstructure:"role_name" required:"false"`
}

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	roleName   = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
)

// multipartSum is the checksum of an object that was uploaded in parts, and their number.
var multipartSum = regexp.MustCompile(`^[A-Za-z0-9+/]{22}==-[1-9][0-9]{0,4}$`)

// prepare gives all that is wrong with the block.
func (x *ExportImage) prepare(note func(...error)) {
	switch {
	case x.S3BucketName == "":
		note(errors.New("export_image.s3_bucket_name must be set"))
	case !tmpl.Unknown(x.S3BucketName) && !bucketName.MatchString(x.S3BucketName):
		note(fmt.Errorf("export_image.s3_bucket_name must be the name of a bucket of S3 (3 to 63 lower case letters, digits, dots and hyphens), it is %q", x.S3BucketName))
	}
	if strings.HasPrefix(x.S3Prefix, "/") || len(x.S3Prefix) > 900 || strings.ContainsAny(x.S3Prefix, "\r\n\x00") {
		note(errors.New("export_image.s3_prefix must be at most 900 characters, without a slash at its beginning and without line ends"))
	}
	if x.RoleName != "" && !tmpl.Unknown(x.RoleName) && !roleName.MatchString(x.RoleName) {
		note(fmt.Errorf("export_image.role_name must be the name of a role, not its ARN, it is %q", x.RoleName))
	}
}

// amiID is what the id of an AMI looks like.
var amiID = regexp.MustCompile(`^ami-[0-9a-f]{8,17}$`)

// elsewhere says that the image is not on OCI, as far as that is known before the
// build. After armfree-aws it may be, as a captured disk: the artifact will say so.
func (c *Config) elsewhere() bool {
	return c.SourceAMI != "" || c.aFile() || c.SourceImageOCID == "" && c.SourceObject == "" && c.afterAWS()
}

// aFile says that the image is a file.
func (c *Config) aFile() bool { return c.SourceFile != "" || c.SourceURL != "" }

// file is the file.
func (c *Config) file() imagefile.Options {
	return imagefile.Options{File: c.SourceFile, URL: c.SourceURL, Checksum: c.SourceChecksum}
}

// afterAWS says that a machine on AWS is what the artifact comes from: it is an AMI, or
// what mayCapture says. The builder `armfree` may make one or not.
func (c *Config) afterAWS() bool {
	kind := c.PackerBuilderType
	return c.mayCapture() || strings.HasSuffix(kind, "-ebs") || strings.HasSuffix(kind, "-ebssurrogate") || kind == "amazon-chroot"
}

// mayCapture says that the build may have captured a disk in place of making an AMI.
func (c *Config) mayCapture() bool { return strings.HasSuffix(c.PackerBuilderType, "-aws") }

// prepareSource checks which image is copied, and through which bucket it travels.
// Destinations are prepared before it.
func (c *Config) prepareSource(note func(...error)) {
	var named []string
	for _, o := range []struct{ name, value string }{
		{"source_image_ocid", c.SourceImageOCID}, {"source_ami", c.SourceAMI}, {"source_file", c.SourceFile}, {"source_url", c.SourceURL},
		{"source_object", c.SourceObject},
	} {
		if o.value != "" {
			named = append(named, o.name)
		}
	}
	if len(named) > 1 {
		note(fmt.Errorf("%s exclude each other: a copy has one source", strings.Join(named, " and ")))
	}
	if c.SourceAMI != "" && !tmpl.Unknown(c.SourceAMI) && !amiID.MatchString(c.SourceAMI) {
		note(fmt.Errorf("source_ami must be the id of an AMI such as ami-0123456789abcdef0, it is %q", c.SourceAMI))
	}
	switch unknown := tmpl.Unknown(c.SourceFile + c.SourceURL + c.SourceChecksum); {
	case !c.aFile() && c.SourceObject != "":
		if !unknown && c.SourceChecksum != "" && !multipartSum.MatchString(c.SourceChecksum) {
			note(fmt.Errorf("source_checksum of an object must be its opc-multipart-md5, such as \"AgQlttlYM7ya/tH0Fosu9A==-3\", as the build that captured the disk says it; it is %q", c.SourceChecksum))
		}
	case !c.aFile() && c.SourceChecksum != "":
		note(errors.New("source_checksum goes with source_file, source_url or source_object"))
	case c.aFile() && !unknown && len(named) == 1:
		note(c.file().Mistakes()...)
		if err := fileThere(c.SourceFile); err != nil && (!errors.Is(err, fs.ErrNotExist) || c.PackerBuilderType == "null") {
			note(err) // a file that is lacking may be made by the build
		}
	}
	switch diskimage.Compression(c.Compression) {
	case "", diskimage.Zstd, diskimage.Deflate, diskimage.None:
	default:
		note(fmt.Errorf("compression must be zstd, deflate or none, it is %q", c.Compression))
	}
	c.checkFormat(note)
	if c.SourceObject != "" && c.ObjectName != "" {
		note(errors.New("object_name and source_object exclude each other: the object is imported as it is"))
	}
	if x := c.ExportImage; x != nil {
		x.prepare(note)
		if c.aFile() || c.SourceImageOCID != "" {
			note(errors.New("export_image goes with an AMI"))
		}
	}
	if c.aFile() && c.KeepSourceImage.False() {
		note(errors.New("keep_source_image = false: a file is never deleted"))
	}
	if c.borrowed = c.elsewhere() && !c.Source.Named(); c.borrowed {
		note(c.Source.PrepareAs("source.", c.Destinations[0].Credentials())...)
	} else {
		note(c.Source.Prepare("source.")...)
	}
	if c.SourceAMI != "" {
		_, err := c.signIn("")
		note(err)
	} else if c.elsewhere() && !c.aFile() && (!c.mayCapture() || c.AWS.Given()) {
		// The artifact will say in which region it is. If it is a captured disk, nobody
		// signs in to AWS, so nobody has to be named.
		_, err := c.signIn(cmp.Or(c.AWS.Region, "us-east-1"))
		note(err)
	}
}

// checkFormat checks what the disk travels as.
func (c *Config) checkFormat(note func(...error)) {
	switch imagecopy.Form(c.ImageFormat) {
	case "":
		return
	case imagecopy.Archive, imagecopy.VMDK:
	default:
		note(fmt.Errorf("image_format must be oci or vmdk, it is %q", c.ImageFormat))
		return
	}
	switch kind := c.PackerBuilderType; {
	case c.SourceImageOCID != "":
		note(errors.New("image_format goes with an AMI or a file: an image on OCI is exported by OCI, as an .oci archive"))
	case c.SourceObject != "":
		note(errors.New("image_format goes with an AMI or a file: source_object is imported as it is, an .oci archive"))
	case !c.elsewhere() && (strings.HasSuffix(kind, "armfree-oci") || strings.HasSuffix(kind, "oracle-oci")):
		note(fmt.Errorf("image_format goes with an AMI or a file: what %s makes is an .oci archive on its way", kind))
	}
	if d := c.Compression; c.form() == imagecopy.VMDK && d != "" && diskimage.Compression(d) != diskimage.Deflate {
		note(fmt.Errorf("compression must be deflate, or be left out, with image_format = \"vmdk\": a VMDK knows no other; it is %q", d))
	}
}

// form is what the disk of an AMI or a file travels as.
func (c *Config) form() imagecopy.Form {
	return cmp.Or(imagecopy.Form(c.ImageFormat), imagecopy.Archive)
}

// imageOptions are how the image file is made of it.
func (c *Config) imageOptions() diskimage.Options {
	o := diskimage.Options{Compression: diskimage.Compression(c.Compression)}
	if c.form() == imagecopy.VMDK {
		o.Format = diskimage.VMDK
	}
	return o
}

// fileThere says why source_file cannot be read, if it is set.
func fileThere(path string) error {
	if path == "" {
		return nil
	}
	i, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("source_file: there is no file %s: %w", path, err)
	case err != nil:
		return fmt.Errorf("source_file: %w", err)
	case !i.Mode().IsRegular():
		return fmt.Errorf("source_file: %s is no regular file", path)
	}
	return nil
}

// bucketSaid is whose bucket the image travels through, for people.
func (c *Config) bucketSaid() string {
	where := fmt.Sprintf("The image travels through the bucket %q in %s of ", c.Source.Bucket, c.Source.Credentials().Region)
	if c.borrowed {
		return where + "the first destination's tenancy: neither the block source nor the environment says who else signs in"
	}
	return where + "the tenancy that the block source or the environment names"
}

// signIn is who signs in to AWS, in a region if one is given.
func (c *Config) signIn(region string) (ec2.Credentials, error) {
	a := c.AWS
	a.Region = cmp.Or(region, a.Region)
	creds, _, errs := a.Prepare("aws.")
	return creds, errors.Join(errs...)
}
