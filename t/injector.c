/* SPDX-License-Identifier: GPL-3.0-only */
/*
 * Runs a program and makes one of its system calls fail, the one at place
 * PLACE among all that it and its children make.
 *
 *   injector PLACE ERRNO LEADER PROGRAM [ARGUMENT]...
 *
 * What it exits with is the program's status, or NO_CALL where that made fewer
 * calls.  The failed call is named on descriptor 3; and so is what must never
 * be: a signal to a process that is neither the program's own nor LEADER, and a
 * child that is left behind.
 *
 * What keeps it right: only processes that run the program's own code, or a
 * copy of it in memory, are watched; what they execute is let go.
 */
#include "../common.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef __x86_64__
#error "which registers a system call takes is known of x86-64 alone"
#endif

#define REGISTER_CALL	120	/* the places of orig_rax and rax in */
#define REGISTER_RESULT	80	/* struct user, see ptrace(2) */

#define NO_CALL		99
#define FOUND		3	/* a descriptor */
#define TRACEES_MAX	64
#define END_TIME	20	/* s, for all of them */
#define OPTIONS		(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | \
			PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | \
			PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

/* The beginning of struct ptrace_syscall_info of Linux 5.3. */
struct sys_call_info {
	uint8_t		op, pad[3];
	uint32_t	architecture;
	uint64_t	instruction, stack;
	uint64_t	number, arguments[6];
};

#define SYS_PTRACE_GET_SYSCALL_INFO	0x420e
#define CALL_ENTRY			1

struct injection {
	uint64_t	place;
	int		error;
	pid_t		leader;
	char		program[PATH_MAX];
	uint64_t	calls;		/* so far */
	pid_t		failing;	/* whose call is to fail; 0: none yet */
	long		failed;		/* its number; -1: none yet */
	pid_t		tracees[TRACEES_MAX];
	size_t		count;		/* of those that there have ever been */
	size_t		alive;
};

static bool
is_tracee(const struct injection *injection, pid_t pid)
{
	for (size_t i = 0; i < injection->count; i++)
		if (injection->tracees[i] == pid)
			return true;
	return false;
}

static void
add_tracee(struct injection *injection, pid_t pid)
{
	if (is_tracee(injection, pid))
		return;
	if (injection->count == TRACEES_MAX)
		errx(1, "too many processes");
	injection->tracees[injection->count++] = pid;
	injection->alive++;
}

/* Says whether a process runs the program. */
static bool
is_program(const struct injection *injection, pid_t pid)
{
	static const char copy[] = "/memfd:nspawn-tools";
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	n = readlink(link, path, sizeof(path) - 1);
	path[n == -1 ? 0 : n] = '\0';
	return strcmp(path, injection->program) == 0 ||
	    strncmp(path, copy, strlen(copy)) == 0;
}

/* Finds whom the pidfd of a process means. */
static pid_t
pidfd_pid(pid_t pid, uint64_t fd)
{
	char path[64], text[1024];
	const char *line;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, (int)fd);
	if (file_read(AT_FDCWD, path, text, sizeof(text)) == -1)
		return -1;
	line = strstr(text, "\nPid:");
	return line == NULL ? -1 : (pid_t)strtol(line + 5, NULL, 10);
}

/* Looks at whom a call signals. */
static void
check_signal(const struct injection *injection, pid_t pid,
    const struct sys_call_info *call)
{
	pid_t whom = (pid_t)call->arguments[0];

	if (call->number == SYS_pidfd_send_signal)
		whom = pidfd_pid(pid, call->arguments[0]);
	else if (call->number != SYS_kill)
		return;
	if (whom != injection->leader &&
	    (whom == -1 || whom == 0 || !is_tracee(injection, abs(whom))))
		dprintf(FOUND, "it signals %d, which is not its own\n", whom);
}

/* Sets a register of a process that has stopped. */
static void
register_set(pid_t pid, uintptr_t place, long value)
{
	if (ptrace(PTRACE_POKEUSER, pid, (void *)place, (void *)value) == -1)
		err(1, "cannot set a register");
}

/* Takes note of a call that begins or ends. */
static void
on_call(struct injection *injection, pid_t pid)
{
	struct sys_call_info call;

	if (syscall(SYS_ptrace, SYS_PTRACE_GET_SYSCALL_INFO, pid, sizeof(call),
	    &call) == -1)
		return;		/* it has just been killed */
	if (call.op == CALL_ENTRY) {
		check_signal(injection, pid, &call);
		if (++injection->calls != injection->place)
			return;
		injection->failing = pid;
		injection->failed = (long)call.number;
		dprintf(FOUND, "call %ld\n", injection->failed);
		/* Linux closes a descriptor even if close(2) fails. */
		if (injection->failed != SYS_close)
			register_set(pid, REGISTER_CALL, -1);	/* none */
	} else if (pid == injection->failing) {
		injection->failing = 0;
		register_set(pid, REGISTER_RESULT, -injection->error);
	}
}

/*
 * Goes on after a stop of a process.
 * Returns  whether the process is still watched
 */
static bool
on_stop(struct injection *injection, pid_t pid, int status)
{
	int signal = WSTOPSIG(status), event = status >> 16;
	unsigned long child;

	if (signal == (SIGTRAP | 0x80)) {
		on_call(injection, pid);
		signal = 0;
	} else if (event == PTRACE_EVENT_EXEC &&
	    !is_program(injection, pid)) {
		ptrace(PTRACE_DETACH, pid, NULL, NULL);
		return false;
	} else if (event != 0) {
		if (event != PTRACE_EVENT_EXEC && event != PTRACE_EVENT_STOP &&
		    ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child) == 0)
			add_tracee(injection, (pid_t)child);
		signal = 0;
	}
	ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)signal);
	return true;
}

/* Starts the program, which waits to be watched. */
static pid_t
start(char **argv)
{
	pid_t pid = fork();

	if (pid == -1)
		err(1, "cannot fork");
	if (pid == 0) {
		raise(SIGSTOP);
		execv(argv[0], argv);
		err(126, "%s", argv[0]);
	}
	return pid;
}

/* Lets it become the program. */
static void
watch(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(uintptr_t)OPTIONS) == -1)
		err(1, "cannot trace");
	kill(pid, SIGCONT);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status) &&
	    status >> 16 != PTRACE_EVENT_EXEC)
		ptrace(PTRACE_CONT, pid, NULL, NULL);
	ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
}

/* Sees all of them to their end.  Returns the status of the first. */
static int
follow(struct injection *injection, pid_t first)
{
	int status, result = 0;
	pid_t pid;

	while (injection->alive > 0 &&
	    (pid = waitpid(-1, &status, __WALL)) != -1) {
		add_tracee(injection, pid);
		if (WIFSTOPPED(status)) {
			injection->alive -= !on_stop(injection, pid, status);
			continue;
		}
		injection->alive--;
		if (pid == first)
			result = exit_status(status);
	}
	return result;
}

static void
on_alarm(int signal)
{
	static const char text[] = "it leaves something behind\n";

	(void)signal;
	_exit(write(FOUND, text, sizeof(text) - 1) == -1 ? 1 : 2);
}

int
main(int argc, char **argv)
{
	static struct injection injection = { .failed = -1 };
	uint64_t error, leader;
	int status;
	pid_t pid;

	if (argc < 5 || number_parse(argv[1], UINT32_MAX,
	    &injection.place) == -1 ||
	    number_parse(argv[2], 4095, &error) == -1 ||
	    number_parse(argv[3], INT_MAX, &leader) == -1 ||
	    realpath(argv[4], injection.program) == NULL)
		errx(64, "wrong arguments");
	injection.error = (int)error;
	injection.leader = (pid_t)leader;
	pid = start(argv + 4);
	add_tracee(&injection, pid);
	watch(pid);
	signal(SIGALRM, on_alarm);
	alarm(END_TIME);
	status = follow(&injection, pid);
	if (injection.failed == -1)
		return NO_CALL;
	return status;
}
