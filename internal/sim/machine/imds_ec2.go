// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// EC2Info is what an EC2 instance can learn about itself.
type EC2Info struct {
	InstanceID       string
	ImageID          string
	InstanceType     string
	Architecture     string // arm64 or x86_64
	AccountID        string
	ReservationID    string
	Region           string
	AvailabilityZone string
	ZoneID           string
	LocalHostname    string // ip-172-31-0-5.ec2.internal
	PublicHostname   string
	PrivateIP        string
	PublicIP         string
	MAC              string
	SubnetID, VpcID  string
	SubnetCIDR       string
	SecurityGroups   []string
	KeyName          string
	PublicKey        string // a line of authorized_keys
	UserData         []byte
	Lifecycle        string // on-demand or spot
	PendingTime      time.Time
	InstanceProfile  string // ARN
	Tags             map[string]string

	// Disabled is HttpEndpoint disabled: nothing is answered.
	Disabled bool
	// TokenRequired is HttpTokens required: only IMDSv2 works.
	TokenRequired bool
	// HopLimit is HttpPutResponseHopLimit.
	HopLimit int
	// ShowTags is InstanceMetadataTags enabled.
	ShowTags bool

	// Credentials, if set, answers with the credentials of the instance
	// profile's role, as JSON; Role is its name.
	Role        string
	Credentials func() []byte
	// Interruption, if set, says when a spot instance will be taken away; zero
	// if it will not.
	Interruption func() time.Time
}

// ec2Metadata answers 169.254.169.254 inside an EC2 instance.
type ec2Metadata struct {
	info EC2Info

	mu     sync.Mutex
	tokens map[string]time.Time
}

// EC2Metadata answers what 169.254.169.254 answers inside an EC2 instance: by
// IMDSv2, which wants a token from PUT /latest/api/token, and by IMDSv1 unless
// tokens are required.
func EC2Metadata(info EC2Info) http.Handler {
	return &ec2Metadata{info: info, tokens: map[string]time.Time{}}
}

const (
	ec2TokenTTL = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	ec2Token    = "X-Aws-Ec2-Metadata-Token"
)

func (m *ec2Metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case m.info.Disabled:
		http.Error(w, "Forbidden", http.StatusForbidden)
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
		m.newToken(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	case !m.admits(r.Header.Get(ec2Token)):
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
	default:
		m.get(w, r.URL.Path)
	}
}

func (m *ec2Metadata) newToken(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Forwarded-For") != "" {
		http.Error(w, "Forbidden", http.StatusForbidden)
		return
	}
	seconds, err := strconv.Atoi(r.Header.Get(ec2TokenTTL))
	if err != nil || seconds < 1 || seconds > 21600 {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	token := rand.Text() + rand.Text()
	m.mu.Lock()
	m.tokens[token] = time.Now().Add(time.Duration(seconds) * time.Second)
	m.mu.Unlock()
	w.Header().Set(ec2TokenTTL, strconv.Itoa(seconds))
	fmt.Fprint(w, token)
}

func (m *ec2Metadata) admits(token string) bool {
	if token == "" {
		return !m.info.TokenRequired
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.tokens[token])
}

// get answers a leaf with its text and a folder with its names.
func (m *ec2Metadata) get(w http.ResponseWriter, path string) {
	version, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if version == "" {
		fmt.Fprint(w, "1.0\n2021-07-15\nlatest")
		return
	}
	if version != "latest" && !strings.HasPrefix(version, "20") && version != "1.0" {
		notFound(w)
		return
	}
	tree := m.tree()
	name := strings.Trim(rest, "/")
	if text, is := tree[name]; is {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, text)
		return
	}
	below := map[string]bool{}
	for leaf := range tree {
		if name != "" {
			var inside bool
			if leaf, inside = strings.CutPrefix(leaf, name+"/"); !inside {
				continue
			}
		}
		first, _, deeper := strings.Cut(leaf, "/")
		if deeper {
			first += "/"
		}
		below[first] = true
	}
	if len(below) == 0 {
		notFound(w)
		return
	}
	fmt.Fprint(w, strings.Join(slices.Sorted(maps.Keys(below)), "\n"))
}

// tree has every leaf by its path. Empty ones do not exist.
func (m *ec2Metadata) tree() map[string]string {
	i := m.info
	tree := map[string]string{
		"user-data":                                string(i.UserData),
		"dynamic/instance-identity/document":       i.document(),
		"meta-data/ami-id":                         i.ImageID,
		"meta-data/ami-launch-index":               "0",
		"meta-data/ami-manifest-path":              "(unknown)",
		"meta-data/hostname":                       i.LocalHostname,
		"meta-data/instance-action":                "none",
		"meta-data/instance-id":                    i.InstanceID,
		"meta-data/instance-life-cycle":            i.Lifecycle,
		"meta-data/instance-type":                  i.InstanceType,
		"meta-data/local-hostname":                 i.LocalHostname,
		"meta-data/local-ipv4":                     i.PrivateIP,
		"meta-data/mac":                            i.MAC,
		"meta-data/placement/availability-zone":    i.AvailabilityZone,
		"meta-data/placement/availability-zone-id": i.ZoneID,
		"meta-data/placement/region":               i.Region,
		"meta-data/public-hostname":                i.PublicHostname,
		"meta-data/public-ipv4":                    i.PublicIP,
		"meta-data/reservation-id":                 i.ReservationID,
		"meta-data/security-groups":                strings.Join(i.SecurityGroups, "\n"),
		"meta-data/services/domain":                "amazonaws.com",
		"meta-data/services/partition":             "aws",
		"meta-data/block-device-mapping/root":      "/dev/xvda",
	}
	card := "meta-data/network/interfaces/macs/" + i.MAC + "/"
	for name, value := range map[string]string{
		"device-number": "0", "interface-id": "", "local-hostname": i.LocalHostname, "local-ipv4s": i.PrivateIP, "mac": i.MAC,
		"owner-id": i.AccountID, "public-ipv4s": i.PublicIP, "subnet-id": i.SubnetID, "subnet-ipv4-cidr-block": i.SubnetCIDR,
		"vpc-id": i.VpcID, "security-groups": strings.Join(i.SecurityGroups, "\n"),
	} {
		tree[card+name] = value
	}
	if i.PublicKey != "" {
		tree["meta-data/public-keys/0/openssh-key"] = i.PublicKey + "\n"
	}
	if i.ShowTags {
		for k, v := range i.Tags {
			tree["meta-data/tags/instance/"+k] = v
		}
	}
	if i.Role != "" && i.Credentials != nil {
		tree["meta-data/iam/info"] = fmt.Sprintf("{\n  \"Code\" : \"Success\",\n  \"InstanceProfileArn\" : %q\n}", i.InstanceProfile)
		tree["meta-data/iam/security-credentials/"+i.Role] = string(i.Credentials())
	}
	if i.Interruption != nil {
		if at := i.Interruption(); !at.IsZero() {
			tree["meta-data/spot/instance-action"] = fmt.Sprintf(`{"action": "terminate", "time": %q}`, at.UTC().Format("2006-01-02T15:04:05Z"))
			tree["meta-data/spot/termination-time"] = at.UTC().Format("2006-01-02T15:04:05Z")
		}
	}
	maps.DeleteFunc(tree, func(_, text string) bool { return text == "" })
	return tree
}

// document is the instance identity document.
func (i EC2Info) document() string {
	raw, err := json.MarshalIndent(map[string]any{
		"accountId": i.AccountID, "architecture": i.Architecture, "availabilityZone": i.AvailabilityZone, "imageId": i.ImageID,
		"instanceId": i.InstanceID, "instanceType": i.InstanceType, "kernelId": nil, "ramdiskId": nil, "pendingTime": i.PendingTime.UTC().Format("2006-01-02T15:04:05Z"),
		"privateIp": i.PrivateIP, "region": i.Region, "version": "2017-09-30", "billingProducts": nil, "devpayProductCodes": nil,
		"marketplaceProductCodes": nil,
	}, "", "  ")
	if err != nil {
		return ""
	}
	return string(raw)
}
