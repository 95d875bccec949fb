// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Command embedgoss builds the goss binary that the plugin carries.
//
// It compiles goss for linux/arm64 from the module that tools/goss pins and
// leaves it, compressed and with its digest, in internal/goss/bin. Built twice
// with the same toolchain it gives the same bytes. It does nothing when the
// files there were made from the same inputs and are whole. The first build
// downloads the modules of goss and takes about a minute.
//
//	go run ./internal/goss/cmd/embedgoss
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
)

const (
	arch   = "arm64"
	module = "github.com/goss-org/goss"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "embedgoss:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	mod, err := output(ctx, ".", "go", "env", "GOMOD")
	if err != nil {
		return err
	}
	root := filepath.Dir(mod)
	tools := filepath.Join(root, "tools", "goss")
	target := filepath.Join(root, "internal", "goss", "bin", "goss-linux-"+arch)

	inputs, err := key(tools)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(target + ".key"); err == nil && string(old) == inputs {
		if exe, err := whole(target); err == nil {
			fmt.Printf("goss %s for linux/%s is up to date (sha256 %s)\n", goss.Version, arch, exe)
			return nil
		}
	}
	version, err := output(ctx, tools, "go", "list", "-mod=readonly", "-m", "-f", "{{.Version}}", module)
	if err != nil {
		return err
	}
	if version != goss.Version {
		return fmt.Errorf("tools/goss pins %s but the plugin says that it carries %s: change both", version, goss.Version)
	}
	return build(ctx, tools, target, inputs)
}

// build compiles, compresses and stores. The key is written last, so that an
// interrupted build is never taken for a finished one.
func build(ctx context.Context, tools, target, inputs string) error {
	dir, err := os.MkdirTemp("", "embedgoss-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("building goss %s for linux/%s\n", goss.Version, arch)
	bin := filepath.Join(dir, "goss")
	args := append([]string{"build", "-o", bin}, flags()...)
	if _, err := output(ctx, tools, "go", append(args, module+"/cmd/goss")...); err != nil {
		return err
	}
	raw, err := os.ReadFile(bin)
	if err != nil {
		return err
	}
	// No name and no time in the header: the same binary gives the same file.
	var packed bytes.Buffer
	zw, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zw.Write(raw); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	digest := hex.EncodeToString(sum[:])
	for _, file := range []struct {
		name string
		data []byte
	}{
		{target + ".gz", packed.Bytes()},
		{target + ".sha256", []byte(digest + "  " + filepath.Base(target) + "\n")},
		{target + ".key", []byte(inputs)},
	} {
		if err := os.WriteFile(file.name, file.data, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("goss %s for linux/%s: %d bytes, %d compressed, sha256 %s\n",
		goss.Version, arch, len(raw), packed.Len(), digest)
	return nil
}

// flags are those of `go build`: no path and no revision of this machine in
// the binary, no symbols, and a version, without which goss has no --version.
func flags() []string {
	return []string{"-mod=readonly", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X " + module + "/util.Version=" + goss.Version}
}

// key stands for everything that the binary is made from.
func key(tools string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %q\n", runtime.Version(), arch, flags())
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(tools, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(b), b)
	}
	return hex.EncodeToString(h.Sum(nil)) + "\n", nil
}

// whole returns the digest of the binary in its compressed file, if that is the
// digest beside it.
func whole(target string) (string, error) {
	want, err := os.ReadFile(target + ".sha256")
	if err != nil {
		return "", err
	}
	f, err := os.Open(target + ".gz")
	if err != nil {
		return "", err
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(zr); err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw.Bytes())
	digest := hex.EncodeToString(sum[:])
	if !strings.HasPrefix(string(want), digest+" ") {
		return "", errors.New("digest differs")
	}
	return digest, nil
}

// output runs a command for linux/arm64 and returns what it printed. Whatever
// the caller's environment says about workspaces, flags and cgo is left out:
// it would change the binary.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "GOARM64=v8.0", "CGO_ENABLED=0",
		"GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}
