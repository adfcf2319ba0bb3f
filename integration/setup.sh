#!/usr/bin/env bash
# Installs what the laboratory needs and is missing: Debian packages, a browser
# among them, a virtual environment with Synapse in .lab, and the JavaScript
# clients. Run it as often as you like; it does again only what has changed.
#
# Services that the packages bring are neither used nor stopped: the laboratory
# starts its own PostgreSQL and Redis on Unix sockets.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
lab=$PWD/.lab
mkdir -p "$lab"

say() { printf '    %s\n' "$*"; }
has() { command -v "$1" >/dev/null; }

# python_new_enough PROGRAM: Synapse wants 3.10, and venv and pip with it.
python_new_enough() {
	"$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

# node_new_enough PROGRAM: the clients want 20.
node_new_enough() {
	"$1" -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null
}

find_python() {
	local candidate
	for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
		if has "$candidate" && python_new_enough "$candidate"; then
			command -v "$candidate"
			return
		fi
	done
}

install_packages() {
	local packages=()
	compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || packages+=(postgresql)
	has psql || packages+=(postgresql-client)
	has redis-server || packages+=(redis-server)
	has ip || packages+=(iproute2)
	has unshare || packages+=(util-linux)
	has buildah || packages+=(buildah)
	[ -n "$(find_python)" ] || packages+=(python3 python3-venv)
	has npm || packages+=(npm)
	has chromium || packages+=(chromium)
	has certutil || packages+=(libnss3-tools)
	[ -n "$(find /usr/share/fonts -iname 'inter*' -print -quit 2>/dev/null)" ] || packages+=(fonts-inter)
	if [ ${#packages[@]} -eq 0 ]; then
		return
	fi
	if [ "$(id -u)" != 0 ] || ! has apt-get; then
		echo "the laboratory needs these Debian packages: ${packages[*]} (hint: run this as root on Debian)" >&2
		exit 1
	fi
	say "installing ${packages[*]}"
	quietly apt-get update
	DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends "${packages[@]}"
}

# quietly COMMAND…: shows what it wrote only when it fails.
quietly() {
	local output
	if ! output=$("$@" 2>&1); then
		printf '%s\n' "$output" >&2
		echo "failed: $*" >&2
		exit 1
	fi
}

# unchanged STAMP FILE…: whether the files are those of the last installation.
unchanged() {
	local stamp=$1
	shift
	[ -f "$stamp" ] && cat "$@" | cmp -s - "$stamp"
}

install_synapse() {
	local stamp=$lab/venv/requirements.installed
	if unchanged "$stamp" integration/requirements.txt && "$lab/venv/bin/python" -c 'import synapse' 2>/dev/null; then
		return
	fi
	say 'installing Synapse into .lab/venv'
	quietly "$(find_python)" -m venv --clear "$lab/venv"
	quietly "$lab/venv/bin/pip" install --only-binary matrix-synapse -r integration/requirements.txt
	cp integration/requirements.txt "$stamp"
}

# Debian 12 has Node 18. The package "node" brings another, for us alone.
install_node() {
	local own=$lab/node/node_modules/node/bin/node
	if (has node && node_new_enough node) || { [ -x "$own" ] && node_new_enough "$own"; }; then
		return
	fi
	say 'installing Node 20 into .lab/node'
	quietly npm install --prefix "$lab/node" --no-audit --no-fund node@20
}

install_clients() {
	local stamp=integration/clients/node_modules/.installed
	if unchanged "$stamp" integration/clients/package.json integration/clients/package-lock.json; then
		return
	fi
	say 'installing the JavaScript clients'
	quietly npm ci --prefix integration/clients --no-audit --no-fund
	cat integration/clients/package.json integration/clients/package-lock.json >"$stamp"
}

# A shell for the image's build stage, unpacked only: installed, it would put
# another busybox out.
install_busybox() {
	[ -x "$lab/busybox/bin/busybox" ] && return
	say 'unpacking busybox-static into .lab/busybox'
	mkdir -p "$lab/busybox"
	(
		cd "$lab/busybox"
		quietly apt-get update
		quietly apt-get download busybox-static
		quietly dpkg-deb --extract busybox-static_*.deb .
	)
}

install_packages
install_busybox
install_synapse
install_node
install_clients
say 'the laboratory has all it needs'
