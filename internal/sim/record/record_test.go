// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package record_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/record"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// recorded makes a recording of session and looks for what must not be in it.
func recorded(t *testing.T) []byte {
	t.Helper()
	w := newWorld(t)
	recorder, err := record.NewRecorder(w.cloud, w.known())
	if err != nil {
		t.Fatal(err)
	}
	session(t, w, w.client(t, recorder))
	exchanges, err := recorder.Session()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := record.Write(&b, exchanges); err != nil {
		t.Fatal(err)
	}
	for what, secret := range map[string]string{
		"a signature": "Signature", "the tenancy": w.tenancy.ID, "the user": w.tenancy.UserID, "the fingerprint": w.tenancy.Fingerprint(),
		"an identifier": "ocid1.", "the SSH key": "AAAAC3Nz", "the user data": userData, "the namespace": w.tenancy.Namespace, "a year": "20" + time.Now().Format("06") + "-",
	} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("the recording holds %s", what)
		}
	}
	if strings.Contains(b.String(), `"/p/`) && !strings.Contains(b.String(), "/p/${par-token.1}/") {
		t.Error("the recording holds the token of a PAR")
	}
	if t.Failed() {
		t.Log(b.String())
	}
	return b.Bytes()
}

func TestReplay(t *testing.T) {
	recording := recorded(t)
	exchanges, err := record.Read(bytes.NewReader(append([]byte("# by hand\n\n"), recording...)))
	if err != nil {
		t.Fatal(err)
	}
	polls := 0
	for _, e := range exchanges {
		if e.Times > 1 {
			polls++
		}
	}
	if polls == 0 {
		t.Error("repeated requests were not put together")
	}
	t.Run("in another world", func(t *testing.T) {
		w := newWorld(t)
		if err := w.replayer(t, w.cloud).Replay(t.Context(), exchanges); err != nil {
			t.Errorf("%v\n%s", err, recording)
		}
		// What the replay did, it did: the clean-up took effect too.
		for _, r := range w.cloud.Requests() {
			if r.Op == "DeleteBucket" && r.Status == http.StatusNoContent {
				return
			}
		}
		t.Error("the replay did not delete the bucket")
	})

	// A simulator that has changed is found out.
	for name, change := range map[string]struct {
		path, old, new string
		want           string
	}{
		"field gone":       {"/instances", `"shape":`, `"form":`, "reply.shape is missing"},
		"field new":        {"/instances", `"shape":`, `"new":1,"shape":`, "reply.new is new"},
		"type":             {"/instances/", `"displayName":"`, `"displayName":1,"x":"`, "reply.displayName: got number, want string"},
		"error code":       {"/o/", "IfNoneMatchFailed", "Exists", `got "Exists", want "IfNoneMatchFailed"`},
		"never terminated": {"/instances/", "TERMINATED", "SHREDDED", `got "SHREDDED", want "TERMINATED"`},
		"time":             {"/p", `"timeExpires":"`, `"timeExpires":"about `, "reply.timeExpires: got string, want time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.replayer(t, tamper{w.cloud, change.path, change.old, change.new})
			p.Patience = 500 * time.Millisecond
			err := p.Replay(t.Context(), exchanges)
			var differs *record.Difference
			if !errors.As(err, &differs) || !strings.Contains(err.Error(), change.want) {
				t.Errorf("got %v, want %q", err, change.want)
			}
		})
	}
	t.Run("status", func(t *testing.T) {
		w := newWorld(t)
		p := w.replayer(t, http.NotFoundHandler())
		p.Patience = time.Millisecond
		err := p.Replay(t.Context(), exchanges)
		if err == nil || !strings.Contains(err.Error(), "status 404, want 200") {
			t.Error(err)
		}
	})
	t.Run("another key", func(t *testing.T) {
		w, stranger := newWorld(t), newWorld(t)
		p := w.replayer(t, w.cloud)
		p.Signers, p.Patience = stranger.replayer(t, stranger.cloud).Signers, time.Millisecond
		if err := p.Replay(t.Context(), exchanges); err == nil || !strings.Contains(err.Error(), "status 401, want 200") {
			t.Error(err)
		}
	})
	t.Run("no key", func(t *testing.T) {
		w := newWorld(t)
		p := w.replayer(t, w.cloud)
		p.Signers = nil
		if err := p.Replay(t.Context(), exchanges); err == nil || !strings.Contains(err.Error(), "no key to sign as ${tenancy}") {
			t.Error(err)
		}
	})
	t.Run("something not told", func(t *testing.T) {
		w := newWorld(t)
		if err := w.replayer(t, w.cloud).Replay(t.Context(), exchanges[2:]); err == nil || !strings.Contains(err.Error(), "nothing has told what ${instance.1} is") {
			t.Error(err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.replayer(t, w.cloud).Replay(ctx, exchanges); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// tamper changes replies on some paths.
type tamper struct {
	next           http.Handler
	path, old, new string
}

func (h tamper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, h.path) {
		h.next.ServeHTTP(w, r)
		return
	}
	b := &buffered{header: http.Header{}, status: http.StatusOK}
	h.next.ServeHTTP(b, r)
	for name, values := range b.header {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(b.status)
	_, _ = io.WriteString(w, strings.ReplaceAll(b.body.String(), h.old, h.new))
}

type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffered) Header() http.Header         { return b.header }
func (b *buffered) WriteHeader(status int)      { b.status = status }
func (b *buffered) Write(p []byte) (int, error) { return b.body.Write(p) }

// A connection that is cut is part of a recording too.
func TestHijacked(t *testing.T) {
	cut := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	recorder, err := record.NewRecorder(cut, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := simnet.Pipe(recorder)
	defer client.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://iaas.r.oraclecloud.com/x", strings.NewReader("body"))
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
		t.Fatal("got a reply")
	}
	// The client sees the cut before the handler that made it has returned.
	exchanges, err := recorder.Session()
	for end := time.Now().Add(10 * time.Second); err == nil && len(exchanges) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		exchanges, err = recorder.Session()
	}
	if err != nil || len(exchanges) != 1 || exchanges[0].Reply.Status != 0 {
		t.Fatalf("%+v, %v", exchanges, err)
	}
	if err := (&record.Replayer{Client: client}).Replay(t.Context(), exchanges); err != nil {
		t.Error(err)
	}
	fine := simnet.Pipe(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer fine.CloseIdleConnections()
	if err := (&record.Replayer{Client: fine}).Replay(t.Context(), exchanges); err == nil {
		t.Error("a reply passes for none")
	}
}

func TestRefused(t *testing.T) {
	for name, known := range map[string]map[string]string{
		"short value": {"bucket": "b"}, "name": {"a.b": "longer"}, "no name": {"": "longer"}, "same value": {"a": "longer", "b": "longer"},
	} {
		if _, err := record.NewRecorder(http.NotFoundHandler(), known); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, text := range map[string]string{
		"empty": "\n# nothing\n", "not JSON": "{", "unknown field": `{"request":{"method":"GET","host":"h","path":"/"},"reply":{"status":200},"x":1}`,
		"no method": `{"request":{"host":"h","path":"/"},"reply":{"status":200}}`, "two values": `{"request":{"method":"GET","host":"h","path":"/"},"reply":{"status":200}} {}`,
	} {
		if _, err := record.Read(strings.NewReader(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := record.NewSigner("a/b/c", "no key"); err == nil {
		t.Error("accepted a key that is none")
	}
	// What looks like a placeholder cannot be told from one later.
	recorder, _ := record.NewRecorder(http.NotFoundHandler(), nil)
	client := simnet.Pipe(recorder)
	defer client.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://h.oraclecloud.com/", strings.NewReader(`{"a":"${b}"}`))
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, err := recorder.Session(); err == nil {
		t.Error("recorded")
	}
}
