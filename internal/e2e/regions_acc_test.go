// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// manyRegions are commercial regions beside stage.BuildRegion: 36 in all.
const manyRegions = `us-ashburn-1 us-phoenix-1 uk-london-1 us-sanjose-1 us-chicago-1 ca-toronto-1 ca-montreal-1
	sa-saopaulo-1 sa-vinhedo-1 sa-santiago-1 mx-queretaro-1 mx-monterrey-1 sa-bogota-1 uk-cardiff-1 eu-amsterdam-1
	eu-zurich-1 eu-milan-1 eu-marseille-1 eu-paris-1 eu-madrid-1 eu-stockholm-1 me-jeddah-1 me-dubai-1 me-abudhabi-1
	il-jerusalem-1 af-johannesburg-1 ap-mumbai-1 ap-hyderabad-1 ap-singapore-1 ap-sydney-1 ap-melbourne-1 ap-tokyo-1
	ap-osaka-1 ap-seoul-1 ap-chuncheon-1`

// One image in each of 36 regions, by one packer build. Packer starts a process
// of the plugin for each of them: together they must fit on the small machine
// that a pipeline runs on.
func TestAccManyRegions(t *testing.T) {
	alone(t)
	home := t.TempDir()
	p, err := runpacker.Install(t.Context(), os.Getenv("ACC_PACKER"), os.Getenv("ACC_PLUGIN"), runpacker.Source, home)
	if err != nil {
		t.Fatal(err)
	}
	regions := strings.Fields(manyRegions)
	s := stage.ForTest(t, stage.Options{MoreRegions: regions})
	regions = append(regions, stage.BuildRegion)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "regions.pkr.hcl"), manyTemplate(s, regions), 0o600); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	peak := make(chan runpacker.Memory, 1)
	go func() { peak <- runpacker.WatchMemory(ctx, home) }()
	var out inpacker.Output
	err = p.Run(t.Context(), dir, s.Env(), &out, "build", "-parallel-builds=0", ".")
	stop()
	most := <-peak
	said := out.String()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if n := strings.Count(said, "--> armfree-oci."); n != len(regions) {
		t.Errorf("%d artifacts of %d", n, len(regions))
	}
	for _, r := range regions {
		if !strings.Contains(said, ") in region '"+r+"'") {
			t.Errorf("no image in %s", r)
		}
	}
	if left := s.Left(imageID.FindAllString(said, -1)...); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if runtime.GOOS != "linux" {
		return
	}
	t.Logf("%d processes of the plugin have %d MiB in all, shared pages counted once", most.Processes, most.Bytes>>20)
	if most.Processes < len(regions) {
		t.Errorf("only %d processes were seen: this proves nothing", most.Processes)
	}
	if most.Bytes > 3<<30 {
		t.Errorf("%d MiB are too many for a small runner", most.Bytes>>20)
	}
}

func manyTemplate(s *stage.Stage, regions []string) []byte {
	var b bytes.Buffer
	b.WriteString("packer {\n  required_plugins {\n    armfree = { source = \"github.com/armfree/armfree\", version = \">= 0.1.0\" }\n  }\n}\n")
	var names []string
	for _, r := range regions {
		fmt.Fprintf(&b, `
source "armfree-oci" %q {
  region           = %q
  base_image_ocid  = %q
  subnet_ocid      = %q
  image_name       = "debian-%s"
  ssh_username     = "debian"
  ssh_port         = %d
  assign_public_ip = true
}
`, r, r, s.BaseImageIn(r), s.Build.SubnetID(r), r, s.Cloud.SSHPort())
		names = append(names, strconv.Quote("source.armfree-oci."+r))
	}
	fmt.Fprintf(&b, "\nbuild {\n  sources = [%s]\n  provisioner \"shell\" {\n    inline = [\"uname -m\"]\n  }\n}\n", strings.Join(names, ", "))
	return b.Bytes()
}
