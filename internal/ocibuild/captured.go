// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocibuild

import (
	"context"
	"fmt"
	"log"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// CapturedID identifies artifacts that are captured disks: objects in a bucket, which
// the copy imports.
const CapturedID = "armfree.oci.capture"

// Captured is a disk that was captured: an .oci archive, in a bucket on OCI, wherever its
// machine ran.
type Captured struct {
	Region, Namespace, Bucket, Object string
	// Checksum is opc-multipart-md5, by which Object Storage knows the content.
	Checksum string
	Size     int64  // in bytes
	Name     string // of the image that is to be made of it
	System   string // operating system and version
	Cloud    string // in which the machine ran: "oci", "aws"
	Source   string // id of the image that the machine started from, there
	Proof    string // the tag armfree-validated, if the machine was checked
	Remove   func(ctx context.Context) error
	// Data is what post-processors see as build.*.
	Data map[string]interface{}

	held atomic.Bool
}

// BuilderId implements packersdk.Artifact.
func (*Captured) BuilderId() string { return CapturedID }

// Files implements packersdk.Artifact: there are none on this computer.
func (*Captured) Files() []string { return nil }

// Id implements packersdk.Artifact: region, namespace, bucket and object, with slashes
// between them.
func (a *Captured) Id() string {
	return strings.Join([]string{a.Region, a.Namespace, a.Bucket, a.Object}, "/")
}

// String implements packersdk.Artifact.
func (a *Captured) String() string {
	return fmt.Sprintf("A disk was captured: '%s' is the object '%s' (%.1f MB, %s) in the bucket '%s' in region '%s'; it starts by UEFI", a.Name, a.Object, float64(a.Size)/1e6, a.Checksum, a.Bucket, a.Region)
}

// The names of what State knows of a captured disk.
const (
	StateObject    = "armfree.object"
	StateBucket    = "armfree.bucket"
	StateNamespace = "armfree.namespace"
	StateChecksum  = "armfree.opc-multipart-md5"
	StateSize      = "armfree.size"
	StateSystem    = "armfree.system"
	StateProof     = "armfree.proof"
	// StateMachine is the cloud in which the machine ran: "oci", "aws".
	StateMachine = "armfree.machine-cloud"
)

// State implements packersdk.Artifact.
func (a *Captured) State(name string) interface{} {
	switch name {
	case buildcfg.HoldState:
		a.held.Store(true)
		return true
	case "cloud":
		return "oci"
	case "region":
		return a.Region
	case "image_name":
		return a.Name
	case "generated_data":
		return a.Data
	case "source_image_id":
		return a.Source
	case "firmware":
		return "UEFI_64"
	case StateObject:
		return a.Object
	case StateBucket:
		return a.Bucket
	case StateNamespace:
		return a.Namespace
	case StateChecksum:
		return a.Checksum
	case StateSize:
		return strconv.FormatInt(a.Size, 10)
	case StateSystem:
		return a.System
	case StateProof:
		return a.Proof
	case StateMachine:
		return a.Cloud
	}
	return nil
}

// Destroy implements packersdk.Artifact: it deletes the object, unless a post-processor
// asked to hold it.
func (a *Captured) Destroy() error {
	if a.held.Load() {
		log.Printf("[INFO] object %s is kept: a post-processor asked for it", a.Object)
		return nil
	}
	ctx, cancel := wait.Cleanup(context.Background(), destroyTimeout)
	defer cancel()
	return a.Remove(ctx)
}
