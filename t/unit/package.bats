#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# What packagers do: they build, test and install the sources' tarball, without
# a patch, as a user who has neither git, nor a network, nor all that t/setup
# installs.

load ../common

setup()
{
	# The build of a package runs the tests, but does not build one again.
	[ -z "${IN_PACKAGE-}" ] || skip 'this is the build of a package'
	version=$(sed -n 's/^VERSION = //p' "$TOP/Makefile")
	work=$BATS_TEST_TMPDIR
	export IN_PACKAGE=yes
}

# Runs a command with no more of the caller's environment than a build has.
clean()
{
	env -i PATH="$PATH" HOME="$work" LC_ALL=C.UTF-8 TMPDIR="$work" \
	    IN_PACKAGE=yes "$@" 3>&-
}

# Packs the sources, and unpacks them in $work.
unpack()
{
	sources_copy "$work/from"
	clean make -s -C "$work/from" dist
	tarball=$work/from/build/release/nspawn-tools-$version.tar.gz
	tar -xzf "$tarball" -C "$work"
	tree=$work/nspawn-tools-$version
}

@test "the first of the changes in README is the version of the Makefile" {
	run -0 awk '$0 == "Changes" { on = 1 }
	    on && /^[0-9]/ { print $1; exit }' "$TOP/README"
	[ "${output%,}" = "$version" ]
	# It is the last section.
	run -0 awk '/^---/ { last = line } { line = $0 } END { print last }' \
	    "$TOP/README"
	[ "$output" = Changes ]
}

# Runs a command where /usr/bin has links to all programs but the optional ones.
# gcc finds its own files beside what a link leads to.
without_tools()
{
	clean unshare --user --map-root-user --mount --net bash -euc '
	mkdir -p "$1/usr" "$1/bin"
	ln -sfn /usr/* "$1/usr"
	rm "$1/usr/bin"
	mkdir "$1/usr/bin"
	mount --bind /usr/bin "$1/usr/bin"
	ln -sfn "$1"/usr/bin/* "$1/bin"
	cd "$1/bin"
	rm -f git zsh fish mandoc col expect strace python3 less parallel \
	    perl readelf objdump musl-gcc setpriv systemd-analyze lintian \
	    {aarch64,riscv64}-linux-gnu-gcc arm-linux-gnueabihf-gcc
	mount --bind "$1/bin" /usr/bin
	cd "$1"
	shift
	exec "$@"' bash "$work/hidden" "$@"
}

@test "check-unit skips what cannot run here, and fails with STRICT=1" {
	need unshare
	[ -L /bin ] || cannot 'programs are not only in /usr/bin'
	clean unshare --user --map-root-user --mount --net true ||
	    cannot 'this user may not make namespaces'
	unpack
	tests='t/unit/completions.bats t/unit/manual.bats t/unit/package.bats'
	tests+=' t/unit/install.bats t/unit/describe.bats'
	run -0 without_tools make -s -C "$tree" check-unit TESTS="$tests" \
	    CFLAGS=-O0
	[[ "$output" == *'# skip there is no expect'* ]]
	[[ "$output" == *'# skip there is no mandoc'* ]]
	[[ "$output" == *'# skip there is no perl'* ]]
	[[ "$output" == *'# skip there is no readelf'* ]]
	rm -r "$work/hidden"
	run -2 without_tools env STRICT=1 make -s -C "$tree" check-unit \
	    TESTS='t/unit/manual.bats' CFLAGS=-O0
	[[ "$output" == *'cannot run here: there is no mandoc'* ]]
}

debian_make()
{
	mkdir -p "$tree/debian/source"
	cd "$tree/debian" || return
	echo '3.0 (quilt)' >source/format
	cat >changelog <<-END
	nspawn-tools ($version-1) unstable; urgency=medium

	  * First package. (Closes: #1)

	 -- A Packager <packager@example.org>  Thu, 01 Jan 2026 00:00:00 +0000
	END
	cat >control <<-'END'
	Source: nspawn-tools
	Section: admin
	Priority: optional
	Maintainer: A Packager <packager@example.org>
	Build-Depends: debhelper-compat (= 13), bats
	Standards-Version: 4.6.2
	Rules-Requires-Root: no

	Package: nspawn-tools
	Architecture: any
	Depends: ${misc:Depends}
	Description: enter and stop machines of systemd-nspawn
	 It runs commands in machines with any PID 1, and shuts them down cleanly.
	END
	cat >copyright <<-'END'
	Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

	Files: *
	Copyright: 2026 the nspawn-tools authors
	License: GPL-3.0-only

	License: GPL-3.0-only
	 See /usr/share/common-licenses/GPL-3.
	END
	# lintian reports a static program, unless a package says that it is
	# meant to be one; the Makefile has the reason.
	echo 'nspawn-tools: statically-linked-binary' \
	    >nspawn-tools.lintian-overrides
	printf '%s\n' '#!/usr/bin/make -f' \
	    'export DEB_BUILD_MAINT_OPTIONS = hardening=+all' '%:' \
	    $'\tdh $@' 'override_dh_auto_test:' \
	    $'\tmake check-unit TESTS="$(PACKAGE_TESTS)"' \
	    'override_dh_auto_install:' \
	    $'\tdh_auto_install -- PREFIX=/usr' >rules
	chmod +x rules
	cp "$tarball" "$work/nspawn-tools_$version.orig.tar.gz"
	cd "$tree" || return
}

# These need no second build.
PACKAGE_TESTS='t/unit/options.bats t/unit/text.bats t/unit/process.bats
    t/unit/describe.bats t/unit/listed.bats t/unit/package.bats'

@test "a package of Debian is built, tested and clean without a patch" {
	need dh dpkg-buildpackage fakeroot lintian
	unpack
	debian_make
	run -0 clean PACKAGE_TESTS="${PACKAGE_TESTS//$'\n'/}" \
	    dpkg-buildpackage -us -uc -b -d
	[[ "$output" != *'[-W'* ]]
	[[ "$output" == *$'\nok 1 '* ]]
	[[ "$output" == *-O2*-fstack-protector-strong*-static-pie* ]]
	run -0 clean lintian --fail-on error --tag-display-limit 0 \
	    "$work"/nspawn-tools_"$version"-1_*.changes
	dpkg-deb -x "$work"/nspawn-tools_"$version"-1_*.deb "$work/root"
	installed_runs
}

@test "a package of RPM is built, tested and installed without a patch" {
	need rpmbuild rpm2cpio cpio
	unpack
	mkdir -p "$work/rpm/SOURCES"
	cp "$tarball" "$work/rpm/SOURCES"
	cat >"$work/nspawn-tools.spec" <<-END
	%global debug_package %{nil}
	Name: nspawn-tools
	Version: $version
	Release: 1
	Summary: Enter and stop machines of systemd-nspawn
	License: GPL-3.0-only
	Source0: nspawn-tools-$version.tar.gz
	BuildRequires: bats, gcc, glibc-static, make
	%description
	It runs commands in machines with any PID 1, and shuts them down cleanly.
	%prep
	%setup -q
	%build
	make CFLAGS="%{optflags}"
	%check
	make check-unit CFLAGS="%{optflags}" TESTS=t/unit/options.bats
	%install
	make install DESTDIR=%{buildroot} PREFIX=/usr INSTALL='install -p'
	%files
	%license LICENSE.txt
	%doc README
	/usr/bin/nspawn-enter
	/usr/sbin/nspawn-stop
	/usr/share/man/man1/nspawn-enter.1*
	/usr/share/man/man8/nspawn-stop.8*
	/usr/share/bash-completion/completions/nspawn-*
	/usr/share/zsh/site-functions/_nspawn-tools
	/usr/share/fish/vendor_completions.d/nspawn-*.fish
	END
	run -0 clean rpmbuild -bb --nodeps --define "_topdir $work/rpm" \
	    "$work/nspawn-tools.spec"
	[[ "$output" == *$'\nok 1 '* ]]
	run -0 clean rpm -qp --requires "$work"/rpm/RPMS/*/*.rpm
	[[ "$output" != *libc.so* ]]
	mkdir "$work/root"
	rpm2cpio "$work"/rpm/RPMS/*/*.rpm |
	    (cd "$work/root" && cpio --quiet -id)
	installed_runs
}

# The programs of the package in $work/root run, and their files are there.
installed_runs()
{
	run -0 "$work/root/usr/bin/nspawn-enter" --version
	[ "$output" = "nspawn-enter $version" ]
	run -0 "$work/root/usr/sbin/nspawn-stop" --version
	[ "$output" = "nspawn-stop $version" ]
	cd "$work/root/usr/share" || return
	ls man/man1/nspawn-enter.1* man/man8/nspawn-stop.8* \
	    bash-completion/completions/nspawn-{enter,stop} \
	    zsh/site-functions/_nspawn-tools \
	    fish/vendor_completions.d/nspawn-{enter,stop}.fish
}
