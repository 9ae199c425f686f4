/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * Runs a program, and acts on one of its system calls.  All system calls of the
 * program and its children are counted, and PLACE is the number of that call.
 *
 *   injector PLACE fail ERRNO LEADER PROGRAM [ARGUMENT]...
 *	makes the call fail; LEADER is the leader of the tested machine
 *   injector PLACE exhaust ERRNO LEADER CALLS PROGRAM [ARGUMENT]...
 *	counts only the calls whose numbers are in CALLS, separated by commas,
 *	and makes all of these fail from PLACE on
 *   injector PLACE swap CGROUP PROGRAM [ARGUMENT]...
 *	makes a leader in the folder CGROUP, ends it before the call, and gives
 *	its PID to another process, which is not the leader of a machine
 *
 * The exit status is the program's, or NO_CALL if the program made fewer calls.
 * Descriptor 3 gets the number of the call, and the pid namespace of the other
 * process.  It also gets each error of the program: a signal to a process that
 * is neither its own nor the leader, and a child that is left behind.
 *
 * What keeps it right: only processes that run the program's own code, or a
 * copy of it in memory, are traced.  When they execute another program, they
 * are not traced any more.
 */
#include "../common.h"

#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The offsets of orig_rax and rax in struct user of x86-64, see ptrace(2). */
#define REGISTER_CALL	120
#define REGISTER_RESULT	80

#define NO_CALL		99
#define FOUND		3	/* a descriptor */
#define TRACEES_MAX	64
#define END_TIME	20	/* s, for all of them */
#define HOLD_TIME	500000000	/* ns, for a leader to end */
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

/* struct clone_args of Linux 5.7. */
struct sys_clone_args {
	uint64_t	flags, pidfd, child_tid, parent_tid, exit_signal;
	uint64_t	stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

#define INTO_CGROUP	UINT64_C(0x200000000)

#define SORT_MAX	512	/* all numbers of calls are smaller */

struct injection {
	uint64_t	place;
	bool		exhaust;
	bool		sort[SORT_MAX];		/* if so: the calls to count */
	int		error;		/* 0: the leader is swapped */
	pid_t		leader;
	pid_t		other;		/* now has its PID; 0: none yet */
	char		program[PATH_MAX];
	uint64_t	calls;		/* so far */
	pid_t		held;		/* waits for the swap; 0: none */
	long		failed;		/* number of the call; -1: none yet */
	pid_t		tracees[TRACEES_MAX];
	bool		failing[TRACEES_MAX];	/* its call has to fail */
	size_t		count;		/* of all tracees, ended ones too */
	size_t		alive;
};

/* Finds the index of a tracee; returns the count if it is not one. */
static size_t
tracee_place(const struct injection *injection, pid_t pid)
{
	size_t i = 0;

	while (i < injection->count && injection->tracees[i] != pid)
		i++;
	return i;
}

static bool
is_tracee(const struct injection *injection, pid_t pid)
{
	return tracee_place(injection, pid) < injection->count;
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

/* True if a process runs the program. */
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

/* Returns the PID to which the pidfd fd of process pid refers, or -1. */
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

/* Reports a call that signals a process which the program must not signal. */
static void
check_signal(const struct injection *injection, pid_t pid,
    const struct sys_call_info *call)
{
	pid_t whom = (pid_t)call->arguments[0];

	if (call->number == SYS_pidfd_send_signal) {
		whom = pidfd_pid(pid, call->arguments[0]);
		if (whom == -1)		/* it has ended */
			return;
	} else if (call->number != SYS_kill)
		return;
	if ((whom != injection->leader || injection->other != 0) &&
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

static void
nothing(int signal)
{
	(void)signal;
}

/* Runs as a leader.  It has a handler for TERM, but TERM stays pending. */
static _Noreturn void
leader(void)
{
	sigset_t all;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGTERM, nothing);
	for (;;)
		pause();
}

/*
 * Makes a leader.  Its cgroup is fd, or ours if fd is -1.  Its PID is pid, or
 * any if pid is 0.
 */
static pid_t
leader_make(int fd, pid_t pid)
{
	pid_t numbers[] = { 1, pid };
	struct sys_clone_args args = {
		.flags = CLONE_NEWPID | (fd == -1 ? 0 : INTO_CGROUP),
		.exit_signal = SIGCHLD,
		.set_tid = pid == 0 ? 0 : (uintptr_t)numbers,
		.set_tid_size = pid == 0 ? 0 : 2,
		.cgroup = (uint64_t)(fd == -1 ? 0 : fd),
	};
	long made = syscall(SYS_clone3, &args, sizeof(args));

	if (made == -1)
		err(1, "cannot make a leader");
	if (made == 0)
		leader();
	return (pid_t)made;
}

/* Reads which pid namespace a process is in. */
static void
pid_namespace(pid_t pid, char text[64])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/ns/pid", pid);
	n = readlink(link, text, 63);
	text[n == -1 ? 0 : n] = '\0';
}

/* True if a process of the program is in the leader's pid namespace. */
static bool
is_entered(const struct injection *injection)
{
	char theirs[64], its[64];

	pid_namespace(injection->leader, theirs);
	for (size_t i = 0; i < injection->count; i++) {
		pid_namespace(injection->tracees[i], its);
		if (strcmp(its, theirs) == 0)
			return true;
	}
	return false;
}

/*
 * Ends the leader.  The process caller is held until the leader has ended.  But
 * a PID 1 ends only after all other processes of its namespace were reaped, and
 * the caller may have to reap them.  Then the caller is not held.
 */
static void
leader_end(struct injection *injection, pid_t caller)
{
	if (!is_entered(injection))
		injection->held = caller;
	kill(injection->leader, SIGKILL);
}

/* Lets the held process go on. */
static void
held_release(struct injection *injection)
{
	if (injection->held != 0)
		ptrace(PTRACE_SYSCALL, injection->held, NULL, NULL);
	injection->held = 0;
}

/* Gives the leader's PID, which is free now, to another process. */
static void
leader_swap(struct injection *injection)
{
	char namespace[64];

	injection->other = leader_make(-1, injection->leader);
	pid_namespace(injection->other, namespace);
	dprintf(FOUND, "other %s\n", namespace);
	held_release(injection);
}

/* Checks that the process which now has the leader's PID got no signal. */
static void
other_look(const struct injection *injection)
{
	int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct process_status status;

	if (process_status_read(proc, injection->other, &status) == 0 &&
	    status.pending != 0)
		dprintf(FOUND, "it signals who has the leader's number\n");
	close(proc);
}

/* Counts a call that begins.  True if the injector has to act on it. */
static bool
is_place(struct injection *injection, uint64_t number)
{
	if (injection->exhaust &&
	    (number >= SORT_MAX || !injection->sort[number]))
		return false;
	injection->calls++;
	return injection->calls == injection->place ||
	    (injection->exhaust && injection->calls > injection->place);
}

/* Handles the begin or the end of a call. */
static void
on_call(struct injection *injection, pid_t pid)
{
	bool *failing = &injection->failing[tracee_place(injection, pid)];
	struct sys_call_info call;

	if (syscall(SYS_ptrace, SYS_PTRACE_GET_SYSCALL_INFO, pid, sizeof(call),
	    &call) == -1)
		return;		/* it was killed a moment ago */
	if (call.op == CALL_ENTRY) {
		check_signal(injection, pid, &call);
		if (!is_place(injection, call.number))
			return;
		injection->failed = (long)call.number;
		if (injection->calls == injection->place)
			dprintf(FOUND, "call %ld\n", injection->failed);
		if (injection->error == 0) {
			leader_end(injection, pid);
			return;
		}
		*failing = true;
		/* Linux closes a descriptor even if close(2) fails. */
		if (injection->failed != SYS_close)
			register_set(pid, REGISTER_CALL, -1);	/* no call */
	} else if (*failing) {
		*failing = false;
		register_set(pid, REGISTER_RESULT, -injection->error);
	}
}

/*
 * Handles a stop of a process, and lets it go on.
 * Returns  true if the process is still traced
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
		/* This fails if it was killed a moment ago: its end follows. */
		return ptrace(PTRACE_DETACH, pid, NULL, NULL) == -1;
	} else if (event != 0) {
		if (event != PTRACE_EVENT_EXEC && event != PTRACE_EVENT_STOP &&
		    ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child) == 0)
			add_tracee(injection, (pid_t)child);
		signal = 0;
	}
	if (pid != injection->held)
		ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)signal);
	return true;
}

/* Starts a process that stops, and becomes the program when it goes on. */
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

/* Traces that process, and lets it execute the program. */
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

/*
 * Waits for the next event of a process.  A leader ends only after the other
 * processes of its namespace were reaped, and the held process may have to reap
 * them.  So that one goes on after HOLD_TIME, even before the swap.
 */
static pid_t
await(struct injection *injection, int *status)
{
	const struct timespec time = { 0, HOLD_TIME };
	sigset_t set;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	while ((pid = waitpid(-1, status, __WALL | (injection->held != 0 ?
	    WNOHANG : 0))) == 0)
		if (sigtimedwait(&set, NULL, &time) == -1 && errno == EAGAIN)
			held_release(injection);
	return pid;
}

/* Traces all processes until they end.  Returns the status of the first. */
static int
follow(struct injection *injection, pid_t first)
{
	int status, result = 0;
	pid_t pid;

	while (injection->alive > 0 &&
	    (pid = await(injection, &status)) != -1) {
		if (pid == injection->leader && injection->other != 0)
			dprintf(FOUND, "it ends who has the leader's number\n");
		else if (pid == injection->leader)
			leader_swap(injection);
		if (pid == injection->leader)
			continue;
		add_tracee(injection, pid);
		if (WIFSTOPPED(status)) {
			injection->alive -= !on_stop(injection, pid, status);
			continue;
		}
		injection->alive--;
		if (pid == first)
			result = process_exit_status(status);
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

/* Reads a list of calls. */
static void
parse_sort(char *list, struct injection *injection)
{
	uint64_t number;

	for (const char *word; (word = strsep(&list, ",")) != NULL;) {
		if (number_parse(word, SORT_MAX - 1, &number) == -1)
			errx(64, "invalid number of a system call '%s'", word);
		injection->sort[number] = true;
	}
}

/* Reads the command line.  Returns where the program's words begin. */
static char **
parse(char **arg, struct injection *injection)
{
	bool exhaust = strcmp(arg[1], "exhaust") == 0;
	bool fail = exhaust || strcmp(arg[1], "fail") == 0;
	uint64_t error = 0, leader = 0;
	char **program = arg + (exhaust ? 5 : fail ? 4 : 3);
	int fd = -1;

	injection->exhaust = exhaust;
	if (exhaust)
		parse_sort(arg[4], injection);

	if (number_parse(arg[0], UINT32_MAX, &injection->place) == -1 ||
	    (fail && (number_parse(arg[2], 4095, &error) == -1 ||
	    number_parse(arg[3], INT_MAX, &leader) == -1)) ||
	    (!fail && (fd = open(arg[2], O_RDONLY | O_CLOEXEC)) == -1) ||
	    realpath(program[0], injection->program) == NULL)
		errx(64, "invalid arguments");
	injection->error = (int)error;
	injection->leader = fail ? (pid_t)leader : leader_make(fd, 0);
	return program;
}

int
main(int argc, char **argv)
{
	static struct injection injection = { .failed = -1 };
	int status;
	pid_t pid;

	if (argc < 7 && (argc < 5 || strcmp(argv[2], "exhaust") == 0))
		errx(64, "too few arguments");
	pid = start(parse(argv + 1, &injection));
	add_tracee(&injection, pid);
	watch(pid);
	signal(SIGALRM, on_alarm);
	alarm(END_TIME);
	status = follow(&injection, pid);
	if (injection.other != 0)
		other_look(&injection);
	return injection.failed == -1 ? NO_CALL : status;
}
