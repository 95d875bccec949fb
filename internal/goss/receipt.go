// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import "time"

// ReceiptInput is what only the caller knows.
type ReceiptInput struct {
	About About
	// Sources are the gossfiles and whatever else they read; only their
	// digests are kept.
	Sources []Source
	// Vars are the merged variables; only their names and digest are kept.
	Vars map[string]any
	// Keys tie the receipt to a build, for example "packer_run_uuid" and
	// "instance_id".
	Keys map[string]string
}

// Receipt is the proof that a machine was checked, and with what.
type Receipt struct {
	Schema string            `json:"schema"`
	Time   time.Time         `json:"time"`
	Keys   map[string]string `json:"keys,omitempty"`
}

// NewReceipt makes the receipt for a result.
func NewReceipt(r *Result, in ReceiptInput) *Receipt { return &Receipt{} }

// Marshal returns the receipt as it is stored. The caller writes it with mode
// 0600.
func (r *Receipt) Marshal() ([]byte, error) { return nil, nil }

// ReadReceipt reads what Marshal returned.
func ReadReceipt(data []byte) (*Receipt, error) { return &Receipt{}, nil }

// Proof is what an image says of its validation.
type Proof struct {
	// State is "true" if the machine passed, "reported" if it failed and
	// report_only let it go on, "stale" if something ran after goss, "false"
	// otherwise.
	State string
	Tests int // carried out
	// Digest is the SHA-256 of the receipt as it is stored.
	Digest string
}

// Proof is that of a receipt.
func (r *Receipt) Proof() Proof { return Proof{} }

// Stale is the proof after something else ran on the machine.
func (p Proof) Stale() Proof { p.State = "stale"; return p }

// Tags are the tags for an image.
func (p Proof) Tags() map[string]string { return nil }
