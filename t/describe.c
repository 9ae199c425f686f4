/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * Describes systemd-nspawn machines, a line each: the leader, its init program
 * and the signal that stops it, the supervisor, and the namespaces that belong
 * to the machine.
 *
 * It is an example of a third program that needs only common.h.  --proc and
 * --cgroup are for the tests, which make such directories themselves.
 */
#include "../common.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>

#define MACHINED_TIME	2000	/* ms, for all calls of machinectl together */

struct settings {
	const char	*proc;
	const char	*cgroup;	/* NULL: the host's */
	const char	**names;
	size_t		 count;
};

enum { KEY_PROC = 512, KEY_CGROUP, KEY_HELP };

static const struct option_spec options[] = {
	{ "proc", KEY_PROC, "DIR", "read DIR instead of /proc" },
	{ "cgroup", KEY_CGROUP, "DIR", "read cgroups in DIR" },
	{ "help", KEY_HELP, NULL, "show this text" },
	{ NULL, 0, NULL, NULL },
};

static void
add_name(struct settings *settings, const char *name)
{
	char clean[4 * MACHINE_NAME_MAX + 1];

	if (!machine_name_valid(name))
		errx(EXIT_FAILURE, MACHINE_NAME_INVALID,
		    text_printable(name, clean, sizeof(clean)),
		    MACHINE_NAME_MAX);
	settings->names[settings->count++] = name;
}

static void
set_option(struct settings *settings, int key)
{
	switch (key) {
	case OPTION_WORD:
		add_name(settings, optarg);
		break;
	case KEY_PROC:
		settings->proc = optarg;
		break;
	case KEY_CGROUP:
		settings->cgroup = optarg;
		break;
	case KEY_HELP:
		printf("Usage: describe [OPTION]... MACHINE...\n");
		option_help(stdout, options);
		exit(EXIT_SUCCESS);
	default:
		exit(EXIT_FAILURE);
	}
}

static void
parse_options(int argc, char **argv, struct settings *settings)
{
	int key;

	*settings = (struct settings){ .proc = "/proc" };
	settings->names = calloc((size_t)argc + 1, sizeof(*settings->names));
	if (settings->names == NULL)
		err(EXIT_FAILURE, "cannot allocate memory for the machines");
	while ((key = option_next(argc, argv, options)) != -1)
		set_option(settings, key);
	while (optind < argc)
		add_name(settings, argv[optind++]);
}

static void
describe_init(int proc, const struct machine *machine)
{
	const struct init *init;
	char name[SIGNAL_NAME_SIZE];
	int signal;

	if (init_of(proc, &machine->leader, &init) == -1 ||
	    machine_kill_signal(proc, machine, 0, &signal) == -1) {
		printf(" init unknown");
		return;
	}
	if (signal <= 0)
		signal = init != NULL ? init->signal : SIGTERM;
	printf(" init %s stop %s", init != NULL ? init->name : "unknown",
	    signal_name(signal, name));
}

static void
describe_namespaces(int proc, const struct process *leader)
{
	int fds[NAMESPACES];

	if (namespaces_open(proc, leader, NAMESPACES_ALL, fds) == -1) {
		printf(" namespaces unknown");
		return;
	}
	printf(" namespaces");
	for (int i = 0; i < NAMESPACES; i++) {
		if (fds[i] != -1)
			printf(" %s", namespace_name(i));
		fd_close(&fds[i]);
	}
}

/* True if the machine could be described. */
static bool
describe(const struct host *host, const char *name, struct machined *machined)
{
	struct machine machine;
	pid_t pids[2];
	char text[160];

	if (machine_find(host, name, machined, &machine, pids) == -1) {
		warnx("%s: %s", name, machine_strerror(errno, pids, text,
		    sizeof(text)));
		return false;
	}
	printf("%s: leader %d", name, machine.leader.pid);
	describe_init(host->proc, &machine);
	if (machine.supervisor.fd != -1)
		printf(" supervisor %d", machine.supervisor.pid);
	if (machine_foreign(&machine))
		printf(" owner %u", machine.owner);
	describe_namespaces(host->proc, &machine.leader);
	putchar('\n');
	machine_close(&machine);
	return true;
}

int
main(int argc, char **argv)
{
	struct machined machined = { .hung = false };
	int status = EXIT_SUCCESS;
	struct settings settings;
	struct host host;

	parse_options(argc, argv, &settings);
	signal(SIGCHLD, SIG_DFL);	/* helper_run() needs this */
	machined.deadline = deadline_in(MACHINED_TIME);
	if (host_open(settings.proc, settings.cgroup, &host) == -1)
		err(EXIT_FAILURE, "cannot open %s", settings.proc);
	for (size_t i = 0; i < settings.count; i++)
		if (!describe(&host, settings.names[i], &machined))
			status = EXIT_FAILURE;
	host_close(&host);
	free(settings.names);
	return status;
}
