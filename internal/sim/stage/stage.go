// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package stage sets up the setting that this product was asked for: a build
// tenancy that has the machines, a production tenancy that needs the images,
// each in a region of its own, with a Debian image to start from and a bucket
// to send images through. In the build tenancy's region lives a neighbour,
// whose things nobody here may see or touch. At Amazon there is an account that
// builds, and a neighbour; see [AWS]. The demo, the acceptance tests and
// cloudsim all play on it, so that what one of them shows is what the others
// prove.
package stage

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// The regions of the two tenancies, and the names of what is in them.
const (
	BuildRegion      = "eu-frankfurt-1" // three availability domains
	ProductionRegion = "sa-saopaulo-1"  // one
	BaseImage        = "debian-12-arm64"
	BucketName       = "images"
)

// Options say what the stage is built from.
type Options struct {
	Driver machine.Driver
	Image  string // qcow2 of the base image
	// Firmware of the base image; UEFI_64 if empty.
	Firmware machine.Firmware
	Dir      string // an existing directory; nothing is left in it after Close
	Disks    ocisim.Disks
	Delays   *ocisim.Delays
	SSHPort  int
	// AWSDelays and AdjustAWS are Delays and Adjust for Amazon's cloud.
	AWSDelays *ec2sim.Delays
	// AWSInside puts whoever builds into the VPCs of Amazon's cloud: machines are
	// reached by their private addresses, and by no others.
	AWSInside bool
	AdjustAWS func(build *ec2sim.Account)
	// AWSNow is the clock of Amazon's cloud.
	AWSNow func() time.Time
	// MoreRegions are regions that the build tenancy subscribes to beside
	// BuildRegion. Each has the base image, with an OCID of its own, and the
	// bucket.
	MoreRegions []string
	// ProductionRegions are regions that the production tenancy subscribes to
	// beside ProductionRegion.
	ProductionRegions []string
	// Adjust, if set, may change the tenancies before the cloud opens.
	Adjust func(build, production *ocisim.Tenancy)
	// PlatformImages adds images like Oracle's own, which every tenancy sees;
	// see [ocisim.PlatformImages]. Their disks are the base image's.
	PlatformImages bool
	// Switches of the simulator.
	Switches ocisim.Switches
	// Key, if set, gives the API key of a tenancy; by default each gets a new one.
	Key func(tenancy string) (*rsa.PrivateKey, error)
	// Wrap, if set, is put around Oracle's cloud, between it and its clients.
	Wrap func(http.Handler) http.Handler
	// WrapAWS is Wrap for Amazon's cloud.
	WrapAWS func(http.Handler) http.Handler
}

// Stage is the running setting.
type Stage struct {
	Cloud      *ocisim.Cloud
	Net        *simnet.Net
	Build      *ocisim.Tenancy
	Production *ocisim.Tenancy
	Neighbour  *ocisim.Tenancy
	BaseImage  string // OCID in the build tenancy and BuildRegion
	Foreign    string // OCID of the neighbour's image, in the same region
	CAFile     string
	AWS        *AWS

	dir   string
	bases map[string]string // OCIDs of the base image by region
}

// New builds the stage. Close it when done.
func New(ctx context.Context, o Options) (s *Stage, err error) {
	s = &Stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.dir, err = os.MkdirTemp(o.Dir, "stage-*"); err != nil {
		return s, err
	}
	if s.Build, err = o.tenancy("build", BuildRegion, o.MoreRegions...); err != nil {
		return s, err
	}
	if s.Production, err = o.tenancy("production", ProductionRegion, o.ProductionRegions...); err != nil {
		return s, err
	}
	if s.Neighbour, err = o.tenancy("neighbour", BuildRegion); err != nil {
		return s, err
	}
	if o.Adjust != nil {
		o.Adjust(s.Build, s.Production)
	}
	// The network serves the cloud, and the cloud fetches through the network.
	var oracle http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.Cloud.ServeHTTP(w, r) })
	if o.Wrap != nil {
		oracle = o.Wrap(oracle)
	}
	var amazon http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.AWS.Cloud.ServeHTTP(w, r) })
	if o.WrapAWS != nil {
		amazon = o.WrapAWS(amazon)
	}
	front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isAmazon(r.Host) {
			amazon.ServeHTTP(w, r)
			return
		}
		oracle.ServeHTTP(w, r)
	})
	// A client that asks the proxy for a bastion's port 22 gets to the jump host.
	raw := func(host, port string) (string, bool) {
		if port != "22" || !ocisim.IsBastionHost(host) {
			return "", false
		}
		return s.Cloud.BastionAddr(), true
	}
	if s.Net, err = simnet.Start(front, simnet.Options{Raw: raw, Domains: []string{simnet.OracleCloud, simnet.CustomerOCI, simnet.AmazonAWS, simnet.AmazonAPI}}); err != nil {
		return s, err
	}
	images := []ocisim.BaseImage{
		{Name: BaseImage, OperatingSystem: "Debian", OperatingSystemVersion: "12", Path: o.Image, Tenancy: "build", Firmware: o.Firmware},
		{Name: "theirs", OperatingSystem: "Debian", OperatingSystemVersion: "12", Path: o.Image, Tenancy: "neighbour"},
	}
	if o.PlatformImages {
		images = append(images, ocisim.PlatformImages(o.Image)...)
	}
	s.Cloud, err = ocisim.New(ocisim.Config{
		Tenancies: []*ocisim.Tenancy{s.Build, s.Production, s.Neighbour}, Images: images,
		Driver: o.Driver, WorkDir: s.dir, Disks: o.Disks, SSHPort: o.SSHPort, Delays: o.Delays,
		Fetch: s.Net.Client(), Switches: o.Switches,
	})
	if err != nil {
		return s, err
	}
	s.Cloud.BastionAddr() // opens the jump host
	if s.AWS, err = o.openAWS(s.dir, s.Cloud.SSHPort()); err != nil {
		return s, err
	}
	if s.CAFile, err = s.Net.CAFile(s.dir); err != nil {
		return s, err
	}
	s.Foreign = s.Cloud.ImageID(s.Neighbour, BuildRegion, "theirs")
	s.bases = map[string]string{}
	for _, region := range s.Build.Regions {
		s.bases[region] = s.Cloud.ImageID(s.Build, region, BaseImage)
		if err = s.MakeBucket(ctx, s.Build, region); err != nil {
			return s, err
		}
	}
	s.BaseImage = s.BaseImageIn(BuildRegion)
	return s, nil
}

// BaseImageIn is the OCID of the base image in one of the build tenancy's
// regions, or "" in any other.
func (s *Stage) BaseImageIn(region string) string { return s.bases[region] }

// ImageFile is the qcow2 file in which Oracle's cloud has the bytes of an image.
func (s *Stage) ImageFile(image string) string { return filepath.Join(s.dir, "images", image+".qcow2") }

func (o Options) tenancy(name, region string, more ...string) (*ocisim.Tenancy, error) {
	if o.Key == nil {
		return ocisim.NewTenancy(name, region, more...)
	}
	key, err := o.Key(name)
	if err != nil {
		return nil, err
	}
	return ocisim.NewTenancyWithKey(key, name, region, more...)
}

// MakeBucket creates the bucket in a region as the owner of a tenancy would.
func (s *Stage) MakeBucket(ctx context.Context, t *ocisim.Tenancy, region string) error {
	client, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(
		common.NewRawConfigurationProvider(t.ID, t.UserID, region, t.Fingerprint(), t.PrivateKeyPEM(), nil))
	if err != nil {
		return err
	}
	client.HTTPClient = s.Net.Client()
	name := BucketName
	_, err = client.CreateBucket(ctx, objectstorage.CreateBucketRequest{
		NamespaceName:       &t.Namespace,
		CreateBucketDetails: objectstorage.CreateBucketDetails{Name: &name, CompartmentId: &t.CompartmentID},
	})
	if err != nil {
		return fmt.Errorf("make the bucket of the %s tenancy in %s: %w", t.Name, region, err)
	}
	return nil
}

// Close ends every machine and every connection and removes all bytes.
func (s *Stage) Close() error {
	var errs []error
	if s.Net != nil {
		errs = append(errs, s.Net.Close())
	}
	if s.Cloud != nil {
		errs = append(errs, s.Cloud.Close())
	}
	if s.AWS != nil {
		errs = append(errs, s.AWS.close())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// Env is the environment with which Packer and the plugin reach the stage: the
// network, and the credentials under the names that the pipeline reads.
func (s *Stage) Env() []string {
	env := s.Net.Env(s.CAFile)
	set := func(k, v string) { env = append(env, k+"="+v) }
	for prefix, t := range map[string]*ocisim.Tenancy{"": s.Build, "BUILD_": s.Build, "PROD_": s.Production} {
		set(prefix+"OCI_TENANCY_OCID", t.ID)
		set(prefix+"OCI_USER_OCID", t.UserID)
		set(prefix+"OCI_FINGERPRINT", t.Fingerprint())
		set(prefix+"OCI_API_PRIVATE_KEY", t.PrivateKeyPEM())
		set(prefix+"OCI_REGION", t.HomeRegion)
		set(prefix+"OCI_COMPARTMENT_OCID", t.CompartmentID)
	}
	set("OCI_SUBNET_OCID", s.Build.SubnetID(BuildRegion))
	set("OCI_BASE_IMAGE_OCID", s.BaseImage)
	set("OCI_SSH_USERNAME", "debian")
	set("BUILD_OCI_BUCKET", BucketName)
	set("BUILD_OCI_NAMESPACE", s.Build.Namespace)
	return append(env, s.AWS.Env()...)
}

// ProductionEnv is Env with the production tenancy as the one that builds, to
// start the copied image there.
func (s *Stage) ProductionEnv(image string) []string {
	env := s.Env()
	for _, kv := range s.Env() {
		if own, ok := strings.CutPrefix(kv, "PROD_"); ok {
			env = append(env, own) // of two with the same name the later counts
		}
	}
	return append(env,
		"OCI_SUBNET_OCID="+s.Production.SubnetID(ProductionRegion),
		"OCI_BASE_IMAGE_OCID="+image,
	)
}

// Left lists what exists beyond what the stage began with and the images of
// keep, one line each; empty means that nothing was left behind.
func (s *Stage) Left(keep ...string) []string {
	kept := map[string]bool{s.Foreign: true}
	left := s.AWS.Cloud.Left(append([]string{s.AWS.Foreign}, keep...)...)
	for _, id := range s.bases {
		kept[id] = true
	}
	for _, id := range keep {
		kept[id] = true
	}
	for _, t := range s.Cloud.Inventory().Tenancies {
		for _, r := range t.Regions {
			note := func(kind, id, state string) {
				if !kept[id] {
					left = append(left, fmt.Sprintf("%s %s in %s of tenancy %s (%s)", kind, id, r.Region, t.Name, state))
				}
			}
			for _, x := range r.Instances {
				note("instance", x.ID, x.State)
			}
			for _, id := range r.Machines {
				note("running machine", id, "powered")
			}
			for _, x := range r.BootVolumes {
				note("boot volume", x.ID, x.State)
			}
			for _, x := range r.Images {
				note("image", x.ID, x.State)
			}
			for _, x := range r.CapabilitySchemas {
				note("image capability schema", x.ID, x.State)
			}
			for _, x := range r.ConsoleHistories {
				note("console history", x.ID, x.State)
			}
			for _, x := range r.Reservations {
				note("capacity reservation", x.ID, x.State)
			}
			for _, x := range r.Bastions {
				note("bastion", x.ID, x.State)
			}
			for _, x := range r.BastionSessions {
				note("bastion session", x.ID, x.State)
			}
			for _, x := range r.SecurityGroups {
				note("network security group", x.ID, x.State)
			}
			for _, b := range r.Buckets {
				if b.Name != BucketName {
					note("bucket", b.Name, "exists")
				}
				for _, x := range b.Objects {
					note("object", b.Name+"/"+x.Name, fmt.Sprintf("%d bytes", x.Size))
				}
				for _, x := range b.Uploads {
					note("upload", b.Name+"/"+x.Object, x.ID)
				}
				for _, x := range b.PARs {
					note("pre-authenticated request", x.Name, x.AccessType)
				}
			}
		}
	}
	return left
}
