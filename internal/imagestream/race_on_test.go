//go:build race

// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagestream_test

const raceDetector = true
