#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# What make puts where: programs, installed files, tarballs.  It runs in copies
# of the sources, so that it does not touch the caller's.

load ../common

# Makes a copy of the sources in git; the time of its commit is always the same.
copy_under_git()
{
	need git
	sources_copy "$1"
	git -C "$1" init -q
	git -C "$1" add -A
	GIT_COMMITTER_DATE=@1700000000 git -C "$1" -c user.name=x \
	    -c user.email=x@x commit -q --no-gpg-sign -m x
}

make()
{
	command make --silent --no-print-directory "$@" 3>&-
}

# build_once NAME TARGET...: sets built to a folder of that name, with the
# sources and what make has built: once for all tests, since it takes long.
build_once()
{
	built=$BATS_FILE_TMPDIR/$1
	[ -e "$built" ] || {
		sources_copy "$built.new"
		make -C "$built.new" "${@:2}"
		mv "$built.new" "$built"
	}
}

# Copies the sources, and the programs that are built with the usual flags.
built_copy()
{
	local built

	build_once usual all static
	cp -a "$built" "$1"
}

# True if a program needs no other file to run, and runs at any address.
static_pie()
{
	local headers

	headers=$(readelf --wide --file-header --program-headers "$1")
	[[ "$headers" == *DYN* && "$headers" != *INTERP* ]]
}

# static_for ARCHITECTURE PROGRAM: checks that it is for that one, and static.
static_for()
{
	declare -A machines=([x86_64]=X86-64 [aarch64]=AArch64 [armv7]=ARM
	    [arm]=ARM [riscv64]=RISC-V)

	run -0 readelf --wide --file-header --program-headers "$2"
	[[ "$output" == *"Machine: "*"${machines[$1]}"* ]]
	[[ "$output" != *INTERP* ]]
}

files()
{
	(cd "$1" && find . ! -type d | LC_ALL=C sort)
}

setup()
{
	# Those of a make around us.
	unset MAKEFLAGS MFLAGS CFLAGS CPPFLAGS LDFLAGS SOURCE_DATE_EPOCH
	need "${CC:-cc}" readelf
	[[ $("${CC:-cc}" -print-file-name=libc.a) == /* ]] ||
	    cannot 'there is no static libc'
	copy=$BATS_TEST_TMPDIR/copy
	root=$BATS_TEST_TMPDIR/root
}

@test "flags of the caller do not replace those that the sources need" {
	sources_copy "$copy"
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
	built_copy "$copy"
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		static_pie "$copy/$program"
		static_pie "$copy/build/static/$program"
	done
	make -B -C "$copy" nspawn-enter LINK= CFLAGS=-O0
	run ! static_pie "$copy/nspawn-enter"
}

@test "a compiler for another architecture links static programs, too" {
	sources_copy "$copy"
	for triple in aarch64-linux-gnu arm-linux-gnueabihf riscv64-linux-gnu; do
		echo "case: $triple"
		need "$triple-gcc"
		run -0 make -B -C "$copy" CC="$triple-gcc" CFLAGS=-O0
		[ "$output" = '' ]
		static_for "${triple%%-*}" "$copy/nspawn-stop"
	done
}

@test "musl-gcc as the compiler links static programs, too" {
	need musl-gcc
	sources_copy "$copy"
	run -0 make -C "$copy" CC=musl-gcc CFLAGS=-O0
	[ "$output" = '' ]
	static_pie "$copy/nspawn-enter"
	run -0 "$copy/nspawn-enter" --version
}

@test "without a static libc nothing is linked, and LINK= is named" {
	sources_copy "$copy"
	cat >"$BATS_TEST_TMPDIR/cc" <<-END
	#!/bin/sh
	[ "\$*" != -print-file-name=libc.a ] || { echo libc.a; exit; }
	exec ${CC:-cc} "\$@"
	END
	chmod +x "$BATS_TEST_TMPDIR/cc"
	run -2 make -C "$copy" CC="$BATS_TEST_TMPDIR/cc" CFLAGS=-O0
	[ "${#lines[@]}" = 1 ]
	[[ "$output" == *'has no static libc'*'LINK='* ]]
	[ ! -e "$copy/nspawn-enter" ]
	run -0 make -C "$copy" CC="$BATS_TEST_TMPDIR/cc" CFLAGS=-O0 LINK=
	[ "$output" = '' ]
	run -0 "$copy/nspawn-enter" --version
	# What is built need not be linked again.
	run -0 make -C "$copy" install CC="$BATS_TEST_TMPDIR/cc" DESTDIR="$root"
	[ "$output" = '' ]
}

# canaries PROGRAM: how many functions look at the canary of the stack
canaries()
{
	objdump -d --no-show-raw-insn "$1" |
	    grep -cE '(sub|cmp|xor) +%fs:0x28,'
}

# Sets built to a folder with static programs that have no stack protector.
build_unprotected()
{
	CFLAGS=-fno-stack-protector build_once unprotected static
}

@test "on x86-64 static programs protect their stacks" {
	[ "$(uname -m)" = x86_64 ] || skip 'this is no x86-64'
	need objdump
	built_copy "$copy"
	build_unprotected
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		# A libc protects some functions of its own.
		(($(canaries "$copy/build/static/$program") >
		    $(canaries "$built/build/static/$program") + 80))
	done
}

@test "static programs on x86-64 with musl are below 106 kB" {
	[ "$(uname -m)" = x86_64 ] || skip 'this is no x86-64'
	need musl-gcc
	built_copy "$copy"
	build_unprotected
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		(($(stat -c %s "$copy/build/static/$program") < 106000))
		# The rest is the stack protector: 100 KiB without it.
		(($(stat -c %s "$built/build/static/$program") < 102400))
	done
}

@test "on x86-64 the flags of the caller stay, except for the size" {
	[ "$(uname -m)" = x86_64 ] || skip 'this is no x86-64'
	need objdump
	built_copy "$copy"
	program=build/static/nspawn-stop
	cp "$copy/$program" "$BATS_TEST_TMPDIR/usual"
	CFLAGS='-O3 -fstack-protector-all' make -B -C "$copy" "$program"
	(($(canaries "$copy/$program") >
	    $(canaries "$BATS_TEST_TMPDIR/usual") + 80))
	# With -O3 it would be much bigger.
	(($(stat -c %s "$copy/$program") <
	    $(stat -c %s "$BATS_TEST_TMPDIR/usual") + 10000))
}

@test "static programs are the same from two folders" {
	built_copy "$copy"
	sources_copy "$copy of another name"
	make -C "$copy of another name" static
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		cmp "$copy/build/static/$program" \
		    "$copy of another name/build/static/$program"
	done
}

@test "install puts each file below DESTDIR, and uninstall takes it away" {
	built_copy "$copy"
	chmod 700 "$copy"/nspawn-{enter,stop}
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

@test "blanks in the names of folders do no harm" {
	copy="$BATS_TEST_TMPDIR/x y/nspawn tools"
	root="$BATS_TEST_TMPDIR/a b"
	sources_copy "$copy"
	run -0 make -C "$copy" all static dist CFLAGS='-O0 -g'
	[ "$output" = '' ]
	static_pie "$copy/build/static/nspawn-stop"
	tar -tzf "$copy"/build/release/*.tar.gz >"$BATS_TEST_TMPDIR/names"
	# The debugging information does not have the folder, either.
	run ! grep -qF 'nspawn tools' "$copy/nspawn-stop"
	run -0 make -C "$copy" check-unit TESTS=t/unit/describe.bats \
	    CFLAGS='-O0 -g'
	[[ "$output" == *$'\nok 1 '* ]]
	make -C "$copy" install DESTDIR="$root" PREFIX='/lo cal'
	[ "$(files "$root" | wc -l)" = 9 ]
	[ -x "$root/lo cal/sbin/nspawn-stop" ]
	make -C "$copy" uninstall DESTDIR="$root" PREFIX='/lo cal'
	[ "$(files "$root")" = '' ]
}

@test "the program that installs is the caller's choice" {
	sources_copy "$copy"
	make -C "$copy" install DESTDIR="$root" INSTALL='install -p' \
	    CFLAGS=-O0
	[ "$root/usr/local/share/man/man8/nspawn-stop.8" -ot "$copy/nspawn-stop" ]
	cmp <(stat -c %y "$root/usr/local/share/man/man8/nspawn-stop.8") \
	    <(stat -c %y "$copy/man/nspawn-stop.8")
}

@test "each kind of file can be installed into a folder of its own" {
	built_copy "$copy"
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
	sources_copy "$copy"
	make -C "$copy" install PREFIX="$root" FROM=build/static CFLAGS=-O0
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
	need zsh fish
	installed true || cannot 'no user namespaces with mounts'
	built_copy "$copy"
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
	make -C "$root/$output" CFLAGS=-O0
	run -0 "$root/$output/nspawn-enter" --version
}

@test "an unpacked tarball gives the same tarball without git" {
	copy_under_git "$copy"
	make -C "$copy" dist
	mkdir "$root"
	tar -xzf "$copy"/build/release/*.tar.gz -C "$root"
	cd "$root"/*
	mkdir debian
	touch debian/rules not-of-the-sources
	# What has been built is not packed.
	make LINK= CFLAGS=-O0
	for n in 1 2; do
		echo "case: $n"
		make dist
		cmp build/release/*.tar.gz "$copy"/build/release/*.tar.gz
	done
	for folder in "$copy" .; do
		echo "case: $folder"
		make -C "$folder" dist SOURCE_DATE_EPOCH=1600000000
		run -0 tar -tvzf "$folder"/build/release/*.tar.gz --full-time \
		    --utc
		[ "${#lines[@]}" -gt 100 ]
		run ! grep -v '2020-09-13 12:26:40' <<<"$output"
	done
}

@test "a release has the programs of each architecture, and their sums" {
	need {aarch64-linux-gnu,arm-linux-gnueabihf,riscv64-linux-gnu}-gcc
	musls=${NSPAWN_TOOLS_CACHE:-/var/cache/nspawn-tools}/musl
	copy_under_git "$copy"
	# Compilers need less time for -O0; other tests use the usual flags.
	make -C "$copy" release CFLAGS=-O0
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
			static_for "${name##*-}" "$name/$program"
			# Not each libc has the start-up code for this.
			architecture=${name##*-}
			musl=("$musls/${architecture/v7/}"-*)
			[ ! -e "${musl[0]}" ] || static_pie "$name/$program"
		done
	done
	make -C "$copy" clean
	make -C "$copy" release CFLAGS=-O0
	[ "$first" = "$(cat "$copy/build/release/SHA256SUMS")" ]
}
