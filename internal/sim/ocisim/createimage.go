// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
)

// createImageDetails is the body of CreateImage. launchOptions is not in any
// of Oracle's SDKs, but its service takes it together with launchMode CUSTOM.
type createImageDetails struct {
	tags
	CompartmentID string          `json:"compartmentId" oci:"required"`
	DisplayName   *string         `json:"displayName"`
	InstanceID    *string         `json:"instanceId"`
	Source        json.RawMessage `json:"imageSourceDetails"`
	LaunchMode    *string         `json:"launchMode"`
	LaunchOptions *launchOptions  `json:"launchOptions"`
}

func (c *Cloud) createImage(q *call) (*reply, error) {
	var d createImageDetails
	if err := q.decode(&d); err != nil {
		return nil, err
	}
	if err := q.compartment(d.CompartmentID); err != nil {
		return nil, err
	}
	if err := c.checkImageName(d.DisplayName); err != nil {
		return nil, err
	}
	if err := d.tags.check(q.tenancy()); err != nil {
		return nil, err
	}
	if err := d.checkLaunch(); err != nil {
		return nil, err
	}
	if (d.InstanceID == nil) == absent(d.Source) {
		return nil, errInvalid("Exactly one of instanceId and imageSourceDetails is required")
	}
	if c.faults.hit(q.target(), FaultImageConflict) != nil {
		return nil, errImageConflict()
	}
	limit, _ := lookUpLimit("compute", "custom-image-count")
	phantom := c.faults.hitLimit(q.target(), func(name string) bool { return name == limit.name })
	if c.used(q.here(), "", limit) >= c.limitValue(q.here(), "", limit) || phantom.about(limit, false) {
		return nil, errLimit([]string{limit.name})
	}
	if d.InstanceID != nil {
		return c.capture(q, d)
	}
	return c.importImage(q, d)
}

func errImageConflict() *apiError {
	return fail(http.StatusConflict, "Conflict", "Conflict with another image operation, try again later")
}

// checkLaunch checks launchMode and launchOptions against each other.
func (d createImageDetails) checkLaunch() error {
	mode := orElse(d.LaunchMode, "")
	if d.LaunchMode != nil && !slices.Contains(launchModes(), mode) {
		return errInvalid("Unknown launchMode %s", mode)
	}
	if d.LaunchOptions == nil {
		if mode == "CUSTOM" && d.InstanceID == nil { // else the instance has them
			return errInvalid("launchMode CUSTOM needs launchOptions")
		}
		return nil
	}
	if mode != "CUSTOM" {
		return errInvalid("launchOptions need launchMode CUSTOM")
	}
	o := d.LaunchOptions
	for _, f := range []struct {
		name, value string
		allowed     []string
	}{
		{"firmware", o.Firmware, []string{"BIOS", "UEFI_64"}},
		{"networkType", o.NetworkType, []string{"E1000", "VFIO", "PARAVIRTUALIZED", "ACCELERATEDPV"}},
		{"bootVolumeType", o.BootVolumeType, volumeTypes()},
		{"remoteDataVolumeType", o.RemoteDataVolumeType, volumeTypes()},
	} {
		if !oneOf(f.value, f.allowed) {
			return errInvalid("launchOptions.%s %q is not one of %q", f.name, f.value, f.allowed)
		}
	}
	return nil
}

// newImage makes an image that has no bytes yet.
func (c *Cloud) newImage(q *call, d createImageDetails, state string) *image {
	img := &image{place: q.here(), body: imageBody{
		tags: d.tags.normal(), ID: newOCID("image", q.region().ocid), CompartmentID: &d.CompartmentID,
		CreateImageAllowed: true, DisplayName: nameOr(d.DisplayName, "image"),
		LaunchMode: orElse(d.LaunchMode, "PARAVIRTUALIZED"), TimeCreated: wireNow(),
	}}
	img.path = filepath.Join(c.cfg.WorkDir, "images", img.body.ID+".qcow2")
	img.touch()
	c.images.put(img.body.ID, img)
	c.imageBecomes(img, state)
	return img
}

// imageReply is the answer to CreateImage, also when it is asked again.
func imageReply(img *image, work *workRequest) *reply {
	render := func() *reply { return withEtag(img.body, img.revision).with("Opc-Work-Request-Id", work.body.ID) }
	result := render()
	result.again = func() (*reply, error) {
		if img.body.LifecycleState == "DELETED" {
			return nil, errInvalidatedToken()
		}
		return render(), nil
	}
	return result
}

// capture makes an image of an instance's disk. A running instance is shut
// down for it and started again afterwards.
func (c *Cloud) capture(q *call, d createImageDetails) (*reply, error) {
	i, err := c.findInstance(q, *d.InstanceID)
	if err != nil {
		return nil, err
	}
	switch {
	case i.is("CREATING_IMAGE") || (i.current != nil && i.current.finishes && !i.current.ended()):
		return nil, errImageConflict()
	case !i.is("RUNNING", "STOPPED"):
		return nil, errState("Instance %s is %s", i.body.ID, i.body.LifecycleState)
	case i.body.Preemptible != nil && c.cfg.Switches.RefusesPreemptibleImages:
		return nil, errState("A preemptible instance cannot be stopped, so no image can be made of it")
	}
	img := c.newImage(q, d, "PROVISIONING")
	base := i.image
	img.body.BaseImageID = &i.body.ImageID
	img.body.OperatingSystem, img.body.OperatingSystemVersion = base.body.OperatingSystem, base.body.OperatingSystemVersion
	img.body.LaunchOptions = base.body.LaunchOptions
	switch {
	case d.LaunchOptions != nil:
		img.body.LaunchOptions = *d.LaunchOptions
	case d.LaunchMode == nil:
		img.body.LaunchMode = base.body.LaunchMode
	case *d.LaunchMode == "CUSTOM":
		img.body.LaunchOptions = i.body.LaunchOptions
	default:
		img.body.LaunchOptions = base.body.LaunchOptions.inMode(*d.LaunchMode)
	}
	img.body.SizeInMBs = i.volume.body.SizeInMBs
	img.inheritShapes(base)
	if c.faults.hit(q.target(), FaultNoShapes) != nil {
		img.shapes = nil
	}
	work := c.newWork(img.place, "CreateImage", d.CompartmentID, "image", img.body.ID, "CREATED")
	wasRunning := i.is("RUNNING")
	if wasRunning {
		c.instanceBecomes(i, "STOPPING")
	} else {
		c.instanceBecomes(i, "CREATING_IMAGE")
	}
	i.touch()
	var capture *operation
	capture = c.operate(i, true, func(ctx context.Context) {
		err := c.captureDisk(ctx, i, img, work)
		c.finishImage(img, work, err)
		c.mu.Lock()
		capture.finishes = false // from here on the end of the instance may stop it
		c.mu.Unlock()
		c.setState(i, "CREATING_IMAGE", "STOPPED")
		if wasRunning {
			c.restart(ctx, i)
		}
	})
	return imageReply(img, work), nil
}

// ended tells whether an operation is over.
func (o *operation) ended() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// captureDisk shuts the guest down and makes an image of what it left behind.
func (c *Cloud) captureDisk(ctx context.Context, i *instance, img *image, work *workRequest) error {
	c.mu.Lock()
	work.begin()
	c.mu.Unlock()
	c.powerOff(ctx, i, true)
	c.setState(i, "STOPPING", "CREATING_IMAGE")
	if err := c.spend(ctx, img.place, "CreateImage", "PROVISIONING", c.delays.Capture); err != nil {
		return err
	}
	return c.cfg.Disks.Image(ctx, i.volume.path, img.path)
}

// finishImage makes an image AVAILABLE, or DELETED when its making failed.
func (c *Cloud) finishImage(img *image, work *workRequest, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		img.body.BillableSizeInGBs = billableGB(img.path)
		c.imageBecomes(img, "AVAILABLE")
		img.touch()
		work.end("SUCCEEDED")
		return
	}
	var api *apiError
	if errors.As(err, &api) {
		work.fail(api.code, api.message)
	} else {
		work.fail("InternalError", err.Error())
	}
	c.dropImage(img)
}
