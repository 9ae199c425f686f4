# SPDX-License-Identifier: GPL-3.0-only
#
# make            both programs, here
# make static     the same, static, in build/static, for any host
# make sanitized  the same with address and undefined-behaviour sanitizers
# make check      all tests (root; ./t/setup installs what they need);
#                 check-unit: those without root; check-sanitized
# make analyze    gcc -fanalyzer, clang-tidy, cppcheck, shellcheck
# make demo       makes a machine, enters it, stops it
# make bench      measures the programs beside others (root; 2 minutes)

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

# With the sanitizers' own libraries inside, so that a test host needs none.
SANITIZE = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
SANITIZE_LDFLAGS = -static-libasan -static-libubsan

PROGRAMS = nspawn-enter nspawn-stop
SOURCES = $(PROGRAMS:=.c) common.c
SCRIPTS = t/setup t/host t/demo t/bench t/candidates .ci/run

all: $(PROGRAMS)

$(PROGRAMS): %: %.c common.c common.h Makefile
	$(COMPILE) -o $@ $< common.c

static: $(PROGRAMS:%=build/static/%)
sanitized: $(PROGRAMS:%=build/sanitized/%)

build/static/%: COMPILER = $(STATIC_CC)
build/static/%: CFLAGS = $(STATIC_CFLAGS)
build/static/%: LDFLAGS = $(STATIC_LDFLAGS)
build/sanitized/%: CFLAGS = $(SANITIZE)
build/sanitized/%: LDFLAGS = $(SANITIZE_LDFLAGS)
build/sanitized/nspawn-enter: MORE = t/no-leaks.c

define compile_into
@mkdir -p $(@D)
$(COMPILE) -o $@ $< common.c $(MORE)
endef

build/static/%: %.c common.c common.h Makefile
	$(compile_into)

build/sanitized/%: %.c common.c common.h Makefile
	$(compile_into)

# The tests' way to the functions of common.h.
build/static/library build/sanitized/library: build/%/library: t/library.c \
    common.c common.h Makefile
	$(compile_into)

# What bench measures with.
build/static/bench build/sanitized/bench: build/%/bench: t/bench.c common.c \
    common.h Makefile
	$(compile_into)

check: static build/static/library build/static/bench
	BUILD=$(CURDIR)/build/static bats t

# Those that need neither root nor a host.
check-unit: static build/static/library
	BUILD=$(CURDIR)/build/static bats t/text.bats t/process.bats \
	    t/machine.bats t/options.bats t/manual.bats t/completions.bats

check-sanitized: sanitized build/sanitized/library build/sanitized/bench
	BUILD=$(CURDIR)/build/sanitized bats t

demo: all
	./t/demo

bench: static build/static/bench
	./t/bench

TIDY_SOURCES = $(SOURCES) t/library.c t/bench.c

# Variables that one file of the tests sets and another reads, what bats runs
# in subshells, and scripts for a shell in a machine.
ACROSS_FILES = SC2034,SC2154,SC2030,SC2031,SC2016

analyze:
	@mkdir -p build
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
	shellcheck $(SCRIPTS) completions/nspawn-tools.bash
	shellcheck -e $(ACROSS_FILES) t/*.bash t/*.bats

clean:
	rm -rf build $(PROGRAMS)

.PHONY: all static sanitized check check-unit check-sanitized analyze demo \
	bench clean
