// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package mask

import (
	"fmt"
	"io"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Ui returns ui with everything that is printed through it masked.
func (m *Masker) Ui(ui packersdk.Ui) packersdk.Ui { return masked{m, ui} }

type masked struct {
	m  *Masker
	ui packersdk.Ui
}

func (u masked) Ask(q string) (string, error) { return u.ui.Ask(u.m.Text(q)) }
func (u masked) Askf(f string, a ...any) (string, error) {
	return u.Ask(fmt.Sprintf(f, a...))
}
func (u masked) Say(s string)              { u.ui.Say(u.m.Text(s)) }
func (u masked) Sayf(f string, a ...any)   { u.Say(fmt.Sprintf(f, a...)) }
func (u masked) Message(s string)          { u.ui.Say(u.m.Text(s)) }
func (u masked) Error(s string)            { u.ui.Error(u.m.Text(s)) }
func (u masked) Errorf(f string, a ...any) { u.Error(fmt.Sprintf(f, a...)) }
func (u masked) Machine(t string, args ...string) {
	for i, a := range args {
		args[i] = u.m.Text(a)
	}
	u.ui.Machine(t, args...)
}
func (u masked) TrackProgress(src string, current, total int64, stream io.ReadCloser) io.ReadCloser {
	return u.ui.TrackProgress(u.m.Text(src), current, total, stream)
}
