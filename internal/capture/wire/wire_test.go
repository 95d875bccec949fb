// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"testing"
)

func room(n int) []byte { return make([]byte, n) }

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := errors.Join(w.Message(t.Context(), Message{Say: "hello"}), w.Part(t.Context(), 7, []byte("data")), w.Part(t.Context(), 8, nil)); err != nil {
		t.Fatal(err)
	}
	end, err := exec.CommandContext(t.Context(), "sh", "-c", EndCommand).Output()
	if err != nil {
		t.Fatal(err)
	}
	b.Write(end)
	for _, want := range []Frame{{Message: Message{Say: "hello"}}, {Number: 7, Data: []byte("data")}, {Number: 8}} {
		f, err := Read(&b, room)
		if err != nil || f.Say != want.Say || f.Number != want.Number || !bytes.Equal(f.Data, want.Data) {
			t.Errorf("%+v, %v", f, err)
		}
	}
	if _, err := Read(&b, room); !errors.Is(err, io.EOF) || b.Len() > 0 {
		t.Error(err)
	}
}

// FuzzRead: whatever a machine sends, nothing panics, and nothing large is made of a
// few bytes but where a part was announced.
func FuzzRead(f *testing.F) {
	f.Add([]byte("m\x00\x00\x00\x00\x00\x00\x00\x02{}"))
	f.Add([]byte("p\x00\x00\x00\x01\x00\x00\x00\x02ab"))
	f.Add([]byte("e\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			f, err := Read(r, func(n int) []byte {
				if n > maxFrame {
					t.Fatal(n)
				}
				return make([]byte, n)
			})
			if err != nil {
				return
			}
			if f.Number < 0 || f.Number > 10_000 {
				t.Fatal(f.Number)
			}
		}
	})
}
