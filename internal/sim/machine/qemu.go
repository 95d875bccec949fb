// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strings"
)

// QEMU is a Driver whose machines are ARM64 computers: UEFI starts what the
// disk holds, on the devices and with the metadata service that the cloud
// gives. On an ARM64 host they run by KVM, elsewhere they are emulated, about
// ten times slower.
//
// A machine's network has nothing but its cloud: the metadata service at
// 169.254.169.254 and what Services names. No packet leaves the host. The
// guest's own address is in 169.254.0.0/16 too, because QEMU's user network
// can forward only addresses of its one subnet.
type QEMU struct {
	// Services are the servers that guests may reach besides the metadata
	// service, from an "address:port" in 169.254.0.0/16 to one on this host.
	Services map[string]string
	// MaxMemoryMB bounds a guest's memory. Default 1024.
	MaxMemoryMB int
	// MaxCPUs bounds a guest's CPUs. Default 2: on two cores a guest with two
	// emulated CPUs boots in three quarters of the time.
	MaxCPUs int
}

const (
	metadataAddr   = "169.254.169.254:80"
	qemuBinary     = "qemu-system-aarch64"
	consoleLimit   = 4 << 20 // bytes of console output that are kept
	defaultMemory  = 1024
	defaultCPUs    = 2
	guestNet       = "net=169.254.0.0/16,host=169.254.0.2,dns=169.254.0.3,dhcpstart=169.254.0.15"
	memoryFloorMB  = 256
	oracleAssetTag = "OracleCloud.com"
)

// firmwarePaths is where distributions put the UEFI firmware for ARM64.
func firmwarePaths() []string {
	return []string{
		"/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", // Debian, Ubuntu
		"/usr/share/edk2/aarch64/QEMU_EFI.fd",     // Fedora
		"/usr/share/AAVMF/AAVMF_CODE.fd",
	}
}

// programs are what this host needs, and the Debian packages they are in.
type programs struct {
	qemu, socat, firmware string
	kvm                   bool
}

func findPrograms() (programs, error) {
	var p programs
	var missing []string
	var err error
	if p.qemu, err = exec.LookPath(qemuBinary); err != nil {
		missing = append(missing, "qemu-system-arm")
	}
	if p.socat, err = exec.LookPath("socat"); err != nil {
		missing = append(missing, "socat")
	}
	for _, f := range firmwarePaths() {
		if _, err := os.Stat(f); err == nil {
			p.firmware = f
			break
		}
	}
	if p.firmware == "" {
		missing = append(missing, "qemu-efi-aarch64")
	}
	if len(missing) > 0 {
		return p, fmt.Errorf("this host cannot run ARM64 machines; missing packages: %s", strings.Join(missing, " "))
	}
	if runtime.GOARCH == "arm64" {
		if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
			f.Close()
			p.kvm = true
		}
	}
	return p, nil
}

// Check says whether this host has what the driver needs; the error names the
// Debian packages that are missing.
func (d *QEMU) Check() error {
	_, err := findPrograms()
	return err
}

// Start implements Driver. It returns once QEMU runs; an address in use or a
// disk that QEMU cannot open is an error here.
func (d *QEMU) Start(ctx context.Context, spec Spec) (Machine, error) {
	progs, err := findPrograms()
	if err != nil {
		return nil, err
	}
	if spec.Metadata == nil || spec.SSH == "" || spec.Disk == "" {
		return nil, errors.New("a machine needs a disk, a metadata service and an SSH address")
	}
	m := &qemuMachine{id: spec.ID, done: make(chan struct{})}
	if err := m.serve(spec.Metadata, d.Services); err != nil {
		m.closeHost()
		return nil, fmt.Errorf("start machine %s: %w", spec.ID, err)
	}
	args, err := d.args(progs, spec, m.forwards)
	if err == nil {
		err = m.start(ctx, progs.qemu, args)
	}
	if err != nil {
		m.closeHost()
		return nil, fmt.Errorf("start machine %s: %w", spec.ID, err)
	}
	return m, nil
}

// args is the command line of one machine. forwards maps guest addresses to
// addresses of this host.
func (d *QEMU) args(progs programs, spec Spec, forwards map[string]string) ([]string, error) {
	args := []string{"-no-user-config", "-nodefaults", "-display", "none", "-name", escape(spec.ID)}
	cpus := d.MaxCPUs
	if cpus == 0 {
		cpus = defaultCPUs
	}
	if progs.kvm {
		args = append(args, "-machine", "virt,gic-version=host", "-accel", "kvm", "-cpu", "host")
	} else {
		// Pointer authentication and SVE cost more than all the rest to emulate.
		args = append(args, "-machine", "virt,gic-version=3", "-accel", "tcg,thread=multi,tb-size=256",
			"-cpu", "max,pauth=off,sve=off")
	}
	memory := d.MaxMemoryMB
	if memory == 0 {
		memory = defaultMemory
	}
	if spec.MemoryMB > 0 {
		memory = max(memoryFloorMB, min(memory, spec.MemoryMB))
	}
	args = append(args, "-smp", fmt.Sprint(max(1, min(cpus, spec.CPUs))), "-m", fmt.Sprint(memory))

	switch spec.Firmware {
	case UEFI64:
		args = append(args, "-bios", progs.firmware, "-boot", "menu=on,splash-time=0")
	case BIOS:
		// Without firmware there is nothing that could start the disk. The
		// CPUs stay stopped: running through empty memory would only heat.
		args = append(args, "-S")
	default:
		return nil, fmt.Errorf("firmware %q is neither %s nor %s", spec.Firmware, UEFI64, BIOS)
	}

	args = append(args, "-drive", "if=none,id=boot,format=qcow2,cache=unsafe,discard=unmap,file="+escape(spec.Disk))
	uuid := uuidOf(spec.ID)
	switch spec.Cloud {
	case OCI:
		args = append(args, "-device", "virtio-scsi-pci,id=scsi", "-device", "scsi-hd,bus=scsi.0,drive=boot,bootindex=0",
			"-uuid", uuid, "-smbios", "type=3,asset="+oracleAssetTag)
	case EC2:
		uuid = "ec2" + uuid[3:]
		args = append(args, "-device", "nvme,drive=boot,serial=vol0,bootindex=0",
			"-uuid", uuid, "-smbios", "type=1,manufacturer=Amazon EC2,serial="+uuid, "-smbios", "type=3,asset=Amazon EC2")
	default:
		return nil, fmt.Errorf("no machine imitates the cloud %q", spec.Cloud)
	}

	netdev := []string{"user,id=net," + guestNet + ",ipv6=off,restrict=on,hostfwd=tcp:" + spec.SSH + "-:22"}
	guests := make([]string, 0, len(forwards))
	for guest := range forwards {
		guests = append(guests, guest)
	}
	sort.Strings(guests)
	for _, guest := range guests {
		// QEMU starts one such command for each connection of the guest; what
		// it says would go to the guest.
		netdev = append(netdev, fmt.Sprintf("guestfwd=tcp:%s-cmd:%s -lf /dev/null - TCP4:%s", guest, progs.socat, forwards[guest]))
	}
	sum := sha256.Sum256([]byte(spec.ID))
	args = append(args,
		"-netdev", strings.Join(netdev, ","),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=net,romfile=,mac=02:00:17:%02x:%02x:%02x", sum[0], sum[1], sum[2]),
		"-serial", "stdio",
		"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control")
	return args, nil
}

// escape doubles commas, which separate QEMU's options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// uuidOf derives a machine's UUID from its id, so that a restart keeps it.
func uuidOf(id string) string {
	s := sha256.Sum256([]byte("uuid " + id))
	s[6], s[8] = s[6]&0x0f|0x40, s[8]&0x3f|0x80 // version 4, as the clouds' own
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[0:4], s[4:6], s[6:8], s[8:10], s[10:16])
}
