// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// historyEnds waits until a capture of a console has ended.
func (k *kit) historyEnds(c core.ComputeClient, id *string) {
	k.t.Helper()
	eventually(k.t, "the console history is there", func() bool {
		got, err := c.GetConsoleHistory(context.Background(), core.GetConsoleHistoryRequest{InstanceConsoleHistoryId: id})
		if err != nil {
			k.t.Fatal(err)
		}
		return got.LifecycleState == core.ConsoleHistoryLifecycleStateSucceeded
	})
}

// TestHostKeyInConsole reads a machine's host key from its console history, as
// a client can that wants to know whom it talks to.
func TestHostKeyInConsole(t *testing.T) {
	k := newKit(t, func(cfg *ocisim.Config) { cfg.Driver = &machine.Fast{} })
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	i := k.launched()
	var said string
	eventually(t, "the key is printed", func() bool {
		h, err := c.CaptureConsoleHistory(ctx, core.CaptureConsoleHistoryRequest{
			CaptureConsoleHistoryDetails: core.CaptureConsoleHistoryDetails{InstanceId: i.Id}})
		if err != nil {
			t.Fatal(err)
		}
		k.historyEnds(c, h.Id)
		text, err := c.GetConsoleHistoryContent(ctx, core.GetConsoleHistoryContentRequest{InstanceConsoleHistoryId: h.Id, Length: common.Int(1 << 20)})
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(*text.Value, "-----BEGIN SSH HOST KEY KEYS-----\n")
		block, _, ended := strings.Cut(rest, "\n-----END SSH HOST KEY KEYS-----")
		said = block
		return ended
	})
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(said))
	if err != nil {
		t.Fatalf("%q: %v", said, err)
	}
	var shown ssh.PublicKey
	eventually(t, "sshd answers", func() bool {
		// Nobody may log in; the host key comes before that.
		conn, err := ssh.Dial("tcp", k.address(*k.vnicOf(*i.Id).PrivateIp), &ssh.ClientConfig{User: "debian", HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			shown = key
			return nil
		}})
		if err == nil {
			conn.Close()
		}
		return shown != nil
	})
	if string(shown.Marshal()) != string(key.Marshal()) {
		t.Errorf("the machine shows another key than its console")
	}
}

// address is where a machine's port 22 is.
func (k *kit) address(ip string) string {
	return net.JoinHostPort(ip, strconv.Itoa(k.cloud.SSHPort()))
}
