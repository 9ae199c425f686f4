#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# What make puts where: programs, installed files, tarballs.  It runs in copies
# of the sources, so that it does not touch the caller's.

load ../common

# Makes a copy of the sources, without what has been built.
copy()
{
	mkdir -p "$1"
	(cd "$TOP" && cp -a Makefile LICENSE.txt README ./*.c ./*.h man \
	    completions t .ci .gitignore "$1")
}

# The same copy, in git; the time of its commit is always the same.
copy_under_git()
{
	copy "$1"
	git -C "$1" init -q
	git -C "$1" add -A
	GIT_COMMITTER_DATE=@1700000000 git -C "$1" -c user.name=x \
	    -c user.email=x@x commit -q --no-gpg-sign -m x
}

make()
{
	command make --silent --no-print-directory "$@" 3>&-
}

# True if a program needs no other file to run, and runs at any address.
static_pie()
{
	local headers

	headers=$(readelf --wide --file-header --program-headers "$1")
	[[ "$headers" == *DYN* && "$headers" != *INTERP* ]]
}

files()
{
	(cd "$1" && find . ! -type d | LC_ALL=C sort)
}

setup()
{
	unset MAKEFLAGS MFLAGS CFLAGS CPPFLAGS LDFLAGS	# of a make around us
	copy=$BATS_TEST_TMPDIR/copy
	root=$BATS_TEST_TMPDIR/root
}

@test "flags of the caller do not replace those that the sources need" {
	copy "$copy"
	for flags in CFLAGS= CFLAGS=-O0 'CFLAGS=-std=gnu99 -g' LDFLAGS=-s; do
		echo "case: $flags"
		run -0 make -B -C "$copy" "$flags"
		[ "$output" = '' ]
		run -0 "$copy/nspawn-stop" --version
		run -0 make -B -C "$copy" static "$flags"
		[ "$output" = '' ]
		static_pie "$copy/build/static/nspawn-stop"
	done
	# Packagers set variables like these.
	run -0 env CFLAGS=-DGIVEN CPPFLAGS=-DTOO LDFLAGS=-Wl,-z,now \
	    make --no-print-directory -B -n -C "$copy"
	[[ "$output" == *-DTOO*-DGIVEN*-Wl,-z,now*-std=c11* ]]
}

@test "programs are static, unless the libc is linked on purpose" {
	copy "$copy"
	make -C "$copy"
	make -C "$copy" static
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		static_pie "$copy/$program"
		static_pie "$copy/build/static/$program"
	done
	make -B -C "$copy" LINK=
	run ! static_pie "$copy/nspawn-enter"
}

@test "a static program on x86-64 with musl is below 100 kB" {
	[ "$(uname -m)" = x86_64 ] || skip 'this is no x86-64'
	command -v musl-gcc || cannot 'there is no musl-gcc'
	copy "$copy"
	make -C "$copy" static
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		[ "$(stat -c %s "$copy/build/static/$program")" -lt 100000 ]
	done
}

@test "static programs are the same from two folders" {
	for folder in "$copy" "$copy-of-another-name"; do
		echo "case: $folder"
		copy "$folder"
		make -C "$folder" static
	done
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		cmp "$copy/build/static/$program" \
		    "$copy-of-another-name/build/static/$program"
	done
}

@test "install puts each file below DESTDIR, and uninstall takes it away" {
	copy "$copy"
	umask 077
	make -C "$copy" install DESTDIR="$root"
	diff - <(files "$root") <<-'END'
	./etc/fish/completions/nspawn-enter.fish
	./etc/fish/completions/nspawn-stop.fish
	./usr/local/bin/nspawn-enter
	./usr/local/sbin/nspawn-stop
	./usr/local/share/bash-completion/completions/nspawn-enter
	./usr/local/share/bash-completion/completions/nspawn-stop
	./usr/local/share/man/man1/nspawn-enter.1
	./usr/local/share/man/man8/nspawn-stop.8
	./usr/local/share/zsh/site-functions/_nspawn-tools
	END
	run -0 "$root/usr/local/sbin/nspawn-stop" --version
	[ "$(stat -c %a "$root/usr/local/bin/nspawn-enter")" = 755 ]
	[ "$(stat -c %a "$root/usr/local/share/man/man8/"*)" = 644 ]
	touch "$root/usr/local/bin/other"
	make -C "$copy" uninstall DESTDIR="$root"
	[ "$(files "$root")" = ./usr/local/bin/other ]
	make -C "$copy" uninstall DESTDIR="$root"
}

@test "each kind of file can be installed into a folder of its own" {
	copy "$copy"
	folders=(BINDIR=/b SBINDIR=/s MANDIR=/m BASHCOMPDIR=/bash
	    ZSHCOMPDIR=/zsh FISHCOMPDIR=/fish)
	make -C "$copy" install DESTDIR="$root" PREFIX=/nowhere "${folders[@]}"
	diff - <(files "$root") <<-'END'
	./b/nspawn-enter
	./bash/nspawn-enter
	./bash/nspawn-stop
	./fish/nspawn-enter.fish
	./fish/nspawn-stop.fish
	./m/man1/nspawn-enter.1
	./m/man8/nspawn-stop.8
	./s/nspawn-stop
	./zsh/_nspawn-tools
	END
	make -C "$copy" uninstall DESTDIR="$root" "${folders[@]}"
	[ "$(files "$root")" = '' ]
}

@test "the static programs can be installed instead" {
	copy "$copy"
	make -C "$copy" install PREFIX="$root" FROM=build/static
	static_pie "$root/bin/nspawn-enter"
	static_pie "$root/sbin/nspawn-stop"
	[ ! -e "$copy/nspawn-stop" ]
}

# Runs a command where what "make install" has put below $root is in /usr/local
# and /etc; it has no environment that would tell a shell to look elsewhere.
installed()
{
	# shellcheck disable=SC2016 # variables of the inner shell
	env -i HOME="$BATS_TEST_TMPDIR" PATH="$PATH" TERM=dumb \
	    unshare --map-root-user --mount sh -c '
	    root=$1; shift
	    for folder in usr/local etc/fish; do
		[ ! -e "$root/$folder" ] ||
		    mount --bind "$root/$folder" "/$folder" || exit
	    done
	    exec "$@"' sh "$root" "$@" 3>&-
}

@test "the completions work in the shells once they are installed" {
	installed true || cannot 'no user namespaces with mounts'
	copy "$copy"
	make -C "$copy" install DESTDIR="$root"
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		# shellcheck disable=SC2016 # variables of the shells
		run -0 installed bash -c '
		    . /usr/share/bash-completion/bash_completion
		    _comp_load "$1" 2>/dev/null || _completion_loader "$1"
		    complete -p "$1"' bash "$program"
		[[ "$output" == *_nspawn_tools* ]]
		run -0 installed zsh -f -c 'autoload -Uz compinit
		    compinit -D -u; [[ $_comps[$1] == _nspawn-tools ]]' zsh \
		    "$program"
		run -0 installed fish -c 'complete -C "$argv[1] --vers"' \
		    "$program"
		[[ "$output" == --version* ]]
	done
}

@test "the sources' tarball is the same, made twice and in two folders" {
	copy_under_git "$copy"
	copy_under_git "$copy-of-another-name"
	chmod -R go-rwx "$copy-of-another-name"
	touch "$copy-of-another-name/common.c" "$copy/not-tracked"
	for folder in "$copy" "$copy-of-another-name"; do
		echo "case: $folder"
		make -C "$folder" dist
		sums+=("$(cd "$folder/build/release" && sha256sum ./*)")
	done
	make -C "$copy" dist
	sums+=("$(cd "$copy/build/release" && sha256sum ./*)")
	[[ "${sums[0]}" == *" ./nspawn-tools-"*.tar.gz ]]
	[ "${sums[0]}" = "${sums[1]}" ]
	[ "${sums[0]}" = "${sums[2]}" ]
}

@test "the sources' tarball has all tracked files, and builds" {
	copy_under_git "$copy"
	touch "$copy/not-tracked"
	make -C "$copy" dist
	mkdir "$root"
	tar -xzf "$copy"/build/release/*.tar.gz -C "$root"
	run -0 ls "$root"
	[ "$output" = "nspawn-tools-$(sed -n 's/^VERSION = //p' \
	    "$copy/Makefile")" ]
	diff <(git -C "$copy" ls-files | sed 's,^,./,' | LC_ALL=C sort) \
	    <(files "$root/$output")
	make -C "$root/$output"
	run -0 "$root/$output/nspawn-enter" --version
}

@test "a release has the programs of each architecture, and their sums" {
	copy_under_git "$copy"
	make -C "$copy" release
	first=$(cat "$copy/build/release/SHA256SUMS")
	cd "$copy/build/release"
	run -0 sha256sum --quiet --check SHA256SUMS
	version=$(sed -n 's/^VERSION = //p' "$copy/Makefile")
	diff - <(ls) <<-END
	SHA256SUMS
	nspawn-tools-$version-aarch64.tar.gz
	nspawn-tools-$version-armv7.tar.gz
	nspawn-tools-$version-riscv64.tar.gz
	nspawn-tools-$version-x86_64.tar.gz
	nspawn-tools-$version.tar.gz
	END
	for tarball in nspawn-tools-"$version"-*; do
		echo "case: $tarball"
		name=${tarball%.tar.gz}
		tar -xzf "$tarball"
		diff - <(files "$name") <<-'END'
		./LICENSE.txt
		./README
		./completions/_nspawn-tools
		./completions/nspawn-tools.bash
		./completions/nspawn-tools.fish
		./man/nspawn-enter.1
		./man/nspawn-stop.8
		./nspawn-enter
		./nspawn-stop
		END
		for program in nspawn-enter nspawn-stop; do
			echo "case: $tarball $program"
			machine_is "${name##*-}" "$name/$program"
		done
	done
	make -C "$copy" clean
	make -C "$copy" release
	[ "$first" = "$(cat "$copy/build/release/SHA256SUMS")" ]
}

# machine_is ARCHITECTURE PROGRAM
machine_is()
{
	declare -A machines=([x86_64]=X86-64 [aarch64]=AArch64 [armv7]=ARM
	    [riscv64]=RISC-V)

	run -0 readelf --wide --file-header --program-headers "$2"
	[[ "$output" == *"Machine: "*"${machines[$1]}"* ]]
	[[ "$output" != *INTERP* ]]
	# glibc does not have the start-up code for this on each architecture.
	musl=("${NSPAWN_TOOLS_CACHE:-/var/cache/nspawn-tools}/musl/${1/v7/}"-*)
	[ ! -e "${musl[0]}" ] || static_pie "$2"
}
