// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// opStart is the operation of an error that says why an accepted instance
// never ran.
const opStart = "start instance"

// stuckCode is the code of such an error when the instance was never placed.
const stuckCode = "NeverPlaced"

// BuildConfig is what a build in one region needs to know.
type BuildConfig struct {
	Region             string // that of the client
	Compartment        string
	AvailabilityDomain string // pins the search to one; empty means all
	FirstDomain        string // is tried first; ignored if it does not exist
	Sizes              []Size // in the order of preference
	SizesNamed         bool   // the user named them; else they are our choice
	SizeFirst          bool   // list the first size everywhere before the second
	Preemptible        bool
	Reservation        string // OCID of a capacity reservation; the machine comes from there or not at all
	FreeTier           FreeTier
	Allowance          Allowance

	MachineConfig
	Image   ImageConfig
	Bastion *BastionConfig // the way in; nil if the machine is reached without one

	InstanceTimeout time.Duration // accepted to running
	ImageTimeout    time.Duration // requested to available
}

// MachineConfig describes the machine, wherever it is found.
type MachineConfig struct {
	BaseImage   string       // OCID; empty if it is to be found, or only to be made; see Check
	ImageFilter *ImageFilter // finds it
	DiskGB      int64        // 0 keeps the image's size
	DiskVPUs    int64        // per GB; 0 leaves it to OCI
	KMSKey      string

	Subnet              string
	AssignPublicIP      *bool // nil leaves it to the subnet
	UsePrivateIP        bool
	VNICName            string
	Hostname            string
	NSGs                []string
	PrivateIP           string
	SkipSourceDestCheck *bool
	VNICTags            map[string]string
	VNICDefinedTags     DefinedTags

	InstanceName        string
	InstanceTags        map[string]string
	InstanceDefinedTags DefinedTags
	Metadata            map[string]string
	SSHPublicKey        string
	UserData            []byte
	LegacyIMDS          bool // the first version of the metadata service stays on
	AgentPlugins        bool // those of Oracle Cloud Agent run
}

// DefinedTags are tags by namespace and key.
type DefinedTags = map[string]map[string]interface{}

// ImageConfig describes the image that is made.
type ImageConfig struct {
	Compartment     string
	Name            string
	NameMustBeFree  bool // no other image of the compartment may have it
	Replace         bool // others of that name go when this one is finished
	Tags            map[string]string
	DefinedTags     DefinedTags
	Shapes          []string // on which the image must be able to start
	KeepOtherShapes bool     // do not remove shapes with another processor
	LaunchMode      string
	NICAttachment   string
	Firmware        string
	Series          string // the mark of the images that it follows; empty if there is none
	Retain          int    // of which so many stay, itself among them; 0 keeps all
	Skip            bool   // nothing will be imaged: no need to check its limits
	Capture         CaptureConfig
}

// Size is a shape, and how much of it is asked for where it is flexible.
type Size struct {
	Shape    string
	OCPUs    float32 // 0 where the shape fixes it
	MemoryGB float32
	Baseline string // of a burstable machine; empty is OCI's own
}

// same says whether two sizes are as large, whatever their baseline.
func (s Size) same(t Size) bool {
	return s.Shape == t.Shape && s.OCPUs == t.OCPUs && s.MemoryGB == t.MemoryGB
}

// sizeOf is the size of an offer, without a baseline.
func sizeOf(o capacity.Offer) Size {
	return Size{Shape: o.Shape, OCPUs: o.OCPUs, MemoryGB: o.MemoryGB}
}

// String is "VM.Standard.A1.Flex 2 OCPU/12 GB".
func (s Size) String() string {
	return capacity.Offer{Shape: s.Shape, OCPUs: s.OCPUs, MemoryGB: s.MemoryGB}.Size()
}

// Build is one build in one region; it implements cloud.Cloud.
type Build struct {
	*Client
	cfg   BuildConfig
	owner owner.Build
	until time.Time // when what is made from now on expires, if that is later
	say   func(format string, args ...any)

	mu     sync.Mutex
	work   map[string]string // work request of an instance or image
	maxTTL time.Duration     // of sessions of the bastion; 0 as long as that is not known

	// As the plan found them.
	older []string // finished images of the same name, which this one is to replace
	found string   // the base image, where a filter found it
	// What the base image holds, by the cloud's names for it.
	os, osVersion string
	captures      bool    // the disk is captured
	bucket        *Bucket // into this one
	has           limitValues
	roomy         map[string]bool // families of shapes for which the region's counters had room
	free          *account        // what decides whether a machine is free
}

// NewBuild prepares a build. say is told what takes long.
func NewBuild(c *Client, cfg BuildConfig, o owner.Build, say func(format string, args ...any)) *Build {
	return &Build{Client: c, cfg: cfg, owner: o, say: say, work: map[string]string{}}
}

func (b *Build) remember(id string, work *string) {
	if work == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.work[id] = *work
}

func (b *Build) workOf(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.work[id]
}

// Launch implements cloud.Launcher with exactly one request.
func (b *Build) Launch(ctx context.Context, o capacity.Offer, token string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	d := b.launchDetails(o, token)
	r, err := b.compute.LaunchInstance(shield(g), core.LaunchInstanceRequest{
		LaunchInstanceDetails: d, OpcRetryToken: &token, RequestMetadata: once(),
	})
	if err == nil && r.Id == nil {
		err = errNoAnswer
	}
	if err != nil {
		return "", b.maybeAbout(wrap("launch instance", "", err))
	}
	b.remember(*r.Id, r.OpcWorkRequestId)
	return *r.Id, nil
}

// Find implements cloud.Launcher.
func (b *Build) Find(ctx context.Context, token string) ([]string, error) {
	var ids []string
	err := b.instances(ctx, b.cfg.Compartment, func(i core.Instance) {
		if madeBy(i.FreeformTags, token) && !ended(i.LifecycleState) {
			ids = append(ids, text(i.Id))
		}
	})
	return ids, err
}

func ended(s core.InstanceLifecycleStateEnum) bool {
	return s == core.InstanceLifecycleStateTerminated || s == core.InstanceLifecycleStateTerminating
}

// instances lists the instances of a compartment, TERMINATED ones included.
func (c *Client) instances(ctx context.Context, compartment string, see func(core.Instance)) error {
	return cloud.Pages(func(page *string) (*string, error) {
		var r core.ListInstancesResponse
		err := repeat(ctx, "list instances", "", func(ctx context.Context) (err error) {
			r, err = c.compute.ListInstances(shield(ctx), core.ListInstancesRequest{CompartmentId: &compartment, Page: page, RequestMetadata: once()})
			return err
		})
		for _, i := range r.Items {
			see(i)
		}
		return r.OpcNextPage, err
	})
}

// AwaitMachine implements cloud.Launcher.
func (b *Build) AwaitMachine(ctx context.Context, id string) error {
	var own core.Instance
	err := wait.Loop{
		What: "instance " + id + " to run", Timeout: b.cfg.InstanceTimeout, Option: "instance_timeout",
		Pace: wait.Quick, Tolerate: passing,
		Progress: func(d time.Duration) { b.say("Still waiting for machine %s to run (%s)", id, d) },
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		r, err := b.compute.GetInstance(shield(ctx), core.GetInstanceRequest{InstanceId: &id, RequestMetadata: once()})
		if err != nil {
			return false, wrap("get instance", id, err)
		}
		switch own = r.Instance; r.LifecycleState {
		case core.InstanceLifecycleStateRunning:
			return true, nil
		case core.InstanceLifecycleStateStopping, core.InstanceLifecycleStateStopped,
			core.InstanceLifecycleStateTerminating, core.InstanceLifecycleStateTerminated:
			return false, b.whyDead(ctx, id, r.LifecycleState)
		}
		return false, nil // on its way, or moved by OCI to another host
	})
	var late *wait.TimeoutError
	if errors.As(err, &late) {
		return b.whyStuck(ctx, id, late)
	}
	if err != nil {
		return err
	}
	return b.yield(ctx, own)
}

// whyDead finds the reason why an accepted instance never ran: a launch that
// is answered with 200 may still fail, and only its work request says why.
func (b *Build) whyDead(ctx context.Context, id string, state core.InstanceLifecycleStateEnum) error {
	e := &Error{Op: opStart, Subject: id, Message: fmt.Sprintf("it was accepted and then became %s", state)}
	code, msg, err := b.workError(ctx, b.workOf(id))
	if err != nil {
		log.Printf("[WARN] the work request of %s cannot be read: %v", id, err)
	}
	if msg != "" {
		e.Code, e.Message = code, msg
	}
	return e
}

// whyStuck tells an instance that was never placed from one that is slow: no
// boot volume was ever attached to it.
func (b *Build) whyStuck(ctx context.Context, id string, late *wait.TimeoutError) error {
	vols, err := b.bootVolumes(ctx, id, b.cfg.Compartment)
	if err == nil && len(vols) == 0 {
		return &Error{Op: opStart, Subject: id, Code: stuckCode, Message: "no host was found for it within " + late.After.String(), Cause: late}
	}
	return &Error{Op: opStart, Subject: id, Message: late.Error(), Cause: late}
}

// bootVolumes lists the boot volumes attached to an instance.
func (c *Client) bootVolumes(ctx context.Context, id, compartment string) ([]string, error) {
	i, err := c.instance(ctx, id)
	if err != nil {
		return nil, err
	}
	var ids []string
	err = cloud.Pages(func(page *string) (*string, error) {
		var r core.ListBootVolumeAttachmentsResponse
		err := repeat(ctx, "list boot volume attachments", id, func(ctx context.Context) (err error) {
			r, err = c.compute.ListBootVolumeAttachments(shield(ctx), core.ListBootVolumeAttachmentsRequest{
				AvailabilityDomain: i.AvailabilityDomain, CompartmentId: &compartment, InstanceId: &id, Page: page, RequestMetadata: once(),
			})
			return err
		})
		for _, a := range r.Items {
			if a.BootVolumeId != nil {
				ids = append(ids, *a.BootVolumeId)
			}
		}
		return r.OpcNextPage, err
	})
	return ids, err
}

func (c *Client) instance(ctx context.Context, id string) (i core.Instance, err error) {
	err = repeat(ctx, "get instance", id, func(ctx context.Context) error {
		r, err := c.compute.GetInstance(shield(ctx), core.GetInstanceRequest{InstanceId: &id, RequestMetadata: once()})
		i = r.Instance
		return err
	})
	return i, err
}

// Address implements cloud.Cloud.
func (b *Build) Address(ctx context.Context, id string) (string, error) {
	var addr string
	err := wait.Loop{
		What: "a network address of " + id, Timeout: b.cfg.InstanceTimeout, Option: "instance_timeout", Pace: wait.Quick, Tolerate: passing,
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		var attached []core.VnicAttachment
		err := cloud.Pages(func(page *string) (*string, error) {
			l, err := b.compute.ListVnicAttachments(shield(ctx), core.ListVnicAttachmentsRequest{CompartmentId: &b.cfg.Compartment, InstanceId: &id, Page: page, RequestMetadata: once()})
			attached = append(attached, l.Items...)
			return l.OpcNextPage, wrap("list VNIC attachments", id, err)
		})
		if err != nil {
			return false, err
		}
		for _, a := range attached {
			if a.LifecycleState != core.VnicAttachmentLifecycleStateAttached || a.VnicId == nil {
				continue
			}
			r, err := b.network.GetVnic(shield(ctx), core.GetVnicRequest{VnicId: a.VnicId, RequestMetadata: once()})
			if err != nil {
				return false, wrap("get VNIC", *a.VnicId, err)
			}
			if r.IsPrimary != nil && !*r.IsPrimary {
				continue
			}
			switch {
			case !b.cfg.UsePrivateIP && r.PublicIp != nil && *r.PublicIp != "":
				addr = *r.PublicIp
			case !b.cfg.UsePrivateIP && b.cfg.AssignPublicIP != nil && *b.cfg.AssignPublicIP:
				return false, nil // it was asked for and will come
			case r.PrivateIp != nil && *r.PrivateIp != "":
				addr = *r.PrivateIp
			}
		}
		return addr != "", nil
	})
	return addr, err
}

// AskTermination implements cloud.Launcher.
func (b *Build) AskTermination(ctx context.Context, id string) error {
	drop := false
	_, err := b.compute.TerminateInstance(shield(ctx), core.TerminateInstanceRequest{InstanceId: &id, PreserveBootVolume: &drop, RequestMetadata: once()})
	return wrap("terminate instance", id, err)
}

// Terminate implements cloud.Launcher: the instance and its boot volume are
// gone when it returns.
func (b *Build) Terminate(ctx context.Context, id string) error {
	vols, err := b.terminate(ctx, id, b.cfg.Compartment)
	if err != nil {
		return err
	}
	return b.terminated(ctx, id, vols)
}

// terminate asks for the end of an instance and returns its boot volumes.
func (c *Client) terminate(ctx context.Context, id, compartment string) (vols []string, err error) {
	vols, err = c.bootVolumes(ctx, id, compartment)
	if err != nil && !missing(err) {
		log.Printf("[WARN] the boot volumes of %s cannot be listed: %v", id, err)
	}
	drop := false
	err = repeat(ctx, "terminate instance", id, func(ctx context.Context) error {
		_, err := c.compute.TerminateInstance(shield(ctx), core.TerminateInstanceRequest{InstanceId: &id, PreserveBootVolume: &drop, RequestMetadata: once()})
		return err
	})
	if missing(err) {
		// A permission that is not there looks like an instance that is not.
		if i, gerr := c.instance(ctx, id); gerr == nil && !ended(i.LifecycleState) {
			return vols, fmt.Errorf("this user may not terminate it, it is %s: %w", i.LifecycleState, err)
		}
		err = nil
	}
	return vols, err
}

// terminated waits until an instance and its boot volumes are gone.
func (c *Client) terminated(ctx context.Context, id string, vols []string) error {
	err := wait.Loop{What: "instance " + id + " to terminate", Pace: wait.Quick, Tolerate: passing}.Until(ctx, func(ctx context.Context) (bool, error) {
		r, err := c.compute.GetInstance(shield(ctx), core.GetInstanceRequest{InstanceId: &id, RequestMetadata: once()})
		if err = wrap("get instance", id, err); missing(err) {
			return true, nil
		}
		return err == nil && r.LifecycleState == core.InstanceLifecycleStateTerminated, err
	})
	errs := []error{err}
	for _, v := range vols {
		errs = append(errs, c.removeBootVolume(ctx, v))
	}
	return errors.Join(errs...)
}

// removeBootVolume makes sure that the volume of a terminated instance goes
// with it.
func (c *Client) removeBootVolume(ctx context.Context, id string) error {
	asked := false
	return wait.Loop{What: "boot volume " + id + " to be deleted", Pace: wait.Quick, Tolerate: passing}.Until(ctx, func(ctx context.Context) (bool, error) {
		r, err := c.volumes.GetBootVolume(shield(ctx), core.GetBootVolumeRequest{BootVolumeId: &id, RequestMetadata: once()})
		if err = wrap("get boot volume", id, err); missing(err) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		switch r.LifecycleState {
		case core.BootVolumeLifecycleStateTerminated:
			return true, nil
		case core.BootVolumeLifecycleStateTerminating:
			return false, nil
		}
		if asked {
			return false, nil
		}
		_, err = c.volumes.DeleteBootVolume(shield(ctx), core.DeleteBootVolumeRequest{BootVolumeId: &id, RequestMetadata: once()})
		if err = wrap("delete boot volume", id, err); err == nil || missing(err) {
			asked = true
			return false, nil
		}
		return false, err
	})
}
