// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package control is the interface of a simulated cloud that no client of the real
// one sees.
package control

import (
	"encoding/json"
	"io"
	"net/http"
)

// Cloud is what a simulated cloud can be told and asked.
type Cloud struct {
	Views  map[string]func() any // by path: what a GET shows
	Faults func() any
	Add    func(body []byte) error
	Reset  func()
	// MaxBody bounds what is added at once, in bytes.
	MaxBody int64
}

// Handler is the interface of a cloud:
//
//	GET  /PATH         the view of that path
//	GET  /faults       the faults that are set, and how often each has matched
//	POST /faults       adds faults: a JSON object, or an array of them
//	POST /reset-faults removes all faults
//
// Serve it on loopback only: it asks nobody who they are.
func Handler(c Cloud) http.Handler {
	mux := http.NewServeMux()
	for path, view := range c.Views {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { write(w, view()) })
	}
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { write(w, c.Faults()) })
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, c.MaxBody))
		if err == nil {
			err = c.Add(body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		write(w, c.Faults())
	})
	mux.HandleFunc("POST /reset-faults", func(w http.ResponseWriter, _ *http.Request) {
		c.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func write(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(value) // a client that went away is its own affair
}
