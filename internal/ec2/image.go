// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// imaging is what a build knows of the images that it makes.
type imaging struct {
	mu      sync.Mutex
	asked   map[string]*making              // by token
	work    map[string]*making              // by the id of a root snapshot or an image
	created map[string]map[string]time.Time // by region: snapshots and images that exist because of us, and since when
	done    map[string]map[string]string    // finished: by an id of one of them, region to image
	open    map[string]*wait.Open           // by region: snapshots and images whose requests were not confirmed
}

func newImaging() *imaging {
	return &imaging{asked: map[string]*making{}, work: map[string]*making{}, created: map[string]map[string]time.Time{}, done: map[string]map[string]string{}, open: map[string]*wait.Open{}}
}

// making is one image on its way.
type making struct {
	token  string
	name   string // of the first image; a temporary one if that is not the last
	shots  []shot // the snapshots it will be made of, the root's first; none if EC2 makes them
	first  string // the image in the region of the machine
	places []*place
	// doubtful says that a snapshot was asked for again, because none was seen of an
	// earlier request: one may show up yet.
	doubtful bool
}

// shot is a snapshot of one volume of the machine.
type shot struct {
	device, volume string
	id             string // empty until it is taken
}

// place is one region with its image.
type place struct {
	client   *Client
	id       string
	name     string // the image's name now
	old      []types.Image
	encrypt  *bool
	key      string
	isCopy   bool
	finished bool
}

// note remembers what exists because of us.
func (im *imaging) note(region string, ids ...string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.created[region] == nil {
		im.created[region] = map[string]time.Time{}
	}
	for _, id := range ids {
		if _, known := im.created[region][id]; id != "" && !known {
			im.created[region][id] = time.Now()
		}
	}
}

// lost are the requests of a region whose replies were lost, beside those that the
// phase knows of. Each is named by what tells it from others of the build.
func (im *imaging) lost(region string) *wait.Open {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.open[region] == nil {
		im.open[region] = &wait.Open{}
	}
	return im.open[region]
}

func (im *imaging) begin(m *making) {
	im.mu.Lock()
	defer im.mu.Unlock()
	m.doubtful = len(im.asked) > 0
	im.asked[m.token] = m
}

func (im *imaging) known(id string, m *making) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.work[id] = m
}

func (im *imaging) of(id string) *making {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.work[id]
}

// temporaryName is what an image is called that will not be the last of its build.
func (b *Build) temporaryName() string { return b.owner.Name(owner.RoleImage) }

// StartImage implements cloud.Imager: it stops the machine and asks for a snapshot
// of its root volume, or for an image. A spot machine cannot be stopped; EC2
// restarts it while it takes the snapshots, so that what is written is on the disk.
func (b *Build) StartImage(ctx context.Context, machine, token string) (string, error) {
	i, err := b.instance(ctx, machine)
	if err != nil {
		return "", err
	}
	if ended(state(i)) {
		return "", b.lostMachine(i)
	}
	m := &making{token: token}
	if m.name, err = b.firstName(ctx); err != nil {
		return "", err
	}
	spot := i.InstanceLifecycle == types.InstanceLifecycleTypeSpot
	if !spot {
		if err := b.stop(ctx, machine); err != nil {
			return "", err
		}
	}
	var id string
	if b.cfg.Image.Method == ByCreateImage || spot {
		b.images.begin(m)
		id, err = b.createImageOf(ctx, machine, m)
		m.first = id
	} else {
		if m.shots = b.shotsOf(i); len(m.shots) == 0 {
			return "", fmt.Errorf("machine %s has no root volume that a snapshot can be taken of", machine)
		}
		b.images.begin(m)
		id, err = b.take(ctx, m, &m.shots[0], owner.RoleImage)
	}
	if id != "" {
		b.images.note(b.Region, id)
		b.images.known(id, m)
	}
	return id, err
}

// firstName is the name of the first image. It is the wanted one, unless there
// will be another image that has it: one that is encrypted anew, one that replaces
// a namesake, or those of other regions only.
func (b *Build) firstName(ctx context.Context) (string, error) {
	if b.cfg.Image.SkipBuildRegion || b.encryptsAnew() {
		return b.temporaryName(), nil
	}
	if b.cfg.Image.Replace {
		old, err := b.namesakes(ctx)
		if err != nil {
			return "", err
		}
		if len(old) > 0 {
			return b.temporaryName(), nil
		}
	}
	return b.cfg.Image.Name, nil
}

// encryptsAnew says whether the image in the region of the machine has to be a copy:
// encrypted, or by another key than the volumes of the machine.
func (b *Build) encryptsAnew() bool {
	want := b.cfg.Image.Encrypt
	if want == nil || !*want {
		return false
	}
	r := b.cfg.Root
	all := r.Encrypted != nil && *r.Encrypted && r.KMSKey == b.cfg.Image.KMSKey
	for _, d := range b.cfg.Volumes {
		if d.NoDevice || d.VirtualName != "" {
			continue
		}
		fits := d.Encrypted != nil && *d.Encrypted && d.KMSKey == b.cfg.Image.KMSKey
		if d.Device == b.rootName() {
			all = fits
		} else if !fits {
			return true
		}
	}
	return !all
}

// namesakes are the account's images of the wanted name, without our own.
func (c *Client) named(ctx context.Context, name string) ([]types.Image, error) {
	return c.ownImages(ctx, filter("name", name))
}

func (b *Build) namesakes(ctx context.Context) ([]types.Image, error) {
	return b.namesakesIn(ctx, b.Client)
}

func (b *Build) namesakesIn(ctx context.Context, c *Client) ([]types.Image, error) {
	all, err := c.named(ctx, b.cfg.Image.Name)
	return slices.DeleteFunc(all, func(i types.Image) bool {
		t, is := ours(i.Tags)
		return is && t.Build == b.owner.ID || i.State == types.ImageStateFailed
	}), err
}

// stop stops a machine, or waits until it has stopped itself.
func (b *Build) stop(ctx context.Context, id string) error {
	if !b.cfg.StopsItself {
		early := func(err error) bool { return passing(err) || code(err, "IncorrectInstanceState") }
		err := b.repeatIf(ctx, repeatFor, "stop instance", id, early, func(ctx context.Context) error {
			_, err := b.stopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{id}})
			return err
		})
		if err != nil {
			return b.details(ctx, err)
		}
	}
	return wait.Loop{
		What: "instance " + id + " to stop", Timeout: b.cfg.ImageTimeout, Option: "image_timeout", Pace: wait.Quick, Tolerate: passing,
		Progress: func(d time.Duration) { b.say("Still waiting for machine %s to stop (%s)", id, d) },
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		i, err := b.look(ctx, id)
		if err == nil && ended(state(i)) {
			return false, b.lostMachine(i)
		}
		return err == nil && state(i) == types.InstanceStateNameStopped, err
	})
}

// imageTags and shotTags are the tags of what is not yet what it should be.
func (b *Build) imageTags(attempt string) types.TagSpecification {
	return spec(types.ResourceTypeImage, b.tagged(owner.RoleImage, attempt, true, b.found.words.ImageTags))
}

func (b *Build) shotTags(role, attempt string) types.TagSpecification {
	return spec(types.ResourceTypeSnapshot, b.tagged(role, attempt, true, b.found.words.SnapshotTags))
}

// createImageOf lets EC2 make the image, once: there is no token by which it
// would know the request again.
func (b *Build) createImageOf(ctx context.Context, machine string, m *making) (id string, err error) {
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	// Between two states of the machine EC2 refuses.
	early := func(err error) bool {
		return ctx.Err() == nil && (passing(err) && !lost(err) || code(err, "IncorrectInstanceState", "IncorrectState"))
	}
	err = b.repeatIf(g, b.cfg.ImageTimeout, opImage, machine, early, func(ctx context.Context) error {
		r, err := b.createImage(ctx, &ec2.CreateImageInput{
			InstanceId: &machine, Name: &m.name, Description: text(b.found.words.Description), BlockDeviceMappings: b.changes(),
			TagSpecifications: []types.TagSpecification{b.imageTags(m.token), b.shotTags(owner.RoleVolume, m.token)},
		})
		if err == nil && r.ImageId == nil {
			err = errNoAnswer
		}
		if err == nil {
			id = *r.ImageId
		}
		return err
	})
	return id, b.details(ctx, err)
}

// The requests that begin an image.
const (
	opImage = "create image of"
	opShot  = "create snapshot of"
)

// Lost implements cloud.Imager. Before an image is asked for, the machine is looked at
// and stopped; when that fails, or is cut short by a cancel, there is nothing to look
// for.
func (b *Build) Lost(err error) bool {
	var e *Error
	return lost(err) && errors.As(err, &e) && (e.Op == opImage || e.Op == opShot)
}

// FindImages implements cloud.Imager.
func (b *Build) FindImages(ctx context.Context, token string) (ids []string, err error) {
	ids, err = b.imagesOf(ctx, token)
	b.images.mu.Lock()
	m := b.images.asked[token]
	b.images.mu.Unlock()
	for _, id := range ids {
		b.images.note(b.Region, id)
		if m == nil {
			continue
		}
		b.images.known(id, m)
		if len(m.shots) > 0 {
			m.shots[0].id = id
		} else {
			m.first = id
		}
	}
	return ids, err
}

// imagesOf lists the images and root snapshots that were asked for with token.
func (b *Build) imagesOf(ctx context.Context, token string) (ids []string, err error) {
	byToken := func(list []types.Tag) bool {
		t, is := ours(list)
		return is && t.Attempt == token && t.Role == owner.RoleImage
	}
	images, err := b.ownImages(ctx, b.ofBuild()...)
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		if byToken(i.Tags) {
			ids = append(ids, aws.ToString(i.ImageId))
		}
	}
	shots, err := b.ownSnapshots(ctx, b.ofBuild()...)
	for _, s := range shots {
		if byToken(s.Tags) {
			ids = append(ids, aws.ToString(s.SnapshotId))
		}
	}
	return ids, err
}

// Images are the finished images of which id is one: region to image.
func (b *Build) Images(id string) map[string]string {
	b.images.mu.Lock()
	defer b.images.mu.Unlock()
	return maps.Clone(b.images.done[id])
}
