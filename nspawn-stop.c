/* SPDX-License-Identifier: GPL-3.0-only */
/*
 * Tells systemd-nspawn machines to stop, and waits until they have.
 *
 * What keeps it right: leaders and supervisors are held by pidfd before
 * anything is sent, so their end cannot be missed.  Nothing is sent while any
 * word of the command line is in doubt, and nothing but the one signal ever.
 */
#include "common.h"

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

enum { SIGNAL_NONE = 0, SIGNAL_OF_INIT = -2 };

struct target {
	const char	*name;
	struct machine	 machine;	/* empty: not to be waited for */
	bool		 failed;
};

struct settings {
	int64_t		 timeout;
	int		 signal;	/* or SIGNAL_NONE, SIGNAL_OF_INIT */
	bool		 foreign;
	bool		 verbose;
	struct target	*targets;
	size_t		 count;
};

enum { KEY_FOREIGN = 512, KEY_HELP, KEY_VERSION };

static const struct option_spec options[] = {
	{ "timeout", 't', "TIME", "wait: seconds, or with s, min or h, or"
	    " infinity (" TIMEOUT_DEFAULT ")" },
	{ "signal", 's', "SIGNAL", "send that one, by name or number; none"
	    " only waits" },
	{ "foreign", KEY_FOREIGN, NULL, "also stop a machine that belongs to"
	    " another user" },
	{ "verbose", 'v', NULL, "say each step" },
	{ "help", KEY_HELP, NULL, "show this text" },
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
	    " USR2 for busybox, ...), or TERM.\n"
	    "\nExit status:\n"
	    "  0    each machine has stopped, or was not running\n"
	    "  1    one could not be told to stop, or is no container\n"
	    "  124  one is still running, now that the time is up\n"
	    "  125  a mistake in the call, or nspawn-stop itself failed;"
	    " nothing was sent\n");
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
		.name = name, .machine = MACHINE_NONE,
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
	case 'v':
		settings->verbose = true;
		break;
	case KEY_FOREIGN:
		settings->foreign = true;
		break;
	case KEY_HELP:
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

/* Takes hold of one machine.  Without one there is nothing to wait for. */
static void
find(const struct settings *settings, const struct host *host,
    struct target *target, struct machined *machined)
{
	struct machine machine;
	pid_t suspects[2];
	char text[160];

	if (machine_find(host, target->name, machined, &machine,
	    suspects) == -1) {
		if (errno == ENOSYS)
			errx(STATUS_USAGE, "%s: %s", target->name,
			    machine_strerror(errno, suspects, text,
			    sizeof(text)));
		target->failed = errno != ESRCH;
		warnx("%s: %s", target->name, target->failed ?
		    machine_strerror(errno, suspects, text, sizeof(text)) :
		    "is not running");
	} else if (machine_foreign(&machine) && !settings->foreign) {
		target->failed = true;
		warnx("%s: belongs to the user %u, not to root; --foreign stops"
		    " it all the same", target->name, machine.owner);
		machine_close(&machine);
	} else
		target->machine = machine;
}

/*
 * Chooses the signal: the caller's, else the one that systemd-nspawn was given,
 * else that of the init, else TERM.
 */
static int
choose_signal(const struct settings *settings, int proc,
    const struct target *target)
{
	const struct init *init;
	int signal;

	if (settings->signal != SIGNAL_OF_INIT)
		return settings->signal;
	signal = machine_kill_signal(proc, &target->machine);
	if (signal == -1)
		warnx("%s: the --kill-signal= of its systemd-nspawn stops no"
		    " machine in order and is ignored", target->name);
	if (signal > 0)
		return signal;
	init = init_of(proc, &target->machine.leader);
	if (settings->verbose)
		warnx("%s: its leader %d is %s", target->name,
		    target->machine.leader.pid,
		    init == NULL ? "no init that is known" : init->name);
	return init == NULL ? SIGTERM : init->signal;
}

static void
tell(const struct settings *settings, int proc, struct target *target,
    struct machined *machined)
{
	const struct process *leader = &target->machine.leader;
	char name[SIGNAL_NAME_SIZE];
	int signal;

	if (leader->fd == -1 || settings->signal == SIGNAL_NONE)
		return;
	signal = choose_signal(settings, proc, target);
	signal_name(signal, name);
	if (machine_signal(&target->machine, target->name, signal,
	    machined) == 0) {
		if (settings->verbose)
			warnx("%s: sent %s to its leader %d", target->name,
			    name, leader->pid);
	} else if (process_alive(leader)) {
		warn("%s: cannot send %s to its leader %d", target->name, name,
		    leader->pid);
		target->failed = true;
		machine_close(&target->machine);
	}
}

/*
 * Waits for the leader and the supervisor of each: only when the latter has
 * ended too the name is free again.
 */
static void
wait_all(const struct settings *settings, int64_t deadline)
{
	struct pollfd *fds = calloc(2 * settings->count + 1, sizeof(*fds));

	if (fds == NULL)
		err(STATUS_FAILED, "cannot wait");
	for (size_t i = 0; i < settings->count; i++) {
		const struct machine *m = &settings->targets[i].machine;

		fds[2 * i] = (struct pollfd){ m->leader.fd, POLLIN, 0 };
		fds[2 * i + 1] = (struct pollfd){ m->supervisor.fd, POLLIN, 0 };
	}
	if (processes_wait(fds, 2 * settings->count, deadline) == -1)
		err(STATUS_FAILED, "cannot wait");
	free(fds);
}

/* Says what has become of a machine.  Returns its part of the exit status. */
static int
report(const struct settings *settings, const struct target *target)
{
	const struct machine *m = &target->machine;

	if (target->failed)
		return STATUS_FAILED;
	if (settings->timeout == 0)	/* asked to send, and to see no more */
		return STATUS_STOPPED;
	if (process_alive(&m->leader))
		warnx("%s: is still running, now that the time is up; its"
		    " leader is %d", target->name, m->leader.pid);
	else if (process_alive(&m->supervisor))
		warnx("%s: its leader has ended, but its systemd-nspawn %d is"
		    " still running", target->name, m->supervisor.pid);
	else {
		if (settings->verbose && m->leader.fd != -1)
			warnx("%s: has stopped", target->name);
		return STATUS_STOPPED;
	}
	return STATUS_RUNNING;
}

static int
report_all(const struct settings *settings)
{
	bool failed = false, running = false;

	for (size_t i = 0; i < settings->count; i++) {
		int status = report(settings, &settings->targets[i]);

		failed = failed || status == STATUS_FAILED;
		running = running || status == STATUS_RUNNING;
	}
	if (failed)
		return STATUS_FAILED;
	return running ? STATUS_RUNNING : STATUS_STOPPED;
}

static void
release(struct settings *settings)
{
	for (size_t i = 0; i < settings->count; i++)
		machine_close(&settings->targets[i].machine);
	free(settings->targets);
}

int
main(int argc, char **argv)
{
	struct settings settings;
	struct machined machined = { .hung = false };
	int64_t deadline;
	struct host host;
	int status;

	parse_options(argc, argv, &settings);
	deadline = deadline_in(settings.timeout);
	machined.deadline = machined_deadline(settings.timeout);
	signal(SIGCHLD, SIG_DFL);	/* a caller's SIG_IGN would reap */
	if (fds_tidy() == -1)
		err(STATUS_USAGE, "cannot open /dev/null");
	host.proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (host.proc == -1)
		err(STATUS_USAGE, "cannot open /proc");
	host.cgroup = hierarchy_of_units();
	for (size_t i = 0; i < settings.count; i++)
		find(&settings, &host, &settings.targets[i], &machined);
	for (size_t i = 0; i < settings.count; i++)
		tell(&settings, host.proc, &settings.targets[i], &machined);
	wait_all(&settings, deadline);
	status = report_all(&settings);
	release(&settings);
	fd_close(&host.cgroup);
	fd_close(&host.proc);
	return status;
}
