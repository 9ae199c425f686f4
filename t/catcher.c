/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * PID 1 of a machine.  It writes the number of the first signal that a process
 * sends to it into /out/got, and ends.  As soon as no signal can be lost, it
 * writes its host name, which is the machine's name, to the FIFO /out/up.
 *
 * It has a handler for each signal for which libc allows one, as an init that
 * handles all signals has.  But it takes the signals by their numbers from the
 * kernel, because libc reserves some for itself.
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
ignore(int signal)
{
	(void)signal;
}

static void
file_write(const char *path, int flags, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);

	if (fd == -1 || dprintf(fd, "%s\n", text) < 0)
		err(1, "cannot write %s", path);
	close(fd);
}

int
main(void)
{
	const uint64_t all = UINT64_MAX;
	struct sigaction action = {
		.sa_handler = ignore,
	};
	char name[128], number[16];
	siginfo_t info;
	int signal;

	/* In musl, this unblocks some signals. */
	for (signal = 1; signal <= 64; signal++)
		sigaction(signal, &action, NULL);
	if (syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 8) == -1)
		err(1, "cannot block signals");
	if (gethostname(name, sizeof(name)) == -1)
		err(1, "cannot get the host name");
	file_write("/out/up", 0, name);
	/* The kernel itself sends WINCH when a terminal changes its size. */
	do {
		signal = (int)syscall(SYS_rt_sigtimedwait, &all, &info, NULL,
		    8);
	} while (signal == -1 || info.si_code > 0);
	snprintf(number, sizeof(number), "%d", signal);
	file_write("/out/got", O_CREAT | O_EXCL, number);
	return 0;
}
