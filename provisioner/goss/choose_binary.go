// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// fetchWithin limits how long it may take to fetch goss.
const fetchWithin = 5 * time.Minute

// binary finds the goss for the machine; nil if it is there already. What old
// templates say about it and does not hold here is said in a line each.
func (c *Config) binary(ctx context.Context, ui packersdk.Ui, arch string) (*goss.Executable, error) {
	if c.Arch != "" && c.Arch != arch {
		ui.Sayf("The option arch is %q, but the machine is %s: goss for %[2]s is used", c.Arch, arch)
	}
	exe, err := c.someBinary(ctx, ui, arch)
	if err == nil && exe != nil && exe.Arch != arch {
		option := "goss_url"
		if c.GossBinary != "" {
			option = "goss_binary"
		}
		err = fmt.Errorf("%s: %s is for %s but the machine is %s", option, exe.Origin, exe.Arch, arch)
	}
	return exe, err
}

func (c *Config) someBinary(ctx context.Context, ui packersdk.Ui, arch string) (*goss.Executable, error) {
	switch {
	case c.SkipInstall:
		return nil, nil
	case c.GossBinary != "":
		exe, err := goss.BinaryFromFile(c.GossBinary, c.GossSHA256)
		if err != nil {
			return nil, fmt.Errorf("goss_binary: %w", err)
		}
		return exe, nil
	case c.GossSHA256 != "":
		return c.fetch(ctx, ui, arch, c.Version, c.GossSHA256)
	case c.URL != "":
		ui.Sayf("The option url is not used, because there is no goss_sha256 to know the file by: goss %s, which the plugin carries, runs", goss.Version)
	case c.Version != "" && strings.TrimPrefix(c.Version, "v") != strings.TrimPrefix(goss.Version, "v"):
		ui.Sayf("The option version is %q, but without goss_sha256 the goss that the plugin carries runs, which is %s", c.Version, goss.Version)
	}
	if sum := goss.PublishedSHA256(arch); sum != "" {
		ui.Sayf("The plugin carries no goss for linux/%s: goss %s is fetched as its project publishes it", arch, goss.Version)
		release := *c
		release.URL, release.Username, release.Password = "", "", "" // they are for another file
		return release.fetch(ctx, ui, arch, goss.Version, sum)
	}
	return goss.Binary(arch)
}

// fetch downloads goss to this host, or finds it in Packer's cache.
func (c *Config) fetch(ctx context.Context, ui packersdk.Ui, arch, version, sum string) (*goss.Executable, error) {
	from := goss.Download{
		URL: c.url(), SHA256: sum, User: c.Username, Password: c.Password, AnyCertificate: c.SkipSSL,
	}
	if from.URL == "" {
		base := c.GossMirror
		if base == "" {
			base = goss.Published
		}
		var err error
		if from.URL, err = goss.AssetURL(base, version, arch); err != nil {
			return nil, err
		}
	}
	if kept, err := packersdk.CachePath("armfree-goss", "x"); err == nil {
		from.Cache = path.Dir(kept)
	}
	var exe *goss.Executable
	err := wait.Loop{
		What: "goss to be fetched", Timeout: fetchWithin, Pace: wait.Backoff,
		Tolerate: func(err error) bool {
			var temporary *goss.TemporaryError
			if !errors.As(err, &temporary) {
				return false
			}
			ui.Sayf("%v; trying again", err)
			return true
		},
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		var err error
		exe, err = from.Fetch(ctx)
		return err == nil, err
	})
	return exe, err
}

// onMachine are the places in which a goss may be that is there already.
func (c *Config) onMachine() []string {
	if c.DownloadPath != "" {
		return []string{c.DownloadPath}
	}
	version, arch := c.Version, c.Arch
	if version == "" {
		version = "0.4.2" // what templates rely on that do not say
	}
	if arch == "" {
		arch = "amd64"
	}
	return []string{"/tmp/goss-" + version + "-linux-" + arch, "goss"}
}

// findScript looks for a goss that is on the machine.
//
// Its digest is taken only where somebody reads it: that costs more than a
// check does.
func findScript(work string, names []string, digest bool) string {
	sum := ""
	if digest {
		sum = `	set -- $(sha256sum <"$found")
	printf 'armfree:sum=%s\n' "$1"
`
	}
	return `
cd ` + quote(work) + ` || exit 1
for name in ` + quoteAll(names) + `; do
	found=$(command -v -- "$name") || continue
	case $found in
	/*) ;;
	*) found=$PWD/$found ;;
	esac
	[ -f "$found" ] && [ -x "$found" ] || continue
	printf 'armfree:goss=%s\n' "$found"
` + sum + `	printf 'armfree:version=%s\n' "$("$found" --version 2>/dev/null | head -n 1)"
	break
done
`
}
