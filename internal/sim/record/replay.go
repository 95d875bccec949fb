// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package record

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what Content-MD5 asks for
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"
)

// Replayer sends the requests of a recording again.
type Replayer struct {
	// Client reaches the simulator under its host names.
	Client *http.Client
	// Known are the values that the recorder was told by name.
	Known map[string]string
	// Signers are the keys to sign with, by the name of the tenancy's OCID in
	// Known.
	Signers map[string]Signer
	// Patience is how long a GET is repeated whose reply does not fit yet,
	// because things take time. Default: 10 s.
	Patience time.Duration
	// Interval is the time between repetitions. Default: 20 ms.
	Interval time.Duration
}

// What stands for things that were left out of a recording.
const (
	standInSSHKey   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f replay"
	standInUserData = "IyEvYmluL3RydWUK" // #!/bin/true
)

// Replay sends a session's requests in their order and compares the replies.
// It stops at the first that does not fit; the error tells which it was.
func (p *Replayer) Replay(ctx context.Context, session []Exchange) error {
	v := values{"ssh-public-key": standInSSHKey, "user-data": standInUserData}
	maps.Copy(v, p.Known)
	for i, e := range session {
		if err := p.exchange(ctx, v, e); err != nil {
			return fmt.Errorf("exchange %d of %d, %s: %w", i+1, len(session), e.Request, err)
		}
	}
	return nil
}

func (p *Replayer) exchange(ctx context.Context, v values, e Exchange) error {
	patience, interval := p.Patience, p.Interval
	if patience == 0 {
		patience = 10 * time.Second
	}
	if interval == 0 {
		interval = 20 * time.Millisecond
	}
	deadline := time.Now().Add(patience)
	for {
		err := p.once(ctx, v, e)
		var differs *Difference
		if err == nil || !errors.As(err, &differs) || e.Request.Method != http.MethodGet || time.Now().After(deadline) {
			return err
		}
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		}
	}
}

// Difference is a reply that is not what was recorded.
type Difference struct{ reason error }

func (d *Difference) Error() string { return d.reason.Error() }

// Unwrap returns the reason.
func (d *Difference) Unwrap() error { return d.reason }

func differs(format string, args ...any) error {
	return &Difference{fmt.Errorf(format, args...)}
}

func (p *Replayer) once(ctx context.Context, v values, e Exchange) error {
	req, err := p.build(ctx, v, e.Request)
	if err != nil {
		return err
	}
	resp, err := p.Client.Do(req)
	if err != nil {
		if e.Reply.Status == 0 && ctx.Err() == nil {
			return nil // the recorded client got no reply either
		}
		return fmt.Errorf("send: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON))
	if err != nil {
		return fmt.Errorf("read the reply: %w", err)
	}
	if resp.StatusCode != e.Reply.Status {
		return differs("status %d, want %d: %s", resp.StatusCode, e.Reply.Status, bytes.TrimSpace(body))
	}
	trial := maps.Clone(v)
	for name, template := range e.Reply.Header {
		got := resp.Header.Get(name)
		if got == "" {
			return differs("the reply has no header %s", name)
		}
		if template == "" {
			continue
		}
		if err := trial.match(template, got); err != nil {
			return differs("header %s: %w", name, err)
		}
	}
	switch {
	case e.Reply.Shape != nil:
		var value any
		if err := decode(body, &value); err != nil {
			return differs("the reply: %w", err)
		}
		if err := fit(trial, e.Reply.Shape, value); err != nil {
			return differs("%w", err)
		}
	case e.Reply.Bytes != (len(body) > 0):
		return differs("a body of %d bytes, recorded: %v", len(body), e.Reply.Bytes)
	}
	maps.Copy(v, trial)
	return nil
}

// build makes a request out of its recording.
func (p *Replayer) build(ctx context.Context, v values, r Request) (*http.Request, error) {
	body, err := p.body(v, r)
	if err != nil {
		return nil, err
	}
	target := "https://" + r.Host + r.Path
	if r.Query != "" {
		target += "?" + r.Query
	}
	if target, err = v.reveal(target); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("build the request: %w", err)
	}
	for name, template := range r.Header {
		if name == "Content-Md5" {
			sum := md5.Sum(body) //nolint:gosec // what Content-MD5 asks for
			req.Header.Set(name, base64.StdEncoding.EncodeToString(sum[:]))
			continue
		}
		if name == "Opc-Retry-Token" {
			invent(v, template)
		}
		value, err := v.reveal(template)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		req.Header.Set(name, value)
	}
	if r.As == "" {
		return req, nil
	}
	who := strings.Trim(r.As, "${}")
	signer, known := p.Signers[who]
	if !known {
		return nil, fmt.Errorf("no key to sign as %s", r.As)
	}
	if err := signer.sign(req, body, r.Signed); err != nil {
		return nil, err
	}
	return req, nil
}

// invent makes up a retry token in place of a recorded one. The same
// placeholder stays the same token, so that a repetition stays one.
func invent(v values, template string) {
	if m := placeholderPattern.FindStringSubmatch(template); m != nil {
		if _, known := v[m[1]]; !known {
			v[m[1]] = rand.Text()
		}
	}
}

func (p *Replayer) body(v values, r Request) ([]byte, error) {
	if r.JSON == nil {
		// Any bytes will do; these do not compress to nothing.
		b := make([]byte, r.Bytes)
		for i := range b {
			b[i] = byte(i*7 + i>>8)
		}
		return b, nil
	}
	var problem error
	revealed := mapStrings(r.JSON, "", func(_, s string) string {
		out, err := v.reveal(s)
		if err != nil && problem == nil {
			problem = fmt.Errorf("body: %w", err)
		}
		return out
	})
	if problem != nil {
		return nil, problem
	}
	return encode(revealed)
}
