/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * Calls single functions of common.h, so that tests can do this from a command
 * line and without root.  The first word names the function, the others are its
 * arguments.  Prints the result of the function, or the name of its error.
 */
#include "../common.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Prints the name of errno.  Returns 1, the status after an error. */
static int
failed(void)
{
	static const struct {
		int error;
		const char *name;
	} names[] = {
		{ EINVAL, "EINVAL" }, { ERANGE, "ERANGE" },
		{ ENAMETOOLONG, "ENAMETOOLONG" }, { EFBIG, "EFBIG" },
		{ ENOENT, "ENOENT" }, { ETIMEDOUT, "ETIMEDOUT" },
		{ ESRCH, "ESRCH" }, { ENOTUNIQ, "ENOTUNIQ" },
		{ ENOTSUP, "ENOTSUP" }, { EACCES, "EACCES" },
		{ EPERM, "EPERM" }, { ELOOP, "ELOOP" }, { EXDEV, "EXDEV" },
		{ ENXIO, "ENXIO" }, { E2BIG, "E2BIG" },
		{ EMFILE, "EMFILE" }, { ENFILE, "ENFILE" },
		{ ENOMEM, "ENOMEM" }, { EIO, "EIO" }, { EAGAIN, "EAGAIN" },
		{ EOWNERDEAD, "EOWNERDEAD" }, { EISDIR, "EISDIR" },
		{ ENOEXEC, "ENOEXEC" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].error == errno) {
			puts(names[i].name);
			return 1;
		}
	printf("errno %d\n", errno);
	return 1;
}

static int
yes_or_no(bool value)
{
	puts(value ? "yes" : "no");
	return 0;
}

/* Parses an argument that the test itself gave as a number. */
static int
number(const char *text)
{
	uint64_t n;

	if (number_parse(text, INT_MAX, &n) == -1)
		err(64, "invalid number '%s'", text);
	return (int)n;
}

/* Reads all of stdin, and its length. */
static char *
input(size_t *length)
{
	static char text[1 << 20];

	*length = fread(text, 1, sizeof(text) - 1, stdin);
	return text;
}

static void
input_stream(struct stream *stream)
{
	size_t length;
	const char *text = input(&length);

	text_stream(text, length, stream);
}

static int
do_name(char **arg)
{
	return yes_or_no(machine_name_valid(arg[0]));
}

static int
do_escape(char **arg)
{
	char escaped[64];

	if (unit_name_escape(arg[0], escaped, sizeof(escaped)) == -1)
		return failed();
	puts(escaped);
	return 0;
}

static int
do_number(char **arg)
{
	uint64_t n;

	if (number_parse(arg[0], strtoull(arg[1], NULL, 10), &n) == -1)
		return failed();
	printf("%" PRIu64 "\n", n);
	return 0;
}

static int
do_time(char **arg)
{
	int64_t ms;

	if (time_parse(arg[0], &ms) == -1)
		return failed();
	printf("%" PRId64 "\n", ms);
	return 0;
}

static int
do_signal(char **arg)
{
	char name[SIGNAL_NAME_SIZE];
	int n = signal_number(arg[0]);

	printf("%d %s\n", n, n == -1 ? "" : signal_name(n, name));
	return 0;
}

static int
do_printable(char **arg)
{
	char clean[64];

	puts(text_printable(arg[0], clean, (size_t)number(arg[1])));
	return 0;
}

/* Arguments: ms.  Prints how much time a deadline in so many ms has left. */
static int
do_deadline(char **arg)
{
	int64_t ms = strtoll(arg[0], NULL, 10);
	int64_t deadline = deadline_in(ms);
	int left = deadline_left(deadline);

	if (left == -1)
		puts("never");
	else
		puts(left == 0 ? "over" : left <= ms ? "left" : "too long");
	return 0;
}

static int
do_read(char **arg)
{
	char text[64];
	ssize_t length = file_read(AT_FDCWD, arg[0], text,
	    (size_t)number(arg[1]));

	if (length == -1)
		return failed();
	printf("%zd %s\n", length, text);
	return 0;
}

static int
do_in_root(char **arg)
{
	char text[64] = "";
	int root = open(arg[0], O_PATH | O_DIRECTORY);
	int fd = file_open_in_root(root, arg[1]);

	if (fd == -1)
		return failed();
	if (read(fd, text, sizeof(text) - 1) == -1)
		return failed();
	printf("%s", text);
	return 0;
}

/*
 * Arguments: ms and a command.  Prints its status and output.  Returns 2 if a
 * child is left.
 */
static int
do_run(char **arg)
{
	char output[16];
	int status = helper_run((const char *const *)(arg + 1),
	    deadline_in(number(arg[0])), output, sizeof(output));

	if (status == -1)
		failed();
	else
		printf("%d %s\n", status, output);
	return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 2;
}

static int
do_signalled(char **arg)
{
	struct process process;

	if (process_open(number(arg[0]), &process) == -1)
		return failed();
	if (process_signal(&process, number(arg[1])) == -1)
		return failed();
	return 0;
}

static int
do_status(char **arg)
{
	struct process_status s;
	struct stream stream;

	(void)arg;
	input_stream(&stream);
	if (process_status_parse(&stream, &s) == -1)
		return failed();
	printf("%s %c ppid %d tracer %d uid %u depth %u inner %d pending %"
	    PRIx64 " blocked %" PRIx64 " caught %" PRIx64 " bounding %" PRIx64
	    "%s%s\n", s.name, s.state, s.ppid, s.tracer, s.uid, s.depth,
	    s.inner, s.pending, s.blocked, s.caught, s.bounding,
	    s.no_new_privs ? " no_new_privs" : "",
	    s.filtered ? " filtered" : "");
	return 0;
}

/* Arguments: a proc directory and a PID.  Prints count, sum, last of groups. */
static int
do_groups(char **arg)
{
	int proc = open(arg[0], O_PATH | O_DIRECTORY);
	gid_t *groups;
	uint64_t sum = 0;
	size_t count;

	if (process_groups_read(proc, number(arg[1]), &groups, &count) == -1)
		return failed();
	for (size_t i = 0; i < count; i++)
		sum += groups[i];
	printf("%zu sum %" PRIu64 " last %u\n", count, sum,
	    count == 0 ? 0 : groups[count - 1]);
	process_groups_free(groups);
	return 0;
}

/*
 * Arguments: a proc directory, a PID, a hierarchy, a size.  Prints the path of
 * the cgroup.
 */
static int
do_path(char **arg)
{
	static char path[PATH_MAX];
	int proc = open(arg[0], O_PATH | O_DIRECTORY);

	if (process_cgroup(proc, number(arg[1]), arg[2], path,
	    (size_t)number(arg[3])) == -1)
		return failed();
	puts(path);
	return 0;
}

static int
do_cgroup(char **arg)
{
	char unit[PATH_MAX];
	struct stream stream;

	input_stream(&stream);
	if (cgroup_unit(&stream, unit) == -1)
		return failed();
	return yes_or_no(unit_is_machines(unit, arg[0]));
}

/*
 * Argument: a machine.  Prints if the command line in stdin names it, and the
 * kill signal in that.
 */
static int
do_nspawn(char **arg)
{
	static const char *const words[] = { "none", "it", "other" };
	struct nspawn_args w;
	struct stream stream;

	input_stream(&stream);
	if (nspawn_args_parse(&stream, &w) == -1)
		return failed();
	printf("%s kill-signal=%s\n", words[nspawn_args_name(&w, arg[0])],
	    w.kill_signal);
	return 0;
}

/* Arguments: a proc directory, a machine and, optional, a cgroup hierarchy. */
static int
do_find(char **arg)
{
	struct machined machined = { .deadline = deadline_in(500) };
	struct machine machine;
	pid_t pids[2] = { 0, 0 };
	struct host host;
	char text[160];

	/* Without a third word there is no hierarchy: "" opens nothing. */
	if (host_open(arg[0], arg[2] == NULL ? "" : arg[2], &host) == -1)
		return failed();

	if (machine_find(&host, arg[1], &machined, &machine, pids) == -1) {
		int error = errno;

		failed();
		puts(machine_strerror(error, pids, text, sizeof(text)));
		return 1;
	}
	printf("leader %d supervisor %d owner %u %s\n", machine.leader.pid,
	    machine.supervisor.pid, machine.owner,
	    machine_foreign(&machine) ? "foreign" : "ours");
	machine_close(&machine);
	machine_close(&machine);
	host_close(&host);
	host_close(&host);
	return 0;
}

static void
print_line(void *argument, const struct machine_line *line)
{
	(void)argument;
	printf("%s %d %d %s %u\n", line->name[0] == '\0' ? "-" : line->name,
	    line->leader, line->supervisor,
	    line->unit[0] == '\0' ? "-" : line->unit, line->owner);
}

/*
 * Argument: a proc directory.  Prints its machines, in any order; 0 means that
 * there is no supervisor.
 */
static int
do_list(char **arg)
{
	struct host host;

	if (host_open(arg[0], "", &host) == -1 ||
	    machines_list(&host, deadline_in(5000), print_line, NULL) == -1)
		return failed();
	host_close(&host);
	return 0;
}

/* Arguments: a proc directory, a PID.  Prints the init and its stop signal. */
static int
do_init(char **arg)
{
	struct process leader;
	static const char *const ways[] = {
		[STOP_BY_SIGNAL] = "signal", [STOP_BY_COMMAND] = "command",
		[STOP_UNCLEAN] = "none",
	};
	int proc = open(arg[0], O_PATH | O_DIRECTORY);
	const struct init *init;

	if (process_open(number(arg[1]), &leader) == -1 ||
	    init_of(proc, &leader, &init) == -1)
		return failed();
	if (init == NULL)
		puts("unknown");
	else
		printf("%s %s %d\n", init->name, ways[init->method],
		    init->signal);
	return 0;
}

/* Arguments: a proc directory, a PID, a signal.  Prints the signal's fate. */
static int
do_fate(char **arg)
{
	static const char *const fates[] = {
		[FATE_HANDLED] = "handled", [FATE_BLOCKED] = "blocked",
		[FATE_UNKNOWN] = "unknown", [FATE_DISCARDED] = "discarded",
	};
	struct process leader;
	enum signal_fate fate;
	int proc = open(arg[0], O_PATH | O_DIRECTORY), awaited;

	if (process_open(number(arg[1]), &leader) == -1 ||
	    signal_fate(proc, &leader, number(arg[2]), &fate) == -1)
		return failed();
	awaited = process_has_signalfd(proc, &leader, number(arg[2]));
	printf("%s%s\n", fates[fate], awaited == 1 ? " awaited" : "");
	return awaited == -1 ? failed() : 0;
}

static int
do_namespace(char **arg)
{
	int n = namespace_number(arg[0], strlen(arg[0]));

	puts(n == -1 ? "none" : namespace_name(n));
	return 0;
}

/*
 * Arguments: a proc directory and a PID.  Prints the namespaces that differ
 * from the caller's.
 */
static int
do_namespaces(char **arg)
{
	int proc = open(arg[0], O_PATH | O_DIRECTORY), fds[NAMESPACES];
	struct process process;

	if (process_open(number(arg[1]), &process) == -1 ||
	    namespaces_open(proc, &process, NAMESPACES_ALL, fds) == -1)
		return failed();
	for (int i = 0; i < NAMESPACES; i++)
		if (fds[i] != -1)
			printf("%s ", namespace_name(i));
	putchar('\n');
	return 0;
}

static int
do_user(char **arg)
{
	struct account account;
	struct stream passwd;
	size_t length;
	const char *text = input(&length);

	text_stream(text, length, &passwd);
	if (account_read(&passwd, arg[0], &account) == -1)
		return failed();
	printf("%u:%u %s %s %s\n", account.uid, account.gid, account.name,
	    account.home, account.shell);
	return 0;
}

/* Prints the id of a group in group(5), and the groups of a member. */
static int
do_group(char **arg)
{
	static gid_t groups[PROCESS_GROUPS_MAX];
	gid_t gid;
	size_t length;
	ssize_t count;
	const char *text = input(&length);
	struct stream group, again;

	text_stream(text, length, &group);
	text_stream(text, length, &again);
	if (account_group_read(&group, arg[0], &gid) == -1 ||
	    (count = account_groups(&again, arg[1], groups,
	    PROCESS_GROUPS_MAX)) == -1)
		return failed();
	printf("%u:", gid);
	for (ssize_t i = 0; i < count; i++)
		printf(" %u", groups[i]);
	putchar('\n');
	return 0;
}

static int
do_outside(char **arg)
{
	uint32_t id;
	size_t length;
	const char *text = input(&length);
	struct stream map;

	text_stream(text, length, &map);
	if (account_id_to_host(&map, (uint32_t)number(arg[0]), &id) == -1)
		return failed();
	printf("%u\n", id);
	return 0;
}

/* Arguments: a proc directory, a PID.  Prints the security label to set. */
static int
do_label(char **arg)
{
	char label[PROCESS_LABEL_SIZE];

	if (process_label_read(open(arg[0], O_PATH | O_DIRECTORY),
	    number(arg[1]), label) == -1)
		return failed();
	puts(label);
	return 0;
}

static const struct {
	const char *name;
	int arguments;
	int (*function)(char **arg);
} functions[] = {
	{ "name", 1, do_name }, { "escape", 1, do_escape },
	{ "number", 2, do_number }, { "time", 1, do_time },
	{ "signal", 1, do_signal }, { "printable", 2, do_printable },
	{ "deadline", 1, do_deadline }, { "read", 2, do_read },
	{ "in-root", 2, do_in_root }, { "run", 2, do_run },
	{ "signalled", 2, do_signalled },
	{ "status", 0, do_status }, { "groups", 2, do_groups },
	{ "path", 4, do_path }, { "cgroup", 1, do_cgroup },
	{ "nspawn", 1, do_nspawn }, { "find", 2, do_find },
	{ "list", 1, do_list },
	{ "init", 2, do_init }, { "fate", 3, do_fate },
	{ "namespace", 1, do_namespace }, { "namespaces", 2, do_namespaces },
	{ "user", 1, do_user },
	{ "group", 2, do_group }, { "outside", 1, do_outside },
	{ "label", 2, do_label },
};

int
main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (argc >= 2 && strcmp(argv[1], functions[i].name) == 0 &&
		    argc - 2 >= functions[i].arguments)
			return functions[i].function(argv + 2);
	errx(64, "unknown function of common.h, or too few arguments");
}
