#!/bin/sh
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# dry-run.sh GORELEASER OUT [all] makes the artifacts of a release of the commit that is checked out, as a tag on it
# would, publishes nothing, verifies them and leaves them in OUT: for this machine's platform, or for all of them.
# The key that signs is thrown away; without gpg nothing is signed, and that is said.
set -eu
goreleaser=$1 out=$2 which=${3:-host}
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
tmp=$(mktemp -d)
GNUPGHOME=$tmp/gnupg
export GNUPGHOME
tidy() {
	command -v gpgconf >/dev/null && gpgconf --kill all 2>/dev/null || true
	rm -rf "$tmp"
}
trap tidy EXIT
trap 'exit 130' INT TERM HUP

[ -z "$(git -C "$root" status --porcelain)" ] || echo "release: note: what is not committed is not in it"
git clone -q "$root" "$tmp/clone"
cd "$tmp/clone"
git remote set-url origin https://github.com/armfree/packer-plugin-armfree.git
version=$(sed -n 's/^\tVersion  *= "\(.*\)"$/\1/p' version/version.go)
git -c user.name=release -c user.email=release@localhost tag -f -a -m dry-run "v$version" >/dev/null
os=$(go env GOOS) arch=$(go env GOARCH)
API_VERSION=$(go run . describe | sed 's/.*"api_version":"\([^"]*\)".*/\1/')
export API_VERSION

config=$tmp/goreleaser.yml
if [ "$which" = all ]; then
	cp .goreleaser.yml "$config"
else
	# Only the line of this platform stays in the list of targets.
	awk -v want="^      - ${os}_${arch}(_v1)?\$" '
		/^    targets:/ { list = 1; print; next }
		list && /^      - / { if ($0 ~ want) { print; found = 1 }; next }
		{ list = 0; print }
		END { exit !found }' .goreleaser.yml >"$config" || {
		echo "release: $os/$arch is not among the targets of .goreleaser.yml" >&2
		exit 1
	}
fi
skip=publish,announce
if command -v gpg >/dev/null; then
	mkdir -m 700 "$GNUPGHOME"
	gpg -q --batch --passphrase '' --quick-gen-key "release dry run" ed25519 sign 1d
	GPG_FINGERPRINT=$(gpg --batch --with-colons --list-keys | sed -n 's/^fpr:*\([0-9A-F]*\):$/\1/p' | head -n 1)
	export GPG_FINGERPRINT
else
	echo "release: note: there is no gpg here, so nothing is signed"
	skip=$skip,sign
fi
"$goreleaser" release --clean --skip="$skip" --config "$config"

# modules lists what binaries were built of, as they say themselves.
modules() {
	for binary; do
		go version -m "$binary" | awk '
			$1 == "dep" { if (last) print last; last = $2 " " $3 }
			$1 == "=>" { last = $2 " " $3 }
			END { if (last) print last }'
	done | sort -u
}

# What Packer will do with them, before it does. Where there is no unzip, this looks into them.
go build -C "$tmp/clone/tools/release" -o "$tmp/zip" ./zip
cd dist
name=packer-plugin-armfree_v$version
sha256sum -c "${name}_SHA256SUMS"
[ "$skip" != publish,announce ] || gpg -q --verify "${name}_SHA256SUMS.sig" "${name}_SHA256SUMS"
for zip in *.zip; do
	file=${zip%.zip}
	case $file in *_windows_*) file=$file.exe ;; esac
	want=$(printf 'LICENSE\nNOTICE\nTHIRD_PARTY_LICENSES.txt\n%s' "$file")
	[ "$("$tmp/zip" list "$zip")" = "$want" ] || { echo "release: $zip holds: $("$tmp/zip" list "$zip")" >&2; exit 1; }
	grep -q " $zip\$" "${name}_SHA256SUMS" || { echo "release: $zip has no digest" >&2; exit 1; }
	[ "$file" != "${name}_${API_VERSION}_${os}_${arch}" ] || {
		"$tmp/zip" extract "$zip" "$file" >"$tmp/$file"
		chmod +x "$tmp/$file"
		said=$("$tmp/$file" describe)
		case $said in
		*"\"version\":\"$version\""*) ;;
		*) echo "release: $zip says of itself: $said" >&2; exit 1 ;;
		esac
		mkdir "$tmp/check"
		cp "$tmp/$file" "$tmp/check/packer-plugin-armfree"
		go build -C "$tmp/clone" -o "$tmp/packer-sdc" github.com/hashicorp/packer-plugin-sdk/cmd/packer-sdc
		(cd "$tmp/check" && "$tmp/packer-sdc" plugin-check packer-plugin-armfree)
		"$tmp/zip" extract "$zip" THIRD_PARTY_LICENSES.txt >"$tmp/THIRD_PARTY_LICENSES.txt"
		gunzip -c "$tmp/clone/internal/goss/bin/goss-linux-arm64.gz" >"$tmp/goss"
		modules "$tmp/$file" "$tmp/goss" >"$tmp/modules"
		[ "$(wc -l <"$tmp/modules")" -gt 50 ]
		while read -r module; do
			grep -qxF "$module" "$tmp/THIRD_PARTY_LICENSES.txt" || { echo "release: $zip lacks the licence of $module" >&2; exit 1; }
		done <"$tmp/modules"
		echo "release: the licences of $(wc -l <"$tmp/modules") modules are there"
	}
done
rm -rf "$out"
mkdir -p "$out"
cp ./*.zip "${name}_SHA256SUMS"* "$out/"
ls -l "$out"
