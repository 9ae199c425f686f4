/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * Gives random input to the functions that parse foreign input, by libFuzzer.
 * TARGET is the name of one of the functions below.  They check that the
 * parsers keep their contracts in common.h for any input.  The sanitizers check
 * that the parsers stay within their memory.
 */
#include "../../common.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX	4096

/* Ends the run if a contract is broken. */
static void
hold(bool kept)
{
	if (!kept)
		abort();
}

static bool
is_printable(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

void
fuzz_status(const char *text, size_t length)
{
	struct process_status s = { .depth = 77 };
	struct stream stream;

	text_stream(text, length, &stream);
	if (process_status_parse(&stream, &s) == -1) {
		hold(s.depth == 77);
		return;
	}
	hold(s.depth >= 1 && s.inner >= 0 && s.ppid >= 0 && s.tracer >= 0);
	hold(memchr(s.name, '\0', sizeof(s.name)) != NULL);
	hold(strchr(s.name, '\n') == NULL);
}

void
fuzz_cgroup(const char *text, size_t length)
{
	char unit[PATH_MAX] = "";
	struct stream stream;

	text_stream(text, length, &stream);
	hold(cgroup_unit(&stream, unit) == 0);
	/* The unit is a part of the text, and not a slice. */
	hold(unit[0] == '\0' ||
	    memmem(text, length, unit, strlen(unit)) != NULL);
	hold(strlen(unit) < 6 ||
	    strcmp(unit + strlen(unit) - 6, ".slice") != 0);
	hold(!unit_is_machines(unit, "a_b"));
}

void
fuzz_nspawn(const char *text, size_t length)
{
	struct nspawn_args w;
	struct stream stream;

	text_stream(text, length, &stream);
	hold(nspawn_args_parse(&stream, &w) == 0);
	hold(memchr(w.machine, '\0', sizeof(w.machine)) != NULL);
	hold(memchr(w.path, '\0', sizeof(w.path)) != NULL);
	hold(memchr(w.kill_signal, '\0', sizeof(w.kill_signal)) != NULL);
	for (const char *const *p = (const char *const[]){ w.machine, w.path,
	    w.kill_signal, NULL }; *p != NULL; p++)
		hold(memmem(text, length, *p, strlen(*p)) != NULL);
	nspawn_args_name(&w, "web");
	nspawn_args_name(&w, "web-0123456789abcdef");
}

void
fuzz_settings(const char *text, size_t length)
{
	struct stream stream;
	int signal = -1;

	text_stream(text, length, &stream);
	hold(nspawn_settings_parse(&stream, &signal) == 0);
	hold(signal >= 0 && signal <= SIGNAL_RTMAX);
	hold(signal == 0 || memmem(text, length, "KillSignal", 10) != NULL);
}

void
fuzz_passwd(const char *text, size_t length)
{
	static const char *const names[] = { "root", "0", "1000", "joe" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct account account = { .uid = 77, .gid = 78 };
		struct stream passwd;

		text_stream(text, length, &passwd);
		if (account_read(&passwd, names[i], &account) == -1) {
			hold(account.uid == 77 && account.gid == 78);
			continue;
		}
		hold(account.uid <= ACCOUNT_ID_MAX &&
		    account.gid <= ACCOUNT_ID_MAX);
		hold(account.home[0] == '/');
		hold(account.shell[0] == '/' || account.shell[0] == '\0');
	}
}

void
fuzz_group(const char *text, size_t length)
{
	gid_t groups[5] = { 0, 0, 0, 0, 77 }, gid = 77;
	struct stream group;
	ssize_t count;

	text_stream(text, length, &group);
	count = account_groups(&group, "joe", groups, 4);
	hold(count >= -1 && count <= 4 && groups[4] == 77);
	text_stream(text, length, &group);
	if (account_group_read(&group, "joe", &gid) == -1)
		hold(gid == 77);
	else
		hold(gid <= ACCOUNT_ID_MAX);
}

void
fuzz_idmap(const char *text, size_t length)
{
	static const uint32_t ids[] = { 0, 1, 1000, 65535, ACCOUNT_ID_MAX };

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		uint32_t outside = 77;
		struct stream map;

		text_stream(text, length, &map);
		if (account_id_to_host(&map, ids[i], &outside) == -1)
			hold(outside == 77);
		else
			hold(outside <= ACCOUNT_ID_MAX);
	}
}

void
fuzz_signal(const char *text, size_t length)
{
	char name[SIGNAL_NAME_SIZE];
	int n = signal_number(text);

	(void)length;
	hold(n == -1 || (n >= 1 && n <= SIGNAL_RTMAX));
	if (n != -1)
		hold(signal_number(signal_name(n, name)) == n);
}

void
fuzz_time(const char *text, size_t length)
{
	int64_t ms = -77;

	(void)length;
	if (time_parse(text, &ms) == -1)
		hold(ms == -77);
	else
		hold(ms >= 0 && deadline_in(ms) >= 0);
}

void
fuzz_number(const char *text, size_t length)
{
	uint64_t n = 77, max = 1000;
	char again[24];

	if (number_parse(text, max, &n) == -1) {
		hold(n == 77);
		return;
	}
	hold(n <= max && length > 0 && is_printable(text));
	snprintf(again, sizeof(again), "%d", (int)n);
	hold(strcmp(text + strspn(text, "0"), n == 0 ? "" : again) == 0);
}

/* A valid name is safe to print, and as a part of a path. */
void
fuzz_name(const char *text, size_t length)
{
	char escaped[4 * TEXT_MAX + 1];

	if (machine_name_valid(text))
		hold(is_printable(text) && strchr(text, '/') == NULL &&
		    text[0] != '.' && text[0] != '-' && length > 0);
	hold(unit_name_escape(text, escaped, sizeof(escaped)) == 0);
	hold(is_printable(escaped) && strchr(escaped, '-') == NULL &&
	    strchr(escaped, '/') == NULL);
}

void
fuzz_printable(const char *text, size_t length)
{
	char clean[64];

	for (size_t size = 1; size <= sizeof(clean); size++) {
		text_printable(text, clean, size);
		hold(strlen(clean) < size && is_printable(clean));
	}
	hold(*text == '\0' || (length > 0 && clean[0] != '\0'));
}

void
fuzz_namespace(const char *text, size_t length)
{
	int n = namespace_number(text, length);

	hold(n >= -1 && n < NAMESPACES);
	hold(n == -1 || strlen(text) == length);
}

/* libFuzzer calls this name. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Of exactly this size, so that reading one byte more is detected. */
	char *text = size > TEXT_MAX - 1 ? NULL : malloc(size + 1);

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	TARGET(text, size);
	free(text);
	return 0;
}
