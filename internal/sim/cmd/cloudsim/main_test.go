// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"golang.org/x/crypto/ssh"
)

// readEnv lets a shell read the file, as a user would.
func readEnv(t *testing.T, path string) map[string]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", ". "+quote(path)+" && env -0").Output()
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, pair := range strings.Split(string(out), "\x00") {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env
}

// TestCloudsim does what a user does: start it, read its environment, build a
// machine in it over SSH, look at the control interface, interrupt it.
func TestCloudsim(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	envFile := filepath.Join(t.TempDir(), "sim's.env")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan error, 1)
	faults := filepath.Join(t.TempDir(), "faults.json")
	if err := os.WriteFile(faults, []byte(`{"kind":"capacity","tenancy":"build","times":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	go func() {
		ended <- run(ctx, []string{"-env", envFile, "-delays", "quick", "-faults", faults, "-switch", "WorkRequestsLate", "-platform-images"}, io.Discard, &stderr)
	}()
	until(t, "the environment is there", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v", err)
		default:
		}
		text, err := os.ReadFile(envFile)
		return err == nil && bytes.Contains(text, []byte("CLOUDSIM_CONTROL")) && bytes.HasSuffix(text, []byte("\n"))
	})
	env := readEnv(t, envFile)
	for _, name := range []string{"HTTPS_PROXY", "SSL_CERT_FILE", "CHECKPOINT_DISABLE", "OCI_API_PRIVATE_KEY", "BUILD_OCI_NAMESPACE",
		"PROD_OCI_API_PRIVATE_KEY", "PROD_OCI_COMPARTMENT_OCID", "OCI_BASE_IMAGE_OCID", "OCI_SUBNET_OCID", "CLOUDSIM_BASTION",
		"CLOUDSIM_PRIVATE_SUBNET", "CLOUDSIM_VCN", "CLOUDSIM_KMS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION",
		"AWS_CA_BUNDLE", "AWS_SOURCE_AMI"} {
		if env[name] == "" {
			t.Errorf("%s is not set", name)
		}
	}

	client := computeFrom(t, env)
	launch := core.LaunchInstanceRequest{LaunchInstanceDetails: core.LaunchInstanceDetails{
		AvailabilityDomain: common.String(env["OCI_AVAILABILITY_DOMAIN"]), CompartmentId: common.String(env["OCI_COMPARTMENT_OCID"]),
		Shape: common.String("VM.Standard.A1.Flex"), ShapeConfig: &core.LaunchInstanceShapeConfigDetails{Ocpus: common.Float32(1)},
		SourceDetails:     core.InstanceSourceViaImageDetails{ImageId: common.String(env["OCI_BASE_IMAGE_OCID"])},
		CreateVnicDetails: &core.CreateVnicDetails{SubnetId: common.String(env["OCI_SUBNET_OCID"])},
		Metadata:          map[string]string{"ssh_authorized_keys": env["OCI_SSH_PUBLIC_KEY"]},
	}}
	if _, err := client.LaunchInstance(ctx, launch); err == nil || !strings.Contains(err.Error(), "Out of host capacity.") {
		t.Fatalf("the fault from the file did not hit: %v", err)
	}
	launched, err := client.LaunchInstance(ctx, launch)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the instance is RUNNING", func() bool {
		got, err := client.GetInstance(ctx, core.GetInstanceRequest{InstanceId: launched.Id})
		return err == nil && got.LifecycleState == core.InstanceLifecycleStateRunning
	})
	if out := runSSH(t, env, "127.80.0.2", "uname -m"); out != "aarch64\n" {
		t.Errorf("uname -m says %q", out)
	}

	images, err := client.ListImages(ctx, core.ListImagesRequest{CompartmentId: common.String(env["OCI_COMPARTMENT_OCID"]),
		OperatingSystem: common.String("Canonical Ubuntu"), OperatingSystemVersion: common.String("24.04"), Shape: common.String("VM.Standard.A1.Flex")})
	if err != nil || len(images.Items) != 3 {
		t.Errorf("platform images: %d, %v", len(images.Items), err)
	}

	resp, err := get(t, env["CLOUDSIM_CONTROL"])
	if err != nil || !strings.Contains(resp, *launched.Id) {
		t.Errorf("the control interface does not list the instance: %v\n%s", err, resp)
	}

	askAmazon(t, env)

	interrupt()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(temp); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(envFile); !os.IsNotExist(err) {
		t.Errorf("the environment outlives the cloud: %v", err)
	}
	for _, address := range []string{strings.TrimPrefix(env["HTTPS_PROXY"], "http://"), strings.TrimPrefix(env["CLOUDSIM_CONTROL"], "http://"),
		net.JoinHostPort("127.80.0.2", env["CLOUDSIM_SSH_PORT"]), env["CLOUDSIM_BASTION"]} {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("%s still answers", address)
		}
	}
}

// askAmazon asks the other cloud both ways: through the proxy, and at the
// plain URL.
func askAmazon(t *testing.T, env map[string]string) {
	t.Helper()
	signedIn := aws.Config{Region: env["AWS_REGION"], Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"]}, nil
	})}
	for _, endpoint := range []string{"", env["CLOUDSIM_AWS_ENDPOINT_URL"]} {
		cfg := signedIn.Copy()
		if endpoint == "" {
			cfg.HTTPClient = computeFrom(t, env).HTTPClient
		} else {
			cfg.BaseEndpoint = &endpoint
		}
		who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		if err != nil || !strings.HasSuffix(*who.Arn, ":user/packer") {
			t.Errorf("at %q: %+v, %v", endpoint, who, err)
		}
		out, err := ec2.NewFromConfig(cfg).DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{env["AWS_SOURCE_AMI"]}})
		if err != nil || len(out.Images) != 1 {
			t.Errorf("at %q: %+v, %v", endpoint, out, err)
		}
	}
	if resp, err := get(t, env["CLOUDSIM_CONTROL"]+"/aws/requests"); err != nil || strings.Count(resp, `"GetCallerIdentity"`) != 2 {
		t.Errorf("the control interface does not list the requests: %v\n%s", err, resp)
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// computeFrom makes a client of what the environment says, the configuration
// file included.
func computeFrom(t *testing.T, env map[string]string) core.ComputeClient {
	t.Helper()
	provider, err := common.ConfigurationProviderFromFileWithProfile(env["OCI_CONFIG_FILE"], "DEFAULT", "")
	if err != nil {
		t.Fatal(err)
	}
	client, err := core.NewComputeClientWithConfigurationProvider(provider)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(env["SSL_CERT_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	proxy, err := url.Parse(env["HTTPS_PROXY"])
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	client.HTTPClient = &http.Client{Transport: transport}
	return client
}

func runSSH(t *testing.T, env map[string]string, address, command string) (out string) {
	t.Helper()
	signer, err := ssh.ParsePrivateKey([]byte(env["OCI_SSH_PRIVATE_KEY"]))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "SSH answers", func() bool {
		conn, err := ssh.Dial("tcp", net.JoinHostPort(address, env["CLOUDSIM_SSH_PORT"]), &ssh.ClientConfig{User: env["OCI_SSH_USERNAME"],
			Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
		if err != nil {
			return false
		}
		defer conn.Close()
		session, err := conn.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		text, err := session.Output(command)
		if err != nil {
			t.Fatal(err)
		}
		out = string(text)
		return true
	})
	return out
}

func get(t *testing.T, address string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// TestArguments refuses what cannot work before anything is started.
func TestArguments(t *testing.T) {
	for _, args := range [][]string{
		{"extra"}, {"-guest", "docker"}, {"-guest", "qemu"}, {"-delays", "none"}, {"-control", "0.0.0.0:80"}, {"-control", ":80"},
		{"-service", "169.254.1.1:80=127.0.0.1:80"}, {"-service", "nonsense"}, {"-switch", "Gravity"}, {"-nonsense"},
	} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}
