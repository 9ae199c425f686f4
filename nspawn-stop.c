/* SPDX-License-Identifier: GPL-3.0-only */
/*
 * Tells systemd-nspawn machines to stop, and waits until they have.
 *
 * What keeps it right: leaders and supervisors are held by pidfd before
 * anything is sent, so their end cannot be missed.  Nothing is sent while any
 * word of the command line is in doubt, and nothing but the one signal ever.
 * A machine has stopped when its name can be used again: its leader and its
 * supervisor have ended, and systemd has dropped its scope.
 */
#include "common.h"

#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the caller is told by the exit status. */
enum {
	STATUS_STOPPED	= 0,
	STATUS_FAILED	= 1,	/* for one machine or more */
	STATUS_RUNNING	= 124,	/* at the deadline, as timeout(1) has it */
	STATUS_USAGE	= 125,	/* nothing was sent */
};

#define TIMEOUT_DEFAULT	"60"
#define MACHINED_TIME	5000	/* ms, at most, for all of machinectl */
#define START_TIME	2000	/* ms, for PID 1 to become what it is to be */
#define START_LOOK	10	/* ms, between two looks at it */
#define ENTRY_TIME	5000	/* ms, for the way into the machine */
#define SLACK_TIME	2000	/* ms, for a monitor to say that it was late */
#define DOUBT_TIME	1000	/* ms, after which a signal should be heard */
#define REBOOT_LOOK	10	/* ms, at first, between two looks for one */
#define SECOND		1000
#define EXTEND_TIME	5	/* s, that systemd waits longer each second */
#define FORGOTTEN_TIME	1000	/* ms, for systemd to drop an empty scope */
#define REAP_TIME	100	/* ms, for systemd to reap a supervisor */
#define NSPAWN_REBOOT	133	/* its status, if its unit is to restart it */
#define LISTED_MAX	10	/* processes of a machine that are listed */
#define DESCRIPTORS_KEPT	64	/* at most, while machines are found */
#define SCOPE_SIZE	1024
#define LINE_SIZE	1024	/* of what is told of all machines at once */

enum { SIGNAL_NONE = 0, SIGNAL_OF_INIT = -2 };

/* How a machine is told to stop. */
struct plan {
	const struct init	*init;		/* NULL: none that is known */
	enum init_way		 way;
	int			 signal;	/* SIGNAL_NONE: only wait */
	enum verdict		 verdict;	/* on the signal */
	bool			 refused;	/* --kill-signal=, as useless */
};

struct target {
	const char	*name;
	struct machine	 machine;	/* empty: not to be waited for */
	char		 scope[SCOPE_SIZE];	/* empty: none, or dropped */
	struct plan	 plan;
	bool		 told;
	bool		 ordered;	/* a command, which does not run yet */
	bool		 failed;
	int		 pace;		/* ms to the next look for a reboot */
	int64_t		 look;		/* which is due then */
	int64_t		 forgotten;	/* when only its scope has been left */
};

struct settings {
	int64_t		 timeout;
	int		 signal;	/* or SIGNAL_NONE, SIGNAL_OF_INIT */
	bool		 strict;
	bool		 dry_run;
	bool		 foreign;
	bool		 verbose;
	bool		 quiet;
	struct target	*targets;
	size_t		 count;
};

enum {
	KEY_STRICT = 512, KEY_DRY_RUN, KEY_FOREIGN, KEY_VERSION
};

static const struct option_spec options[] = {
	{ "timeout", 't', "TIME", "wait: seconds, or with s, min or h, or"
	    " infinity (" TIMEOUT_DEFAULT ")" },
	{ "signal", 's', "SIGNAL", "send that one, by name or number; none"
	    " only waits" },
	{ "strict", KEY_STRICT, NULL, "a machine that is not running is a"
	    " failure" },
	{ "dry-run", KEY_DRY_RUN, NULL, "say what would be done, and do"
	    " nothing" },
	{ "foreign", KEY_FOREIGN, NULL, "also stop a machine that belongs to"
	    " another user" },
	{ "verbose", 'v', NULL, "say each step" },
	{ "quiet", 'q', NULL, "say nothing but errors" },
	{ "help", 'h', NULL, "show this text" },
	{ "version", KEY_VERSION, NULL, "show the version" },
	{ NULL, 0, NULL, NULL },
};

static void
help(void)
{
	printf("Usage: nspawn-stop [OPTION]... MACHINE...\n\n"
	    "Tells the leader (PID 1) of each systemd-nspawn machine to stop"
	    " and waits until\nthe machine has ended.  Kills nothing when"
	    " time is up.\n\nOptions, before or after the names:\n");
	option_help(stdout, options);
	printf("\nWithout --signal: that of systemd-nspawn's --kill-signal=,"
	    " or the one that stops\nthe init in order (RTMIN+4 for systemd,"
	    " USR2 for busybox, ...), or TERM.  An init\nthat only a command"
	    " stops in order has that run: init 0.\n"
	    "\nExit status:\n"
	    "  0      each machine has stopped, or was not running\n"
	    "  1      one could not be told to stop, rebooted, or is no"
	    " container\n"
	    "  124    one is still running, now that the time is up\n"
	    "  125    a mistake in the call, or nspawn-stop itself failed;"
	    " nothing was sent\n"
	    "  128+n  signal n ended the wait\n");
}

static _Noreturn void
try_help(void)
{
	fprintf(stderr, "Try 'nspawn-stop --help'.\n");
	exit(STATUS_USAGE);
}

static void
add_name(struct settings *settings, const char *name)
{
	char clean[4 * MACHINE_NAME_MAX + 1];

	if (!machine_name_valid(name)) {
		warnx("'%s' cannot be the name of a machine: it is made of 1 to"
		    " %d letters, digits, '-' and '.'",
		    printable(name, clean, sizeof(clean)), MACHINE_NAME_MAX);
		try_help();
	}
	for (size_t i = 0; i < settings->count; i++)
		if (strcmp(settings->targets[i].name, name) == 0)
			return;
	settings->targets[settings->count++] = (struct target){
		.name = name, .machine = MACHINE_NONE, .pace = REBOOT_LOOK,
		.forgotten = DEADLINE_NEVER,
	};
}

static void
set_timeout(struct settings *settings, const char *text)
{
	if (time_parse(text, &settings->timeout) == 0)
		return;
	warnx(errno == ERANGE ? "the time '%s' is too long; there is infinity" :
	    "'%s' is no time: give seconds, or a number with s, min or h,"
	    " or infinity", text);
	try_help();
}

static void
set_signal(struct settings *settings, const char *text)
{
	settings->signal = strcmp(text, "none") == 0 ? SIGNAL_NONE :
	    signal_number(text);
	if (settings->signal != -1)
		return;
	warnx("'%s' is no signal: give a name like TERM or RTMIN+3, a number"
	    " from 1 to %d, or none", text, SIGNAL_RTMAX);
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
		exit(EXIT_SUCCESS);
	case KEY_VERSION:
		printf("nspawn-stop %s\n", VERSION);
		exit(EXIT_SUCCESS);
	default:
		try_help();
	}
}

static void
parse_options(int argc, char **argv, struct settings *settings)
{
	int key;

	*settings = (struct settings){ .signal = SIGNAL_OF_INIT };
	settings->targets = calloc((size_t)argc + 1, sizeof(struct target));
	if (settings->targets == NULL)
		err(STATUS_USAGE, "cannot hold the machines' names");
	set_timeout(settings, TIMEOUT_DEFAULT);
	while ((key = option_next(argc, argv, options)) != -1)
		set_option(settings, key);
	while (optind < argc)
		add_name(settings, argv[optind++]);
	if (settings->count == 0) {
		warnx("no machine is named");
		try_help();
	}
	if (geteuid() != 0)
		errx(STATUS_USAGE, "only root may signal the leader of a"
		    " machine; try it with sudo");
}

/* ---- targets ------------------------------------------------------- */

/* What is left of a machine, and keeps its name from being used again. */
enum rest { REST_NONE, REST_SCOPE, REST_SUPERVISOR, REST_LEADER };

/* True if a process has ended for certain; what cannot be told is not said. */
static bool
ended(const struct process *process)
{
	return !process_alive(process) && errno == ESRCH;
}

static enum rest
target_rest(const struct target *target)
{
	if (!ended(&target->machine.leader))
		return REST_LEADER;
	if (!ended(&target->machine.supervisor))
		return REST_SUPERVISOR;
	return target->scope[0] != '\0' ? REST_SCOPE : REST_NONE;
}

/* Gives a machine up, of which has been said why. */
static void
target_fail(struct target *target)
{
	target->failed = true;
	target->scope[0] = '\0';
	machine_close(&target->machine);
}

/* ---- finding ------------------------------------------------------- */

/*
 * Says how long machinectl may take.  Half of the time is left to the machines;
 * where nothing is waited for they still have to be told.
 */
static int64_t
machined_deadline(int64_t timeout)
{
	return deadline_in(timeout > 0 && timeout / 2 < MACHINED_TIME ?
	    timeout / 2 : MACHINED_TIME);
}

/* Says that a machine has not been found, and why. */
static void
find_failed(const struct settings *settings, struct target *target,
    const pid_t suspects[2])
{
	int error = errno;
	char text[160];

	machine_strerror(error, suspects, text, sizeof(text));
	if (error == ENOSYS)
		errx(STATUS_USAGE, "%s: %s", target->name, text);
	target->failed = error != ESRCH || settings->strict;
	if (error != ESRCH)
		warnx("%s: %s", target->name, text);
	else if (settings->strict || !settings->quiet)
		warnx("%s: is not running", target->name);
}

/* Gives up to wait for a scope, which is not the machine itself. */
static void
scope_failed(struct target *target, const char *what)
{
	warn("%s: cannot %s its scope, which is not waited for", target->name,
	    what);
	target->failed = true;
	target->scope[0] = '\0';
}

/* Takes hold of one machine.  Without one there is nothing to wait for. */
static void
find(const struct settings *settings, const struct host *host,
    struct target *target, struct machined *machined)
{
	struct machine machine;
	pid_t suspects[2];

	if (machine_find(host, target->name, machined, &machine,
	    suspects) == -1) {
		find_failed(settings, target, suspects);
		return;
	}
	if (machine_foreign(&machine) && !settings->foreign) {
		target->failed = true;
		warnx("%s: belongs to the user %u, not to root; --foreign stops"
		    " it all the same", target->name, machine.owner);
		machine_close(&machine);
		return;
	}
	target->machine = machine;
	if (machine_scope(host, target->name, &machine, target->scope,
	    sizeof(target->scope)) == -1)
		scope_failed(target, "find");
}

/*
 * Takes hold of all machines.  What telling them and waiting for them takes is
 * kept back, so that who cannot be held costs the others nothing.
 */
static void
find_all(const struct settings *settings, const struct host *host,
    struct machined *machined)
{
	struct rlimit limit, less;

	prlimit(0, RLIMIT_NOFILE, NULL, &limit);
	less = limit;
	less.rlim_cur -= limit.rlim_cur / 4 < DESCRIPTORS_KEPT ?
	    limit.rlim_cur / 4 : DESCRIPTORS_KEPT;
	prlimit(0, RLIMIT_NOFILE, &less, NULL);
	for (size_t i = 0; i < settings->count; i++)
		find(settings, host, &settings->targets[i], machined);
	prlimit(0, RLIMIT_NOFILE, &limit, NULL);
}

/* ---- telling ------------------------------------------------------- */

/* What it takes to tell machines to stop. */
struct teller {
	const struct settings	*settings;
	const struct host	*host;
	struct machined		*machined;
	struct monitor		 monitor;	/* once there is a command */
	int			 null;		/* the commands' 0, 1 and 2 */
	int64_t			 entry_time;
};

/*
 * How long the way into a machine may take: a part of what machines are waited
 * for; but where they are not, they still have to be told.
 */
static int64_t
entry_time(int64_t timeout)
{
	if (timeout == 0 || timeout >= ENTRY_TIME + SLACK_TIME)
		return ENTRY_TIME;
	return timeout / 2 > SLACK_TIME ? timeout - SLACK_TIME : timeout / 2;
}

/*
 * Chooses the way: the caller's signal, else the one that systemd-nspawn was
 * given, else what the init wants, else TERM.
 */
static int
plan_make(const struct settings *settings, int proc,
    const struct target *target, struct plan *plan)
{
	const struct machine *machine = &target->machine;
	int signal = settings->signal;

	if (init_of(proc, &machine->leader, &plan->init) == -1 ||
	    (signal == SIGNAL_OF_INIT &&
	    machine_kill_signal(proc, machine, &signal) == -1))
		return -1;
	plan->way = INIT_SIGNAL;
	plan->refused = signal == -1;
	if (signal <= 0 && settings->signal == SIGNAL_OF_INIT) {
		if (plan->init != NULL)
			plan->way = plan->init->way;
		signal = plan->init == NULL ? SIGTERM : plan->init->signal;
	}
	plan->signal = signal;
	plan->verdict = VERDICT_UNKNOWN;
	return signal == SIGNAL_NONE || plan->way == INIT_COMMAND ? 0 :
	    signal_verdict(proc, &machine->leader, signal, &plan->verdict);
}

/*
 * Finds out whether a machine has just been started and its PID 1 is not yet
 * ready to be told: then the signal would be lost.
 * Returns  1 for yes, 0 for no; -1
 */
static int
plan_early(int proc, const struct target *target)
{
	const struct process *leader = &target->machine.leader;
	bool early = target->plan.verdict == VERDICT_DROPPED;
	int64_t age;

	if (target->plan.signal == SIGNAL_NONE)
		return 0;
	if (!early && init_starting(proc, leader, &early) == -1)
		return -1;
	age = early ? process_age(proc, leader->pid) : -1;
	return age >= 0 && age < START_TIME && !ended(leader);
}

/* Finds words for a leader: its init, or what it calls itself. */
static const char *
leader_words(int proc, const struct target *target, char *words, size_t size)
{
	pid_t pid = target->machine.leader.pid;
	char clean[4 * PROCESS_NAME_SIZE];
	struct process_status status;
	const char *name = "unknown";

	if (target->plan.init != NULL)
		name = target->plan.init->name;
	else if (process_status_read(proc, pid, &status) == 0)
		name = printable(status.name, clean, sizeof(clean));
	snprintf(words, size, "PID 1 is %s (%d)", name, pid);
	return words;
}

#define LEADER_SIZE	(4 * PROCESS_NAME_SIZE + 32)

/* Finds words for what would stop an init that was sent something else. */
static const char *
hint_words(const struct plan *plan, char *words, size_t size)
{
	char name[SIGNAL_NAME_SIZE];

	words[0] = '\0';
	if (plan->init == NULL || plan->init->way == INIT_NONE)
		return words;
	if (plan->init->way == INIT_COMMAND)
		snprintf(words, size, "; without --signal it is stopped in"
		    " order");
	else if (plan->init->signal != plan->signal)
		snprintf(words, size, "; it stops on %s: --signal %s",
		    signal_name(plan->init->signal, name), name + 3);
	return words;
}

#define HINT_SIZE	(2 * SIGNAL_NAME_SIZE + 64)

/* Says, before it is told, that a machine will not stop in order. */
static void
warn_unclean(int proc, const struct target *target)
{
	const struct plan *plan = &target->plan;
	char leader[LEADER_SIZE], hint[HINT_SIZE], name[SIGNAL_NAME_SIZE];
	struct process_status status = { .caught = 1 };

	leader_words(proc, target, leader, sizeof(leader));
	signal_name(plan->signal, name);
	if (plan->refused)
		warnx("%s: the --kill-signal= of its systemd-nspawn stops no"
		    " machine in order and is ignored", target->name);
	if (plan->way == INIT_NONE) {
		warnx("%s: %s: nothing stops it cleanly; %s ends it, and its"
		    " services are killed", target->name, leader, name);
		return;
	}
	if (plan->verdict != VERDICT_DROPPED)
		return;
	process_status_read(proc, target->machine.leader.pid, &status);
	if (plan->init == NULL && (status.caught | status.blocked) == 0)
		warnx("%s: %s: nothing stops it cleanly; it has no handler for"
		    " %s or any other signal, and the kernel drops them; with"
		    " systemd-nspawn --as-pid2 it would have an init",
		    target->name, leader, name);
	else
		warnx("%s: %s: it has no handler for %s, and the kernel drops"
		    " it%s", target->name, leader, name,
		    hint_words(plan, hint, sizeof(hint)));
}

/* ---- telling by a command ------------------------------------------ */

/* Fills in the command "init 0", with nothing of the caller's. */
static void
command_make(const struct teller *teller, struct command *command)
{
	static char init[] = "init", zero[] = "0";
	static char path[] = "PATH=/sbin:/usr/sbin:/bin:/usr/bin";
	static char *const argv[] = { init, zero, NULL };
	static char *const variables[] = { path, NULL };

	*command = (struct command){ .argv = argv,
	    .namespaces = NAMESPACES_ALL, .nameless = true, .detached = true,
	    .time = teller->entry_time, .directory = "/",
	    .variables = variables };
	for (int fd = 0; fd < STANDARD; fd++)
		command->fds[fd] = teller->null;
}

/* Gives a machine up in which the command cannot be run. */
static void
command_failed(const struct teller *teller, struct target *target,
    const struct entry_report *report)
{
	struct command command;
	char text[1024];

	target->ordered = false;
	/* What has ended meanwhile needs no command any more. */
	if (ended(&target->machine.leader))
		return;
	command_make(teller, &command);
	warnx("%s: cannot run init 0 in it: %s", target->name,
	    entry_strerror(report, &command, text, sizeof(text)));
	target_fail(target);
}

/* True if that is how a command ends which could not be executed. */
static bool
was_not_executed(int status)
{
	return WIFEXITED(status) &&
	    WEXITSTATUS(status) >= ENTRY_STATUS_FAILED &&
	    WEXITSTATUS(status) <= ENTRY_STATUS_NOT_FOUND;
}

/* Takes note of what a monitor reports. */
static void
command_reported(const struct teller *teller,
    const struct entry_report *report)
{
	struct target *target = &teller->settings->targets[report->id];

	if (!target->ordered)
		return;
	if (report->event == ENTRY_FAILED || report->event == ENTRY_LATE) {
		command_failed(teller, target, report);
		return;
	}
	target->ordered = false;
	if (report->event == ENTRY_ENDED && was_not_executed(report->status)) {
		warnx("%s: cannot run init 0 in it: there is no init that can"
		    " be executed", target->name);
		target_fail(target);
	} else if (teller->settings->verbose)
		warnx("%s: has run init 0 in it", target->name);
}

/* Takes the next report, if one comes in time. */
static bool
report_take(struct teller *teller, int64_t deadline)
{
	struct pollfd told = { teller->monitor.channel, POLLIN, 0 };
	struct entry_report report = { .id = 0 };
	int fd;

	if (poll(&told, 1, deadline_left(deadline)) != 1 ||
	    monitor_report(&teller->monitor, &report, &fd) == -1)
		return false;
	command_reported(teller, &report);
	return true;
}

/* Has the command run in a machine; the monitor reports on it. */
static void
command_order(struct teller *teller, size_t id)
{
	struct target *target = &teller->settings->targets[id];
	struct entry_report report;
	struct command command;
	struct entry entry;

	if (teller->null == -1)
		teller->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	/* Reports that nobody takes would hold the monitor up. */
	while (teller->monitor.channel != -1 &&
	    report_take(teller, deadline_in(0)))
		;
	command_make(teller, &command);
	/* Since it was found its leader may have given up more. */
	process_status_read(teller->host->proc, target->machine.leader.pid,
	    &target->machine.status);
	if (entry_read(teller->host, &target->machine, &command, &entry,
	    &report) == -1) {
		command_failed(teller, target, &report);
		return;
	}
	target->ordered = true;
	if (teller->null == -1 ||
	    monitor_order(&teller->monitor, (int)id, &entry, &command) == -1) {
		warn("%s: cannot have a monitor run init 0 in it",
		    target->name);
		target->ordered = false;
		target_fail(target);
	}
	entry_close(&entry);
}

/* Waits until all commands that were ordered run, or cannot. */
static void
commands_await(struct teller *teller)
{
	const struct settings *settings = teller->settings;
	int64_t deadline = deadline_in(teller->entry_time + SLACK_TIME);

	for (size_t i = 0; i < settings->count;) {
		struct target *target = &settings->targets[i];

		if (!target->ordered)
			i++;
		else if (!report_take(teller, deadline)) {
			warnx("%s: cannot tell whether init 0 runs in it: its"
			    " monitor does not answer", target->name);
			target->ordered = false;
			target_fail(target);
		}
	}
	/* It goes on with what it has begun. */
	fd_close(&teller->monitor.channel);
}

/* ---- telling ------------------------------------------------------- */

/* Tells one machine, as it was planned. */
static void
tell(struct teller *teller, size_t id)
{
	const struct settings *settings = teller->settings;
	struct target *target = &settings->targets[id];
	const struct process *leader = &target->machine.leader;
	int proc = teller->host->proc;
	char words[LEADER_SIZE], name[SIGNAL_NAME_SIZE];
	int signal = target->plan.signal, error;

	target->told = true;
	if (signal == SIGNAL_NONE)
		return;
	if (settings->verbose)
		warnx("%s: %s", target->name, leader_words(proc, target, words,
		    sizeof(words)));
	if (target->plan.way == INIT_COMMAND) {
		command_order(teller, id);
		return;
	}
	if (!settings->quiet)
		warn_unclean(proc, target);
	signal_name(signal, name);
	if (machine_signal(&target->machine, target->name, signal,
	    teller->machined) == 0) {
		if (settings->verbose)
			warnx("%s: sent %s to its leader %d", target->name,
			    name, leader->pid);
		return;
	}
	error = errno;
	if (!ended(leader)) {
		errno = error;
		warn("%s: cannot send %s to its leader %d", target->name, name,
		    leader->pid);
		target_fail(target);
	}
}

/* Gives up to tell a machine what nobody knows how to. */
static void
plan_failed(struct target *target)
{
	warn("%s: cannot find out how it is stopped", target->name);
	target_fail(target);
}

/*
 * Tells the machines that are ready to hear it, or all.
 * Returns  whether there are others
 */
static bool
tell_ready(struct teller *teller, bool all)
{
	const struct settings *settings = teller->settings;
	int proc = teller->host->proc, early;
	bool held = false;

	for (size_t i = 0; i < settings->count; i++) {
		struct target *target = &settings->targets[i];

		if (target->machine.leader.fd == -1 || target->told)
			continue;
		if (plan_make(settings, proc, target, &target->plan) == -1 ||
		    (early = plan_early(proc, target)) == -1)
			plan_failed(target);
		else if (early == 1 && !all)
			held = true;
		else
			tell(teller, i);
	}
	return held;
}

/*
 * Tells all machines, those first that are ready to hear it.  That a PID 1 has
 * become another program, or has a handler, is no event: it is looked at.
 */
static void
tell_all(const struct settings *settings, const struct host *host,
    struct machined *machined)
{
	struct teller teller = { .settings = settings, .host = host,
	    .machined = machined, .monitor = MONITOR_NONE,
	    .null = -1,
	    .entry_time = entry_time(settings->timeout) };
	bool all = false;

	while (tell_ready(&teller, all))
		all = poll(NULL, 0, START_LOOK) == -1 && errno != EINTR;
	commands_await(&teller);
	fd_close(&teller.null);
}

/* Says how one machine would be told. */
static void
describe(int proc, const struct target *target)
{
	static const char *const verdicts[] = {
		[VERDICT_HEARD] = "it has a handler",
		[VERDICT_QUEUED] = "it has it blocked, and may read it",
		[VERDICT_UNKNOWN] = "what becomes of that is not known",
		[VERDICT_DROPPED] = "the kernel would drop it",
	};
	const struct plan *plan = &target->plan;
	char words[LEADER_SIZE], name[SIGNAL_NAME_SIZE];

	printf("%s: %s, its supervisor is %d; ", target->name,
	    leader_words(proc, target, words, sizeof(words)),
	    target->machine.supervisor.pid);
	if (plan->signal == SIGNAL_NONE)
		printf("it would only be waited for\n");
	else if (plan->way == INIT_COMMAND)
		printf("the command init 0 would be run in it\n");
	else
		printf("%s would be sent: %s%s\n",
		    signal_name(plan->signal, name), verdicts[plan->verdict],
		    plan->way == INIT_NONE ? "; nothing stops it cleanly" : "");
}

/* Says what tell_all() would do. */
static void
describe_all(const struct settings *settings, int proc)
{
	for (size_t i = 0; i < settings->count; i++) {
		struct target *target = &settings->targets[i];

		if (target->machine.leader.fd == -1)
			continue;
		if (plan_make(settings, proc, target, &target->plan) == -1)
			plan_failed(target);
		else
			describe(proc, target);
	}
}

/* ---- notices ------------------------------------------------------- */

/* Who is told once a second how the wait goes. */
struct notice {
	bool			terminal;	/* on stderr */
	bool			shown;		/* a line stands there */
	int			socket;		/* to systemd; -1: none */
	struct sockaddr_un	address;
	socklen_t		length;		/* of address */
};

/* Opens the way to systemd of sd_notify(3), where there is one. */
static void
notice_open(const struct settings *settings, struct notice *notice)
{
	const char *path = getenv("NOTIFY_SOCKET"), *term = getenv("TERM");
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

/* Takes the line away, before anything else is said. */
static void
notice_clear(struct notice *notice)
{
	if (notice->shown)
		fprintf(stderr, "\r\033[K");
	notice->shown = false;
}

/* Says on the terminal's last line what the wait is for, as far as it goes. */
static void
notice_line(struct notice *notice, const char *text)
{
	struct winsize size = { .ws_col = 0 };
	int width;

	/* In the background it is somebody else's. */
	if (tcgetpgrp(STDERR_FILENO) != getpgrp())
		return;
	ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
	width = size.ws_col == 0 ? 80 : size.ws_col;
	notice_clear(notice);
	fprintf(stderr, "%.*s", width - 1, text);
	notice->shown = true;
}

/* Tells systemd the same, and that it is not to lose patience yet. */
static void
notice_systemd(const struct notice *notice, const char *text)
{
	char message[LINE_SIZE + 128];
	int length = snprintf(message, sizeof(message),
	    "STATUS=%s\nEXTEND_TIMEOUT_USEC=%d000000\n", text, EXTEND_TIME);

	/* Where nobody listens the wait goes on. */
	sendto(notice->socket, message, (size_t)length, MSG_NOSIGNAL,
	    (const struct sockaddr *)&notice->address, notice->length);
}

/* ---- waiting ------------------------------------------------------- */

struct wait {
	const struct settings	*settings;
	const struct host	*host;
	struct notice		 notice;
	struct pollfd		*fds;
	int			 scopes;	/* inotify(7) of their slices */
	int			 signals;
	int64_t			 deadline;
	int64_t			 doubt;		/* or never: has been */
	int64_t			 tick;
};

/* Makes an event of the removal of a scope's folder. */
static void
scope_watch(const struct wait *wait, struct target *target)
{
	char path[SCOPE_SIZE + 32], *slash;

	if (target->scope[0] == '\0')
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s",
	    wait->host->cgroup, target->scope);
	slash = strrchr(path, '/');
	*slash = '\0';
	if (inotify_add_watch(wait->scopes, path, IN_DELETE) != -1)
		return;
	if (errno == ENOENT)	/* with its slice */
		target->scope[0] = '\0';
	else
		scope_failed(target, "watch");
}

/*
 * Forgets the scope if systemd has dropped it.  When a process enters just as
 * systemd removes the folder of a scope, the folder stays, and nobody looks
 * after it any more: after a while it is removed here.
 */
static void
scope_look(const struct wait *wait, struct target *target)
{
	bool left = target_rest(target) == REST_SCOPE;

	if (left && deadline_left(target->forgotten) == 0)
		cgroup_remove(wait->host->cgroup, target->scope);
	if (!left)
		target->forgotten = DEADLINE_NEVER;
	else if (target->forgotten == DEADLINE_NEVER ||
	    deadline_left(target->forgotten) == 0)
		target->forgotten = deadline_in(FORGOTTEN_TIME);
	if (target->scope[0] != '\0' && file_exists(wait->host->cgroup,
	    target->scope) == -1 && errno == ENOENT)
		target->scope[0] = '\0';
}

/*
 * Looks whether a machine whose leader has ended has another one now, under
 * the supervisor that lives on.  A new process is no event; the next look comes
 * later each time.
 */
static void
reboot_look(struct wait *wait, struct target *target)
{
	struct machined none = { .hung = true };
	struct machine *machine = &target->machine, again;
	pid_t suspects[2];

	if (!ended(&machine->leader) || ended(&machine->supervisor) ||
	    deadline_left(target->look) != 0)
		return;
	target->look = deadline_in(target->pace);
	target->pace = target->pace < SECOND / 2 ? 2 * target->pace : SECOND;
	if (machine_find(wait->host, target->name, &none, &again,
	    suspects) == -1)
		return;
	if (again.supervisor.pid == machine->supervisor.pid &&
	    again.leader.pid != machine->leader.pid) {
		notice_clear(&wait->notice);
		warnx("%s: has rebooted instead of stopping: its leader is %d"
		    " now", target->name, again.leader.pid);
		target_fail(target);
	}
	machine_close(&again);
}

/* Says why a machine does not seem to have heard, where that is certain. */
static void
explain(const struct wait *wait, const struct target *target)
{
	const struct machine *machine = &target->machine;
	const struct process *leader = &machine->leader;
	const struct plan *plan = &target->plan;
	char words[LEADER_SIZE], hint[HINT_SIZE], name[SIGNAL_NAME_SIZE];
	struct process_status status;
	int proc = wait->host->proc;

	if (plan->signal == SIGNAL_NONE ||
	    process_status_read(proc, leader->pid, &status) == -1 ||
	    !process_alive(leader))
		return;
	leader_words(proc, target, words, sizeof(words));
	hint_words(plan, hint, sizeof(hint));
	signal_name(plan->signal, name);
	if (machine_frozen(wait->host, machine))
		warnx("%s: is frozen, and hears nothing until it is thawed:"
		    " systemctl thaw, with its unit", target->name);
	else if (status.state == 'T')
		warnx("%s: %s: it is stopped, and hears nothing until it is"
		    " continued: kill -CONT %d", target->name, words,
		    leader->pid);
	else if (!signal_in(status.pending, plan->signal))
		return;
	else if (status.state == 't')
		warnx("%s: %s: its tracer %d holds it", target->name, words,
		    status.tracer);
	else if (signal_in(status.blocked, plan->signal) &&
	    signal_awaited(proc, leader, plan->signal) == 0)
		warnx("%s: %s: %s is blocked and never read%s", target->name,
		    words, name, hint);
	else
		warnx("%s: %s: %s is still pending%s", target->name, words,
		    name, hint);
}

/* Says what the wait is for. */
static void
notice_give(struct wait *wait)
{
	const struct settings *settings = wait->settings;
	char text[LINE_SIZE] = "waiting for";
	size_t used = strlen(text);
	ssize_t processes = 0, some;
	int left = deadline_left(wait->deadline);

	for (size_t i = 0; i < settings->count; i++) {
		const struct target *target = &settings->targets[i];

		if (target_rest(target) == REST_NONE)
			continue;
		some = machine_processes(wait->host->proc, &target->machine,
		    NULL, 0);
		processes = processes == -1 || some == -1 ? -1 :
		    processes + some;
		if (used + strlen(target->name) + 80 < sizeof(text))
			used += (size_t)snprintf(text + used,
			    sizeof(text) - used, " %s", target->name);
	}
	if (processes != -1)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
		    ": %zd process%s left", processes,
		    processes == 1 ? "" : "es");
	if (left != -1)
		snprintf(text + used, sizeof(text) - used, ", %d s",
		    (left + SECOND - 1) / SECOND);
	if (wait->notice.terminal)
		notice_line(&wait->notice, text);
	if (wait->notice.socket != -1)
		notice_systemd(&wait->notice, text);
}

/* Takes note of what has happened.  Says how many machines are left. */
static size_t
wait_look(struct wait *wait)
{
	const struct settings *settings = wait->settings;
	bool doubt = deadline_left(wait->doubt) == 0;
	size_t left = 0;

	for (size_t i = 0; i < settings->count; i++) {
		struct target *target = &settings->targets[i];

		scope_look(wait, target);
		reboot_look(wait, target);
		if (doubt) {
			notice_clear(&wait->notice);
			explain(wait, target);
		}
		left += target_rest(target) != REST_NONE;
	}
	if (doubt)
		wait->doubt = DEADLINE_NEVER;
	if (left > 0 && deadline_left(wait->tick) == 0) {
		notice_give(wait);
		wait->tick = deadline_in(SECOND);
	}
	return left;
}

/* Says when something is to be done even if nothing happens. */
static int64_t
wait_next(const struct wait *wait)
{
	int64_t next = wait->deadline;

	if (wait->doubt < next)
		next = wait->doubt;
	if (wait->tick < next)
		next = wait->tick;
	for (size_t i = 0; i < wait->settings->count; i++) {
		const struct target *target = &wait->settings->targets[i];

		if (target->forgotten < next &&
		    target_rest(target) == REST_SCOPE)
			next = target->forgotten;
		if (target->look < next &&
		    ended(&target->machine.leader) &&
		    !ended(&target->machine.supervisor))
			next = target->look;
	}
	return next;
}

/*
 * Waits for the next event.
 * Returns the signal that is to end the wait; 0: none
 */
static int
wait_event(struct wait *wait)
{
	struct signalfd_siginfo info;
	struct pollfd *fds = wait->fds;
	nfds_t count = 0;
	char events[4096];

	fds[count++] = (struct pollfd){ wait->signals, POLLIN, 0 };
	fds[count++] = (struct pollfd){ wait->scopes, POLLIN, 0 };
	for (size_t i = 0; i < wait->settings->count; i++) {
		const struct machine *m = &wait->settings->targets[i].machine;

		if (!ended(&m->leader))
			fds[count++] = (struct pollfd){ m->leader.fd, POLLIN,
			    0 };
		if (!ended(&m->supervisor))
			fds[count++] = (struct pollfd){ m->supervisor.fd,
			    POLLIN, 0 };
	}
	if (poll(fds, count, deadline_left(wait_next(wait))) == -1 &&
	    errno != EINTR)
		err(STATUS_FAILED, "cannot wait");
	if (fds[1].revents != 0 &&
	    read(wait->scopes, events, sizeof(events)) == -1)
		err(STATUS_FAILED, "cannot read what became of the scopes");
	if (fds[0].revents == 0)
		return 0;
	if (read(wait->signals, &info, sizeof(info)) == -1)
		err(STATUS_FAILED, "cannot read which signal came");
	return (int)info.ssi_signo;
}

/* Takes the signals that end the wait as events, but for those ignored. */
static int
signals_open(void)
{
	static const int ending[] = { SIGHUP, SIGINT, SIGTERM };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		if (!signal_is_ignored(ending[i]))
			sigaddset(&set, ending[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void
wait_open(const struct settings *settings, const struct host *host,
    int64_t deadline, struct wait *wait)
{
	bool told = settings->signal != SIGNAL_NONE && !settings->quiet;

	*wait = (struct wait){ .settings = settings, .host = host,
	    .deadline = deadline, .doubt = told ? deadline_in(DOUBT_TIME) :
	    DEADLINE_NEVER, .tick = DEADLINE_NEVER };
	wait->fds = calloc(2 * settings->count + 2, sizeof(*wait->fds));
	wait->scopes = inotify_init1(IN_CLOEXEC);
	wait->signals = signals_open();
	if (wait->fds == NULL || wait->scopes == -1 || wait->signals == -1)
		err(STATUS_FAILED, "cannot wait");
	notice_open(settings, &wait->notice);
	if (wait->notice.terminal || wait->notice.socket != -1)
		wait->tick = deadline_in(0);
	for (size_t i = 0; i < settings->count; i++)
		scope_watch(wait, &settings->targets[i]);
}

/*
 * Waits until all machines have stopped.
 * Returns the signal that ended the wait; 0: none
 */
static int
wait_all(const struct settings *settings, const struct host *host,
    int64_t deadline)
{
	static struct wait wait;	/* what it has is needed to the end */
	int signal = 0;
	size_t held = 0;

	for (size_t i = 0; i < settings->count; i++)
		held += target_rest(&settings->targets[i]) != REST_NONE;
	if (held == 0)
		return 0;
	wait_open(settings, host, deadline, &wait);
	while (wait_look(&wait) > 0 && signal == 0 &&
	    deadline_left(deadline) != 0)
		signal = wait_event(&wait);
	notice_clear(&wait.notice);
	fd_close(&wait.notice.socket);
	fd_close(&wait.signals);
	fd_close(&wait.scopes);
	return signal;
}

/* ---- reporting ----------------------------------------------------- */

/* Lists what still runs in a machine. */
static void
list_processes(int proc, const struct target *target)
{
	pid_t pids[LISTED_MAX];
	ssize_t count = machine_processes(proc, &target->machine, pids,
	    LISTED_MAX);

	if (count == -1)
		warn("%s: cannot list its processes", target->name);
	for (ssize_t i = 0; i < count && i < LISTED_MAX; i++) {
		char name[4 * PROCESS_NAME_SIZE], place[PROCESS_NAME_SIZE];
		struct process_status status;

		if (process_status_read(proc, pids[i], &status) == -1)
			continue;
		printable(status.name, name, sizeof(name));
		process_place(proc, pids[i], place);
		if (status.state == 'D' && place[0] != '\0')
			warnx("%s: %d (%d inside) %s, in state D in %s",
			    target->name, pids[i], status.inner, name, place);
		else
			warnx("%s: %d (%d inside) %s, in state %c",
			    target->name, pids[i], status.inner, name,
			    status.state);
	}
	if (count > LISTED_MAX)
		warnx("%s: and %zd more", target->name, count - LISTED_MAX);
}

/* Says whether this is the stop command of the machine's own unit. */
static bool
is_own_stop(const struct target *target)
{
	const char *main_pid = getenv("MAINPID");
	uint64_t pid;

	return main_pid != NULL && target->machine.supervisor.fd != -1 &&
	    number_parse(main_pid, INT32_MAX, &pid) == 0 &&
	    (pid_t)pid == target->machine.supervisor.pid;
}

/*
 * Says whether the supervisor ended to be started again by its unit.  In the
 * unit's own stop command that is a stop like any other.
 */
static bool
restarts(const struct target *target)
{
	const struct process *supervisor = &target->machine.supervisor;
	struct pollfd reaped = { .fd = supervisor->fd };
	int status;

	if (supervisor->fd == -1 || is_own_stop(target))
		return false;
	if (process_ended(supervisor, &status) == -1 &&
	    (errno != EAGAIN || poll(&reaped, 1, REAP_TIME) != 1 ||
	    process_ended(supervisor, &status) == -1))
		return false;
	return exit_status(status) == NSPAWN_REBOOT;
}

/* Says what is left of a machine. */
static void
report_rest(int proc, const struct target *target, enum rest rest,
    const char *when)
{
	const struct machine *m = &target->machine;
	const char *scope = strrchr(target->scope, '/');

	if (rest == REST_LEADER)
		warnx("%s: is still running, %s; its leader is %d",
		    target->name, when, m->leader.pid);
	else if (rest == REST_SUPERVISOR)
		warnx("%s: its leader has ended, but its systemd-nspawn %d is"
		    " still running, %s", target->name, m->supervisor.pid,
		    when);
	else
		warnx("%s: has ended, but systemd has not dropped its scope,"
		    " %s; see systemctl status %s", target->name, when,
		    scope == NULL ? target->scope : scope + 1);
	list_processes(proc, target);
}

/* Says what has become of a machine.  Returns its part of the exit status. */
static int
report(const struct settings *settings, int proc, const struct target *target)
{
	enum rest rest = target_rest(target);

	if (settings->dry_run || settings->timeout == 0)	/* not waited */
		return target->failed ? STATUS_FAILED : STATUS_STOPPED;
	if (rest != REST_NONE)
		report_rest(proc, target, rest, "now that the time is up");
	if (target->failed)
		return STATUS_FAILED;
	if (rest != REST_NONE) {
		/* For the end of its own main process systemd waits itself. */
		return is_own_stop(target) && rest != REST_LEADER ?
		    STATUS_STOPPED : STATUS_RUNNING;
	}
	if (restarts(target)) {
		warnx("%s: has rebooted instead of stopping: its systemd-nspawn"
		    " ended with status %d, for its unit to start it again",
		    target->name, NSPAWN_REBOOT);
		return STATUS_FAILED;
	}
	if (settings->verbose && target->machine.leader.fd != -1)
		warnx("%s: has stopped", target->name);
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

/* Says what the caller did not want to wait for any longer. */
static int
report_interrupted(const struct settings *settings, int proc, int signal)
{
	char name[SIGNAL_NAME_SIZE], when[SIGNAL_NAME_SIZE + 16];

	snprintf(when, sizeof(when), "now that %s came",
	    signal_name(signal, name));
	for (size_t i = 0; i < settings->count; i++) {
		const struct target *target = &settings->targets[i];
		enum rest rest = target_rest(target);

		if (rest != REST_NONE)
			report_rest(proc, target, rest, when);
	}
	return 128 + signal;
}

/* ---- nspawn-stop --------------------------------------------------- */

/* Makes room for two pidfds of each machine. */
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
prepare(void)
{
	signal(SIGCHLD, SIG_DFL);	/* a caller's SIG_IGN would reap */
	signal(SIGPIPE, SIG_IGN);	/* who does not listen stops no stop */
	limit_raise();
	if (fds_tidy() == -1)
		err(STATUS_USAGE, "cannot open /dev/null");
}

static void
release(struct settings *settings, struct host *host)
{
	for (size_t i = 0; i < settings->count; i++)
		machine_close(&settings->targets[i].machine);
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
	parse_options(argc, argv, &settings);
	deadline = deadline_in(settings.timeout);
	machined.deadline = machined_deadline(settings.timeout);
	prepare();
	if (host_open("/proc", NULL, &host) == -1)
		err(STATUS_USAGE, "cannot open /proc and the cgroups");
	find_all(&settings, &host, &machined);
	if (settings.dry_run)
		describe_all(&settings, host.proc);
	else {
		tell_all(&settings, &host, &machined);
		signal = wait_all(&settings, &host, deadline);
	}
	status = signal != 0 ?
	    report_interrupted(&settings, host.proc, signal) :
	    report_all(&settings, host.proc);
	release(&settings, &host);
	return status;
}
