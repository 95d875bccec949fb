#!/bin/sh
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# Put here, as root, what your image is to have.
set -eu
echo "by always-free" >/etc/always-free
