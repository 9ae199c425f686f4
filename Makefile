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
COMPILER = $(CC)
COMPILE = $(COMPILER) $(NEEDED) $(WARNINGS) $(CFLAGS) $(LDFLAGS)

# Static: with musl where it is there.  Its compiler wrapper does not know
# -static-pie, so the start-up code that relocates itself is named to it.
MUSL = $(shell command -v musl-gcc)
MUSL_LIB = /usr/lib/$(patsubst %-gnu,%-musl,$(shell $(CC) -dumpmachine))
MUSL_LDFLAGS = -static -nostartfiles $(MUSL_LIB)/rcrt1.o $(MUSL_LIB)/crti.o \
	$(MUSL_LIB)/crtn.o -Wl,-pie,--no-dynamic-linker,-z,text
STATIC_CC = $(if $(MUSL),musl-gcc,$(CC))
STATIC_CFLAGS = -Os -fPIE
STATIC_LDFLAGS = -s -Wl,-z,relro,-z,now $(if $(MUSL),$(MUSL_LDFLAGS),-static-pie)

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

static: $(PROGRAMS:%=build/static/%)
sanitized: $(PROGRAMS:%=build/sanitized/%)

build/static/%: COMPILER = $(STATIC_CC)
build/static/%: CFLAGS = $(STATIC_CFLAGS)
build/static/%: LDFLAGS = $(STATIC_LDFLAGS)
build/sanitized/%: CFLAGS = $(SANITIZE)

define compile_into
@mkdir -p $(@D)
$(COMPILE) -o $@ $< common.c
endef

build/static/%: %.c common.c common.h Makefile
	$(compile_into)

build/sanitized/%: %.c common.c common.h Makefile
	$(compile_into)

# The tests' way to the functions of common.h.
build/static/library build/sanitized/library: build/%/library: t/library.c \
    common.c common.h Makefile
	$(compile_into)

clean:
	rm -rf build $(PROGRAMS)


.PHONY: all static sanitized check analyze demo clean
