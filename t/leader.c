/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * PID 1 of a machine.  Its first thread ends once the file /go exists, and
 * another thread goes on.  /proc then shows less of the process.  TERM ends it.
 */
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static void
file_make(const char *path, const char *text, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd == -1 || write(fd, text, length) == -1)
		_exit(1);
	close(fd);
}

static void
on_term(int signal)
{
	static const char text[] = "stopped\n";

	(void)signal;
	file_make("/stopped", text, sizeof(text) - 1);
	_exit(0);
}

static void *
live_on(void *unused)
{
	file_make("/ready", "", 0);
	for (;;)
		pause();
	return unused;
}

int
main(void)
{
	pthread_t thread;

	signal(SIGTERM, on_term);
	if (pthread_create(&thread, NULL, live_on, NULL) != 0)
		errx(1, "cannot make a thread");
	while (access("/go", F_OK) == -1)
		poll(NULL, 0, 10);
	pthread_exit(NULL);
}
