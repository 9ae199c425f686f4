# SPDX-License-Identifier: GPL-3.0-only
#
# make            both programs, here
# make static     the same, static, in build/static, for any host
# make sanitized  the same with address and undefined-behaviour sanitizers
# make check      all tests (root; ./t/setup installs what they need)
# make analyze    gcc -fanalyzer, clang-tidy, cppcheck, shellcheck
# make demo       makes a machine, enters it, stops it

VERSION = 0.1.0

CFLAGS = -O2 -g
LDFLAGS =

# What the sources need, whatever CFLAGS the caller gives.
NEEDED = -std=c11 -D_GNU_SOURCE -DVERSION='"$(VERSION)"' \
	-ffile-prefix-map=$(CURDIR)=.
WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wformat=2 \
	-Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wundef \
	-Wvla -Wcast-qual -Wpointer-arith
COMPILE = $(CC) $(NEEDED) $(WARNINGS) $(CFLAGS) $(LDFLAGS)

STATIC_CC = $(if $(shell command -v musl-gcc),musl-gcc,$(CC))
STATIC_CFLAGS = -Os -fPIE
STATIC_LDFLAGS = -static-pie -s

# The sanitized programs bring their own way to the libc of where they were
# built, so that they run in a test host that has an elder one.
SANITIZE = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer

PROGRAMS = nspawn-enter nspawn-stop
SOURCES = $(PROGRAMS:=.c) common.c
SCRIPTS = t/setup t/host t/demo t/*.bash .ci/run

all: $(PROGRAMS)

$(PROGRAMS): %: %.c common.c common.h Makefile
	$(COMPILE) -o $@ $< common.c

static: build/static/nspawn-enter build/static/nspawn-stop
sanitized: build/sanitized/nspawn-enter build/sanitized/nspawn-stop

build/static/%: %.c common.c common.h Makefile
	@mkdir -p $(@D)
	$(MAKE) --no-print-directory compile CC='$(STATIC_CC)' \
	    CFLAGS='$(STATIC_CFLAGS)' LDFLAGS='$(STATIC_LDFLAGS)' \
	    OUT=$@ MAIN=$<

build/sanitized/%: %.c common.c common.h Makefile
	@mkdir -p $(@D)
	$(MAKE) --no-print-directory compile CFLAGS='$(SANITIZE)' \
	    OUT=$@ MAIN=$<

compile:
	$(COMPILE) -o $(OUT) $(MAIN) common.c

clean:
	rm -rf build $(PROGRAMS)

.PHONY: all static sanitized compile check analyze demo clean
