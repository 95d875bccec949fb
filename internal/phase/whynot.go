// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/pathing"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/net/proxy"
)

// lastLook is how long finding out why there is no connection may take.
const lastLook = 15 * time.Second

// explain adds to the error of Packer's SDK, which keeps to itself why it got no
// connection, what one more attempt comes to.
func (p *Connect) explain(ctx context.Context, host string, err error) error {
	if p.Config.Type != "ssh" || refused(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lastLook)
	defer cancel()
	text := strings.TrimSuffix(err.Error(), ".")
	if why := p.whyNot(ctx, host); why != nil {
		return fmt.Errorf("%s: %w", text, why)
	}
	return fmt.Errorf("%s: SSH answers now, it needed more time", text)
}

// whyNot makes one connection as Packer's SDK does, and says at which step it
// fails.
func (p *Connect) whyNot(ctx context.Context, host string) error {
	c := p.Config
	config, err := p.sshConfig(new(multistep.BasicStateBag))
	if err != nil {
		return err
	}
	addr := net.JoinHostPort(host, strconv.Itoa(c.SSHPort))
	var conn net.Conn
	switch {
	case c.SSHBastionHost != "":
		conn, err = throughHost(ctx, c, addr)
	case c.SSHProxyHost != "":
		conn, err = throughProxy(ctx, c, addr)
	default:
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	return signIn(ctx, conn, addr, config, "the machine")
}

// signIn makes an SSH connection over conn and says why that cannot be done. who
// is what messages call the other end.
func signIn(ctx context.Context, conn net.Conn, addr string, config *ssh.ClientConfig, who string) error {
	client, err := handshake(ctx, conn, addr, config, who)
	if err == nil {
		_ = client.Close()
	}
	return err
}

func handshake(ctx context.Context, conn net.Conn, addr string, config *ssh.ClientConfig, who string) (*ssh.Client, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, addr, config)
	switch {
	case err == nil:
		return ssh.NewClient(c, channels, requests), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s at %s takes the connection, and no SSH server answers", who, addr)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return nil, fmt.Errorf("%s at %s does not let the user %q in with this key or password; check which user it has, and which key: %w", who, addr, config.User, err)
	}
	return nil, fmt.Errorf("%s at %s: %w", who, addr, err)
}

// throughProxy connects through ssh_proxy_host.
func throughProxy(ctx context.Context, c *communicator.Config, addr string) (net.Conn, error) {
	at := net.JoinHostPort(c.SSHProxyHost, strconv.Itoa(c.SSHProxyPort))
	var auth *proxy.Auth
	if c.SSHProxyUsername != "" {
		auth = &proxy.Auth{User: c.SSHProxyUsername, Password: c.SSHProxyPassword}
	}
	dialer, err := proxy.SOCKS5("tcp", at, auth, proxy.Direct)
	if err != nil {
		return nil, err
	}
	conn, err := dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("through the proxy %s (ssh_proxy_host): %w", at, err)
	}
	return conn, nil
}

// throughHost connects through ssh_bastion_host.
func throughHost(ctx context.Context, c *communicator.Config, addr string) (net.Conn, error) {
	at := net.JoinHostPort(c.SSHBastionHost, strconv.Itoa(c.SSHBastionPort))
	config, err := jumpConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, fmt.Errorf("the bastion does not answer (ssh_bastion_host): %w", err)
	}
	client, err := handshake(ctx, conn, at, config, "the bastion")
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	inner, err := client.DialContext(ctx, "tcp", addr)
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("the bastion lets the build in and does not reach %s: %w", addr, err)
	}
	return bothConns{inner, client}, nil
}

// bothConns is a connection through another one.
type bothConns struct {
	net.Conn
	outer *ssh.Client
}

func (c bothConns) Close() error { return errors.Join(c.Conn.Close(), c.outer.Close()) }

// jumpConfig is how Packer's SDK signs in to ssh_bastion_host, but for asking
// people.
func jumpConfig(ctx context.Context, c *communicator.Config) (*ssh.ClientConfig, error) {
	var auth []ssh.AuthMethod
	if c.SSHBastionPassword != "" {
		auth = append(auth, ssh.Password(c.SSHBastionPassword))
	}
	if c.SSHBastionPrivateKeyFile != "" {
		path, err := pathing.ExpandUser(c.SSHBastionPrivateKeyFile)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("ssh_bastion_private_key_file: %w", err)
		}
		key, err := ssh.ParsePrivateKey(text)
		if err != nil {
			return nil, fmt.Errorf("ssh_bastion_private_key_file: %w", err)
		}
		auth = append(auth, ssh.PublicKeys(key))
	}
	if c.SSHBastionAgentAuth {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", os.Getenv("SSH_AUTH_SOCK")) //nolint:gosec // the user's own agent
		if err != nil {
			return nil, fmt.Errorf("ssh_bastion_agent_auth: the agent does not answer: %w", err)
		}
		auth = append(auth, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	}
	return &ssh.ClientConfig{User: c.SSHBastionUsername, Auth: auth, HostKeyCallback: ssh.InsecureIgnoreHostKey()}, nil //nolint:gosec // as Packer's SDK does
}
