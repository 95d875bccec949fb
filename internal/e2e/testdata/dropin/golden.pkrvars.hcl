# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

system  = "Canonical Ubuntu"
release = "22.04"
memory  = 6.5
labels = {
  "team.name" = "Images & Co: *all*"
  commit      = "0d3adb33f"
}
