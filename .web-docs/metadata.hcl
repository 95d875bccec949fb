# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# What the Packer registry is told. The folders beside it are made by `make generate`.
# The form: https://github.com/hashicorp/integration-template#metadata-configuration
integration {
  name        = "armfree"
  description = "Builds ARM64 images on free capacity of Oracle Cloud (Ampere) and AWS (Graviton), checks them before they exist, and copies them into the tenancies that need them."
  identifier  = "packer/armfree/armfree"
  flags       = ["hcp-ready"]
  docs {
    process_docs    = true
    readme_location = "./README.md"
    external_url    = "https://github.com/armfree/packer-plugin-armfree"
  }
  license {
    type = "MPL-2.0"
    url  = "https://github.com/armfree/packer-plugin-armfree/blob/main/LICENSE"
  }
  component {
    type = "builder"
    name = "Oracle Cloud (Ampere)"
    slug = "oci"
  }
  component {
    type = "builder"
    name = "AWS (Graviton)"
    slug = "aws"
  }
  component {
    type = "builder"
    name = "Either cloud"
    slug = "armfree"
  }
  component {
    type = "provisioner"
    name = "goss"
    slug = "goss"
  }
  component {
    type = "post-processor"
    name = "Copy to other OCI tenancies"
    slug = "oci-cross-tenancy-copy"
  }
  component {
    type = "data-source"
    name = "Free capacity"
    slug = "capacity"
  }
  component {
    type = "data-source"
    name = "Preflight of copies"
    slug = "preflight"
  }
}
