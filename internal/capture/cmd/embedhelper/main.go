// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Command embedhelper builds the helper that the plugin carries for the capture of
// disks.
//
// It compiles internal/capture/cmd/armfree-capture for linux/arm64 and leaves it,
// compressed, in internal/capture/bin. Built twice with the same toolchain it gives the
// same bytes, and a file that has them is left as it is.
//
//	go run ./internal/capture/cmd/embedhelper
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/armfree/packer-plugin-armfree/internal/capture"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "embedhelper:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	mod, err := output(ctx, "env", "GOMOD")
	if err != nil {
		return err
	}
	root := filepath.Dir(mod)
	dir, err := os.MkdirTemp("", "embedhelper-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "helper")
	if _, err := output(ctx, "build", "-C", root, "-o", program, "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "./internal/capture/cmd/armfree-capture"); err != nil {
		return err
	}
	raw, err := os.ReadFile(program)
	if err != nil {
		return err
	}
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
	target := filepath.Join(root, "internal", "capture", "bin", capture.BinaryName)
	if old, err := os.ReadFile(target); err == nil && bytes.Equal(old, packed.Bytes()) {
		fmt.Printf("the helper for linux/arm64 is up to date (sha256 %x)\n", sha256.Sum256(raw))
		return nil
	}
	if err := os.WriteFile(target, packed.Bytes(), 0o644); err != nil { //nolint:gosec // part of the sources
		return err
	}
	fmt.Printf("the helper for linux/arm64: %d bytes, %d compressed, sha256 %x\n", len(raw), packed.Len(), sha256.Sum256(raw))
	return nil
}

// output runs the go command for linux/arm64 and returns what it printed. Whatever the
// caller's environment says about workspaces, flags and cgo is left out: it would change
// the program.
func output(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "GOARM64=v8.0", "CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}
