# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

release = "13"
copies  = ["eu-west-1", "us-east-1"]
labels = {
  team  = "images"
  empty = ""
}
