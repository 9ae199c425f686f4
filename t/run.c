/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * Runs a command in a systemd-nspawn machine, as confined as its PID 1.
 *
 *   run MACHINE COMMAND [ARGUMENT]...
 *
 * It is an example of a third program that needs only common.h to enter.
 */
#include "../common.h"

#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MACHINED_TIME	2000	/* ms, for machinectl */
#define ENTRY_TIME	5000	/* ms, to enter the machine */

/* Runs the command, and waits for its end. */
static void
enter(const struct entry_needs *entry, const struct command *command,
    struct entry_report *report)
{
	struct monitor monitor = MONITOR_NONE;
	int fd;

	if (monitor_order(&monitor, 0, entry, command) == -1)
		err(ENTRY_STATUS_FAILED, "cannot start the monitor");
	if (monitor_report(&monitor, report, &fd) == -1)
		err(ENTRY_STATUS_FAILED, "the monitor has ended");
	monitor_close(&monitor);
}

int
main(int argc, char **argv)
{
	struct machined machined = { .deadline = deadline_in(MACHINED_TIME) };
	struct entry_report report;
	struct machine machine;
	struct host host;
	struct entry_needs entry;
	pid_t pids[2];
	char text[512];

	monitor_main(argv);
	if (argc < 3)
		errx(ENTRY_STATUS_FAILED,
		    "usage: run MACHINE COMMAND [ARGUMENT]...");
	struct command command = {
		.argv = argv + 2, .namespaces = NAMESPACES_ALL,
		.time = ENTRY_TIME, .complaint = "run",
		.fds = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO },
	};

	if (fds_tidy() == -1)
		err(ENTRY_STATUS_FAILED, "cannot open /dev/null");
	if (host_open("/proc", NULL, &host) == -1 || machine_find(&host,
	    argv[1], &machined, &machine, pids) == -1)
		errx(ENTRY_STATUS_FAILED, "%s: %s", argv[1], machine_strerror(
		    errno, pids, text, sizeof(text)));
	if (machine_foreign(&machine))
		errx(ENTRY_STATUS_FAILED, "%s: belongs to another user",
		    argv[1]);
	if (entry_read(&host, &machine, &command, &entry,
	    &report) == 0) {
		enter(&entry, &command, &report);
		entry_close(&entry);
	}
	machine_close(&machine);
	host_close(&host);
	if (report.event != ENTRY_ENDED)
		errx(ENTRY_STATUS_FAILED, "%s: %s", argv[1], entry_strerror(
		    &report, &command, text, sizeof(text)));
	return process_exit_status(report.status);
}
