// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"log"
	"os"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/common"
)

// Oracle's SDK writes whole requests to stderr where OCI_GO_SDK_DEBUG asks for it,
// user data and all, past the plugin's log and what masks secrets there. It is
// given this log instead, before anything uses it: it reads its logger without a
// lock.
func init() { common.SetSDKLogger(sdkLog{sdkLogLevel(os.Getenv("OCI_GO_SDK_DEBUG"))}) }

// sdkLog is the plugin's own log for Oracle's SDK.
type sdkLog struct{ level int }

// LogLevel implements the SDK's logger.
func (l sdkLog) LogLevel() int { return l.level }

// Log implements the SDK's logger.
func (l sdkLog) Log(level int, format string, v ...interface{}) error {
	if level <= l.level {
		log.Printf("[DEBUG] Oracle's SDK: "+format, v...)
	}
	return nil
}

// sdkLogLevel is how much the SDK logs, in its own words.
func sdkLogLevel(word string) int {
	switch strings.ToLower(word) {
	case "", "null":
		return 0
	case "d", "debug":
		return 2
	case "v", "verbose", "1":
		return 3
	}
	return 1
}
