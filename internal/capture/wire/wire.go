// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package wire is what the plugin and its helper on the machine say to each other, over
// the standard input and output of one command.
//
// The helper says hello and waits for a [Job], which is a line of JSON on its standard
// input: what is secret in it must not be on a command line. From then on it sends
// frames: messages in JSON, and the parts of the object, as they get ready, where it
// does not upload them itself. The last message is done, or an error. If its standard
// input ends before there is a job, the helper goes.
package wire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
)

// Version changes with what is said here.
const Version = 1

// Job is what the helper is to do.
type Job struct {
	// Metadata is what the archive says of the image.
	Metadata diskimage.Metadata
	// Compression of the image.
	Compression diskimage.Compression
	// Clean removes what is the machine's own and not the image's.
	Clean bool
	// Key is the comment of the build's own SSH key, which is removed from the keys that
	// users let in; empty if there is none.
	Key string
	// PublicKey is its public part in base64, by which it is found under another comment.
	PublicKey string
	// URL is where parts are uploaded to, with the number of the part behind it. Empty:
	// they are sent to the plugin.
	URL string
	// CA are certificates in PEM that are trusted beside the machine's own.
	CA string
}

// Message is one thing that the helper says. One of its fields is set.
type Message struct {
	Hello *Hello    `json:",omitempty"`
	Say   string    `json:",omitempty"` // for people
	Begin *Begin    `json:",omitempty"`
	Sent  *Sent     `json:",omitempty"`
	Done  *Done     `json:",omitempty"`
	Error string    `json:",omitempty"` // the capture has failed
	At    *Progress `json:",omitempty"`
	// Beat says that the helper is there. It comes every [BeatEvery], whatever else is
	// said.
	Beat bool `json:",omitempty"`
}

// BeatEvery is how often the helper says that it is there.
const BeatEvery = 10 * time.Second

// Hello is the helper's first message.
type Hello struct {
	Version int
	System  string // PRETTY_NAME of /etc/os-release
	Kernel  string
}

// Begin says that nothing on the disk changes any more, and what is going to be read.
type Begin struct {
	Device string
	Size   int64 // of the disk, in bytes
	Stored int64 // how much of it is read
	Areas  []string
	Direct bool // parts are uploaded by the helper
}

// Progress is how far reading is, in bytes.
type Progress struct{ Read, Written int64 }

// Sent is a part that the helper has uploaded.
type Sent struct {
	Number    int
	Size      int64
	ETag, MD5 string
}

// Done says that the whole disk was read, and that it did not change meanwhile.
type Done struct {
	diskimage.Stats
	Digest string // of what was found on the disk's tables before and after: SHA-256
}

// The kinds of frames.
const (
	kindMessage = 'm'
	kindPart    = 'p'
	kindEnd     = 'e'
)

// EndCommand is the command of a shell that says that the helper is no longer there: a
// connection has no other way to tell as long as something may still be written to it.
const EndCommand = `printf '\145\000\000\000\000\000\000\000\000'`

// maxFrame bounds the length of a frame, in bytes: parts of the largest disk that OCI
// imports are far smaller.
const maxFrame = 256 << 20

// Writer sends frames; it may be used by many goroutines.
//
// The other side may stop to take what is written, and a write to a pipe cannot be ended:
// so whoever sends waits no longer than its context lives. A frame that was begun then
// goes on by itself, and keeps all others from being sent until it has gone.
type Writer struct {
	turn chan struct{} // taken by the frame that is being written
	out  io.Writer
}

// NewWriter sends frames to out.
func NewWriter(out io.Writer) *Writer { return &Writer{turn: make(chan struct{}, 1), out: out} }

func (w *Writer) frame(ctx context.Context, kind byte, number uint32, data []byte) error {
	head := []byte{kind}
	head = binary.BigEndian.AppendUint32(head, number)
	head = binary.BigEndian.AppendUint32(head, uint32(len(data))) //nolint:gosec // bounded by maxFrame
	if len(data) > maxFrame {
		return fmt.Errorf("a frame of %d bytes is too long", len(data))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		_, err := w.out.Write(head)
		if err == nil {
			_, err = w.out.Write(data)
		}
		<-w.turn
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Message sends a message.
func (w *Writer) Message(ctx context.Context, m Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return w.frame(ctx, kindMessage, 0, b)
}

// Part sends a part. If ctx ends meanwhile data may be read for as long as the process
// lives.
func (w *Writer) Part(ctx context.Context, number int, data []byte) error {
	return w.frame(ctx, kindPart, uint32(number), data) //nolint:gosec // at most 10,000
}

// Frame is what was received: a message, or a part if Number is not 0.
type Frame struct {
	Message
	Number int
	Data   []byte
}

// Read receives a frame. buf makes room for the data of a part. io.EOF says that there
// are no more; a frame that is cut short is an error.
func Read(r io.Reader, buf func(n int) []byte) (f Frame, err error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the connection to the helper was lost: %w", err)
		}
		return f, err
	}
	number, length := binary.BigEndian.Uint32(head[1:]), binary.BigEndian.Uint32(head[5:])
	if head == [9]byte{kindEnd} {
		return f, io.EOF
	}
	switch {
	case length > maxFrame, head[0] != kindMessage && head[0] != kindPart, head[0] == kindPart && (number == 0 || number > diskimage.MaxParts), head[0] == kindMessage && length > 1<<20:
		return f, fmt.Errorf("what the machine sends is not what the helper says: it begins with %.20q", head[:])
	case head[0] == kindPart:
		f.Number, f.Data = int(number), buf(int(length))
	default:
		f.Data = make([]byte, length)
	}
	if _, err := io.ReadFull(r, f.Data); err != nil {
		if errors.Is(err, io.EOF) { // which would say that all was received
			err = io.ErrUnexpectedEOF
		}
		return f, fmt.Errorf("the connection to the helper was lost: %w", err)
	}
	if f.Number == 0 {
		err = json.Unmarshal(f.Data, &f.Message)
		f.Data = nil
	}
	return f, err
}
