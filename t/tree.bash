# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For t/host, t/machine, t/vm and t/fresh: trees of Debian.  Each tree is made
# once from Debian's packages, and cached outside of the project's folder; only
# t/fresh makes a new one each time.

# Where the trees are.
CACHE=${NSPAWN_TOOLS_CACHE:-/var/cache/nspawn-tools}
# The folder in a tree that is copied to make a small machine.
SKELETON=/usr/lib/nspawn-tools/skeleton

PACKAGES=systemd,systemd-sysv,dbus,systemd-container,libpam-systemd
PACKAGES+=,procps,util-linux,util-linux-extra,busybox-static
PACKAGES+=,less,zsh,tmux,python3-minimal,strace

# Prints options for mmdebstrap, one per line.  This system's apt needs them to
# reach an archive, and mmdebstrap does not read apt.conf itself.
tree_apt_options()
{
	local proxy

	# forky is not released yet, so its index may have expired.
	echo '--aptopt=Acquire::Check-Valid-Until "false"'
	proxy=$(apt-config dump --format '%v' Acquire::http::Proxy)
	[[ -z ${proxy} ]] || echo "--aptopt=Acquire::http::Proxy \"${proxy}\""
}

# Prints the mirror from which this system's apt gets Debian.  If there is none,
# prints nothing, and mmdebstrap chooses a mirror.
tree_mirror()
{
	if [[ -n ${NSPAWN_TOOLS_MIRROR:-} ]]; then
		echo "${NSPAWN_TOOLS_MIRROR}"
		return
	fi
	# shellcheck disable=SC2016 # apt's variables
	apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' \
	    'Label: Debian' 2>/dev/null | grep '^https\?:' | sed -n 1p || true
}

# Makes the skeleton in TREE, which is copied to make machines: busybox and its
# names.  If the tree is for another architecture, the further arguments are a
# command that runs a program of the tree.
tree_skeleton()
{
	local applet bin=$1${SKELETON}/usr/bin busybox

	mkdir -p "${bin}" "$1${SKELETON}"/usr/{lib,sbin} \
	    "$1${SKELETON}"/{dev,etc,proc,root,run,sys,tmp,var}
	ln -s usr/bin "$1${SKELETON}/bin"
	ln -s usr/lib "$1${SKELETON}/lib"
	ln -s usr/sbin "$1${SKELETON}/sbin"
	busybox=$(realpath "$1/bin/busybox")
	cp "${busybox}" "${bin}/busybox"
	for applet in $("${@:2}" "${bin}/busybox" --list); do
		[[ ${applet} == busybox || ${applet} == init ]] ||
		    ln -s busybox "${bin}/${applet}"
	done
}

# Masks units in TREE that would slow a host's start or use its console.
tree_trim()
{
	local unit units=(console-getty.service getty.target
		getty-static.service systemd-firstboot.service
		systemd-networkd-wait-online.service
		systemd-modules-load.service apt-daily.timer
		apt-daily-upgrade.timer dpkg-db-backup.timer
		e2scrub_all.timer fstrim.timer)

	for unit in "${units[@]}"; do
		ln -sf /dev/null "$1/etc/systemd/system/${unit}"
	done
	# An empty file: no first boot, and each host makes an id of its own.
	: >"$1/etc/machine-id"
	mkdir -p "$1"/{src,outer,tree,var/lib/machines}
}

# Unpacks the inits of a suite and the packages that they need, but does not
# configure them.
tree_inits()
{
	local packages=base-files,dash,coreutils,sysvinit-utils,sysvinit-core

	[[ $1 != bookworm ]] || packages+=,runit,openrc,s6,tini,dumb-init\
,catatonit,finit,supervisor,busybox-static
	shift
	mmdebstrap --quiet --variant=extract --include="${packages}" "$@"
}

tree_recipe()
{
	local options mirror suite=$1 tree=$2

	mapfile -t options < <(tree_apt_options)
	mirror=$(tree_mirror)
	if [[ ${suite} == inits-* ]]; then
		tree_inits "${suite#inits-}" "${options[@]}" \
		    "${suite#inits-}" "${tree}" ${mirror:+"${mirror}"}
		return
	fi
	mmdebstrap --quiet --variant=minbase --include="${PACKAGES}" \
	    --dpkgopt='path-exclude=/usr/share/doc/*' \
	    --dpkgopt='path-exclude=/usr/share/man/*' \
	    --dpkgopt='path-exclude=/usr/share/locale/*' \
	    "${options[@]}" "${suite}" "${tree}" ${mirror:+"${mirror}"} &&
	tree_skeleton "${tree}" &&
	tree_trim "${tree}"
}

# Unpacks a busybox of a suite, and the libc if it is linked dynamically.
tree_busybox()
{
	local mirror options packages=${1%-*} suite=${1##*-}

	mapfile -t options < <(tree_apt_options)
	mirror=$(tree_mirror)
	[[ ${packages} != busybox ]] || packages+=,libc6
	mmdebstrap --quiet --variant=extract --include="${packages}" \
	    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
	    "${options[@]}" "${suite}" "$2" ${mirror:+"${mirror}"}
}

# Sets tree, the folder of suite SUITE, and recipe, the function that makes it.
# The folder's name has a checksum of the functions that make it.
tree_path()
{
	local sum parts=(tree_recipe tree_skeleton tree_trim tree_inits)

	recipe=tree_recipe
	case $1 in
	bookworm | trixie | forky | inits-bookworm | inits-trixie) ;;
	busybox-bookworm | busybox-trixie | busybox-forky | \
	busybox-static-bookworm | busybox-static-trixie | busybox-static-forky)
		recipe=tree_busybox
		parts=(tree_busybox)
		;;
	*) fail "unknown suite '$1' (bookworm, trixie or forky)" ;;
	esac
	sum=$({ declare -f "${parts[@]}"
		echo "${PACKAGES}"; } | sha256sum)
	tree=${CACHE}/$1-${sum:0:8}
}

# Makes the tree; another process may do this at the same time.
tree_make()
{
	local suite=$1 log=${CACHE}/$1.log status=0

	temp=${CACHE}/.$1.new builder=
	mkdir -p "${CACHE}"
	exec {lock}>"${CACHE}/.$1.lock"
	flock "${lock}" || fail "locking ${CACHE}/.$1.lock: flock failed"
	[[ ! -d ${tree} ]] || return 0
	command -v mmdebstrap >/dev/null ||
	    fail "building ${suite}: mmdebstrap is not installed; run t/setup"
	rm -rf --one-file-system "${temp}"
	signals_exit tree_make_abort
	# In a process group of its own, to be ended as a whole.
	set -m
	(trap - EXIT HUP INT TERM; "${recipe}" "${suite}" "${temp}") \
	    </dev/null >"${log}" 2>&1 3>&- &
	builder=$!
	set +m
	wait "${builder}" || status=$?
	builder=
	((status == 0)) ||
	    fail "building ${suite}: status ${status}: $(tail -n 1 "${log}")"
	chmod 0755 "${temp}"
	mv -T "${temp}" "${tree}"
	trap - EXIT HUP INT TERM
	exec {lock}>&-
}

# Removes an incomplete tree; mmdebstrap cleans up when it gets TERM.
tree_make_abort()
{
	if [[ -n ${builder} ]]; then
		kill -TERM -- "-${builder}" 2>/dev/null || true
		wait "${builder}" || true
	fi
	rm -rf --one-file-system "${temp}"
}

# Prints the folder of suite SUITE, and makes it first if it is missing.
tree_build()
{
	local tree recipe

	tree_path "$1"
	[[ -d ${tree} ]] || tree_make "$1"
	echo "${tree}"
}
