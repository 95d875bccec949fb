// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
)

// Object is the object that a capture becomes. Its parts arrive in any order.
type Object interface {
	diskimage.Sink
	// Arrived notes a part that the machine has uploaded itself.
	Arrived(number int, size int64, etag, md5 string)
	// Direct is where the machine may upload parts to, with their numbers behind it, and
	// what it needs to trust for that; empty if it may not.
	Direct() (url, ca string)
}

// Session is a helper that runs on a machine and waits for its job, or does it.
type Session struct {
	in     io.WriteCloser
	frames chan wire.Frame
	stop   chan struct{}
	once   sync.Once
	lost   chan struct{} // closed when there will be no more frames
	err    error         // set before that
	Hello  wire.Hello

	buffers sync.Pool
}

// silence is how long a helper may say nothing before it counts as lost.
const silence = 9 * wire.BeatEvery

// ErrSilent says that a helper cannot be heard any more, and may be there still.
var ErrSilent = fmt.Errorf("the machine has said nothing for %s", silence)

// Attach talks to a helper whose standard input and output these are, and returns once it
// has said hello. Closing out ends everything that is waiting for it.
func Attach(ctx context.Context, in io.WriteCloser, out io.ReadCloser) (*Session, error) {
	s := &Session{in: in, frames: make(chan wire.Frame), stop: make(chan struct{}), lost: make(chan struct{})}
	go s.receive(&impatient{out, context.WithoutCancel(ctx)})
	select {
	case f := <-s.frames:
		if f.Hello == nil || f.Hello.Version != wire.Version {
			s.Close()
			return nil, errors.New("what answers is not the helper of this version of the plugin")
		}
		s.Hello = *f.Hello
		return s, nil
	case <-s.lost:
		s.Close()
		return nil, s.err
	case <-ctx.Done():
		s.Close()
		_ = out.Close()
		return nil, ctx.Err()
	}
}

// impatient fails if nothing comes for too long.
type impatient struct {
	io.ReadCloser
	ctx context.Context //nolint:containedctx // io.Reader has no other way
}

func (i *impatient) Read(p []byte) (int, error) {
	limited, cancel := context.WithTimeout(i.ctx, silence)
	defer cancel()
	stop := context.AfterFunc(limited, func() { _ = i.Close() })
	n, err := i.ReadCloser.Read(p)
	if !stop() {
		err = ErrSilent
	}
	return n, err
}

// receive reads until there is nothing more, also after nobody wants it any more.
func (s *Session) receive(out io.ReadCloser) {
	defer out.Close()
	for {
		f, err := wire.Read(out, s.buffer)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the helper on the machine has ended")
			}
			s.err = err
			close(s.lost)
			return
		}
		if f.Beat {
			continue
		}
		select {
		case s.frames <- f:
		case <-s.stop:
			// What it was about to say has to go somewhere: it must not wait for us while
			// the machine's file systems wait for it.
			if f.Number > 0 {
				s.buffers.Put(&f.Data)
			}
		}
	}
}

func (s *Session) buffer(n int) []byte {
	if b, ok := s.buffers.Get().(*[]byte); ok && cap(*b) >= n {
		return (*b)[:n]
	}
	return make([]byte, n)
}

// Alive says whether the helper is still there and may be given a job.
func (s *Session) Alive() bool {
	select {
	case <-s.lost:
		return false
	case <-s.stop:
		return false
	default:
		return true
	}
}

// Close ends the helper, whatever it does. [Session.Ended] waits for that.
func (s *Session) Close() {
	s.once.Do(func() {
		close(s.stop)
		_ = s.in.Close()
	})
}

// Ended closes the session and waits until the helper has let the machine go, or its
// connection is lost. After an error, which is ctx's or [ErrSilent], the helper may still
// hold file systems.
func (s *Session) Ended(ctx context.Context) error {
	s.Close()
	var err error
	select {
	case <-s.lost:
		if !errors.Is(s.err, ErrSilent) {
			return nil
		}
		err = s.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	return fmt.Errorf("the helper of the capture before has not ended, and may still hold the machine's file systems: %w", err)
}

// Progress is how far a capture is, in bytes of the disk.
type Progress struct {
	Read, Stored int64
	Elapsed      time.Duration
}

// Listener is told how a capture goes.
type Listener struct {
	Say      func(format string, args ...any)
	Progress func(Progress)
}

// Result is what a capture came to.
type Result struct {
	wire.Begin
	wire.Done
	Relayed int // parts that went through this computer
}

// uploads is how many parts are on their way from this computer at the same time.
const uploads = 4

// Run gives the helper its job and brings the parts into the object. The object is
// complete when it returns without an error, and not yet committed.
func (s *Session) Run(ctx context.Context, job wire.Job, object Object, l Listener) (r Result, err error) {
	defer s.Close()
	job.URL, job.CA = object.Direct()
	line, err := json.Marshal(job)
	if err != nil {
		return r, err
	}
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		return r, fmt.Errorf("the helper takes no job: %w", errors.Join(err, s.lostErr()))
	}
	start := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	slots := make(chan struct{}, uploads)
	var sending sync.WaitGroup
	defer func() {
		cancel(err)
		sending.Wait()
	}()
	for {
		var f wire.Frame
		select {
		case f = <-s.frames:
		case <-s.lost:
			return r, s.err
		case <-ctx.Done():
			return r, context.Cause(ctx)
		}
		switch {
		case f.Number > 0:
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return r, context.Cause(ctx)
			}
			r.Relayed++
			sending.Go(func() {
				defer func() { <-slots }()
				if err := object.Part(ctx, f.Number, f.Data); err != nil {
					cancel(err)
					return
				}
				s.buffers.Put(&f.Data)
			})
		case f.Error != "":
			return r, errors.New(f.Error)
		case f.Say != "":
			l.Say("%s", f.Say)
		case f.Begin != nil:
			r.Begin = *f.Begin
			l.Say("Nothing is written to %s any more; of its %.0f MB %.0f MB are read", r.Device, float64(r.Size)/1e6, float64(r.Stored)/1e6)
			for _, a := range r.Areas {
				l.Say("  %s", a)
			}
		case f.Sent != nil:
			object.Arrived(f.Sent.Number, f.Sent.Size, f.Sent.ETag, f.Sent.MD5)
		case f.At != nil && l.Progress != nil:
			l.Progress(Progress{Read: f.At.Read, Stored: r.Stored, Elapsed: time.Since(start)})
		case f.Done != nil:
			r.Done = *f.Done
			sending.Wait()
			return r, context.Cause(ctx)
		}
	}
}

func (s *Session) lostErr() error {
	select {
	case <-s.lost:
		return s.err
	default:
		return nil
	}
}
