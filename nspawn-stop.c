/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * Tells systemd-nspawn machines to stop, and waits until they have stopped.
 *
 * What keeps it right: a pidfd of each leader and supervisor is open before
 * anything is sent, so their end cannot be missed.  Nothing is sent before the
 * whole command line has been checked.  Each machine gets at most one signal,
 * or the one command.  A machine has stopped when its name can be used again:
 * its leader and its supervisor have ended, and systemd has removed its scope.
 *
 * Sections: messages; options; targets; finding; asking systemd; planning;
 * stopping by a command; stopping; notices; waiting; reporting; nspawn-stop.
 */
#include "common.h"

#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The exit statuses, see EXIT STATUS of nspawn-stop(8). */
enum {
	STATUS_STOPPED	= 0,
	STATUS_FAILED	= 1,	/* one machine or more */
	STATUS_RUNNING	= 124,	/* at the timeout, as for timeout(1) */
	STATUS_USAGE	= 125,	/* nothing was sent */
};

#define TIMEOUT_DEFAULT	"60"
#define MACHINED_TIME	5000	/* ms, at most for systemctl and machinectl */
#define START_TIME	2000	/* ms, until PID 1 should be the init */
#define HELD_INTERVAL	10	/* ms, the least time between checks of PID 1 */
#define HELD_PART	8	/* the time between checks is 1/8 of its age */
#define HELD_INTERVAL_MAX	1000	/* ms, the most */
#define BLOCKED_CHECKS	100	/* that find the signal blocked, at most */
#define ASLEEP_CHECKS	5	/* the same, in a row, while PID 1 sleeps */
#define PLANS_MAX	3	/* in a row, if PID 1 changes all the time */
#define ENTRY_TIME	5000	/* ms, to read from or enter a machine */
#define HANG_TIME	1000	/* ms, whatever takes less does not hang */
#define SLACK_TIME	2000	/* ms, for a monitor to report a timeout */
#define EXPLAIN_TIME	1000	/* ms, until a signal should show effect */
#define LEADER_INTERVAL	10	/* ms, at first, between checks for a leader */
#define SECOND		1000
#define EXTEND_TIME	5	/* s, that systemd is asked for once a second */
#define SCOPE_INTERVAL	1000	/* ms, between checks of a scope */
#define REAP_TIME	100	/* ms, for systemd to reap a supervisor */
#define BACKLOG_TIME	1000	/* ms, to write the last messages */
#define SERVICE_TIME	90	/* s, systemd's default for a service to stop */
#define NSPAWN_REBOOT	133	/* systemd-nspawn's status for a reboot */
#define LISTED_MAX	10	/* processes of a machine, at most */
#define DESCRIPTORS_KEPT	64	/* at most, not for machines */
#define SCOPE_SIZE	1024
#define SERVICE_SIZE	256	/* the longest file name, and a NUL */
#define COUNTED_MAX	32	/* machines, at most, to count processes of */
#define LINE_SIZE	1024	/* of a line about all machines */
#define BACKLOG_SIZE	16384	/* of messages that wait to be written */

/* Messages that are used more than once. */
static const char no_memory[] = "cannot allocate memory for the machines";
static const char cannot_wait[] = "cannot wait for the machines";
static const char at_timeout[] = "at the timeout";

/* No signals of signal_number(), which returns -1 for an error. */
enum { SIGNAL_NONE = 0, SIGNAL_OF_INIT = -2 };

/* How a machine is told to stop. */
struct plan {
	const struct init	*init;		/* NULL: not a known init */
	enum stop_method		 method;
	int			 signal;	/* SIGNAL_NONE: only wait */
	enum signal_fate		 fate;	/* of the signal */
	bool			 refused;	/* --kill-signal= is useless */
	bool			 starting;	/* PID 1 is not the init yet */
	int			 signalfd;	/* by process_has_signalfd() */
	int			 error;		/* why there is none, or 0 */
};

/* Why PID 1 cannot receive its signal yet. */
enum held {
	HELD_NOT,		/* it can */
	HELD_STARTING,		/* it is still systemd-nspawn */
	HELD_DISCARDED,		/* the kernel would discard the signal */
};

/* What is left of a machine and keeps its name in use. */
enum state { STATE_DONE, STATE_SCOPE, STATE_SUPERVISOR, STATE_LEADER };

struct target {
	const char	*name;
	struct machine	 machine;	/* empty: nothing to wait for */
	enum state	 state;		/* at the last check */
	bool		 early;		/* found before its init ran */
	bool		 due;		/* to be checked again */
	char		 scope[SCOPE_SIZE];	/* path, or empty */
	char		 service[SERVICE_SIZE];	/* or empty */
	bool		 unit_restarts;	/* its service restarts after a stop */
	bool		 registered;	/* machined has this name and leader */
	int		 unit_signal;	/* KillSignal= of its scope, or 0 */
	struct plan	*plan;		/* shared with its maker */
	struct process	 child;
	int64_t		 child_deadline;
	uint64_t	 fingerprint;	/* of its leader when planned */
	int		 blocked_checks;	/* that found it blocked */
	int		 asleep_checks;	/* the last of them, PID 1 asleep */
	int		 plans;		/* in a row, as PID 1 changed */
	bool		 planned;	/* a plan was made for this leader */
	enum held	 warned;	/* the reason that was reported */
	bool		 signalled;
	bool		 command_pending;	/* not known to run yet */
	int64_t		 command_deadline;
	bool		 failed;
	int		 interval;	/* ms, to the next check for a leader */
	int64_t		 next_check;	/* of the leader, or for a leader */
	int64_t		 explain_at;	/* when to look why it does not stop */
	int64_t		 next_scope_check;	/* if it alone is left */
};

struct settings {
	int64_t		 timeout;
	int		 signal;	/* or SIGNAL_NONE or SIGNAL_OF_INIT */
	bool		 strict;
	bool		 dry_run;
	bool		 foreign;
	bool		 verbose;
	bool		 quiet;
	const char	*notify_socket;	/* of systemd, or NULL */
	struct target	*targets;
	struct wanted	*wanted;	/* room to find all of them at once */
	size_t		 count;
};

enum {
	KEY_STRICT = 512, KEY_DRY_RUN, KEY_FOREIGN, KEY_VERSION
};

static const struct option_spec options[] = {
	{ "timeout", 't', "TIME", "wait this long: 90, 1min30s or infinity"
	    " (default " TIMEOUT_DEFAULT ")" },
	{ "signal", 's', "SIGNAL", "send SIGNAL, a name or number; none only"
	    " waits" },
	{ "strict", KEY_STRICT, NULL, "fail if a machine is not running" },
	{ "dry-run", KEY_DRY_RUN, NULL, "show what would be done, and do"
	    " nothing" },
	{ "foreign", KEY_FOREIGN, NULL, "allow a machine that belongs to"
	    " another user" },
	{ "verbose", 'v', NULL, "report each step" },
	{ "quiet", 'q', NULL, "report only errors" },
	{ "help", 'h', NULL, "show this help" },
	{ "version", KEY_VERSION, NULL, "show the version" },
	{ NULL, 0, NULL, NULL },
};

/* ---- messages ------------------------------------------------------ */

/*
 * Messages that could not be written at once, because nobody reads standard
 * error.  There is one for the whole process, as there is one standard error.
 */
static struct {
	char	text[BACKLOG_SIZE];
	size_t	used;
	int	terminal;	/* standard error, opened again; 0: none */
	bool	notice;		/* the terminal shows a notice now */
} backlog;

/*
 * If standard error is a terminal, opens it again with O_NONBLOCK: a write to a
 * terminal can block even after poll(2) has reported room for it.  The flag
 * must not be set on the original, which other processes share.
 */
static void
say_open(void)
{
	int fd = isatty(STDERR_FILENO) ? open("/proc/self/fd/2",
	    O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;

	backlog.terminal = fd == -1 ? 0 : fd;
}

/* Writes waiting messages, for at most so many ms. */
static void
say_flush(int ms)
{
	struct pollfd out = { backlog.terminal != 0 ? backlog.terminal :
	    STDERR_FILENO, POLLOUT, 0 };
	int64_t deadline = deadline_in(ms);

	/* If poll(2) fails, the write is tried. */
	while (backlog.used > 0 &&
	    poll(&out, 1, deadline_left(deadline)) != 0) {
		size_t length = backlog.used < PIPE_BUF ? backlog.used :
		    PIPE_BUF;
		ssize_t n = write(out.fd, backlog.text, length);

		if (n == -1 && errno == EAGAIN)
			return;
		if (n == -1)	/* nobody can read it any more */
			n = (ssize_t)backlog.used;
		backlog.used -= (size_t)n;
		memmove(backlog.text, backlog.text + n, backlog.used);
	}
}

/* Writes text to standard error without blocking; drops what does not fit. */
static void
say_text(const char *text)
{
	size_t length = strlen(text);

	if (length > sizeof(backlog.text) - backlog.used)
		length = sizeof(backlog.text) - backlog.used;
	memcpy(backlog.text + backlog.used, text, length);
	backlog.used += length;
	say_flush(0);
}

/* Removes the notice from the terminal, before a message is written. */
static void
notice_clear(void)
{
	if (backlog.notice)
		say_text("\r\033[K");
	backlog.notice = false;
}

static void __attribute__((format(printf, 1, 0)))
say_line(const char *format, va_list args, const char *reason)
{
	char line[PIPE_BUF];

	text_line(line, sizeof(line), "nspawn-stop", format, args, reason);
	notice_clear();
	say_text(line);
}

/* Writes a message. */
static void __attribute__((format(printf, 1, 2)))
say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_line(format, args, NULL);
	va_end(args);
}

/* Writes a message with the reason for a failure. */
static void __attribute__((format(printf, 2, 3)))
say_error(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_line(format, args, strerror(error));
	va_end(args);
}

/* Exits after all messages have been written. */
static _Noreturn void
leave(int status)
{
	if (ferror(stdout))	/* stdio has lost the errno */
		errno = EIO;
	if (fflush(stdout) == EOF || ferror(stdout)) {
		say_error(errno, "cannot write to standard output");
		status = STATUS_USAGE;
	}
	say_flush(BACKLOG_TIME);
	exit(status);
}

/* Reports a failure by errno, and exits. */
static _Noreturn void
fail(int status, const char *what)
{
	say_error(errno, "%s", what);
	leave(status);
}

/* ---- options ------------------------------------------------------- */

static void
help(void)
{
	fputs("Usage: nspawn-stop [OPTION]... MACHINE...\n\n"
	    "Stops systemd-nspawn machines cleanly, and waits until they have"
	    " ended.\nIt never kills a machine, even after the timeout.\n\n"
	    "Options, before or after the machine names:\n", stdout);
	option_help(stdout, options);
	fputs("\nWithout --signal it sends the signal that systemd-nspawn was"
	    " given by\n--kill-signal= or KillSignal=, else the one that the"
	    " init stops on (RTMIN+4 for\nsystemd, USR2 for busybox, ...),"
	    " else TERM.  Where the init stops only on a\ncommand, it runs"
	    " init 0.\n"
	    "\nExit status:\n"
	    "  0      each machine has stopped, or was not running\n"
	    "  1      a machine could not be stopped, rebooted, is still"
	    " starting, is not a\n         container, belongs to another user"
	    " or could not be looked up; or the wait\n         failed\n"
	    "  124    a machine is still running at the timeout\n"
	    "  125    a usage error, or nspawn-stop itself failed;"
	    " nothing was sent\n"
	    "  128+n  signal n ended the wait\n", stdout);
}

static _Noreturn void
try_help(void)
{
	say_text("Try 'nspawn-stop --help'.\n");
	leave(STATUS_USAGE);
}

static void
add_name(struct settings *settings, const char *name)
{
	char clean[4 * MACHINE_NAME_MAX + 1];

	if (!machine_name_valid(name)) {
		say(MACHINE_NAME_INVALID, text_printable(name, clean,
		    sizeof(clean)), MACHINE_NAME_MAX);
		try_help();
	}
	for (size_t i = 0; i < settings->count; i++)
		if (strcmp(settings->targets[i].name, name) == 0)
			return;
	settings->targets[settings->count++] = (struct target){
		.name = name, .machine = MACHINE_NONE, .due = true,
		.child = PROCESS_NONE, .interval = LEADER_INTERVAL,
		.explain_at = DEADLINE_NEVER,
		.next_scope_check = DEADLINE_NEVER,
	};
}

static void
set_timeout(struct settings *settings, const char *text)
{
	if (time_parse(text, &settings->timeout) == 0)
		return;
	if (errno == ERANGE)
		say("invalid time '%s': too long; use infinity", text);
	else
		say("invalid time '%s': give seconds, a time like 1min30s or"
		    " 2h, or infinity", text);
	try_help();
}

static void
set_signal(struct settings *settings, const char *text)
{
	settings->signal = strcmp(text, "none") == 0 ? SIGNAL_NONE :
	    signal_number(text);
	if (settings->signal == SIGKILL || settings->signal == SIGSTOP)
		say("invalid signal '%s': it stops nothing cleanly; to kill a"
		    " machine, use machinectl terminate", text);
	else if (settings->signal == -1)
		say("invalid signal '%s': give a name like TERM or RTMIN+3, a"
		    " number from 1 to %d, or none", text, SIGNAL_RTMAX);
	else
		return;
	try_help();
}

static void
set_option(struct settings *settings, int key)
{
	switch (key) {
	case OPTION_WORD:
		add_name(settings, optarg);
		break;
	case 't':
		set_timeout(settings, optarg);
		break;
	case 's':
		set_signal(settings, optarg);
		break;
	case KEY_STRICT:
		settings->strict = true;
		break;
	case KEY_DRY_RUN:
		settings->dry_run = true;
		break;
	case 'v':
		settings->verbose = true;
		break;
	case 'q':
		settings->quiet = true;
		break;
	case KEY_FOREIGN:
		settings->foreign = true;
		break;
	case 'h':
		help();
		leave(EXIT_SUCCESS);
	case KEY_VERSION:
		fputs("nspawn-stop " VERSION "\n", stdout);
		leave(EXIT_SUCCESS);
	default:
		try_help();
	}
}

static void
parse_options(int argc, char **argv, struct settings *settings)
{
	int key;

	*settings = (struct settings){ .signal = SIGNAL_OF_INIT };
	settings->targets = shared_map((size_t)argc * sizeof(struct target));
	settings->wanted = shared_map((size_t)argc * sizeof(struct wanted));
	if (settings->targets == NULL || settings->wanted == NULL)
		fail(STATUS_USAGE, no_memory);
	set_timeout(settings, TIMEOUT_DEFAULT);
	while ((key = option_next(argc, argv, options)) != -1)
		set_option(settings, key);
	while (optind < argc)
		add_name(settings, argv[optind++]);
	if (settings->count == 0) {
		say("no machine name given");
		try_help();
	}
	if (geteuid() != 0) {
		say("only root can stop a machine; try sudo");
		leave(STATUS_USAGE);
	}
}

/* ---- targets ------------------------------------------------------- */

/* True if a process has certainly ended; false if nobody can tell. */
static bool
process_has_ended(const struct process *process)
{
	return !process_alive(process) && errno == ESRCH;
}

/* Finds out which scope has to end with a machine. */
static void
target_find_scope(const struct host *host, struct target *target)
{
	if (machine_scope(host, target->name, &target->machine, target->scope,
	    sizeof(target->scope)) == -1) {
		say_error(errno, "%s: cannot wait for its scope, which cannot"
		    " be found", target->name);
		target->failed = true;
		target->scope[0] = '\0';
	}
}

/*
 * Finds out what is left of a machine.  If it was found while it started, it
 * had a leader already, but perhaps no scope yet: that is looked for again.
 */
static void
target_check(const struct host *host, struct target *target)
{
	if (target->state == STATE_LEADER &&
	    process_has_ended(&target->machine.leader)) {
		target->state = STATE_SUPERVISOR;
		target->next_check = deadline_in(LEADER_INTERVAL);
		if (target->early && target->scope[0] == '\0')
			target_find_scope(host, target);
	}
	if (target->state == STATE_SUPERVISOR &&
	    process_has_ended(&target->machine.supervisor))
		target->state = STATE_SCOPE;
	if (target->state == STATE_SCOPE && target->scope[0] == '\0')
		target->state = STATE_DONE;
}

/* True if a machine has a supervisor, but no leader yet. */
static bool
target_starting(const struct target *target)
{
	return target->state == STATE_SUPERVISOR && !target->signalled;
}

/* Reports that a machine has a supervisor, but no leader. */
static void
say_starting(const struct target *target)
{
	char text[160];

	say("%s: %s", target->name, machine_strerror(EAGAIN, NULL, text,
	    sizeof(text)));
}

/* True if a machine has a leader that has not been told to stop yet. */
static bool
target_unsignalled(const struct target *target)
{
	return target->state == STATE_LEADER && !target->signalled;
}

/* Kills the child that makes a machine's plan, if there is one. */
static void
child_kill(struct target *target)
{
	if (target->child.fd != -1)
		process_signal(&target->child, SIGKILL);
	process_close(&target->child);
}

/* Gives up a machine, after the reason has been reported. */
static void
target_fail(struct target *target)
{
	child_kill(target);
	target->failed = true;
	target->scope[0] = '\0';
	target->state = STATE_DONE;
	machine_close(&target->machine);
}

/* ---- finding ------------------------------------------------------- */

/*
 * Gives systemctl and machinectl together a deadline: half of the time at most,
 * so that the machines get the rest.  With a timeout of 0 they get the full
 * time, because the machines must be told anyway.
 */
static int64_t
machined_deadline(int64_t timeout)
{
	return deadline_in(timeout > 0 && timeout / 2 < MACHINED_TIME ?
	    timeout / 2 : MACHINED_TIME);
}

/* Returns how many descriptors this process may have. */
static size_t
descriptors_limit(void)
{
	struct rlimit limit = { 0, 0 };

	prlimit(0, RLIMIT_NOFILE, NULL, &limit);
	return (size_t)limit.rlim_cur;
}

/* Reports that there are too few descriptors for a machine. */
static void
report_no_descriptors(const struct target *target)
{
	say("%s: cannot watch it: the limit of %zu open files is too low;"
	    " raise LimitNOFILE= of the unit, or ulimit -n", target->name,
	    descriptors_limit());
}

/* Reports that a machine was not found, and why. */
static void
report_not_found(const struct settings *settings, struct target *target,
    const struct wanted *wanted)
{
	char text[160], hint[256];

	target->failed = wanted->error != ESRCH || settings->strict;
	if (wanted->error == EMFILE)
		report_no_descriptors(target);
	else if (target->failed || !settings->quiet)
		say("%s: %s%s", target->name, machine_strerror(wanted->error,
		    wanted->pids, text, sizeof(text)),
		    wanted_hint(wanted, hint, sizeof(hint)));
	if (wanted->error == ENOSYS)
		leave(STATUS_USAGE);
}

/* Takes a machine that was found. */
static void
target_take(const struct settings *settings, const struct host *host,
    struct target *target, struct machine *machine)
{
	if (machine_foreign(machine) && !settings->foreign) {
		target->failed = true;
		say("%s: belongs to user %u, not to root; use --foreign to"
		    " stop it anyway", target->name, machine->owner);
		machine_close(machine);
		return;
	}
	machine_close(&target->machine);
	target->machine = *machine;
	target->state = STATE_LEADER;
	target->next_check = deadline_in(0);
	target->fingerprint = 0;
	target->plans = target->blocked_checks = target->asleep_checks = 0;
	target->planned = target->registered = false;
	target->warned = HELD_NOT;
	target->explain_at = DEADLINE_NEVER;
	target->due = true;
	/* In this order: a leader that runs its init is in its scope. */
	if (init_starting(host->proc, &target->machine.leader,
	    &target->early) == -1)
		target->early = true;	/* its scope may not be there yet */
	target_find_scope(host, target);
}

/* Returns how many descriptors machines may not use. */
static size_t
descriptors_kept(void)
{
	size_t part = descriptors_limit() / 4;

	return part < DESCRIPTORS_KEPT ? part : DESCRIPTORS_KEPT;
}

/* Finds all machines and opens their leaders and supervisors. */
static void
find_all(const struct settings *settings, const struct host *host,
    struct machined *machined)
{
	struct wanted *wanted = settings->wanted;

	for (size_t i = 0; i < settings->count; i++)
		wanted[i].name = settings->targets[i].name;
	machines_find(host, machined, wanted, settings->count,
	    descriptors_kept());
	for (size_t i = 0; i < settings->count; i++) {
		struct target *target = &settings->targets[i];

		if (wanted[i].error == 0 || wanted[i].error == EAGAIN)
			target_take(settings, host, target,
			    &wanted[i].machine);
		else
			report_not_found(settings, target, &wanted[i]);
		target_check(host, target);
	}
}

/* ---- asking systemd ------------------------------------------------ */

/* True if this is the ExecStop= of the machine's own unit. */
static bool
is_own_stop(const struct target *target)
{
	const char *main_pid = getenv("MAINPID");
	uint64_t pid;

	return main_pid != NULL && target->machine.supervisor.fd != -1 &&
	    number_parse(main_pid, INT32_MAX, &pid) == 0 &&
	    (pid_t)pid == target->machine.supervisor.pid;
}

/* Reduces a cgroup's path to its service; none if it is in another unit. */
static void
service_of(char *path, char service[SERVICE_SIZE])
{
	static const char slice[] = ".slice", suffix[] = ".service";
	char *rest = path, *part;
	size_t length;

	service[0] = '\0';
	do {
		part = strsep(&rest, "/");
		length = part == NULL ? 0 : strlen(part);
	} while (part != NULL && (length == 0 || (length >= sizeof(slice) &&
	    strcmp(part + length + 1 - sizeof(slice), slice) == 0)));
	if (length >= sizeof(suffix) && length < SERVICE_SIZE &&
	    strcmp(part + length + 1 - sizeof(suffix), suffix) == 0)
		memcpy(service, part + (*part == '_'), length + 1 -
		    (*part == '_'));
}

/* Finds the service of a machine's supervisor, unless this is its ExecStop=. */
static void
service_find(int proc, struct target *target)
{
	static const char *const hierarchies[] = { "", "name=systemd" };
	const struct process *supervisor = &target->machine.supervisor;
	char path[PATH_MAX];

	for (size_t i = 0; i < 2 && target->service[0] == '\0' &&
	    supervisor->fd != -1 && !is_own_stop(target); i++)
		if (process_cgroup(proc, supervisor->pid, hierarchies[i], path,
		    sizeof(path)) == 0 && process_alive(supervisor))
			service_of(path, target->service);
}

/* Returns the name of the cgroup directory of a target's scope. */
static const char *
scope_folder(const struct target *target)
{
	const char *slash = strrchr(target->scope, '/');

	return slash == NULL ? target->scope : slash + 1;
}

/* Returns the unit name of a target's scope, or NULL if it has none. */
static const char *
scope_name(const struct target *target)
{
	const char *folder = scope_folder(target);

	return folder[0] == '\0' ? NULL : folder + (folder[0] == '_');
}

/* Reads what systemctl shows of the machines' units, in the same order. */
static void
units_take(const struct settings *settings, const char *lines)
{
	for (size_t i = 0; i < settings->count; i++) {
		struct target *target = &settings->targets[i];
		const char *scope = scope_name(target);

		if (scope != NULL) {
			if (property_is(lines, "Id", scope))
				target->unit_signal = (int)property_number(
				    lines, "KillSignal");
			lines = properties_next(lines);
		}
		if (target->service[0] == '\0')
			continue;
		target->unit_restarts = property_is(lines, "Id",
		    target->service) && (property_is(lines, "Restart",
		    "always") || property_is(lines, "Restart", "on-success"));
		lines = properties_next(lines);
	}
}

/* Asks systemd about the units of all machines; it may fail to answer. */
static void
units_ask(const struct settings *settings, int proc, struct machined *machined)
{
	static const char *const words[] = { "systemctl", "show", "-p", "Id",
	    "-p", "KillSignal", "-p", "Restart", "--" };
	size_t used = sizeof(words) / sizeof(words[0]), first = used;
	const size_t size = 2 * settings->count * (SERVICE_SIZE + 64);
	const size_t argv_size = (used + 2 * settings->count + 1) *
	    sizeof(char *);
	const char **argv = shared_map(argv_size);
	char *output = shared_map(size);

	if (argv == NULL || output == NULL)
		fail(STATUS_USAGE, no_memory);
	memcpy(argv, words, sizeof(words));
	for (size_t i = 0; i < settings->count; i++) {
		struct target *target = &settings->targets[i];

		service_find(proc, target);
		if (target->scope[0] != '\0')
			argv[used++] = scope_name(target);
		if (target->service[0] != '\0')
			argv[used++] = target->service;
	}
	if (used > first &&
	    machined_run(argv, machined, output, size) == 0)
		units_take(settings, output);
	shared_unmap(output, size);
	shared_unmap(argv, argv_size);
}

/* Finds out which machines machined knows with the same leader. */
static void
machined_ask(const struct settings *settings, struct machined *machined)
{
	const size_t names_size = settings->count * sizeof(char *);
	const size_t leaders_size = settings->count * sizeof(pid_t);
	const char **names = shared_map(names_size);
	pid_t *leaders = shared_map(leaders_size);
	size_t count = 0;

	if (names == NULL || leaders == NULL)
		fail(STATUS_USAGE, no_memory);
	for (size_t i = 0; i < settings->count; i++)
		if (settings->targets[i].state == STATE_LEADER &&
		    machined_may_know(settings->targets[i].name))
			names[count++] = settings->targets[i].name;
	if (count > 0)
		machined_leaders(names, count, machined, leaders);
	for (size_t i = 0, k = 0; i < settings->count && k < count; i++) {
		struct target *target = &settings->targets[i];

		if (target->name == names[k])
			target->registered = leaders[k++] ==
			    target->machine.leader.pid;
	}
	shared_unmap(leaders, leaders_size);
	shared_unmap(names, names_size);
}

/* ---- planning ------------------------------------------------------ */

/* What it takes to tell machines to stop. */
struct context {
	const struct settings	*settings;
	const struct host	*host;
	struct machined		*machined;
	int64_t			 machined_deadline;	/* for new calls */
	struct monitor		 monitor;	/* empty before a command */
	int			 null;		/* /dev/null, for commands */
	int64_t			 entry_time;
	bool			 at_once;	/* timeout 0, or --dry-run */
};

/*
 * Returns how long it may take to enter a machine: not the whole timeout.  With
 * a timeout of 0 it is the full time, because the machine must be told anyway.
 */
static int64_t
entry_time(int64_t timeout)
{
	if (timeout == 0 || timeout >= ENTRY_TIME + SLACK_TIME)
		return ENTRY_TIME;
	return timeout / 2 > SLACK_TIME ? timeout - SLACK_TIME : timeout / 2;
}

static void
context_make(const struct settings *settings, const struct host *host,
    struct machined *machined, struct context *context)
{
	*context = (struct context){ .settings = settings, .host = host,
	    .machined = machined, .machined_deadline = machined == NULL ? 0 :
	    machined->deadline, .monitor = MONITOR_NONE, .null = -1,
	    .entry_time = entry_time(settings->timeout),
	    .at_once = settings->timeout == 0 || settings->dry_run };
}

/*
 * Chooses how to stop a machine: by the caller's signal, else by the one that
 * systemd-nspawn was given, else as its init wants it, else by TERM.
 */
static int
plan_make(const struct context *context, const struct target *target,
    struct plan *plan)
{
	const struct machine *machine = &target->machine;
	int proc = context->host->proc, signal = context->settings->signal;
	bool own = signal == SIGNAL_OF_INIT;

	if (init_of(proc, &machine->leader, &plan->init) == -1 || (own &&
	    machine_kill_signal(proc, machine, target->unit_signal,
	    &signal) == -1))
		return -1;
	plan->method = STOP_BY_SIGNAL;
	plan->refused = signal == -1;
	if (signal <= 0 && own) {
		if (plan->init != NULL)
			plan->method = plan->init->method;
		signal = plan->init == NULL ? SIGTERM : plan->init->signal;
	}
	plan->signal = signal;
	plan->fate = FATE_UNKNOWN;
	if (init_starting(proc, &machine->leader, &plan->starting) == -1)
		return -1;
	return signal == SIGNAL_NONE || plan->method == STOP_BY_COMMAND ? 0 :
	    signal_fate(proc, &machine->leader, signal, &plan->fate);
}

/* Returns why the signal of a plan is not sent yet, if it is held back. */
static enum held
plan_held(const struct plan *plan)
{
	return plan->starting ? HELD_STARTING :
	    plan->fate == FATE_DISCARDED ? HELD_DISCARDED : HELD_NOT;
}

/* True if a machine's plan has been begun, and is not still a child's work. */
static bool
plan_is_made(const struct target *target)
{
	return target->child.fd == -1 && target->plan->error == 0 &&
	    target->plan->signal != SIGNAL_NONE;
}

/* What a child needs to make a plan. */
struct planning {
	const struct context	*context;
	const struct target	*target;
};

static void
plan_work(void *argument)
{
	const struct planning *planning = argument;
	struct plan *plan = planning->target->plan;

	plan->error = plan_make(planning->context, planning->target, plan) ==
	    -1 ? errno : 0;
	/* Last, since the plan is usable without it. */
	if (plan->error == 0 && plan->fate == FATE_BLOCKED)
		plan->signalfd = process_has_signalfd(
		    planning->context->host->proc,
		    &planning->target->machine.leader, plan->signal);
}

/* Starts a child to make a plan, because reading from a machine can block. */
static int
plan_start(const struct context *context, struct target *target)
{
	struct planning planning = { context, target };

	*target->plan = (struct plan){ .error = EIO, .signalfd = -1 };
	target->child_deadline = deadline_in(context->entry_time);
	return child_start(plan_work, &planning, &target->child);
}

/* Describes a leader by its init, else by its own name. */
static const char *
leader_text(int proc, const struct target *target, char *words, size_t size)
{
	pid_t pid = target->machine.leader.pid;
	char clean[4 * PROCESS_NAME_SIZE];
	struct process_status status;
	const char *name = "unknown";

	if (target->plan->init != NULL)
		name = target->plan->init->name;
	else if (process_status_read(proc, pid, &status) == 0)
		name = text_printable(status.name, clean, sizeof(clean));
	text_format(words, size, "PID 1 is %s (%d)", name, pid);
	return words;
}

#define LEADER_SIZE	(4 * PROCESS_NAME_SIZE + 32)

/* Describes what would stop the init, if it was sent something else. */
static const char *
hint_text(const struct plan *plan, char *words, size_t size)
{
	char name[SIGNAL_NAME_SIZE];

	words[0] = '\0';
	if (plan->init == NULL || plan->init->method == STOP_UNCLEAN)
		return words;
	if (plan->init->method == STOP_BY_COMMAND)
		text_format(words, size, "; without --signal it stops"
		    " cleanly");
	else if (plan->init->signal != plan->signal)
		text_format(words, size, "; it stops on %s: use --signal %s",
		    signal_name(plan->init->signal, name), name + 3);
	return words;
}

#define HINT_SIZE	(2 * SIGNAL_NAME_SIZE + 64)

/* Warns that a machine does not stop cleanly. */
static void
warn_unclean(int proc, const struct target *target)
{
	const struct plan *plan = target->plan;
	char leader[LEADER_SIZE], name[SIGNAL_NAME_SIZE];

	if (plan->refused)
		say("%s: ignoring its --kill-signal= or KillSignal=: that"
		    " signal cannot stop a machine cleanly", target->name);
	if (plan->method == STOP_UNCLEAN)
		say("%s: %s: no signal stops it cleanly; %s ends it, and its"
		    " services are killed", target->name, leader_text(proc,
		    target, leader, sizeof(leader)),
		    signal_name(plan->signal, name));
}

/* Warns that a machine's signal is not sent yet, or was never sent. */
static void
warn_held(int proc, const struct target *target, const char *what)
{
	const struct plan *plan = target->plan;
	char leader[LEADER_SIZE], hint[HINT_SIZE], name[SIGNAL_NAME_SIZE];
	struct process_status status = { .caught = 1 };

	leader_text(proc, target, leader, sizeof(leader));
	signal_name(plan->signal, name);
	process_status_read(proc, target->machine.leader.pid, &status);
	if (plan->starting)
		say("%s: its init has not started yet; the stop signal %s",
		    target->name, what);
	else if (plan->fate == FATE_BLOCKED)
		say("%s: %s: it blocks %s, perhaps only for a moment; %s %s",
		    target->name, leader, name, name, what);
	else if (plan->init == NULL && (status.caught | status.blocked) == 0)
		say("%s: %s: no signal stops it cleanly: it has no handler for"
		    " %s or any other signal, so the kernel discards them;"
		    " systemd-nspawn --as-pid2 gives it an init; %s %s",
		    target->name, leader, name, name, what);
	else
		say("%s: %s: it has no handler for %s, so the kernel discards"
		    " it%s; %s %s", target->name, leader, name,
		    hint_text(plan, hint, sizeof(hint)), name, what);
}

/* ---- stopping by a command ----------------------------------------- */

/* Fills in the command "init 0", without anything from the caller. */
static void
command_make(const struct context *context, struct command *command)
{
	static char init[] = "init", zero[] = "0";
	static char path[] = "PATH=/sbin:/usr/sbin:/bin:/usr/bin";
	static char *const argv[] = { init, zero, NULL };
	static char *const variables[] = { path, NULL };

	*command = (struct command){ .argv = argv,
	    .namespaces = NAMESPACES_ALL, .nameless = true, .detached = true,
	    .time = context->entry_time, .directory = "/",
	    .variables = variables };
	for (int fd = 0; fd < FDS_STANDARD; fd++)
		command->fds[fd] = context->null;
}

/* Gives up a machine in which the command cannot be run. */
static void
command_failed(const struct context *context, struct target *target,
    const struct entry_report *report)
{
	struct command command;
	char text[1024];

	target->command_pending = false;
	/* A machine that has just ended needs no command. */
	if (process_has_ended(&target->machine.leader)) {
		target->signalled = false;
		return;
	}
	command_make(context, &command);
	say("%s: cannot run init 0 in it: %s", target->name,
	    entry_strerror(report, &command, text, sizeof(text)));
	target_fail(target);
}

/* True for the statuses of a command that could not be executed. */
static bool
was_not_executed(int status)
{
	return WIFEXITED(status) &&
	    WEXITSTATUS(status) >= ENTRY_STATUS_FAILED &&
	    WEXITSTATUS(status) <= ENTRY_STATUS_NOT_FOUND;
}

/* Handles a report of the monitor. */
static void
command_reported(const struct context *context,
    const struct entry_report *report)
{
	struct target *target = &context->settings->targets[report->id];

	if (!target->command_pending)
		return;
	if (report->event == ENTRY_FAILED || report->event == ENTRY_LATE) {
		command_failed(context, target, report);
		return;
	}
	target->command_pending = false;
	if (report->event == ENTRY_ENDED && was_not_executed(report->status)) {
		say("%s: cannot run init 0 in it: it has no executable init",
		    target->name);
		target_fail(target);
	} else if (context->settings->verbose)
		say("%s: ran init 0 in it", target->name);
}

/* Handles all reports that have come. */
static void
reports_take(struct context *context)
{
	struct pollfd reports = { context->monitor.channel, POLLIN, 0 };
	struct entry_report report = { .id = 0 };
	int fd;

	while (reports.fd != -1 && poll(&reports, 1, 0) == 1) {
		if (monitor_report(&context->monitor, &report, &fd) == 0)
			command_reported(context, &report);
		else {	/* it has ended, and command_check() gives up */
			fd_close(&context->monitor.channel);
			return;
		}
	}
}

/* Has the monitor run the command in a machine. */
static void
command_start(struct context *context, size_t id)
{
	struct target *target = &context->settings->targets[id];
	struct entry_report report;
	struct command command;
	struct entry_needs entry;

	/* The monitor would block if nobody read its reports. */
	reports_take(context);
	command_make(context, &command);
	/* The leader may have given up more rights since it was found. */
	process_status_read(context->host->proc, target->machine.leader.pid,
	    &target->machine.status);
	if (entry_read(context->host, &target->machine, &command, &entry,
	    &report) == -1) {
		command_failed(context, target, &report);
		return;
	}
	target->command_pending = true;
	target->command_deadline =
	    deadline_in(context->entry_time + SLACK_TIME);
	if (monitor_order(&context->monitor, (int)id, &entry, &command) == -1) {
		say_error(errno, "%s: cannot start a monitor to run init 0"
		    " in it", target->name);
		target->command_pending = false;
		target_fail(target);
	}
	entry_close(&entry);
}

/* Gives up a machine if no report on its command has come in time. */
static void
command_check(struct target *target)
{
	if (!target->command_pending ||
	    deadline_left(target->command_deadline) != 0)
		return;
	target->command_pending = false;
	say("%s: cannot tell whether init 0 runs in it: the monitor does not"
	    " answer", target->name);
	target_fail(target);
}

/* ---- stopping ------------------------------------------------------ */

/* Sends a machine the signal of its plan. */
static void
send_signal(struct context *context, struct target *target)
{
	const struct settings *settings = context->settings;
	const struct process *leader = &target->machine.leader;
	int signal = target->plan->signal, n, error;
	char name[SIGNAL_NAME_SIZE];

	signal_name(signal, name);
	n = machine_signal(&target->machine, target->registered &&
	    deadline_left(context->machined_deadline) != 0 ?
	    target->name : NULL, signal, context->machined);
	error = errno;
	if (n == -1 && error == ETIMEDOUT) {
		/* It may still arrive, so it is never sent again. */
		say("%s: machinectl did not report whether it sent %s",
		    target->name, name);
		target->failed = settings->timeout == 0;
		return;
	}
	if (n == 0 && plan_held(target->plan) != HELD_NOT)
		target->failed = true;	/* the kernel has discarded it */
	if (n == 0 && settings->verbose)
		say("%s: sent %s to its leader %d", target->name, name,
		    leader->pid);
	if (n == -1 && process_has_ended(leader))
		target->signalled = false;	/* a new leader is told again */
	else if (n == -1) {
		say_error(error, "%s: cannot send %s to its leader %d",
		    target->name, name, leader->pid);
		target_fail(target);
	}
}

/* Carries out the plan of a machine. */
static void
plan_execute(struct context *context, size_t id)
{
	const struct settings *settings = context->settings;
	struct target *target = &settings->targets[id];
	int proc = context->host->proc;
	char words[LEADER_SIZE];

	target->signalled = true;
	if (!settings->quiet && settings->timeout != 0)
		target->explain_at = deadline_in(EXPLAIN_TIME);
	if (settings->verbose)
		say("%s: %s", target->name, leader_text(proc, target, words,
		    sizeof(words)));
	if (target->plan->method == STOP_BY_COMMAND) {
		command_start(context, id);
		return;
	}
	if (!settings->quiet)
		warn_unclean(proc, target);
	if (plan_held(target->plan) != HELD_NOT)
		warn_held(proc, target, "is sent anyway");
	send_signal(context, target);
}

static void
say_unplanned(const struct target *target, int error)
{
	if (error == EMFILE)
		report_no_descriptors(target);
	else
		say_error(error, "%s: cannot find out how to stop it",
		    target->name);
}

/* Gives up a machine for which no plan can be made. */
static void
plan_failed(struct target *target, int error)
{
	say_unplanned(target, error);
	target_fail(target);
}

/*
 * The same, but tries again later if processes have run out and there is time,
 * or if a child of another machine will give processes or descriptors back.
 */
static void
plan_retry(const struct context *context, struct target *target, int error)
{
	const struct settings *settings = context->settings;
	bool again = error == EAGAIN && !context->at_once;

	for (size_t i = 0; i < settings->count; i++)
		again = again || settings->targets[i].child.fd != -1;
	if (!again || (error != EMFILE && error != EAGAIN)) {
		plan_failed(target, error);
		return;
	}
	target->plan->error = error;
	target->fingerprint = 0;
	target->plans = 0;
	target->next_check = deadline_in(HELD_INTERVAL);
}

/*
 * Takes the plan of a child that has ended, or gives up the machine if the
 * child seems to hang.  Within a short timeout it may only be slow.
 */
static void
plan_take(const struct context *context, struct target *target)
{
	struct pollfd child = { target->child.fd, POLLIN, 0 };
	int status;

	if (child.fd == -1 || (poll(&child, 1, 0) != 1 &&
	    deadline_left(target->child_deadline) != 0))
		return;
	if (child.revents != 0) {
		child_wait(target->child.pid, &status);
		process_close(&target->child);
	} else if (target->plan->error == EIO &&
	    context->entry_time < HANG_TIME && !context->at_once) {
		/* The host may be busy.  The timeout ends the wait. */
		target->child_deadline = deadline_in(HELD_INTERVAL);
		return;
	} else if (target->plan->error == EIO) {
		plan_failed(target, ETIMEDOUT);
		return;
	} else
		child_kill(target);
	if (target->plan->error != 0)
		plan_retry(context, target, target->plan->error);
	else
		target->planned = true;
}

/*
 * Returns what happens to a plan's signal now, by one check.  That can differ
 * from the plan though the fingerprint is the same: PID 1 may have changed and
 * changed back while the plan was made.  FATE_UNKNOWN stays so: one check
 * cannot tell more than the plan's.
 */
static enum signal_fate
plan_fate_now(const struct context *context, const struct target *target)
{
	const struct plan *plan = target->plan;
	int proc = context->host->proc;
	pid_t pid = target->machine.leader.pid;
	struct process_status status;

	if (!plan_is_made(target) || plan->fate == FATE_UNKNOWN ||
	    process_status_read(proc, pid, &status) == -1)
		return plan->fate;
	return signal_in(status.caught, plan->signal) ? FATE_HANDLED :
	    signal_in(status.blocked, plan->signal) ? FATE_BLOCKED :
	    process_waits_for_signal(proc, pid) ? FATE_UNKNOWN :
	    FATE_DISCARDED;
}

/*
 * Has a plan made, and a new one whenever PID 1 has become another program or
 * changed which signals it handles or blocks.  After PLANS_MAX plans in a row
 * the last one stands, with what happens to its signal now if that is known.
 * Returns  true if the plan can be carried out
 */
static bool
plan_ready(const struct context *context, struct target *target)
{
	enum signal_fate fate;
	uint64_t fingerprint;
	bool outdated;

	plan_take(context, target);
	if (!target_unsignalled(target) || target->child.fd != -1 ||
	    (target->plan->error != 0 &&
	    deadline_left(target->next_check) != 0))
		return false;
	fingerprint = process_fingerprint(context->host->proc,
	    target->machine.leader.pid);
	fate = plan_fate_now(context, target);
	outdated = fate != target->plan->fate;
	if (outdated)
		target->blocked_checks = target->asleep_checks = 0;
	if ((fingerprint == target->fingerprint && !outdated) ||
	    target->plans == PLANS_MAX) {
		target->plans = 0;
		target->plan->fate = fate;
		return true;
	}
	target->fingerprint = fingerprint;
	target->plans++;
	if (plan_start(context, target) == -1)
		plan_retry(context, target, errno);
	return false;
}

/* Returns when to check again a machine whose signal is not sent yet. */
static int64_t
held_next_check(int64_t age)
{
	int64_t interval = age / HELD_PART;

	return deadline_in(interval < HELD_INTERVAL ? HELD_INTERVAL :
	    interval > HELD_INTERVAL_MAX ? HELD_INTERVAL_MAX : interval);
}

/*
 * True if PID 1 blocks the signal, but perhaps only for a moment, as many
 * programs do while they fork.  A program that sleeps does not fork, but on a
 * busy host one that forks may need a second.  Counts the checks that find the
 * signal blocked.
 * Returns  false if it is a known init, reads the signal, or has blocked it in
 *          so many checks that it seems to do so for ever
 */
static bool
target_blocks_briefly(const struct context *context, struct target *target)
{
	const struct plan *plan = target->plan;
	struct process_status status;
	bool asleep;

	if (plan->fate != FATE_BLOCKED || plan->starting) {
		target->blocked_checks = target->asleep_checks = 0;
		return false;
	}
	if (plan->signalfd == 1 || plan->init != NULL)
		return false;
	if (process_status_read(context->host->proc,
	    target->machine.leader.pid, &status) == -1)
		return true;
	if (!signal_in(status.blocked, plan->signal)) {
		target->blocked_checks = target->asleep_checks = 0;
		return true;
	}
	asleep = status.state != 'R' && status.state != 'D';	/* D: vfork */
	target->blocked_checks++;
	target->asleep_checks = asleep ? target->asleep_checks + 1 : 0;
	return target->blocked_checks < BLOCKED_CHECKS &&
	    target->asleep_checks < ASLEEP_CHECKS;
}

/*
 * Tells a machine to stop when it is ready for that.  There is no event for a
 * PID 1 that executes another program or installs a handler, so it is checked
 * again and again.
 */
static void
target_stop(struct context *context, size_t id)
{
	struct target *target = &context->settings->targets[id];
	int proc = context->host->proc;
	enum held held;
	bool brief;
	int64_t age;

	if (!target_unsignalled(target))
		return;
	if (context->settings->signal == SIGNAL_NONE) {
		target->signalled = true;
		return;
	}
	if (!plan_ready(context, target))
		return;
	age = process_age(proc, target->machine.leader.pid);
	if (age == -1)		/* unknown: it does not count as young */
		age = START_TIME;
	held = plan_held(target->plan);
	brief = target_blocks_briefly(context, target);
	if ((context->at_once && !(target->plan->starting &&
	    age < START_TIME)) || (held == HELD_NOT && !brief)) {
		plan_execute(context, id);
		return;
	}
	if (held == HELD_NOT)
		age = 0;
	target->next_check = held_next_check(age);
	if (age < START_TIME || target->warned >= held ||
	    context->settings->quiet)
		return;
	target->warned = held;
	warn_held(proc, target, "is not sent yet");
}

/* Returns when to check again a machine that was not told yet. */
static int64_t
target_next(const struct target *target)
{
	return target->child.fd != -1 ? target->child_deadline :
	    target->next_check;
}

/* Prints what would be done to one machine. */
static void
describe(int proc, const struct target *target)
{
	static const char *const fates[] = {
		[FATE_HANDLED] = ": PID 1 has a handler for it",
		[FATE_BLOCKED] = ": PID 1 blocks it, and may read it later",
		[FATE_UNKNOWN] = ": its effect on PID 1 is not known",
		[FATE_DISCARDED] = " later: the kernel would discard it now",
	};
	const struct plan *plan = target->plan;
	char words[LEADER_SIZE], name[SIGNAL_NAME_SIZE], line[LINE_SIZE];
	pid_t supervisor = target->machine.supervisor.pid;
	size_t used = text_format(line, sizeof(line), "%s: %s, ", target->name,
	    leader_text(proc, target, words, sizeof(words)));

	used += supervisor == 0 ? text_format(line + used, sizeof(line) - used,
	    "its systemd-nspawn has ended; ") : text_format(line + used,
	    sizeof(line) - used, "its systemd-nspawn is %d; ", supervisor);
	if (plan->signal == SIGNAL_NONE)
		text_format(line + used, sizeof(line) - used,
		    "no signal would be sent\n");
	else if (plan->method == STOP_BY_COMMAND)
		text_format(line + used, sizeof(line) - used,
		    "init 0 would be run in it\n");
	else
		text_format(line + used, sizeof(line) - used,
		    "%s would be sent%s%s\n",
		    signal_name(plan->signal, name),
		    plan->fate == FATE_BLOCKED && plan->signalfd == 1 ?
		    ": PID 1 reads it" : fates[plan->fate],
		    plan->method == STOP_UNCLEAN ?
		    "; no signal stops it cleanly" : "");
	fputs(line, stdout);
}

/* Prints what would be done to each machine. */
static void
describe_all(const struct settings *settings, const struct host *host)
{
	struct context context;
	int proc = host->proc;

	context_make(settings, host, NULL, &context);

	for (size_t i = 0; i < settings->count; i++) {
		struct target *target = &settings->targets[i];
		struct pollfd child;

		if (target_starting(target)) {
			say_starting(target);
			target_fail(target);
		}
		while (target_unsignalled(target) &&
		    !plan_ready(&context, target)) {
			child = (struct pollfd){ target->child.fd, POLLIN, 0 };
			poll(&child, child.fd != -1,
			    deadline_left(target_next(target)));
		}
		if (target_unsignalled(target))
			describe(proc, target);
	}
}

/* ---- notices ------------------------------------------------------- */

/* Where progress is reported once a second. */
struct notice {
	bool			terminal;	/* standard error is one */
	int			socket;		/* of systemd; -1: none */
	struct sockaddr_un	address;
	socklen_t		length;		/* of address */
};

/* Opens systemd's socket of sd_notify(3), if there is one. */
static void
notice_open(const struct settings *settings, struct notice *notice)
{
	const char *path = settings->notify_socket, *term = getenv("TERM");
	size_t length = path == NULL ? 0 : strlen(path);

	*notice = (struct notice){ .socket = -1 };
	notice->terminal = !settings->quiet && isatty(STDERR_FILENO) &&
	    term != NULL && strcmp(term, "dumb") != 0;
	if (length == 0 || length >= sizeof(notice->address.sun_path) ||
	    (*path != '/' && *path != '@'))
		return;
	notice->address.sun_family = AF_UNIX;
	memcpy(notice->address.sun_path, path, length);
	if (*path == '@')
		notice->address.sun_path[0] = '\0';
	notice->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
	    length);
	notice->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC |
	    SOCK_NONBLOCK, 0);
}

/* Shows a text on the terminal's last line, cut to its width. */
static void
notice_line(const char *text)
{
	struct winsize size = { .ws_col = 0 };
	char line[LINE_SIZE];
	int width;

	/* In the background the line belongs to another program. */
	if (tcgetpgrp(STDERR_FILENO) != getpgrp())
		return;
	ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
	width = size.ws_col == 0 ? 80 : size.ws_col;
	notice_clear();
	text_format(line, sizeof(line), "%.*s", width - 1, text);
	say_text(line);
	backlog.notice = true;
}

/* Sends systemd the text, and asks it to wait longer. */
static void
notice_systemd(const struct notice *notice, const char *text)
{
	char message[LINE_SIZE + 128];
	size_t length = text_format(message, sizeof(message),
	    "STATUS=%s\nEXTEND_TIMEOUT_USEC=%d000000\n", text, EXTEND_TIME);

	/* If nobody receives it, the wait goes on. */
	sendto(notice->socket, message, length, MSG_NOSIGNAL,
	    (const struct sockaddr *)&notice->address, notice->length);
}

/* ---- waiting ------------------------------------------------------- */

struct wait {
	struct context		*context;
	const struct settings	*settings;
	const struct host	*host;
	struct notice		 notice;
	struct pollfd		*fds;		/* room for all events */
	const struct machine	**machines;
	int			 units;		/* UNIT_FILES; -1: unknown */
	int			 scopes;	/* inotify(7); -1: no events */
	int			 signals;
	int64_t			 deadline;
	int64_t			 tick;
};

/*
 * Requests an event for the removal of a scope's cgroup.  If that fails, the
 * scope is still checked every second.
 */
static void
scope_watch(const struct wait *wait, const struct target *target)
{
	char path[SCOPE_SIZE + 32];

	if (target->scope[0] == '\0')
		return;
	text_format(path, sizeof(path), "/proc/self/fd/%d/%s",
	    wait->host->cgroup, target->scope);
	*strrchr(path, '/') = '\0';
	inotify_add_watch(wait->scopes, path, IN_DELETE);
}

/*
 * Forgets a machine's scope if systemd has removed it.  Systemd removes the
 * scope's cgroup first, then the unit's file in UNIT_FILES.  If a process
 * enters the cgroup at that moment, the file goes and the cgroup stays: then
 * the cgroup is removed here.  While the file exists, the cgroup is left to
 * systemd, which would otherwise miss that it became empty and keep the unit
 * for ever.
 */
static void
scope_check(const struct wait *wait, struct target *target)
{
	const bool known = wait->units != -1;	/* else the files say nothing */
	bool loaded;

	if (target->state != STATE_SCOPE)
		return;
	loaded = known &&
	    (file_exists(wait->units, scope_name(target)) == 0 ||
	    errno != ENOENT);
	if (known && !loaded)
		cgroup_remove(wait->host->cgroup, target->scope);
	if (!loaded && file_exists(wait->host->cgroup, target->scope) == -1 &&
	    errno == ENOENT)
		target->scope[0] = '\0';
	target->next_scope_check = deadline_in(SCOPE_INTERVAL);
	target_check(wait->host, target);
}

/*
 * Takes a new leader of a supervisor.  If the machine was told to stop, it has
 * rebooted instead.
 */
static void
leader_take(struct wait *wait, struct target *target, struct machine *machine)
{
	if (!target->signalled) {
		target_take(wait->settings, wait->host, target, machine);
		scope_watch(wait, target);
	} else {
		say("%s: has rebooted instead of stopping: its leader is %d"
		    " now", target->name, machine->leader.pid);
		machine_close(machine);
		target_fail(target);
	}
}

/*
 * Looks for a new leader of a machine of which only the supervisor is left.
 * There is no event for a new process, so this is repeated at growing
 * intervals.
 */
static void
leader_check(struct wait *wait, struct target *target)
{
	struct machine machine;

	if (target->state != STATE_SUPERVISOR ||
	    deadline_left(target->next_check) != 0)
		return;
	target->next_check = deadline_in(target->interval);
	target->interval = target->interval < SECOND / 2 ?
	    2 * target->interval : SECOND;
	if (machine_again(wait->host, &target->machine, &machine) == 0)
		leader_take(wait, target, &machine);
}

/* Explains why a machine does not react to its signal, if that is certain. */
static void
explain(const struct wait *wait, const struct target *target)
{
	const struct machine *machine = &target->machine;
	const struct process *leader = &machine->leader;
	const struct plan *plan = target->plan;
	char words[LEADER_SIZE], hint[HINT_SIZE], name[SIGNAL_NAME_SIZE];
	struct process_status status;
	int proc = wait->host->proc;

	if (process_status_read(proc, leader->pid, &status) == -1 ||
	    !process_alive(leader))
		return;
	leader_text(proc, target, words, sizeof(words));
	hint_text(plan, hint, sizeof(hint));
	signal_name(plan->signal, name);
	if (machine_frozen(wait->host, machine))
		say("%s: is frozen, and cannot react until it is thawed;"
		    " run systemctl thaw with its unit", target->name);
	else if (status.state == 'T')
		say("%s: %s: it is stopped, and cannot react until it is"
		    " continued; run kill -CONT %d", target->name, words,
		    leader->pid);
	else if (!signal_in(status.pending, plan->signal))
		return;
	else if (status.state == 't')
		say("%s: %s: its tracer %d has stopped it; end the tracer",
		    target->name, words, status.tracer);
	else if (signal_in(status.blocked, plan->signal) &&
	    plan->signalfd == 0)
		say("%s: %s: it blocks %s and never reads it%s", target->name,
		    words, name, hint);
	else
		say("%s: %s: it has not handled %s yet%s", target->name,
		    words, name, hint);
}

/* Reports what the wait is for. */
static void
notice_give(struct wait *wait)
{
	const struct settings *settings = wait->settings;
	char text[LINE_SIZE] = "waiting for";
	size_t used = strlen(text);
	int64_t left = wait->deadline - deadline_in(0);
	size_t machines = 0;
	ssize_t processes;

	for (size_t i = 0; i < settings->count; i++) {
		const struct target *target = &settings->targets[i];

		if (target->state == STATE_DONE)
			continue;
		if (target->state == STATE_LEADER)
			wait->machines[machines++] = &target->machine;
		if (used + strlen(target->name) + 80 < sizeof(text))
			used += text_format(text + used, sizeof(text) - used,
			    " %s", target->name);
	}
	if (machines > COUNTED_MAX)
		used += text_format(text + used, sizeof(text) - used,
		    ": %zu machines left", machines);
	else if ((processes = machines_processes(wait->host->proc,
	    wait->machines, machines, NULL, 0)) != -1)
		used += text_format(text + used, sizeof(text) - used,
		    ": %zd process%s left", processes,
		    processes == 1 ? "" : "es");
	if (wait->deadline != DEADLINE_NEVER)
		text_format(text + used, sizeof(text) - used, ", %zd s",
		    (ssize_t)((left + SECOND - 1) / SECOND));
	if (wait->notice.terminal)
		notice_line(text);
	if (wait->notice.socket != -1)
		notice_systemd(&wait->notice, text);
}

/*
 * Handles a machine that is due.
 * Returns  true if there is still something to do for it
 */
static bool
target_step(struct wait *wait, size_t id)
{
	const struct settings *settings = wait->settings;
	struct target *target = &settings->targets[id];

	if (target->due) {
		target->due = false;
		target_check(wait->host, target);
		if (target->state != STATE_LEADER)
			child_kill(target);
		target_stop(wait->context, id);
		scope_check(wait, target);
	}
	command_check(target);
	if (settings->timeout == 0)	/* the machine must be told, no more */
		return target_unsignalled(target) || target->command_pending;
	return target->state != STATE_DONE;
}

/*
 * Rounds a deadline up to a full second, so that one wake-up serves many
 * machines.
 */
static int64_t
next_second(int64_t deadline)
{
	return deadline == DEADLINE_NEVER ? deadline :
	    (deadline + SECOND - 1) / SECOND * SECOND;
}

/* Handles all machines that are due, and returns how many are left. */
static size_t
wait_check(struct wait *wait)
{
	const struct settings *settings = wait->settings;
	int64_t now = deadline_in(0);	/* the same for all machines */
	size_t left = 0;

	reports_take(wait->context);
	for (size_t i = 0; i < settings->count; i++) {
		struct target *target = &settings->targets[i];

		leader_check(wait, target);
		left += target_step(wait, i);
		if (target->explain_at <= now) {
			target->explain_at = DEADLINE_NEVER;
			explain(wait, target);
		}
	}
	if (left > 0 && wait->tick <= now) {
		notice_give(wait);
		wait->tick = deadline_in(SECOND);
	}
	return left;
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Returns when to wake up even if there is no event. */
static int64_t
wait_next(const struct wait *wait)
{
	int64_t next = earlier(wait->deadline, wait->tick);

	for (size_t i = 0; i < wait->settings->count; i++) {
		const struct target *target = &wait->settings->targets[i];

		if (wait->tick == DEADLINE_NEVER)
			next = earlier(next, next_second(target->explain_at));
		if (target->command_pending)
			next = earlier(next, target->command_deadline);
		if (target_unsignalled(target))
			next = earlier(next, target_next(target));
		else if (target->state == STATE_SUPERVISOR)
			next = earlier(next, target->next_check);
		else if (target->state == STATE_SCOPE)
			next = earlier(next, target->next_scope_check);
	}
	return next;
}

/* Events that do not belong to one machine. */
enum { EVENT_SIGNAL, EVENT_SCOPE, EVENT_REPORT, EVENTS };

/* Returns the pidfd to wait for: of the leader or the supervisor. */
static int
target_fd(const struct target *target)
{
	return target->state == STATE_LEADER ? target->machine.leader.fd :
	    target->state == STATE_SUPERVISOR ? target->machine.supervisor.fd :
	    -1;
}

/*
 * Lists the events of all machines.  Entries with -1 are left out, since
 * poll(2) counts them, too, and takes no more entries than there may be
 * descriptors.
 * Returns  the number of events
 */
static nfds_t
events_fill(const struct wait *wait)
{
	nfds_t count = EVENTS;

	for (size_t i = 0; i < wait->settings->count; i++) {
		const struct target *target = &wait->settings->targets[i];

		if (target_fd(target) != -1)
			wait->fds[count++] = (struct pollfd){
			    target_fd(target), POLLIN, 0 };
		if (target->child.fd != -1)
			wait->fds[count++] = (struct pollfd){
			    target->child.fd, POLLIN, 0 };
	}
	return count;
}

/* Marks the machines that are due, in the order of events_fill(). */
static void
events_take(const struct wait *wait)
{
	const struct pollfd *fds = wait->fds + EVENTS;
	int64_t now = deadline_in(0);	/* the same for all machines */

	for (size_t i = 0; i < wait->settings->count; i++) {
		struct target *target = &wait->settings->targets[i];

		target->due = (target_unsignalled(target) &&
		    target_next(target) <= now) ||
		    (target->state == STATE_SCOPE &&
		    target->next_scope_check <= now);
		if (target_fd(target) != -1 && (fds++)->revents != 0)
			target->due = true;
		if (target->child.fd != -1 && (fds++)->revents != 0)
			target->due = true;
	}
}

/*
 * Marks the machine whose scope was removed, by the name of the scope's cgroup
 * or unit.  Without a name, all machines that wait for their scope are marked.
 */
static void
scope_take(const struct settings *settings, const struct inotify_event *event)
{
	for (size_t i = 0; i < settings->count; i++) {
		struct target *target = &settings->targets[i];

		if (target->state == STATE_SCOPE && (event->len == 0 ||
		    strcmp(event->name, scope_folder(target)) == 0 ||
		    strcmp(event->name, scope_name(target)) == 0))
			target->due = true;
	}
}

/* Handles the events of removed scopes. */
static void
scopes_take(const struct wait *wait)
{
	_Alignas(struct inotify_event) char events[4096];
	const struct inotify_event *event;
	const char *next = events, *end;
	ssize_t n = read(wait->scopes, events, sizeof(events));

	if (n == -1)
		fail(STATUS_FAILED, cannot_wait);
	for (end = events + n; next < end;
	    next += sizeof(*event) + event->len) {
		event = (const void *)next;
		scope_take(wait->settings, event);
	}
}

/*
 * Waits for the next event.
 * Returns  the signal that ends the wait, or 0
 */
static int
wait_event(struct wait *wait)
{
	struct signalfd_siginfo info;
	struct pollfd *fds = wait->fds;
	nfds_t count;

	fds[EVENT_SIGNAL] = (struct pollfd){ wait->signals, POLLIN, 0 };
	fds[EVENT_SCOPE] = (struct pollfd){ wait->scopes, POLLIN, 0 };
	fds[EVENT_REPORT] = (struct pollfd){ wait->context->monitor.channel,
	    POLLIN, 0 };
	count = events_fill(wait);
	if (poll(fds, count, deadline_left(wait_next(wait))) == -1 &&
	    errno != EINTR)
		fail(STATUS_FAILED, cannot_wait);
	events_take(wait);
	if (fds[EVENT_SCOPE].revents != 0)
		scopes_take(wait);
	if (fds[EVENT_SIGNAL].revents == 0)
		return 0;
	if (read(wait->signals, &info, sizeof(info)) == -1)
		fail(STATUS_FAILED, cannot_wait);
	return (int)info.ssi_signo;
}

/* Opens a descriptor for the signals that end the wait and are not ignored. */
static int
signals_open(void)
{
	static const int ending[] = { SIGHUP, SIGINT, SIGQUIT,
	    SIGTERM };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		if (!signal_is_ignored(ending[i]))
			sigaddset(&set, ending[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Opens all that is needed to wait until a deadline. */
static void
wait_open(struct context *context, int64_t deadline, struct wait *wait)
{
	const struct settings *settings = context->settings;

	*wait = (struct wait){ .context = context, .settings = settings,
	    .host = context->host, .deadline = deadline,
	    .tick = DEADLINE_NEVER };
	/* Per machine: its process, and the child that makes its plan. */
	wait->fds = shared_map((EVENTS + 2 * settings->count) *
	    sizeof(*wait->fds));
	wait->machines = shared_map(settings->count *
	    sizeof(const struct machine *));
	wait->signals = signals_open();
	context->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (wait->fds == NULL || wait->machines == NULL ||
	    wait->signals == -1 || context->null == -1)
		fail(STATUS_USAGE, cannot_wait);
	/*
	 * This may fail: by default root has 128 of these for all of its
	 * programs, those in machines too (fs.inotify.max_user_instances).
	 */
	wait->scopes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	notice_open(settings, &wait->notice);
	if (settings->timeout != 0 &&
	    (wait->notice.terminal || wait->notice.socket != -1))
		wait->tick = deadline_in(0);
	wait->units = open(UNIT_FILES, O_PATH | O_DIRECTORY | O_CLOEXEC);
	inotify_add_watch(wait->scopes, UNIT_FILES, IN_DELETE);
	for (size_t i = 0; i < settings->count; i++)
		scope_watch(wait, &settings->targets[i]);
}

/*
 * Tells each machine to stop as soon as it is ready for that, and waits until
 * all have stopped.
 * Returns  the signal that ended the wait, or 0
 */
static int
stop_all(const struct settings *settings, const struct host *host,
    struct machined *machined, int64_t deadline)
{
	static struct wait wait;	/* static: used until the exit */
	struct context context;
	int signal = 0;
	size_t left = 0;

	for (size_t i = 0; i < settings->count; i++)
		left += settings->targets[i].state != STATE_DONE;
	if (left == 0)
		return 0;
	context_make(settings, host, machined, &context);
	/* Lets a call that began in time finish. */
	machined->deadline += settings->timeout == 0 ||
	    settings->timeout > SLACK_TIME ? SECOND : settings->timeout / 4;
	if (settings->timeout == 0)	/* each step has its own deadline */
		deadline = DEADLINE_NEVER;
	wait_open(&context, deadline, &wait);
	while (signal == 0 && wait_check(&wait) > 0 &&
	    deadline_left(deadline) != 0)
		signal = wait_event(&wait);
	/* What has ended at the last moment counts as ended. */
	for (size_t i = 0; i < settings->count; i++) {
		target_check(host, &settings->targets[i]);
		scope_check(&wait, &settings->targets[i]);
	}
	notice_clear();
	fd_close(&wait.notice.socket);
	fd_close(&wait.signals);
	fd_close(&wait.scopes);
	fd_close(&wait.units);
	/* The monitor finishes what it has begun. */
	fd_close(&context.monitor.channel);
	fd_close(&context.null);
	return signal;
}

/* ---- reporting ----------------------------------------------------- */

/*
 * Finds the parent of a zombie, if the parent is outside of the machine and
 * stopped, so that it does not reap the zombie.
 *   size     of name
 * Returns  the parent's number, or 0
 */
static pid_t
stopped_parent(int proc, const struct process_status *status, char *name,
    size_t size)
{
	struct process_status parent;

	if (status->state != 'Z' || status->ppid == 0 ||
	    process_status_read(proc, status->ppid, &parent) == -1 ||
	    parent.state != 'T' || parent.depth >= status->depth)
		return 0;
	text_printable(parent.name, name, size);
	return status->ppid;
}

/* Reports one process that is left of a machine. */
static void
list_process(int proc, const struct target *target, pid_t pid)
{
	char name[4 * PROCESS_NAME_SIZE], wchan[PROCESS_NAME_SIZE];
	char parent_name[4 * PROCESS_NAME_SIZE];
	struct process_status status;
	pid_t parent;

	if (process_status_read(proc, pid, &status) == -1)
		return;
	text_printable(status.name, name, sizeof(name));
	process_wchan(proc, pid, wchan);
	parent = stopped_parent(proc, &status, parent_name,
	    sizeof(parent_name));
	if (parent != 0)
		say("%s: process %d (%d inside), %s, has ended, but its parent"
		    " %d (%s) is stopped and does not reap it; run kill -CONT"
		    " %d, or end the parent", target->name, pid, status.inner,
		    name, parent, parent_name, parent);
	else if (status.state == 'D' && wchan[0] != '\0')
		say("%s: process %d (%d inside), %s, is in state D in %s",
		    target->name, pid, status.inner, name, wchan);
	else
		say("%s: process %d (%d inside), %s, is in state %c",
		    target->name, pid, status.inner, name, status.state);
}

/* Reports the processes that are left of a machine. */
static void
list_processes(int proc, const struct target *target)
{
	const struct machine *machine = &target->machine;
	pid_t pids[LISTED_MAX];
	ssize_t count = machines_processes(proc, &machine, 1, pids,
	    LISTED_MAX);

	if (count == -1)
		say_error(errno, "%s: cannot list its processes",
		    target->name);
	for (ssize_t i = 0; i < count && i < LISTED_MAX; i++)
		list_process(proc, target, pids[i]);
	if (count > LISTED_MAX)
		say("%s: and %zd more", target->name, count - LISTED_MAX);
}

/*
 * True if the supervisor has ended in the way that makes its unit start it
 * again.  In the unit's own ExecStop= that is a stop like any other.
 */
static bool
supervisor_rebooted(const struct target *target)
{
	const struct process *supervisor = &target->machine.supervisor;
	struct pollfd reaped = { .fd = supervisor->fd };
	int status;

	if (supervisor->fd == -1 || is_own_stop(target))
		return false;
	if (process_wait_status(supervisor, &status) == -1 &&
	    (errno != EAGAIN || poll(&reaped, 1, REAP_TIME) != 1 ||
	    process_wait_status(supervisor, &status) == -1))
		return false;
	return process_exit_status(status) == NSPAWN_REBOOT;
}

/* Reports a supervisor without a leader. */
static void
report_supervisor(int proc, const struct target *target, const char *when)
{
	const char *leader = target_starting(target) ? "it has no leader" :
	    "its leader has ended";
	pid_t pid = target->machine.supervisor.pid;
	struct process_status status;

	if (process_status_read(proc, pid, &status) == 0 &&
	    status.state == 'T')
		say("%s: %s, but its systemd-nspawn %d is stopped %s; run"
		    " kill -CONT %d", target->name, leader, pid, when, pid);
	else
		say("%s: %s, but its systemd-nspawn %d is still running %s",
		    target->name, leader, pid, when);
}

/* Reports why a machine was not told to stop. */
static void
report_unsignalled(int proc, const struct target *target, const char *when)
{
	const struct plan *plan = target->plan;
	bool made = plan_is_made(target);
	enum held held = made ? plan_held(plan) : HELD_NOT;
	char name[SIGNAL_NAME_SIZE];

	if (held != HELD_NOT && target->warned == held)
		say("%s: %s was never sent", target->name,
		    signal_name(plan->signal, name));
	else if (held != HELD_NOT || (made && plan->fate == FATE_BLOCKED))
		warn_held(proc, target, "was never sent");
	else if (plan->error == EMFILE || plan->error == EAGAIN)
		say_unplanned(target, plan->error);
	else
		say("%s: was never told to stop%s", target->name,
		    target->planned || when != at_timeout ? "" : ": the timeout"
		    " was too short to find out how");
}

/* Reports what is left of a machine. */
static void
report_unstopped(int proc, const struct target *target, const char *when)
{
	const struct plan *plan = target->plan;

	if (target->state == STATE_LEADER) {
		say("%s: is still running %s; its leader is %d", target->name,
		    when, target->machine.leader.pid);
		if (!target->signalled)
			report_unsignalled(proc, target, when);
		else if (plan->init != NULL &&
		    strcmp(plan->init->name, "systemd") == 0)
			say("%s: its systemd gives each service %d s to stop;"
			    " use --timeout %d", target->name,
			    SERVICE_TIME, SERVICE_TIME + 10);
	} else if (target->state == STATE_SUPERVISOR)
		report_supervisor(proc, target, when);
	else
		say("%s: has ended, but systemd still keeps its scope %s; see"
		    " systemctl status %s", target->name, when,
		    scope_name(target));
	list_processes(proc, target);
}

/* Reports a machine with a supervisor, but without a leader. */
static void
report_starting(int proc, const struct target *target)
{
	struct process_status status;

	if (process_status_read(proc, target->machine.supervisor.pid,
	    &status) == 0 && status.state == 'T')
		report_supervisor(proc, target, at_timeout);
	else
		say_starting(target);
}

/* Reports that a machine has stopped, and whether its unit restarts it. */
static void
report_stopped(const struct settings *settings, const struct target *target)
{
	if (target->unit_restarts && !settings->quiet)
		say("%s: has stopped, but Restart= of its unit starts it"
		    " again; run systemctl stop %s to keep it stopped",
		    target->name, target->service);
	else if (settings->verbose && (target->machine.leader.pid != 0 ||
	    target->machine.supervisor.pid != 0))
		say("%s: has stopped", target->name);
}

/* Reports the result for one machine.  Returns its part of the exit status. */
static int
report(const struct settings *settings, int proc, const struct target *target)
{
	if (settings->dry_run)
		return target->failed ? STATUS_FAILED : STATUS_STOPPED;
	if (target_starting(target) && !is_own_stop(target)) {
		report_starting(proc, target);
		return STATUS_FAILED;
	}
	if (settings->timeout == 0)	/* all failures were reported */
		return target->failed || target_unsignalled(target) ?
		    STATUS_FAILED : STATUS_STOPPED;
	if (target->state != STATE_DONE)
		report_unstopped(proc, target, at_timeout);
	if (target->failed)
		return STATUS_FAILED;
	if (target->state != STATE_DONE) {
		/* systemd itself waits for its unit's main process. */
		return is_own_stop(target) && target->state != STATE_LEADER ?
		    STATUS_STOPPED : STATUS_RUNNING;
	}
	if (supervisor_rebooted(target)) {
		say("%s: has rebooted instead of stopping: its systemd-nspawn"
		    " ended with status %d, so its unit starts it again",
		    target->name, NSPAWN_REBOOT);
		return STATUS_FAILED;
	}
	report_stopped(settings, target);
	return STATUS_STOPPED;
}

static int
report_all(const struct settings *settings, int proc)
{
	bool failed = false, running = false;

	for (size_t i = 0; i < settings->count; i++) {
		int status = report(settings, proc, &settings->targets[i]);

		failed = failed || status == STATUS_FAILED;
		running = running || status == STATUS_RUNNING;
	}
	if (failed)
		return STATUS_FAILED;
	return running ? STATUS_RUNNING : STATUS_STOPPED;
}

/* Reports what is left when a signal ends the wait. */
static int
report_interrupted(const struct settings *settings, int proc, int signal)
{
	char name[SIGNAL_NAME_SIZE], when[SIGNAL_NAME_SIZE + 16];

	text_format(when, sizeof(when), "when %s came",
	    signal_name(signal, name));
	for (size_t i = 0; i < settings->count; i++) {
		const struct target *target = &settings->targets[i];

		if (target->state != STATE_DONE)
			report_unstopped(proc, target, when);
	}
	return 128 + signal;
}

/* ---- nspawn-stop --------------------------------------------------- */

/*
 * Ends by the signal that ended the wait, so that a calling shell ends its
 * loop, too.
 */
static void
leave_by_signal(int number)
{
	say_flush(BACKLOG_TIME);
	signal_end_by(number, getpid());
}

/* Allows as many descriptors as possible: two for each machine. */
static void
limit_raise(void)
{
	struct rlimit limit;

	if (prlimit(0, RLIMIT_NOFILE, NULL, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		prlimit(0, RLIMIT_NOFILE, &limit, NULL);
	}
}

static void
signals_prepare(void)
{
	signal(SIGCHLD, SIG_DFL);	/* else children vanish unseen */
	signal(SIGPIPE, SIG_IGN);	/* a closed stderr must not end us, */
	signal(SIGXFSZ, SIG_IGN);	/* nor must a full file */
}

static void
prepare(struct settings *settings)
{
	struct plan *plans = shared_map(settings->count * sizeof(*plans));

	if (plans == NULL)
		fail(STATUS_USAGE, no_memory);
	limit_raise();
	/* Programs that we start must not speak to systemd in our name. */
	settings->notify_socket = getenv("NOTIFY_SOCKET");
	unsetenv("NOTIFY_SOCKET");
	if (settings->dry_run && fcntl(STDOUT_FILENO, F_GETFD) == -1)
		fail(STATUS_USAGE, "cannot write to standard output");
	if (fds_tidy() == -1)
		fail(STATUS_USAGE, "cannot open /dev/null");
	say_open();
	for (size_t i = 0; i < settings->count; i++)
		settings->targets[i].plan = &plans[i];
}

static void
release(struct settings *settings, struct host *host)
{
	for (size_t i = 0; i < settings->count; i++) {
		child_kill(&settings->targets[i]);
		machine_close(&settings->targets[i].machine);
	}
	host_close(host);
}

int
main(int argc, char **argv)
{
	static struct settings settings;
	struct machined machined = { .hung = false };
	int64_t deadline;
	struct host host;
	int signal = 0, status;

	monitor_main(argv);
	signals_prepare();
	parse_options(argc, argv, &settings);
	deadline = deadline_in(settings.timeout);
	machined.deadline = machined_deadline(settings.timeout);
	machined.search = deadline_in(settings.timeout / 2 > SLACK_TIME ?
	    settings.timeout / 2 : SLACK_TIME);
	prepare(&settings);
	if (host_open("/proc", NULL, &host) == -1) {
		say("cannot open /proc or the host's cgroups: %s",
		    host_strerror(errno));
		leave(STATUS_USAGE);
	}
	find_all(&settings, &host, &machined);
	units_ask(&settings, host.proc, &machined);
	if (settings.dry_run)
		describe_all(&settings, &host);
	else {
		machined_ask(&settings, &machined);
		signal = stop_all(&settings, &host, &machined, deadline);
	}
	status = signal != 0 ?
	    report_interrupted(&settings, host.proc, signal) :
	    report_all(&settings, host.proc);
	release(&settings, &host);
	if (signal != 0)
		leave_by_signal(signal);
	leave(status);
}
