// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import "time"

// Image is what is known of an image before it is copied.
type Image struct {
	ID   string
	Name string
	// OS and OSVersion are by what people look images up.
	OS, OSVersion string
	// SizeGB is how much is stored of it; 0 if that is not known.
	SizeGB int64
	// Busy means that somebody is exporting it at this moment.
	Busy bool
	Tags map[string]string
}

// Found is an image in a destination that may have to do with a copy.
type Found struct {
	ID, Name string
	// Ready means that the cloud has finished making it.
	Ready bool
	// Mark is that of the import that made it, if it was one of ours, and
	// Unfinished that it has not been verified.
	Mark       string
	Unfinished bool
	// Failed means that it was started and did not pass.
	Failed bool
	// Source is the id of the image that it is a copy of, and Form what that travelled
	// as, if it was one of ours and says so.
	Source, Form string
	// Verified is how a finished copy was verified by starting it; nil if it was
	// not.
	Verified *Verified
	Tags     map[string]string // of one of ours
}

// Verified says that an image was started and found good.
type Verified struct {
	By     string // what it was verified by: the same for the same checks
	Time   time.Time
	Tests  int    // that passed; 0 where there were none
	Digest string // SHA-256 of what goss found; empty where there were no tests
}

// Import is what an import makes.
type Import struct {
	From Link
	Name string
	// Mark is what the image is found by: the same each time that the same copy
	// is made. Token is the retry token of this one attempt.
	Mark, Token string
	Source      Image
	// Verified is how the image was verified by starting it, if it was.
	Verified *Verified
	// Has are the tags of an image that was finished before and keeps them; nil for
	// one that is made now.
	Has map[string]string
}

// Note says which object belongs to a copy, for whoever comes after it. Created is when it
// was written, by the store's clock: the run that wrote it began nothing before.
type Note struct {
	Name, Object string
	Created      time.Time
	// Given means that the object was there before the copy, which uploads nothing of it.
	Given bool
}

// Within says whether something was begun at a time that is known, and not before from or
// after until; a zero until is no bound.
func Within(begun, from, until time.Time) bool {
	return !begun.IsZero() && !from.IsZero() && !begun.Before(from) && (until.IsZero() || !begun.After(until))
}

// FormError says that a cloud does not take an image in the form in which it travels. No
// other way to that cloud changes it.
type FormError struct{ Err error }

func (e *FormError) Error() string { return e.Err.Error() }

// Unwrap returns why.
func (e *FormError) Unwrap() error { return e.Err }

// Access is what a link allows.
type Access int

// The two kinds of links that a copy needs.
const (
	Write Access = iota // put the one object, which need not exist yet
	Read                // read the one object
)

// Link is a URL that gives access to one object. The URL is a secret.
type Link struct {
	ID  string
	URL string
}
