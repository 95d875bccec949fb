// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package goss

import "github.com/hashicorp/packer-plugin-sdk/template/config"

// Binary says which goss is run. Without any of these options it is the one
// that the plugin carries, which is for linux/arm64; for linux/amd64 this host
// fetches the same release as goss's project publishes it, whose digest the
// plugin knows.
type Binary struct {
	// A goss on this host that is used instead of the one that the plugin
	// carries: an executable for the machine's architecture, or an archive as
	// goss publishes them.
	GossBinary string `mapstructure:"goss_binary" required:"false"`
	// Where this host fetches goss from: an executable, or an archive as goss
	// publishes them. The proxy of this host's environment is used, the machine
	// needs no network. What was fetched is kept in Packer's cache folder.
	GossURL string `mapstructure:"goss_url" required:"false"`
	// The SHA-256 that `goss_binary`, or what is fetched, must have, in hex. It
	// must be set for what is fetched.
	GossSHA256 string `mapstructure:"goss_sha256" required:"false"`
	// Where releases of goss are, in place of
	// `https://github.com/goss-org/goss/releases/download`. `version` and
	// `goss_sha256` are set both, or neither of them.
	GossMirror string `mapstructure:"goss_mirror" required:"false"`
	// A release of goss, for example `"0.4.9"`. It is fetched from
	// `goss_mirror` if `goss_sha256` is set; without, the goss that the plugin
	// carries runs, and a line says so.
	Version string `mapstructure:"version" required:"false"`
	// The architecture of the machine is found out; another one here is
	// overridden with a line.
	Arch string `mapstructure:"arch" required:"false"`
	// The same as `goss_url`, but without `goss_sha256` it is not used, and a
	// line says so.
	URL string `mapstructure:"url" required:"false"`
	// Signs in to the server of `goss_url`.
	Username string `mapstructure:"username" required:"false"`
	// Signs in to the server of `goss_url`.
	Password string `mapstructure:"password" required:"false"`
	// Takes any certificate for that of the server of `goss_url`; `goss_sha256`
	// is demanded all the same.
	SkipSSL bool `mapstructure:"skip_ssl" required:"false"`
	// Run a goss that is on the machine already. It is used as it is and not
	// removed. Version 0.4 or newer.
	SkipInstall bool `mapstructure:"skip_install" required:"false"`
	// Where that goss is: an absolute path, a path relative to goss's working
	// directory, or a name on the PATH. Defaults to the first there is of
	// `/tmp/goss-<version>-linux-<arch>` and `goss` on the PATH. Without
	// `skip_install` it has no meaning: goss is in the private folder.
	DownloadPath string `mapstructure:"download_path" required:"false"`
}

// Machine says how goss runs on the machine.
type Machine struct {
	// Whether goss runs as root. Many tests need it: an unprivileged goss
	// cannot read the sshd configuration or a listening socket's process.
	// Ignored where the communicator logs in as root already. Defaults to
	// `true`; for the provisioner `goss`, to `false`.
	UseSudo config.Trilean `mapstructure:"use_sudo" required:"false"`
	// The password that `sudo` asks for. It reaches it on standard input and is
	// on no command line.
	SudoPassword string `mapstructure:"sudo_password" required:"false"`
	// The command that runs goss, in place of `sudo`, for example
	// `"doas sh {{ .Path }}"`. `{{ .Path }}` is a script on the machine that runs
	// goss; `{{ .Vars }}` is empty, since variables are on no command line.
	// `sudo_password` is there on standard input if it is set. The same command
	// runs the script that removes what root made.
	ExecuteCommand string `mapstructure:"execute_command" required:"false"`
	// The folder on the machine in which the provisioner makes its private
	// folder; programs must be allowed to run in it. An absolute path of
	// letters, digits and `/._-`. Defaults to the first that works of
	// `/dev/shm` (memory, so that nothing touches the disk), the home folder,
	// `/tmp` and `/var/tmp`. The private folder is removed at the end in any
	// case. For the provisioner `goss`: the folder of `remote_path`, by default
	// `/tmp`.
	RemoteFolder string `mapstructure:"remote_folder" required:"false"`
	// Goss's working directory on the machine, where `tests` arrive, for
	// gossfiles that name it. Files of the same name that are there are put
	// aside meanwhile and put back. Defaults to a folder inside the private
	// folder; for the provisioner `goss`, to `goss` in `remote_folder`.
	RemotePath string `mapstructure:"remote_path" required:"false"`
	// Leave everything on the machine, and say where, to look at it. It becomes
	// part of the image. Defaults to `false`.
	KeepRemote bool `mapstructure:"keep_remote" required:"false"`
	// The machine's system; only `Linux`, which is the default.
	TargetOS string `mapstructure:"target_os" required:"false"`
	// The machine's package manager: `apk`, `dpkg`, `pacman` or `rpm`. By
	// default goss finds out.
	Package string `mapstructure:"package" required:"false"`
	// How much goss says on standard error, which is shown: `ERROR`, `WARN`,
	// `INFO`, `DEBUG` or `TRACE`. `ERROR` is refused together with `strict`,
	// which judges by goss's warnings. Defaults to `WARN`.
	LogLevel string `mapstructure:"log_level" required:"false"`
	// How many tests goss carries out at a time, at least 1. Defaults to goss's
	// own choice, at most 50.
	MaxConcurrent *int `mapstructure:"max_concurrent" required:"false"`
}
