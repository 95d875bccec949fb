# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# An AMI, built and checked on AWS, into places on OCI. A machine that is no real
# Debian is checked by a script in goss's place, which prints what goss was seen to
# print.

packer {
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

variable "ssh_port" {
  type = number
}

variable "report" {
  type = string
}

# The name of the gossfile, without its ending: what it is called is what the image says it
# has passed.
variable "gossfile" {
  default = "oci-bootable"
}

variable "allow_unproven_image" {
  default = false
}

# The bucket of S3 to which EC2 exports the AMI; empty to read its snapshot.
variable "export_bucket" {
  default = ""
}

variable "places" {
  type = list(object({ tenancy = string, user = string, fingerprint = string, key = string, region = string, compartment = string, name = string }))
}

source "armfree-aws" "test" {
  ami_name          = "debian-12-arm64-built"
  instance_types    = ["t4g.micro"]
  ssh_port          = var.ssh_port
  ssh_timeout       = "60s"
  capacity_interval = "100ms"
}

build {
  sources = ["source.armfree-aws.test"]

  provisioner "file" {
    source      = "${path.root}/../../goss/testdata/pass.json"
    destination = "/home/admin/pass.json"
  }

  provisioner "shell" {
    inline = ["echo made on AWS >/home/admin/made", "printf '#!/bin/sh\\ncat /home/admin/pass.json\\n' >/home/admin/goss", "chmod 755 /home/admin/goss"]
  }

  provisioner "armfree-goss" {
    tests         = ["${path.root}/stream/${var.gossfile}.goss.yaml"]
    skip_install  = true
    download_path = "/home/admin/goss"
    min_tests     = 7
  }

  post-processor "armfree-oci-cross-tenancy-copy" {
    report               = var.report
    allow_unproven_image = var.allow_unproven_image
    dynamic "export_image" {
      for_each = var.export_bucket == "" ? [] : [var.export_bucket]
      content {
        s3_bucket_name = export_image.value
      }
    }
    dynamic "destination" {
      for_each = var.places
      content {
        tenancy_ocid     = destination.value.tenancy
        user_ocid        = destination.value.user
        fingerprint      = destination.value.fingerprint
        key              = destination.value.key
        region           = destination.value.region
        compartment_ocid = destination.value.compartment
        image_name       = destination.value.name
      }
    }
  }
}
