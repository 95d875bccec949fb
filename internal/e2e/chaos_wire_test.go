// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
)

// mishap is what goes wrong at a request.
type mishap struct {
	name string
	// signal is what is sent once the request has taken effect and before its reply. It
	// fails if a process that it is for is not there.
	signal func(packerRun) error
	// late says that the signal may come too late to end anything: Packer itself hands it
	// on and takes it, and meanwhile a build that only cleans up is over.
	late bool
	// got says whether Packer ended as by that signal; what it said and its error say so.
	got func(said string, err error) bool
	// answer replaces the reply; after says that the request takes effect first.
	answer func(http.ResponseWriter, *http.Request)
	after  bool
	// dead says that nobody is left who could clean up.
	dead bool
	// mute says that nobody is left who could say what a plugin says.
	mute bool
}

func mishaps() []mishap {
	kill := func(s syscall.Signal, of func(packerRun) []int) func(packerRun) error {
		return func(r packerRun) error {
			sent := 0
			for _, pid := range of(r) {
				if pid > 0 && signal(pid, s) == nil { // a plugin that only describes itself may have ended
					sent++
				}
			}
			if sent == 0 {
				return errors.New("the process is not there")
			}
			return nil
		}
	}
	group := func(s syscall.Signal) func(packerRun) error {
		return func(r packerRun) error { return signalGroup(r.outer, s) }
	}
	outer := func(r packerRun) []int { return []int{r.outer} }
	by := func(signal string) func(string, error) bool {
		return func(_ string, err error) bool { return err != nil && strings.Contains(err.Error(), signal) }
	}
	// A plugin that gets the signal as well may end before Packer says what it got.
	cancelled := func(said string, _ error) bool {
		return !strings.Contains(said, "Builds finished. The artifacts") && (strings.Contains(said, "ancelling build after receiving") || strings.Contains(said, "context canceled"))
	}
	return []mishap{
		{name: "kill all", dead: true, mute: true, got: by("signal: killed"), signal: kill(syscall.SIGKILL, func(r packerRun) []int { return append([]int{r.outer, r.inner}, r.plugins...) })},
		{name: "Ctrl-C", late: true, got: cancelled, signal: group(syscall.SIGINT)},
		{name: "lost reply", after: true, answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{name: "500", answer: func(w http.ResponseWriter, r *http.Request) { refuse(w, r, false) }},
		{name: "429", answer: func(w http.ResponseWriter, r *http.Request) { refuse(w, r, true) }},
		{name: "reset", answer: reset},
		{name: "kill Packer", mute: true, got: by("signal: killed"), signal: kill(syscall.SIGKILL, outer)},
		{name: "kill its child", mute: true, got: func(said string, _ error) bool { return !strings.Contains(said, "Builds finished. The artifacts") }, signal: kill(syscall.SIGKILL, func(r packerRun) []int { return []int{r.inner} })},
		{name: "SIGHUP all", mute: true, got: by("signal: hangup"), signal: group(syscall.SIGHUP)},
		{name: "SIGHUP Packer", mute: true, got: by("signal: hangup"), signal: kill(syscall.SIGHUP, outer)},
		{name: "SIGTERM Packer", late: true, got: cancelled, signal: kill(syscall.SIGTERM, outer)},
		{name: "SIGTERM all", late: true, got: cancelled, signal: group(syscall.SIGTERM)},
	}
}

// refuse answers as the clouds do when they are broken or asked too often.
func refuse(w http.ResponseWriter, r *http.Request, throttled bool) {
	status, code := http.StatusInternalServerError, "InternalServerError"
	if throttled {
		status, code = http.StatusTooManyRequests, "TooManyRequests"
	}
	oracle := !strings.Contains(r.Host, ".amazonaws.com") && !strings.Contains(r.Host, ".api.aws")
	if !oracle {
		code = "InternalError"
	}
	if !oracle && throttled {
		status, code = http.StatusServiceUnavailable, "RequestLimitExceeded"
		if !strings.HasPrefix(r.Host, "ec2.") {
			status, code = http.StatusBadRequest, "ThrottlingException"
		}
	}
	const id = "00000000-0000-4000-8000-00000000c4a0"
	switch {
	case oracle, r.Header.Get("X-Amz-Target") != "":
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Opc-Request-Id", id)
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"__type":%q,"message":"chaos"}`, code, code)
	case strings.HasPrefix(r.Host, "ec2."):
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<Response><Errors><Error><Code>%s</Code><Message>chaos</Message></Error></Errors><RequestID>%s</RequestID></Response>`, code, id)
	default:
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse><Error><Type>Receiver</Type><Code>%s</Code><Message>chaos</Message></Error><RequestId>%s</RequestId></ErrorResponse>`, code, id)
	}
}

// reset closes the connection before anything has come of the request.
func reset(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// numberedWire numbers the requests of clients, and lets the mishap happen at one.
type numberedWire struct {
	nth    int // 0: none
	mishap mishap
	mark   string
	every  func() // after each request
	before func() // right before a signal is sent
	// links counts what is put by links as well: no cloud does that.
	links bool
	// inside counts what comes to pass in the machine, and no requests.
	inside bool

	mu    sync.Mutex
	on    bool
	count int
	steps []string // what came to pass in the machine
	what  string   // the request, or step, that it happened at
	err   error    // the signal could not be sent
}

// step is called with what comes to pass in the machine.
func (w *numberedWire) step(what string) {
	w.mu.Lock()
	if !w.on {
		w.mu.Unlock()
		return
	}
	w.steps = append(w.steps, what)
	hit := w.inside && len(w.steps) == w.nth
	if hit {
		w.what = what
	}
	w.mu.Unlock()
	if hit {
		w.send()
	}
}

// send sends the signal.
func (w *numberedWire) send() {
	if w.before != nil {
		w.before()
	}
	err := errors.New("there is no Packer")
	if r := packerProcesses(w.mark); r.outer > 0 && len(r.plugins) > 0 { // the group of nobody is our own
		err = w.mishap.signal(r)
	}
	w.mu.Lock()
	w.err = err
	w.mu.Unlock()
}

func (w *numberedWire) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = true
}

func (w *numberedWire) stop() (happened string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = false
	return w.what, w.err
}

// Wrap counts what is signed: a link may be fetched by the cloud itself.
func (w *numberedWire) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		hit := false
		if w.on && !w.inside && (r.Header.Get("Authorization") != "" || w.links && r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, "/p/")) {
			w.count++
			if hit = w.count == w.nth; hit {
				w.what = r.Method + " " + r.URL.Path
			}
		}
		w.mu.Unlock()
		if !hit {
			next.ServeHTTP(rw, r)
			if w.every != nil {
				w.every()
			}
			return
		}
		if w.mishap.answer == nil || w.mishap.after {
			var to http.ResponseWriter = rw
			if w.mishap.after {
				to = &lostReply{header: http.Header{}}
			}
			next.ServeHTTP(to, r)
		}
		if w.mishap.signal != nil {
			w.send()
		}
		if w.mishap.answer != nil {
			if !w.mishap.after {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			w.mishap.answer(rw, r)
		}
	})
}

// lostReply is written for nobody.
type lostReply struct{ header http.Header }

func (l *lostReply) Header() http.Header         { return l.header }
func (l *lostReply) Write(b []byte) (int, error) { return len(b), nil }
func (l *lostReply) WriteHeader(int)             {}
