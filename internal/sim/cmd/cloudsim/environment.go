// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// environment is what a client needs to know, as lines for a shell: the
// network, both tenancies' credentials as variables and as files, an SSH key,
// and where instances listen.
func environment(s *stage.Stage, dir, control string) ([]byte, error) {
	env := s.Env()
	set := func(name, value string) { env = append(env, name+"="+value) }

	profiles := &bytes.Buffer{}
	for _, p := range []struct {
		profile, file string
		tenancy       *ocisim.Tenancy
	}{
		{"DEFAULT", "build.pem", s.Build}, {"PRODUCTION", "production.pem", s.Production},
	} {
		path := filepath.Join(dir, p.file)
		if err := os.WriteFile(path, []byte(p.tenancy.PrivateKeyPEM()), 0o600); err != nil {
			return nil, fmt.Errorf("write an API key: %w", err)
		}
		fmt.Fprintf(profiles, "[%s]\ntenancy=%s\nuser=%s\nfingerprint=%s\nkey_file=%s\nregion=%s\n\n", p.profile,
			p.tenancy.ID, p.tenancy.UserID, p.tenancy.Fingerprint(), path, p.tenancy.HomeRegion)
	}
	config := filepath.Join(dir, "oci-config")
	if err := os.WriteFile(config, profiles.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("write the OCI configuration file: %w", err)
	}
	set("OCI_CONFIG_FILE", config)
	set("OCI_CLI_CONFIG_FILE", config)
	set("OCI_API_PRIVATE_KEY_FILE", filepath.Join(dir, "build.pem"))
	set("PROD_OCI_API_PRIVATE_KEY_FILE", filepath.Join(dir, "production.pem"))
	set("OCI_AVAILABILITY_DOMAIN", s.Build.AvailabilityDomains(s.Build.HomeRegion)[0])
	set("PROD_OCI_SUBNET_OCID", s.Production.SubnetID(s.Production.HomeRegion))
	set("PROD_OCI_AVAILABILITY_DOMAIN", s.Production.AvailabilityDomains(s.Production.HomeRegion)[0])

	public, private, err := sshKey()
	if err != nil {
		return nil, err
	}
	set("OCI_SSH_PUBLIC_KEY", public)
	set("OCI_SSH_PRIVATE_KEY", private)
	set("CLOUDSIM_SSH_PORT", strconv.Itoa(s.Cloud.SSHPort()))
	set("CLOUDSIM_BASTION", s.Cloud.BastionAddr())
	set("CLOUDSIM_PRIVATE_SUBNET", s.Build.PrivateSubnetID(s.Build.HomeRegion))
	set("CLOUDSIM_VCN", s.Build.VCNID(s.Build.HomeRegion))
	set("CLOUDSIM_KMS_KEY", s.Build.KMSKeyID(s.Build.HomeRegion))
	set("CLOUDSIM_AWS_SSH_PORT", strconv.Itoa(s.AWS.Cloud.SSHPort()))
	set("CLOUDSIM_AWS_ENDPOINT_URL", s.AWS.Endpoint)
	set("CLOUDSIM_CONTROL", control)

	var lines bytes.Buffer
	lines.WriteString("# The environment of a simulated cloud. Its keys open nothing else.\n")
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		fmt.Fprintf(&lines, "export %s=%s\n", name, quote(value))
	}
	return lines.Bytes(), nil
}

// quote makes one word of a shell out of any text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// sshKey makes an ed25519 key pair in the forms of OpenSSH.
func sshKey() (public, private string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make an SSH key: %w", err)
	}
	authorized, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", fmt.Errorf("make an SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "cloudsim")
	if err != nil {
		return "", "", fmt.Errorf("make an SSH key: %w", err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(authorized))) + " cloudsim", string(pem.EncodeToMemory(block)), nil
}

// services is the value of -service flags: guest address to host address.
type services map[string]string

func (s *services) String() string { return fmt.Sprint(map[string]string(*s)) }

// Set adds one service.
func (s *services) Set(text string) error {
	guest, host, ok := strings.Cut(text, "=")
	if !ok {
		return errors.New("not of the form 169.254.x.y:port=host:port")
	}
	for _, address := range []string{guest, host} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return err
		}
	}
	if *s == nil {
		*s = services{}
	}
	(*s)[guest] = host
	return nil
}

// turn sets one of the simulator's switches by the name of its field.
func (o *options) turn(name string) error {
	known := map[string]*bool{
		"ImportRegistersShapes":    &o.switches.ImportRegistersShapes,
		"CountAvailable":           &o.switches.CountAvailable,
		"WorkRequestsLate":         &o.switches.WorkRequestsLate,
		"RemembersFailedTokens":    &o.switches.RemembersFailedTokens,
		"PicksOneFaultDomain":      &o.switches.PicksOneFaultDomain,
		"RefusesPreemptibleImages": &o.switches.RefusesPreemptibleImages,
		"GonePARIsNotFound":        &o.switches.GonePARIsNotFound,
		"BastionSaysHostKey":       &o.switches.BastionSaysHostKey,
		"BastionSessionsLate":      &o.switches.BastionSessionsLate,
	}
	s, exists := known[name]
	if !exists {
		return fmt.Errorf("there is no switch %q", name)
	}
	*s = true
	return nil
}
