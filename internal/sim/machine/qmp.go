// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// qmp is QEMU's control connection: one JSON object per line.
type qmp struct {
	mu   sync.Mutex // one command at a time
	conn net.Conn
	in   *bufio.Scanner
}

func newQMP(conn net.Conn) *qmp {
	in := bufio.NewScanner(conn)
	in.Buffer(nil, 1<<20)
	return &qmp{conn: conn, in: in}
}

type qmpMessage struct {
	QMP    json.RawMessage
	Return json.RawMessage
	Error  *struct{ Class, Desc string }
	Event  string
}

// greet waits for QEMU's greeting and leaves negotiation mode.
func (q *qmp) greet(ctx context.Context) error {
	q.mu.Lock()
	msg, err := q.read(ctx)
	q.mu.Unlock()
	if err != nil {
		return fmt.Errorf("wait for qemu: %w", err)
	}
	if msg.QMP == nil {
		return errors.New("wait for qemu: no greeting")
	}
	return q.execute(ctx, "qmp_capabilities")
}

// execute runs a command without arguments.
func (q *qmp) execute(ctx context.Context, command string) error {
	_, err := q.ask(ctx, command, fmt.Sprintf("{\"execute\":%q}", command))
	return err
}

// monitor runs a command of the monitor that is for people. Whatever that says is an
// error: the commands that are used here say nothing when they go well.
func (q *qmp) monitor(ctx context.Context, line string) error {
	reply, err := q.ask(ctx, line, fmt.Sprintf("{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":%q}}", line))
	if err != nil {
		return err
	}
	var said string
	if err := json.Unmarshal(reply, &said); err != nil || said != "" {
		return fmt.Errorf("qemu %s: %.300s", line, reply)
	}
	return nil
}

func (q *qmp) ask(ctx context.Context, command, line string) (json.RawMessage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, err := fmt.Fprintln(q.conn, line); err != nil {
		return nil, fmt.Errorf("qemu %s: %w", command, err)
	}
	for {
		msg, err := q.read(ctx)
		switch {
		case err != nil:
			return nil, fmt.Errorf("qemu %s: %w", command, err)
		case msg.Error != nil:
			return nil, fmt.Errorf("qemu %s: %s", command, msg.Error.Desc)
		case msg.Return != nil:
			return msg.Return, nil
		}
		// anything else is an event, which nobody here waits for
	}
}

// read returns the next message, or ctx's error.
func (q *qmp) read(ctx context.Context) (qmpMessage, error) {
	if err := ctx.Err(); err != nil {
		return qmpMessage{}, err
	}
	q.conn.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { q.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if !q.in.Scan() {
		err := q.in.Err()
		switch {
		case ctx.Err() != nil:
			// A scanner does not go on after an error.
			q.in = bufio.NewScanner(q.conn)
			return qmpMessage{}, ctx.Err()
		case err == nil:
			err = errors.New("qemu has ended")
		}
		return qmpMessage{}, err
	}
	var msg qmpMessage
	if err := json.Unmarshal(q.in.Bytes(), &msg); err != nil {
		return qmpMessage{}, fmt.Errorf("read qemu's answer: %w", err)
	}
	return msg, nil
}
