// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// place makes the instance of a checked launch and lets it come up in the
// background.
func (c *Cloud) place(q *call, p *launchPlan) (*reply, error) {
	address := p.wantedIP
	if address == "" {
		var err error
		if address, err = c.nextAddress(); err != nil {
			return nil, err
		}
	}
	i := newInstance(q, p)
	i.vnic = newVnic(q, p, i.body.ID, address)
	i.volume = newBootVolume(q, p, i)
	c.instances.put(i.body.ID, i)
	c.instanceBecomes(i, "PROVISIONING")
	c.vnics.put(i.vnic.body.ID, i.vnic)
	c.volumes.put(i.volume.body.ID, i.volume)
	work := c.newWork(i.place, "LaunchInstance", i.body.CompartmentID, "instance", i.body.ID, "CREATED")

	t := q.target()
	t.ad, t.faultDomain, t.shape = i.body.AvailabilityDomain, i.body.FaultDomain, i.body.Shape
	t.ocpus, t.memory = i.size.ocpus, i.size.memory
	broken := c.faults.hit(t, FaultLaunchFails, FaultLaunchStuck)
	if broken == nil && p.vnicProblem != "" {
		broken = &Fault{Kind: FaultLaunchFails, Code: "InvalidParameter",
			Message: "A problem occurred while preparing the instance's VNIC.  (" + p.vnicProblem + ")"}
	}
	if broken != nil {
		c.operate(i, false, func(ctx context.Context) { c.breakLaunch(ctx, i, work, broken) })
	} else {
		c.operate(i, false, func(ctx context.Context) { c.provision(ctx, i, p.askedGB, work) })
	}

	render := func() *reply { return withEtag(i.body, i.revision).with("Opc-Work-Request-Id", work.body.ID) }
	result := render()
	result.again = func() (*reply, error) {
		if i.is("TERMINATING", "TERMINATED") {
			return nil, errInvalidatedToken()
		}
		return render(), nil
	}
	return result, nil
}

func newInstance(q *call, p *launchPlan) *instance {
	d := p.details
	var preemptible json.RawMessage
	if d.Preemptible != nil {
		preemptible = mustJSON(d.Preemptible)
	}
	i := &instance{place: q.here(), size: p.size, image: p.image, body: instanceBody{
		tags: d.tags.normal(), ID: newOCID("instance", q.region().ocid), AvailabilityDomain: d.AvailabilityDomain,
		CompartmentID: d.CompartmentID, DisplayName: nameOr(d.DisplayName, "instance"),
		ExtendedMetadata: d.ExtendedMetadata, FaultDomain: p.faultDomain, ImageID: p.image.body.ID,
		LaunchMode: p.mode, LaunchOptions: p.options, LifecycleState: "PROVISIONING", PlatformConfig: d.PlatformConfig,
		Metadata: d.Metadata, Preemptible: preemptible, Region: q.region().ocid, Shape: p.spec.name,
		ShapeConfig: shapeConfigBody{p.size.ocpus, int(p.size.ocpus), p.size.memory, p.spec.processor, p.size.ocpus,
			max(2, int(p.size.ocpus))},
		SourceDetails:      sourceDetailsBody{"image", p.image.body.ID, p.volumeGB, p.vpus, p.kmsKey},
		InstanceOptions:    orElse(d.InstanceOptions, instanceOptions{}),
		AvailabilityConfig: orElse(d.AvailabilityConfig, availabilityConfig{}),
		AgentConfig:        orElse(d.AgentConfig, agentConfig{}), TimeCreated: wireNow(),
	}}
	if r := p.seat.reservation; r != nil {
		i.seat, i.body.Reservation = p.seat, &r.body.ID
	}
	i.touch()
	return i
}

func newBootVolume(q *call, p *launchPlan, i *instance) *bootVolume {
	now := wireNow()
	v := &bootVolume{place: q.here(), body: bootVolumeBody{
		tags: tags{}.normal(), ID: newOCID("bootvolume", q.region().ocid), AvailabilityDomain: i.body.AvailabilityDomain,
		CompartmentID: i.body.CompartmentID, DisplayName: i.body.DisplayName + " (Boot Volume)", ImageID: &i.body.ImageID,
		IsHydrated: true, LifecycleState: "PROVISIONING", SizeInGBs: p.volumeGB, SizeInMBs: p.volumeGB * 1024,
		VPUsPerGB: p.vpus, KMSKeyID: p.kmsKey, TimeCreated: now}}
	v.attachment = bootVolumeAttachmentBody{ID: i.body.ID, AvailabilityDomain: i.body.AvailabilityDomain,
		BootVolumeID: v.body.ID, CompartmentID: i.body.CompartmentID, InstanceID: i.body.ID, TimeCreated: now,
		PVEncryption: orElse(p.options.PVEncryption, false)}
	v.touch()
	return v
}

// spend lets a lifecycle state last, longer if a fault makes it slow.
func (c *Cloud) spend(ctx context.Context, at place, op, state string, d time.Duration) error {
	c.mu.Lock()
	t := target{op: op, region: at.region.name, state: state}
	if at.tenancy != nil {
		t.tenancy = at.tenancy.Name
	}
	if slow := c.faults.hit(t, FaultSlow); slow != nil {
		d += time.Duration(slow.Delay)
	}
	c.mu.Unlock()
	return schedule.Pause(ctx, d)
}

// provision brings an instance up: disk, machine, network.
func (c *Cloud) provision(ctx context.Context, i *instance, askedGB int64, work *workRequest) {
	c.mu.Lock()
	work.begin()
	c.mu.Unlock()
	if c.spend(ctx, i.place, "LaunchInstance", "PROVISIONING", c.delays.Provision) != nil {
		c.giveUpLaunch(ctx, i, work, "", "")
		return
	}
	c.mu.Lock()
	source := i.image.path // "" if the image was deleted meanwhile: the launch fails then
	c.mu.Unlock()
	path := filepath.Join(c.cfg.WorkDir, "disks", i.volume.body.ID+".qcow2")
	if err := c.cfg.Disks.BootVolume(ctx, source, path, askedGB); err != nil {
		c.cfg.Disks.Remove(path) // whatever there is of it
		c.giveUpLaunch(ctx, i, work, "InternalError", err.Error())
		return
	}
	c.mu.Lock()
	i.volume.path = path
	i.volume.body.LifecycleState = "AVAILABLE"
	i.volume.attachment.LifecycleState = "ATTACHED"
	c.mu.Unlock()
	if err := c.powerOn(ctx, i); err != nil {
		c.giveUpLaunch(ctx, i, work, "InternalError", err.Error())
		return
	}
	c.mu.Lock()
	work.end("SUCCEEDED")
	attach := c.delays.Attach
	if attach == 0 {
		i.vnic.attach()
	}
	c.mu.Unlock()
	if attach > 0 && c.spend(ctx, i.place, "LaunchInstance", "ATTACHING", attach) == nil {
		c.mu.Lock()
		i.vnic.attach()
		c.mu.Unlock()
	}
}

func (v *vnic) attach() {
	if v.attachment.LifecycleState == "ATTACHING" {
		v.attachment.LifecycleState, v.attachment.VnicID = "ATTACHED", &v.body.ID
		v.body.LifecycleState = "AVAILABLE"
	}
}

// giveUpLaunch ends an instance whose launch failed after it was accepted: it
// goes straight from PROVISIONING to TERMINATED, and only the work request
// says why. An instance that was terminated on its way up is left to whoever
// terminates it.
func (c *Cloud) giveUpLaunch(ctx context.Context, i *instance, work *workRequest, code, message string) {
	c.mu.Lock()
	if ctx.Err() != nil {
		work.fail("Canceled", "The instance was terminated.")
		c.mu.Unlock()
		return
	}
	work.fail(code, message)
	c.mu.Unlock()
	c.dismantle(i, false)
}

// breakLaunch is a launch that a fault has doomed.
func (c *Cloud) breakLaunch(ctx context.Context, i *instance, work *workRequest, broken *Fault) {
	c.mu.Lock()
	work.begin()
	c.mu.Unlock()
	if broken.Kind == FaultLaunchStuck {
		<-ctx.Done()
		c.giveUpLaunch(ctx, i, work, "", "")
		return
	}
	_ = c.spend(ctx, i.place, "LaunchInstance", "PROVISIONING", c.delays.Provision) // it fails either way
	message := broken.Message
	if message == "" {
		message = "Out of host capacity."
	}
	code := broken.Code
	if code == "" {
		code = "InternalError"
	}
	c.giveUpLaunch(ctx, i, work, code, message)
}

// terminateInstance ends an instance in whatever state it is.
func (c *Cloud) terminateInstance(q *call) (*reply, error) {
	i, err := c.findInstance(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	if err := i.ifMatch(q); err != nil {
		return nil, err
	}
	if i.is("TERMINATED") {
		return nil, errNotFound()
	}
	preserve := q.param("preserveBootVolume")
	if i.is("TERMINATING") {
		return noContent(), nil
	}
	c.instanceBecomes(i, "TERMINATING")
	i.touch()
	work := c.newWork(i.place, "TerminateInstance", i.body.CompartmentID, "instance", i.body.ID, "DELETED")
	if i.current != nil && !i.current.finishes {
		i.current.cancel()
	} else if m := i.machine; m != nil {
		// The image that is being made must not wait for a guest that takes
		// its time to shut down.
		c.background(func(context.Context) { _ = m.Kill() })
	}
	c.operate(i, false, func(ctx context.Context) {
		c.powerOff(ctx, i, false)
		_ = c.spend(ctx, i.place, "TerminateInstance", "TERMINATING", c.delays.Terminate) // it ends either way
		c.dismantle(i, preserve == "true")
		c.mu.Lock()
		work.end("SUCCEEDED")
		c.mu.Unlock()
	})
	return (&reply{status: http.StatusNoContent}).with("Opc-Work-Request-Id", work.body.ID), nil
}

// dismantle takes an instance apart. It stays visible as TERMINATED.
func (c *Cloud) dismantle(i *instance, preserve bool) {
	c.powerOff(c.base, i, false)
	c.mu.Lock()
	c.instanceBecomes(i, "TERMINATED")
	i.vnic.body.LifecycleState = "TERMINATED"
	i.vnic.attachment.LifecycleState = "DETACHED"
	if i.volume.attachment.LifecycleState != "" {
		i.volume.attachment.LifecycleState = "DETACHED"
	}
	gone := i.volume.body.LifecycleState == "TERMINATED"
	preserve = preserve && i.volume.path != ""
	c.mu.Unlock()
	if !preserve && !gone {
		c.dropVolume(i.volume)
	}
}
