// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// outcome is what came of a template: what was asked of the cloud for its
// machines, the images that exist afterwards, and what people and scripts
// read. What no two runs have in common has placeholders.
type outcome struct {
	Launches  []map[string]any `json:"launches"` // bodies of LaunchInstance
	Images    []madeImage      `json:"images"`
	Artifacts []string         `json:"artifacts"` // lines of Packer
	Manifest  []map[string]any `json:"manifest"`  // of the post-processor
	Said      []string         `json:"said"`      // lines that the template's own scripts print
}

// madeImage is an image as the cloud shows it.
type madeImage struct {
	Name         string            `json:"name"`
	Compartment  string            `json:"compartment"`
	Tags         map[string]string `json:"tags"`
	DefinedTags  map[string]any    `json:"definedTags"`
	Base         string            `json:"base"`
	OS           string            `json:"os"`
	SizeInMBs    int64             `json:"sizeInMBs"`
	LaunchMode   string            `json:"launchMode"`
	Options      map[string]any    `json:"launchOptions"`
	Shapes       []string          `json:"shapes"`
	Capabilities map[string]any    `json:"capabilities"` // defaults of its capability schema, nil without one

	id, schema string
}

// dropIn is a stage on which one template is played.
type dropIn struct {
	t     *testing.T
	s     *stage.Stage
	nsg   string
	known map[string]string // placeholder by identifier

	mu       sync.Mutex
	launches []launched
}

// newDropIn sets a stage with all that the templates name.
func newDropIn(t *testing.T) *dropIn {
	t.Helper()
	d := &dropIn{t: t}
	d.s = stage.ForTest(t, stage.Options{
		PlatformImages: true, Wrap: d.watch,
		Adjust: func(build, _ *ocisim.Tenancy) {
			build.TagNamespaces = map[string][]string{"Operations": {"CostCenter", "Live"}}
		},
	})
	b := d.s.Build
	network, err := core.NewVirtualNetworkClientWithConfigurationProvider(d.provider())
	if err != nil {
		t.Fatal(err)
	}
	network.HTTPClient = d.s.Net.Client()
	group, err := network.CreateNetworkSecurityGroup(t.Context(), core.CreateNetworkSecurityGroupRequest{
		CreateNetworkSecurityGroupDetails: core.CreateNetworkSecurityGroupDetails{
			CompartmentId: &b.CompartmentID, VcnId: common.String(b.VCNID(stage.BuildRegion)),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	d.nsg = *group.Id
	// An image that was imported begins with entries for x86.
	_, err = d.compute().AddImageShapeCompatibilityEntry(t.Context(), core.AddImageShapeCompatibilityEntryRequest{
		ImageId: &d.s.BaseImage, ShapeName: common.String("VM.Standard.E4.Flex"),
	})
	if err != nil {
		t.Fatal(err)
	}
	d.known = map[string]string{
		b.ID: "tenancy", b.CompartmentID: "compartment", b.ChildCompartmentID: "child-compartment",
		b.SubnetID(stage.BuildRegion): "subnet", d.nsg: "nsg", b.AvailabilityDomains(stage.BuildRegion)[1]: "domain",
		d.s.BaseImage: "image " + stage.BaseImage,
	}
	return d
}

func (d *dropIn) provider() common.ConfigurationProvider {
	b := d.s.Build
	return common.NewRawConfigurationProvider(b.ID, b.UserID, stage.BuildRegion, b.Fingerprint(), b.PrivateKeyPEM(), nil)
}

func (d *dropIn) compute() core.ComputeClient {
	d.t.Helper()
	c, err := core.NewComputeClientWithConfigurationProvider(d.provider())
	if err != nil {
		d.t.Fatal(err)
	}
	c.HTTPClient = d.s.Net.Client()
	return c
}

// watch keeps what is asked of LaunchInstance.
func (d *dropIn) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/20160918/instances" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			maps.Copy(w.Header(), answer.Header())
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes())
			d.mu.Lock()
			d.launches = append(d.launches, launched{body, answer.Body.Bytes()})
			d.mu.Unlock()
			return
		}
		next.ServeHTTP(w, r)
	})
}

// launched is one LaunchInstance on the wire.
type launched struct{ asked, answered []byte }

// launch is what was asked for, in the size that it came in: a client may leave
// the memory to the service.
func (d *dropIn) launch(l launched) map[string]any {
	var body, instance map[string]any
	d.decode(l.asked, &body)
	d.decode(l.answered, &instance)
	size, _ := body["shapeConfig"].(map[string]any)
	if size == nil {
		size = map[string]any{}
	}
	is, _ := instance["shapeConfig"].(map[string]any)
	for _, field := range []string{"ocpus", "memoryInGBs"} {
		size[field] = is[field]
	}
	body["shapeConfig"] = size
	maps.DeleteFunc(body, func(_ string, v any) bool {
		m, ok := v.(map[string]any)
		return ok && len(m) == 0
	})
	return body
}

// env is what the templates' variables come from: somebody's own names.
func (d *dropIn) env(dir string) []string {
	t, b := d.t, d.s.Build
	t.Helper()
	keyFile := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(keyFile, []byte(b.PrivateKeyPEM()), 0o600); err != nil {
		t.Fatal(err)
	}
	profiles := filepath.Join(dir, "oci.config")
	text := fmt.Sprintf("[DEFAULT]\nuser=ocid1.user.oc1..nobody\nfingerprint=00:00\nkey_file=/nowhere\ntenancy=%[1]s\nregion=us-ashburn-1\n\n"+
		"[IMAGES]\nuser = %[2]s\nfingerprint = %[3]s\nkey_file = %[4]s\ntenancy = %[1]s\nregion = %[5]s\n",
		b.ID, b.UserID, b.Fingerprint(), keyFile, stage.BuildRegion)
	if err := os.WriteFile(profiles, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return append(d.s.Net.Env(d.s.CAFile),
		// What a template says comes before what people have for other programs.
		"OCI_USER_OCID=ocid1.user.oc1..other", "OCI_FINGERPRINT=11:11", "OCI_REGION=us-phoenix-1", "OCI_AVAILABILITY_DOMAIN=AD-9",
		"OCI_SUBNET_OCID=ocid1.subnet.oc1..other", "OCI_BASE_IMAGE_OCID=ocid1.image.oc1..other", "OCI_CLI_PROFILE=other", "OCI_CLI_REGION=us-phoenix-1",
		"CI_CONFIG_FILE="+profiles,
		"CI_TENANCY_OCID="+b.ID, "CI_USER_OCID="+b.UserID, "CI_FINGERPRINT="+b.Fingerprint(), "CI_KEY="+b.PrivateKeyPEM(), "CI_KEY_FILE="+keyFile,
		"CI_REGION="+stage.BuildRegion, "CI_DOMAIN="+b.AvailabilityDomains(stage.BuildRegion)[1],
		"CI_COMPARTMENT_OCID="+b.CompartmentID, "CI_CHILD_COMPARTMENT_OCID="+b.ChildCompartmentID,
		"CI_SUBNET_OCID="+b.SubnetID(stage.BuildRegion), "CI_NSG_OCID="+d.nsg, "CI_IMAGE_OCID="+d.s.BaseImage,
		fmt.Sprintf("CI_SSH_PORT=%d", d.s.Cloud.SSHPort()),
	)
}

// build runs "packer build" with args in dir and returns what came of it.
func (d *dropIn) build(p *runpacker.Packer, dir string, args ...string) (outcome, string) {
	t := d.t
	t.Helper()
	var out inpacker.Output
	if err := p.Run(t.Context(), dir, d.env(dir), &out, append([]string{"build"}, args...)...); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	said := out.String()
	var o outcome
	o.Images = d.images()
	for _, l := range d.launches {
		o.Launches = append(o.Launches, d.launch(l))
	}
	for _, line := range strings.Split(said, "\n") {
		if _, text, ok := strings.Cut(line, "said: "); ok && !strings.Contains(line, "echo") {
			o.Said = append(o.Said, text)
		}
		if strings.HasPrefix(line, "--> ") {
			o.Artifacts = append(o.Artifacts, line)
		}
	}
	manifest, err := filepath.Glob(filepath.Join(dir, "*manifest.json"))
	if err != nil || len(manifest) != 1 {
		t.Fatalf("manifests: %q, %v", manifest, err)
	}
	text, err := os.ReadFile(manifest[0])
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Builds []map[string]any }
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	for _, b := range m.Builds {
		delete(b, "build_time")
		delete(b, "packer_run_uuid")
	}
	o.Manifest = m.Builds
	return d.normal(o), said
}

// images are those that a build made.
func (d *dropIn) images() (all []madeImage) {
	t, b := d.t, d.s.Build
	t.Helper()
	compute := d.compute()
	for _, compartment := range []string{b.ID, b.CompartmentID, b.ChildCompartmentID} {
		list, err := compute.ListImages(t.Context(), core.ListImagesRequest{CompartmentId: &compartment, Limit: common.Int(100)})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list.Items {
			if i.CompartmentId == nil { // a platform image
				d.known[*i.Id] = "image " + *i.DisplayName
			}
			if i.CompartmentId == nil || *i.Id == d.s.BaseImage {
				continue
			}
			m := madeImage{
				id: *i.Id, Name: *i.DisplayName, Compartment: *i.CompartmentId, Tags: i.FreeformTags, DefinedTags: map[string]any{},
				Base: *i.BaseImageId, OS: *i.OperatingSystem + " " + *i.OperatingSystemVersion, SizeInMBs: *i.SizeInMBs, LaunchMode: string(i.LaunchMode),
			}
			for k, v := range i.DefinedTags {
				m.DefinedTags[k] = v
			}
			text, err := json.Marshal(i.LaunchOptions)
			if err != nil {
				t.Fatal(err)
			}
			d.decode(text, &m.Options)
			shapes, err := compute.ListImageShapeCompatibilityEntries(t.Context(), core.ListImageShapeCompatibilityEntriesRequest{ImageId: i.Id, Limit: common.Int(100)})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range shapes.Items {
				m.Shapes = append(m.Shapes, *e.Shape)
			}
			slices.Sort(m.Shapes)
			schemas, err := compute.ListComputeImageCapabilitySchemas(t.Context(), core.ListComputeImageCapabilitySchemasRequest{CompartmentId: &compartment, ImageId: i.Id})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range schemas.Items {
				m.schema, m.Capabilities = *s.Id, map[string]any{}
				for name, value := range s.SchemaData {
					if e, ok := value.(core.EnumStringImageCapabilitySchemaDescriptor); ok {
						m.Capabilities[name] = *e.DefaultValue
					}
				}
			}
			d.known[m.id] = strings.TrimSpace("made " + m.Tags["kind"])
			all = append(all, m)
		}
	}
	return all
}

func (d *dropIn) decode(text []byte, into any) {
	d.t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		d.t.Fatalf("%v: %s", err, text)
	}
}

var (
	anyKey  = regexp.MustCompile(`(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/=]+[^"\\]*(\\n)?`)
	anyTime = regexp.MustCompile(`packer-[0-9]{10}\b`)
	ownTag  = regexp.MustCompile(`"` + owner.Key + `":"[^"]*",?`)
	address = regexp.MustCompile(`\b127\.80\.[0-9.]+`)
)

// normal puts placeholders where runs differ, and the parts in an order.
func (d *dropIn) normal(o outcome) outcome {
	d.t.Helper()
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(o); err != nil {
		d.t.Fatal(err)
	}
	plain := text.String()
	for id, name := range d.known {
		plain = strings.ReplaceAll(plain, id, "${"+name+"}")
	}
	plain = anyKey.ReplaceAllString(plain, "${$1 key}")
	plain = address.ReplaceAllString(plain, "$${address}")
	plain = anyTime.ReplaceAllString(plain, "packer-$${time}")
	keep := o.Images
	o = outcome{}
	d.decode([]byte(plain), &o)
	for i := range o.Images {
		o.Images[i].id, o.Images[i].schema = keep[i].id, keep[i].schema
	}
	// Builds that run beside each other end in any order.
	inOrder(d, o.Launches)
	inOrder(d, o.Manifest)
	inOrder(d, o.Images)
	slices.Sort(o.Artifacts)
	slices.Sort(o.Said)
	return o
}

// inOrder sorts by all that there is to compare; our tag is another each time.
func inOrder[T any](d *dropIn, list []T) {
	text := func(v T) string {
		b, err := json.Marshal(v)
		if err != nil {
			d.t.Fatal(err)
		}
		return ownTag.ReplaceAllString(string(b), "")
	}
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(text(a), text(b)) })
}

// left is what a build left behind beside its images, and the capability
// schemas of those whose templates ask for one.
func (d *dropIn) left(o outcome, schemas bool) []string {
	keep := []string{d.nsg}
	for _, i := range o.Images {
		keep = append(keep, i.id)
		if schemas {
			keep = append(keep, i.schema)
		}
	}
	return d.s.Left(keep...)
}

// asJSON is an outcome as it is recorded.
func asJSON(t *testing.T, o outcome) string {
	t.Helper()
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(o); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// copyOf is an outcome that may be changed.
func copyOf(t *testing.T, o outcome) (c outcome) {
	t.Helper()
	if err := json.Unmarshal([]byte(asJSON(t, o)), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// changes are lines in which two texts differ, for people.
func changes(a, b string) string {
	count := map[string]int{}
	for _, line := range strings.Split(a, "\n") {
		count[line]++
	}
	var out strings.Builder
	for _, line := range strings.Split(b, "\n") {
		if count[line]--; count[line] < 0 {
			out.WriteString("ours: " + line + "\n")
			delete(count, line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(count)) {
		if count[line] > 0 {
			out.WriteString("peer: " + line + "\n")
		}
	}
	return out.String()
}
