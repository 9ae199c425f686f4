/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * PID 1 of a machine.  It writes a line into /signals for each signal that it
 * gets: the number and the time, in ms since 1970.  It makes /ready when it is
 * ready for signals, and ends a second after the first signal.
 *
 *   recorder [ANYTHING]	has handlers
 *   recorder sigwait		blocks them, and waits in sigwait(3)
 *   recorder sigtimedwait	blocks them, and waits in sigtimedwait(2), for
 *				TURN ms at a time
 *   recorder signalfd		reads them from a signalfd(2)
 *   recorder thread		waits for them in a second thread
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define LINGER		1000	/* ms, in which a second signal may come */
#define TURN		100	/* ms, of one sigtimedwait(2) */
#define PLACE_POWEROFF	4	/* RTMIN+4 of systemd, from 34 on */

static const int told[] = {
	SIGTERM, SIGUSR1, SIGUSR2, SIGPWR, SIGHUP, SIGINT, SIGQUIT,
	34 + PLACE_POWEROFF,
};
static sigset_t set;
static int record = -1;
static volatile sig_atomic_t heard;

static int64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Writes a line; makes only calls that are safe in a signal handler. */
static void
note(int signal)
{
	char line[32];
	size_t place = sizeof(line);
	int64_t numbers[] = { now(), signal };

	for (size_t i = 0; i < 2; i++) {
		line[--place] = i == 0 ? '\n' : ' ';
		for (int64_t n = numbers[i]; n > 0; n /= 10)
			line[--place] = (char)('0' + n % 10);
	}
	if (write(record, line + place, sizeof(line) - place) == -1)
		_exit(EXIT_FAILURE);
	heard = 1;
}

static void
ready(void)
{
	int fd = open("/ready", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd == -1)
		err(1, "/ready");
	close(fd);
}

/* Records signals by take(), until a second after the first signal. */
static void
linger(void (*take)(int))
{
	int64_t end = INT64_MAX;

	for (int64_t t = now(); t < end; t = now()) {
		if (heard && end == INT64_MAX)
			end = t + LINGER;
		take(TURN);
	}
}

static void
take_handled(int time)
{
	poll(NULL, 0, time);
}

static void
take_awaited(int time)
{
	struct timespec t = { .tv_nsec = time * 1000000L };
	int signal = sigtimedwait(&set, NULL, &t);

	if (signal > 0)
		note(signal);
}

static void
take_read(int time)
{
	static int fd = -1;
	struct signalfd_siginfo info;
	struct pollfd awaited = { .events = POLLIN };

	if (fd == -1 && (fd = signalfd(-1, &set, SFD_CLOEXEC)) == -1)
		err(1, "signalfd");
	awaited.fd = fd;
	if (poll(&awaited, 1, time) == 1 &&
	    read(fd, &info, sizeof(info)) == sizeof(info))
		note((int)info.ssi_signo);
}

static void *
wait_first(void *unused)
{
	int signal;

	if (sigwait(&set, &signal) == 0)
		note(signal);
	return unused;
}

static void
wait_in_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, wait_first, NULL) != 0 ||
	    pthread_join(thread, NULL) != 0)
		errx(1, "cannot run a second thread");
}

static void
take_waiting(const char *mode)
{
	if (strcmp(mode, "sigwait") == 0)
		wait_first(NULL);
	else if (strcmp(mode, "thread") == 0)
		wait_in_thread();
	linger(take_awaited);
}

/* True if this mode blocks the signals, and takes pending ones. */
static bool
blocks(const char *mode)
{
	return strcmp(mode, "sigwait") == 0 || strcmp(mode, "thread") == 0 ||
	    strcmp(mode, "sigtimedwait") == 0 || strcmp(mode, "signalfd") == 0;
}

int
main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	struct sigaction action = { .sa_handler = note };

	record = open("/signals", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
	    0644);
	if (record == -1)
		err(1, "/signals");
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		sigaddset(&set, told[i]);
		if (!blocks(mode))
			sigaction(told[i], &action, NULL);
	}
	if (blocks(mode))
		sigprocmask(SIG_BLOCK, &set, NULL);
	ready();
	if (!blocks(mode))
		linger(take_handled);
	else if (strcmp(mode, "signalfd") == 0)
		linger(take_read);
	else
		take_waiting(mode);
	return EXIT_SUCCESS;
}
