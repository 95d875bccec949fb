// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package stage

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// What there is at Amazon: the region in which builds begin, and the image
// that they begin with. Every region has Debian's images.
const (
	AWSRegion    = "eu-central-1"
	AWSBaseImage = "debian-12-arm64-20261112-2658"
)

// AWS is the part of the stage that plays at Amazon: an account that builds,
// and a neighbour in the same region.
type AWS struct {
	Cloud     *ec2sim.Cloud
	Build     *ec2sim.Account
	Neighbour *ec2sim.Account
	BaseImage string // id in AWSRegion
	Foreign   string // id of the neighbour's image, in the same region

	// Endpoint is the URL at which clients get to every service without the
	// proxy, as AWS_ENDPOINT_URL gives it.
	Endpoint string

	config string // folder of the configuration files
	plain  *http.Server
	ended  chan error
}

// openAWS starts Amazon's cloud. Its machines listen at the same port as those
// of the other cloud if that is free.
func (o Options) openAWS(dir string, sshPort int) (a *AWS, err error) {
	a = &AWS{Build: ec2sim.NewAccount("build"), Neighbour: ec2sim.NewAccount("neighbour"), config: filepath.Join(dir, "aws"), ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if o.AdjustAWS != nil {
		o.AdjustAWS(a.Build)
	}
	work := filepath.Join(dir, "ec2")
	for _, d := range []string{work, a.config} {
		if err = os.Mkdir(d, 0o700); err != nil {
			return a, err
		}
	}
	cfg := ec2sim.Config{
		Accounts: []*ec2sim.Account{a.Build, a.Neighbour}, Driver: o.Driver, WorkDir: work, Disks: o.Disks, SSHPort: sshPort, Delays: o.AWSDelays, CallerInVPC: o.AWSInside, Now: o.AWSNow,
		Images: append(ec2sim.DebianImages(o.Image), ec2sim.BaseImage{Name: "theirs", Path: o.Image, Owner: a.Neighbour, Regions: []string{AWSRegion}}),
	}
	if a.Cloud, err = ec2sim.New(cfg); err != nil && sshPort != 0 && o.SSHPort == 0 {
		cfg.SSHPort = 0
		a.Cloud, err = ec2sim.New(cfg)
	}
	if err != nil {
		return a, err
	}
	a.BaseImage, a.Foreign = a.Cloud.ImageID(AWSRegion, AWSBaseImage), a.Cloud.ImageID(AWSRegion, "theirs")
	if err = a.writeConfig(); err != nil {
		return a, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return a, err
	}
	a.Endpoint = "http://" + l.Addr().String()
	a.plain = &http.Server{Handler: a.Cloud, ReadHeaderTimeout: 30 * time.Second}
	go func() { a.ended <- a.plain.Serve(l) }()
	return a, nil
}

// writeConfig writes the files that keep clients from reading those of the
// user who runs them.
func (a *AWS) writeConfig() error {
	files := map[string]string{"config": "[default]\nregion = " + AWSRegion + "\n\n[profile neighbour]\nregion = " + AWSRegion + "\n"}
	for name, account := range map[string]*ec2sim.Account{"default": a.Build, "neighbour": a.Neighbour} {
		files["credentials"] += fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n\n", name, account.AccessKeyID, account.SecretAccessKey)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(a.config, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Env is what a client of Amazon needs to know beside the network.
func (a *AWS) Env() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + a.Build.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + a.Build.SecretAccessKey,
		"AWS_REGION=" + AWSRegion, "AWS_DEFAULT_REGION=" + AWSRegion,
		"AWS_CONFIG_FILE=" + filepath.Join(a.config, "config"), "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(a.config, "credentials"),
		"AWS_EC2_METADATA_DISABLED=true", // this host is no instance
		"AWS_SOURCE_AMI=" + a.BaseImage, "AWS_SUBNET_ID=" + a.Cloud.DefaultSubnet(a.Build, AWSRegion, AWSRegion+"a"), "AWS_SSH_USERNAME=admin",
	}
}

func (a *AWS) close() error {
	var errs []error
	if a.plain != nil {
		errs = append(errs, a.plain.Close())
		if err := <-a.ended; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	if a.Cloud != nil {
		errs = append(errs, a.Cloud.Close())
	}
	return errors.Join(errs...)
}

// isAmazon tells whose host a request is for.
func isAmazon(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(host)
	return strings.HasSuffix(host, "."+simnet.AmazonAWS) || strings.HasSuffix(host, "."+simnet.AmazonAPI)
}
