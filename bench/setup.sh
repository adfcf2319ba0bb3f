#!/usr/bin/env bash
# Installs what the benchmark compares with and is missing: nginx, HAProxy and
# h2load from Debian, without services that would start now or at the next boot,
# and a pinned Caddy, built by Go into the user's cache and linked as bin/caddy.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin # where Debian has the servers, and not everybody looks

caddy_version=v2.11.9
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vestibule-bench/caddy-$caddy_version
policy=/usr/sbin/policy-rc.d

say() { printf '    %s\n' "$*"; }
has() { command -v "$1" >/dev/null; }

# quietly COMMAND…: shows what it wrote only when it fails.
quietly() {
	local output
	if ! output=$("$@" 2>&1); then
		printf '%s\n' "$output" >&2
		echo "failed: $*" >&2
		return 1
	fi
}

# restore_policy puts back the file that forbid_services took aside.
restore_policy() {
	rm -f "$policy"
	if [ -e "$policy.vestibule-bench" ]; then
		mv "$policy.vestibule-bench" "$policy"
	fi
}

# forbid_services keeps the packages from starting their services until this
# script ends (Debian policy, section 9.3.3.1: 101 is "not allowed").
forbid_services() {
	trap restore_policy EXIT
	if [ -e "$policy" ] && [ ! -e "$policy.vestibule-bench" ]; then
		mv "$policy" "$policy.vestibule-bench"
	fi
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
}

install_packages() {
	local packages=()
	has nginx || packages+=(nginx)
	has haproxy || packages+=(haproxy)
	has h2load || packages+=(nghttp2-client)
	has taskset || packages+=(util-linux)
	if [ ${#packages[@]} -eq 0 ]; then
		return
	fi
	if [ "$(id -u)" != 0 ] || ! has apt-get; then
		echo "the benchmark needs ${packages[*]} (hint: run this as root on Debian, or install them and run it again)" >&2
		exit 1
	fi
	say "installing ${packages[*]}"
	forbid_services
	quietly apt-get update
	DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends "${packages[@]}"
	disable_services "${packages[@]}"
}

# disable_services PACKAGE…: those among them that bring one, here of their name.
disable_services() {
	local package
	has systemctl || return 0
	for package in "$@"; do
		case $package in
		nginx | haproxy) quietly systemctl disable "$package" ;;
		esac
	done
}

install_caddy() {
	mkdir -p bin
	ln -sfn "$cache/caddy" bin/caddy
	if [ -x "$cache/caddy" ]; then
		return
	fi
	say "building Caddy $caddy_version into $cache (some minutes)"
	GOBIN=$cache GOFLAGS=-trimpath CGO_ENABLED=0 quietly "${GO:-go}" install \
		"github.com/caddyserver/caddy/v2/cmd/caddy@$caddy_version"
}

install_packages
install_caddy
say 'the benchmark has all it needs'
