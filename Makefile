# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# make            builds both programs in this folder
# make static     builds small static programs in build/static, for any host
# make cross      builds for other architectures, in build/ARCHITECTURE
# make sanitized  builds with address and undefined-behaviour sanitizers
# make install    installs programs, manuals and completions below DESTDIR and
#                 PREFIX; with FROM=build/static, the static programs
# make uninstall  removes what "make install" installed
# make dist       packs the sources in build/release
# make release    also packs the programs of each architecture, and makes
#                 SHA256SUMS
# make check      runs all tests (root; ./t/setup installs what they need)
# make check-unit       runs the tests that need no root, with the programs that
#                       "make" builds; TESTS selects some files
# make check-cross      runs tests of each architecture with qemu-user
# make check-sanitized  runs the tests with the sanitized programs
# make check-matrix     runs the tests on a host of each release of systemd
# make check-kernels    runs tests on virtual machines with other kernels
# make check-fresh      runs the demo on Debian systems that were just installed
# make analyze    runs gcc -fanalyzer, clang-tidy, cppcheck and shellcheck, and
#                 checks that no line of C is wider than 80 columns
# make fuzz       tests the parsers of foreign input with random input
# make demo       makes a machine, enters it, stops it
# make bench      compares the programs with others (root; 10 minutes)

VERSION = 0.1.0

# What the caller's environment has, for the programs of "make static".
CALLER_CFLAGS := $(if $(filter environment%,$(origin CFLAGS)),$(CFLAGS))
CFLAGS ?= -O2 -g $(PROTECTED)
PROTECTED = -fstack-protector-strong

INSTALL = install
DESTDIR =
PREFIX = /usr/local
BINDIR = $(PREFIX)/bin
SBINDIR = $(PREFIX)/sbin
MANDIR = $(PREFIX)/share/man
BASHCOMPDIR = $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR = $(PREFIX)/share/zsh/site-functions
# Without XDG_DATA_DIRS fish does not look below /usr/local, but always in /etc.
FISHCOMPDIR = $(if $(filter /usr/local /usr/local/,$(PREFIX)),$\
	/etc/fish/completions,$(PREFIX)/share/fish/vendor_completions.d)
FROM = .

# The sources need these, with any CFLAGS of the caller.  The library does not:
# whoever copies it compiles it as he likes.
NEEDED = -std=c11 -D_GNU_SOURCE -DVERSION='"$(VERSION)"' \
	-ffile-prefix-map='$(CURDIR)=.'
WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wformat=2 \
	-Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wundef \
	-Wvla -Wcast-qual -Wpointer-arith
COMPILER = $(CC)
COMPILE = $(COMPILER) $(WARNINGS) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) \
	$(NEEDED) $(KIND)

# static_by COMPILER: flags for a static program.  glibc has the start-up code
# of static-pie for most architectures.
static_by = $(if $(filter musl-gcc,$(notdir $(firstword $1))),$(MUSL_LDFLAGS),\
	$(if $(call has_file,$1,libc.a),,$(error $1 has no static libc (libc.a):\
	install one, or link dynamically with "make LINK="))\
	$(if $(call has_file,$1,rcrt1.o),-static-pie,-static))
has_file = $(findstring /,$(shell $1 -print-file-name=$2))

# Static programs use musl if it is installed.  Its compiler wrapper does not
# know -static-pie, so the start-up code that relocates itself is given here.
# That code does not protect a RELRO segment, so the file does not have one.
# With the linker's default page size, data would begin on a new page, and the
# file would be bigger.
MUSL = $(shell command -v musl-gcc)
MUSL_LIB = /usr/lib/$(patsubst %-gnu,%-musl,$(shell musl-gcc -dumpmachine))
MUSL_LDFLAGS = -fPIE -static -nostartfiles $(MUSL_LIB)/rcrt1.o \
	$(MUSL_LIB)/crti.o $(MUSL_LIB)/crtn.o \
	-Wl,-pie,--no-dynamic-linker,-z,text,-z,norelro
STATIC_CC = $(if $(MUSL),musl-gcc,$(CC))
SMALL = -flto=auto -ffunction-sections -fdata-sections \
	-fno-move-loop-invariants -fno-tree-tail-merge -fno-caller-saves \
	-fno-asynchronous-unwind-tables -Wl,--hash-style=sysv \
	-fPIE -s -Wl,--gc-sections,--build-id=none,-z,noseparate-code \
	-Wl,-z,relro,-z,now,-z,common-page-size=64
# Not all compilers know these, which make smaller programs than -Os.
SMALLEST = -Oz -fno-ipa-modref
SIZE = $(shell $(STATIC_CC) $(SMALLEST) -E -x c /dev/null >/dev/null 2>&1 && \
	echo $(SMALLEST) || echo -Os)
STATIC = $(SMALL) $(call static_by,$(STATIC_CC))

# Programs for other architectures use Debian's cross compilers.  They use musl
# if t/setup has fetched it for the architecture, else the compiler's own libc.
ARCHITECTURES = x86_64 aarch64 armv7 riscv64
TRIPLE_x86_64 = x86_64-linux-gnu
TRIPLE_aarch64 = aarch64-linux-gnu
TRIPLE_armv7 = arm-linux-gnueabihf
TRIPLE_riscv64 = riscv64-linux-gnu
NSPAWN_TOOLS_CACHE ?= /var/cache/nspawn-tools
CROSS_CC = $(TRIPLE)-gcc
CROSS_MUSL = $(wildcard $(NSPAWN_TOOLS_CACHE)/musl/$(subst gnu,musl,$(TRIPLE)))
CROSS_MUSL_CFLAGS = -nostdinc -isystem $(CROSS_MUSL)/include \
	-isystem $(shell $(CROSS_CC) -print-file-name=include) \
	-idirafter /usr/$(TRIPLE)/include
CROSS_MUSL_LDFLAGS = -nostdlib -Wl,-pie,--no-dynamic-linker,-z,text,-z,norelro \
	$(addprefix $(CROSS_MUSL)/,rcrt1.o crti.o crtn.o)
CROSS_MUSL_LIBS = -Wl,--start-group $(CROSS_MUSL)/libc.a -lgcc \
	-Wl,--end-group
CROSS = $(SMALL) $(if $(CROSS_MUSL),-static $(CROSS_MUSL_CFLAGS) \
	$(CROSS_MUSL_LDFLAGS),$(call static_by,$(CROSS_CC)))
CROSS_LIBS = $(if $(CROSS_MUSL),$(CROSS_MUSL_LIBS))

# Links the sanitizers' libraries statically, so that a test host needs none.
SANITIZED = -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -static-libasan -static-libubsan

PROGRAMS = nspawn-enter nspawn-stop
SOURCES = $(PROGRAMS:=.c) common.c
TEST_PROGRAMS = library bench describe run attacker injector leader hostile \
	recorder catcher watcher
SCRIPTS = t/setup t/suite t/host t/machine t/vm t/kernels t/kernel/shutdown \
	t/sit t/demo t/fresh t/bench t/candidates t/picture .ci/run

all: $(PROGRAMS)

# The programs are static by default: if a machine sees a process, it can also
# reach the files of the libraries of that process.  LINK= links dynamically.
# That is never done unasked: without a static libc, nothing is linked.
LINK = $(call static_by,$(CC))
$(PROGRAMS) build/plain/%: KIND = $(LINK)

$(PROGRAMS): %: %.c common.c common.h Makefile
	$(COMPILE) -o $@ $< common.c

static: $(PROGRAMS:%=build/static/%)
sanitized: $(PROGRAMS:%=build/sanitized/%)
cross: $(foreach a,$(ARCHITECTURES),$(PROGRAMS:%=build/$a/%))

# The flags in the caller's environment stay, since they may protect more; only
# the level of optimization is replaced.
build/static/%: COMPILER = $(STATIC_CC)
build/static/%: CFLAGS = $(PROTECTED) $(CALLER_CFLAGS) $(SIZE)
build/static/%: KIND = $(STATIC)
build/sanitized/%: CFLAGS = -O1 -g
build/sanitized/%: KIND = $(SANITIZED)

# Rules for each folder in build: the programs, and the programs of the tests.
define rules_of_folder
build/$1/%: %.c common.c common.h Makefile
	@mkdir -p $$(@D)
	$$(COMPILE) -o $$@ $$< common.c $$(LIBS)

$(call rule_of_tests,$1)
endef

define rule_of_tests
build/$1/%: t/%.c common.c common.h Makefile
	@mkdir -p $$(@D)
	$$(COMPILE) -o $$@ $$< common.c $$(LIBS)
endef

define rules_of_architecture
build/$1/%: TRIPLE = $$(TRIPLE_$1)
build/$1/%: COMPILER = $$(CROSS_CC)
build/$1/%: CFLAGS = -Os $$(PROTECTED)
build/$1/%: KIND = $$(CROSS)
build/$1/%: LIBS = $$(CROSS_LIBS)
endef

$(foreach f,static sanitized $(ARCHITECTURES),\
	$(eval $(call rules_of_folder,$f)))
$(foreach a,$(ARCHITECTURES),$(eval $(call rules_of_architecture,$a)))

# Links to the programs in this folder, beside test programs built like them.
$(eval $(call rule_of_tests,plain))

$(PROGRAMS:%=build/plain/%): build/plain/%: %
	@mkdir -p $(@D)
	ln -sf ../../$* $@

install: $(PROGRAMS:%=$(FROM)/%)
	$(INSTALL) -D -t '$(DESTDIR)$(BINDIR)' $(FROM)/nspawn-enter
	$(INSTALL) -D -t '$(DESTDIR)$(SBINDIR)' $(FROM)/nspawn-stop
	$(INSTALL) -D -m 644 -t '$(DESTDIR)$(MANDIR)/man1' man/nspawn-enter.1
	$(INSTALL) -D -m 644 -t '$(DESTDIR)$(MANDIR)/man8' man/nspawn-stop.8
	$(INSTALL) -D -m 644 -t '$(DESTDIR)$(ZSHCOMPDIR)' \
	    completions/_nspawn-tools
	for p in $(PROGRAMS); do \
	    $(INSTALL) -D -m 644 completions/nspawn-tools.bash \
	        '$(DESTDIR)$(BASHCOMPDIR)'/$$p && \
	    $(INSTALL) -D -m 644 completions/nspawn-tools.fish \
	        '$(DESTDIR)$(FISHCOMPDIR)'/$$p.fish || exit 1; \
	done

uninstall:
	rm -f '$(DESTDIR)$(BINDIR)/nspawn-enter' \
	    '$(DESTDIR)$(SBINDIR)/nspawn-stop' \
	    '$(DESTDIR)$(MANDIR)/man1/nspawn-enter.1' \
	    '$(DESTDIR)$(MANDIR)/man8/nspawn-stop.8' \
	    '$(DESTDIR)$(ZSHCOMPDIR)/_nspawn-tools'
	for p in $(PROGRAMS); do \
	    rm -f '$(DESTDIR)$(BASHCOMPDIR)'/$$p \
	        '$(DESTDIR)$(FISHCOMPDIR)'/$$p.fish || exit 1; \
	done

# A tarball depends only on its contents, and not on the time, the place and the
# user that make it.  Its files have the time of SOURCE_DATE_EPOCH, else of the
# last commit.  Sources that were unpacked from a tarball are not under git, and
# give the same tarball again.
NAME = nspawn-tools-$(VERSION)
CONTENTS = Makefile LICENSE.txt README $(SOURCES) common.h t man completions \
	.ci .clang-tidy .editorconfig .gitignore
UNDER_GIT = $(wildcard .git)
FILES = $(if $(UNDER_GIT),git ls-files -z,find $(CONTENTS) ! -type d -print0)
NEWEST = $(if $(UNDER_GIT),git log -1 --format=%ct,find $(CONTENTS) ! -type d \
	-printf '%Ts\n' | sort -n | tail -n 1)
TAR = tar --create --sort=name --format=gnu --owner=0 --group=0 \
	--numeric-owner --mode=u+rw,go=u,go-w \
	--mtime=@$(or $(SOURCE_DATE_EPOCH),$(shell $(NEWEST)))

dist:
	@mkdir -p build/release
	$(FILES) >build/unsorted
	LC_ALL=C sort -z build/unsorted >build/files
	$(TAR) --null --transform='flags=rSh;s,^,$(NAME)/,' \
	    --files-from=build/files --file=build/release/$(NAME).tar
	gzip -9nf build/release/$(NAME).tar

release: dist $(ARCHITECTURES:%=build/release/$(NAME)-%.tar.gz)
	cd build/release && sha256sum $(NAME)*.tar.gz >SHA256SUMS

build/release/$(NAME)-%.tar.gz: cross
	@mkdir -p $(@D)
	$(TAR) --transform='s,^,$(NAME)-$*/,' --file=$(@:.gz=) README \
	    LICENSE.txt $(wildcard man/*.[18] completions/*nspawn-tools*) \
	    -C build/$* $(PROGRAMS)
	gzip -9nf $(@:.gz=)

PROGRAM_TESTS = $(patsubst %,t/unit/%.bats,text process machine listed options \
	describe)

check: static $(TEST_PROGRAMS:%=build/static/%)
	BUILD='$(CURDIR)/build/static' ./t/suite

# The tests that need neither root nor a test host.  A package is tested like
# this: as it was built, with the programs of the tests built like it.
TESTS ?= t/unit
UNIT_PROGRAMS = $(PROGRAMS) library describe

check-unit: $(UNIT_PROGRAMS:%=build/plain/%)
	BUILD='$(CURDIR)/build/plain' bats $(TESTS)

check-cross: cross $(ARCHITECTURES:%=build/%/library) \
    $(ARCHITECTURES:%=build/%/describe)
	for a in $(ARCHITECTURES); do \
	    EMULATED=$$a BUILD='$(CURDIR)'/build/$$a bats $(PROGRAM_TESTS) || \
	        exit 1; \
	done

# All system tests, on a host of each release of systemd.
check-matrix: check
	for s in trixie forky; do \
	    SUITE=$$s BUILD='$(CURDIR)/build/static' bats t/system || exit 1; \
	done

# On virtual machines with their own kernels; run `./t/setup --machines` first.
# ROWS selects some of them: "ROWS=bullseye", "ROWS='amd64 unified'".
check-kernels: static cross $(TEST_PROGRAMS:%=build/static/%) \
    $(TEST_PROGRAMS:%=build/aarch64/%)
	./t/kernels $(ROWS)

# README's command for the demo, on a Debian that was just installed; the last
# one does not have D-Bus.
check-fresh:
	./t/fresh bookworm
	./t/fresh trixie
	WITH=systemd-sysv ./t/fresh trixie

# The tests with the tag "static" do not run with sanitized programs.  Some are
# true only for static programs.  The sweeps test static programs in any case.
# Tests with many machines would take long, and run no other code.
STATIC_ONLY = attacker leader hostile recorder catcher watcher

check-sanitized: static sanitized $(TEST_PROGRAMS:%=build/sanitized/%) \
    $(STATIC_ONLY:%=build/static/%)
	BUILD='$(CURDIR)/build/sanitized' ./t/suite static

# Each parser of foreign input gets random input FUZZ_RUNS times, in at most
# FUZZ_TIME s.  Inputs that break a parser are kept in build/fuzz.
FUZZ_TARGETS = $(sort $(notdir $(patsubst %/,%,$(wildcard t/fuzz/*/))))
FUZZ_RUNS = 200000
FUZZ_TIME = 10

build/fuzz/%: t/fuzz/fuzz.c common.c common.h Makefile
	@mkdir -p $(@D)
	clang -O1 -g -fsanitize=fuzzer,address,undefined \
	    -fno-sanitize-recover=all $(NEEDED) $(WARNINGS) \
	    -Wno-missing-prototypes -DTARGET=fuzz_$* -o $@ $< common.c

fuzz: $(FUZZ_TARGETS:%=build/fuzz/%)
	for t in $(FUZZ_TARGETS); do \
	    mkdir -p build/fuzz/found-$$t && \
	    build/fuzz/$$t -runs=$(FUZZ_RUNS) -max_total_time=$(FUZZ_TIME) \
	        -print_final_stats=1 -artifact_prefix=build/fuzz/$$t- \
	        build/fuzz/found-$$t t/fuzz/$$t >build/fuzz/$$t.log 2>&1 || \
	        { tail -n 60 build/fuzz/$$t.log; exit 1; }; \
	    sed -n "s/^stat::number_of_executed_units:/fuzz: $$t, runs:/p" \
	        build/fuzz/$$t.log; \
	done

demo: all
	./t/demo

bench: static build/static/bench
	./t/bench

TIDY_SOURCES = $(SOURCES) $(TEST_PROGRAMS:%=t/%.c)

# These warnings are about variables that one file of the tests sets and another
# reads, code that bats runs in subshells, and scripts for a shell in a machine.
ACROSS_FILES = SC2034,SC2154,SC2030,SC2031,SC2016

analyze:
	@mkdir -p build
	@for file in *.c *.h t/*.c t/fuzz/*.c; do \
	    expand $$file | awk -v file=$$file 'length > 80 { wide = 1; \
	        print file ":" NR ": wider than 80 columns" } \
	        END { exit wide }' || exit 1; \
	done
	for file in $(TIDY_SOURCES); do \
	    gcc $(NEEDED) $(WARNINGS) -Werror -O2 -fanalyzer -c \
	        -o build/analyzed.o $$file && \
	    clang $(NEEDED) $(WARNINGS) -Werror -O2 -c \
	        -o build/analyzed.o $$file || exit 1; \
	done
	clang-tidy --quiet --warnings-as-errors='*' $(TIDY_SOURCES) -- $(NEEDED)
	cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr \
	    --enable=warning,performance,portability -D__linux__ \
	    --suppress=missingIncludeSystem -DVERSION='""' $(TIDY_SOURCES)
	shellcheck -x $(SCRIPTS) completions/nspawn-tools.bash
	shellcheck -e $(ACROSS_FILES) t/*.bash t/*/*.bash t/*/*.bats

clean:
	rm -rf build $(PROGRAMS)

.PHONY: all static sanitized cross install uninstall dist release check \
	check-unit check-cross check-matrix check-kernels check-fresh \
	check-sanitized fuzz analyze demo bench clean
