/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * PID 1 of a machine with a hostile root.  It makes /ready when it is ready.
 *
 *   hostile filter RESULT CALL[,CALL]...
 *	has a filter that does not make these system calls, and returns RESULT
 *	instead: 0, or an error number; with "kill" it kills the caller
 *   hostile thread
 *	at USR1, its first thread ends and another goes on; TERM ends that one
 *   hostile groups COUNT
 *	has COUNT groups, from GROUP_FIRST on; TERM ends it
 *   hostile fuse passwd
 *	/etc/passwd is on a FUSE that reads each request and never answers;
 *	TERM ends it
 *   hostile fuse init
 *	/usr/sbin, with the program that "init 0" executes, is on such a FUSE
 *   hostile fuse root
 *	its own root directory is on such a FUSE, which answers only PID 1
 *   hostile fuse self
 *	its own program, called init, is on such a FUSE; TERM ends it
 *   hostile rest
 *	TERM ends it
 *   hostile leave
 *	at USR1, it enters a new user namespace, and makes /left; TERM ends it
 *   hostile trace
 *	a child traces it until another process opens /go for writing: then it
 *	enters a new user namespace, and gets a filter that fakes capset
 *   hostile seize
 *	it traces each new process, and never waits for one
 *   hostile 0
 *	this is the witness: the command that the tests run in the first of
 *	these machines, also as "init 0".  It writes into /notes what it knows
 *	of itself, waits until another process opens /go for writing, and kills
 *	its process group
 *
 * Executed as /sbin/init it looks like a sysvinit, which only "init 0" stops:
 * it has a handler for PWR.  It has one for TERM only in the modes above that
 * end at TERM.
 *
 * What keeps it right:
 * - A filter reads only the number of a call, never its arguments, so a program
 *   cannot bypass it with other arguments.
 * - The witness avoids the system calls that the tests filter.  It writes its
 *   notes to a mapped file, and it ends by its own signal or by an invalid
 *   instruction.
 * - The server of a FUSE is a child of PID 1.  The end of the machine ends it,
 *   too, and then no process waits for its answer any more.
 */
#include "../common.h"

#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOTES_SIZE	16384
#define TEXT_SIZE	4096
#define DESCRIPTORS_MAX	1024
#define CALLS_MAX	16
#define GROUP_FIRST	1000000000u
#define GROUPS_MAX	65536
#define SEIZE_AHEAD	4	/* PIDs to try; the next process has one */
#define SEIZE_PAUSE	200	/* us */

/* ---- PID 1 --------------------------------------------------------- */

static void
nothing(int signal)
{
	(void)signal;
}

static void
end(int signal)
{
	(void)signal;
	_exit(EXIT_SUCCESS);
}

/*
 * Makes a file by one call, which the tests hardly ever filter.  The working
 * directory is always the machine's first root directory.
 */
static void
file_make(const char *name)
{
	if (mknod(name, S_IFREG | 0644, 0) == -1)
		err(1, "/%s", name);
}

static void
say_ready(void)
{
	file_make("ready");
}

static _Noreturn void
wait_for_ever(void)
{
	for (;;)
		pause();
}

/* ---- filter -------------------------------------------------------- */

/* The calls to filter; their numbers differ between architectures. */
#define CALL(name)	{ #name, SYS_##name }

static const struct {
	const char	*name;
	long		 number;
} calls[] = {
#ifdef SYS_fork
	CALL(fork), CALL(vfork), CALL(dup2), CALL(poll), CALL(pause),
	CALL(getpgrp), CALL(open), CALL(access),
#endif
#ifdef SYS_alarm
	CALL(alarm),
#endif
	CALL(capget), CALL(capset), CALL(chdir), CALL(chroot), CALL(clone),
	CALL(clone3), CALL(close), CALL(close_range), CALL(dup), CALL(dup3),
	CALL(execve), CALL(execveat), CALL(exit), CALL(exit_group),
	CALL(faccessat), CALL(fchdir), CALL(fcntl), CALL(getegid),
	CALL(geteuid), CALL(getgid), CALL(getgroups), CALL(getpid),
	CALL(getppid), CALL(getsid), CALL(gettid), CALL(getuid), CALL(ioctl),
	CALL(kill), CALL(madvise), CALL(mprotect), CALL(munmap), CALL(openat),
	CALL(ppoll), CALL(prctl), CALL(prlimit64), CALL(read),
	CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(seccomp),
	CALL(sendmsg), CALL(sendto), CALL(set_robust_list),
	CALL(set_tid_address), CALL(setgid), CALL(setgroups), CALL(setpgid),
	CALL(setresgid), CALL(setresuid), CALL(setsid), CALL(setuid),
	CALL(swapon), CALL(tgkill), CALL(tkill), CALL(umask), CALL(wait4),
	CALL(waitid), CALL(write), CALL(writev),
};

/* struct sock_filter and struct sock_fprog of <linux/filter.h> */
struct bpf_step {
	uint16_t	code;
	uint8_t		if_true, if_false;
	uint32_t	value;
};

struct bpf_program {
	unsigned short		 length;
	const struct bpf_step	*steps;
};

#define BPF_LOAD		0x20	/* BPF_LD | BPF_W | BPF_ABS */
#define BPF_IF_EQUAL		0x15	/* BPF_JMP | BPF_JEQ | BPF_K */
#define BPF_RETURN		0x06	/* BPF_RET | BPF_K */
#define FILTER_KILL		0x80000000u	/* the whole process */
#define FILTER_ERRNO		0x00050000u
#define FILTER_ALLOW		0x7fff0000u
#define SET_MODE_FILTER		1	/* of seccomp(2) */

static uint32_t
call_number(const char *name)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (strcmp(calls[i].name, name) == 0)
			return (uint32_t)calls[i].number;
	errx(64, "unknown system call '%s'", name);
}

/*
 * Installs a filter.  Without the capability for this, the process first sets
 * no_new_privs.
 */
static void
filter_install(const struct bpf_program *program)
{
	if (syscall(SYS_seccomp, SET_MODE_FILTER, 0, program) == 0)
		return;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    syscall(SYS_seccomp, SET_MODE_FILTER, 0, program) == -1)
		err(1, "cannot install the filter");
}

/* Filters the calls of a list; cuts the list into words. */
static void
filter(uint32_t action, char *list)
{
	struct bpf_step steps[2 * CALLS_MAX + 2];
	struct bpf_program program = { 0, steps };
	char *next;

	steps[program.length++] = (struct bpf_step){ BPF_LOAD, 0, 0, 0 };
	for (char *name = strtok_r(list, ",", &next); name != NULL;
	    name = strtok_r(NULL, ",", &next)) {
		if (program.length > 2 * CALLS_MAX)
			errx(64, "too many system calls");
		steps[program.length++] = (struct bpf_step){ BPF_IF_EQUAL, 0, 1,
		    call_number(name) };
		steps[program.length++] = (struct bpf_step){ BPF_RETURN, 0, 0,
		    action };
	}
	steps[program.length++] = (struct bpf_step){ BPF_RETURN, 0, 0,
	    FILTER_ALLOW };
	filter_install(&program);
}

/* Makes the files that the witness uses, for any user. */
static void
notes_make(void)
{
	int fd;

	umask(0);
	fd = open("/notes", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd == -1 || ftruncate(fd, NOTES_SIZE) == -1)
		err(1, "/notes");
	close(fd);
	if (mkfifo("/go", 0666) == -1)
		err(1, "/go");
}

/* ---- witness ------------------------------------------------------- */

/* Reads the target of the link path.  Returns false if that fails. */
static bool
link_read(const char *path, char text[TEXT_SIZE])
{
	ssize_t n = readlink(path, text, TEXT_SIZE - 1);

	text[n == -1 ? 0 : n] = '\0';
	return n != -1;
}

/*
 * Finds a proc of this process's own pid namespace.  The machine's /proc does
 * not show a process outside of the machine's pid namespace.
 */
static const char *
proc_own(void)
{
	char text[TEXT_SIZE];

	if (link_read("/proc/self/ns/pid", text))
		return "/proc/self";
	mkdir("/fresh", 0755);
	return mount("proc", "/fresh", "proc", 0, NULL) == -1 ? "/none" :
	    "/fresh/self";
}

/* Closes fd, also if a filter fakes close(2). */
static void
descriptor_close(int fd)
{
	close(fd);
	syscall(SYS_close_range, fd, fd, 0);
}

/* Lists the open descriptors, without opening one. */
static void
descriptors_list(const char *proc, char text[TEXT_SIZE])
{
	char path[64], target[TEXT_SIZE];
	size_t used = 0;

	text[0] = '\0';
	for (int fd = 0; fd < DESCRIPTORS_MAX && used < TEXT_SIZE / 2; fd++) {
		snprintf(path, sizeof(path), "%s/fd/%d", proc, fd);
		if (link_read(path, target))
			used += (size_t)snprintf(text + used, TEXT_SIZE - used,
			    " %d", fd);
	}
}

static void
status_read(const char *proc, char text[TEXT_SIZE])
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/status", proc);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd == -1 ? -1 : read(fd, text, TEXT_SIZE - 1);
	text[n == -1 ? 0 : n] = '\0';
	if (fd != -1)
		descriptor_close(fd);
}

/* Writes what this process knows of itself. */
static void
notes_write(char *notes)
{
	char namespace[TEXT_SIZE], files[TEXT_SIZE], status[TEXT_SIZE];
	char path[64];
	const char *proc = proc_own();

	snprintf(path, sizeof(path), "%s/ns/pid", proc);
	link_read(path, namespace);
	descriptors_list(proc, files);
	status_read(proc, status);
	snprintf(notes, NOTES_SIZE, "namespace %s\nproc %s\nprocess %d of"
	    " session %d, group %d\ndescriptors%s\n%s\nall\n", namespace, proc,
	    getpid(), getsid(0), getpgid(0), files, status);
}

/* Runs as the command.  It attacks its process group, and so kills itself. */
static _Noreturn void
witness(void)
{
	static char nowhere[NOTES_SIZE];
	int fd = open("/notes", O_RDWR | O_CLOEXEC);
	void *notes = fd == -1 ? MAP_FAILED : mmap(NULL, NOTES_SIZE,
	    PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd != -1)
		descriptor_close(fd);
	notes_write(notes == MAP_FAILED ? nowhere : notes);
	open("/go", O_RDONLY | O_CLOEXEC);
	kill(0, SIGKILL);
	__builtin_trap();
}

/* ---- thread -------------------------------------------------------- */

/* Runs as the other thread. */
static void *
outlive(void *first)
{
	pthread_join(*(pthread_t *)first, NULL);
	say_ready();
	wait_for_ever();
}

static _Noreturn void
first_thread_end(void)
{
	static pthread_t first, other;
	sigset_t set;
	int signal;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	first = pthread_self();
	if (pthread_create(&other, NULL, outlive, &first) != 0)
		errx(1, "cannot make a thread");
	sigwait(&set, &signal);
	pthread_exit(NULL);
}

/* ---- user namespaces and tracers ----------------------------------- */

static void
user_namespace_leave(void)
{
	if (unshare(CLONE_NEWUSER) == -1)
		err(1, "cannot make a user namespace");
}

static _Noreturn void
leave_when_told(void)
{
	sigset_t set;
	int signal_number;

	signal(SIGTERM, end);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	say_ready();
	sigwait(&set, &signal_number);
	user_namespace_leave();
	file_make("left");
	wait_for_ever();
}

/* Traces PID 1 until the other end of the pipe fd is closed. */
static _Noreturn void
trace(int fd)
{
	char byte;

	if (ptrace(PTRACE_SEIZE, 1, NULL, NULL) == -1)
		err(1, "cannot trace PID 1");
	say_ready();
	if (read(fd, &byte, 1) == -1)
		warn("cannot wait");
	_exit(EXIT_SUCCESS);	/* this also ends the tracing of PID 1 */
}

static _Noreturn void
change_while_traced(void)
{
	char calls_faked[] = "capget,capset";
	int ends[2];

	if (mkfifo("/go", 0600) == -1 || pipe(ends) == -1)
		err(1, "cannot make pipes");
	switch (fork()) {
	case -1:
		err(1, "cannot fork");
	case 0:
		close(ends[1]);
		trace(ends[0]);
	}
	close(open("/go", O_RDONLY | O_CLOEXEC));
	user_namespace_leave();
	filter(FILTER_ERRNO, calls_faked);
	close(ends[1]);
	wait_for_ever();
}

/* When a traced process has ended, only its tracer sees the zombie. */
static _Noreturn void
seize(void)
{
	pid_t next = 2, pid;

	say_ready();
	for (;;) {
		for (pid = next; pid < next + SEIZE_AHEAD; pid++)
			if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0)
				break;
		if (pid < next + SEIZE_AHEAD)
			next = pid + 1;
		else
			usleep(SEIZE_PAUSE);
	}
}

/* ---- groups -------------------------------------------------------- */

static void
groups_take(size_t count)
{
	static gid_t groups[GROUPS_MAX];

	for (size_t i = 0; i < count; i++)
		groups[i] = (gid_t)(GROUP_FIRST + i);
	if (setgroups(count, groups) == -1)
		err(1, "cannot take %zu groups", count);
	signal(SIGTERM, end);
}

/* ---- fuse ---------------------------------------------------------- */

#define FUSE_READ	131072	/* at least the size of any read of a file */

/* The parts of <linux/fuse.h> that are needed here. */
struct fuse_request {
	uint32_t	length, operation;
	uint64_t	unique, node;
	uint32_t	uid, gid, pid, extensions;
	uint64_t	handle, offset;		/* of a read */
	uint32_t	size;
};

struct fuse_attributes {
	uint64_t	node, size, blocks, times[3];
	uint32_t	times_ns[3], mode, links, uid, gid;
	uint32_t	device, block_size, flags;
};

struct fuse_answer {
	uint32_t	length;
	int32_t		error;
	uint64_t	unique;
	union {
		struct {
			uint32_t	major, minor, read_ahead, flags;
			uint16_t	background, congested;
			uint32_t	write_max, rest[9];
		} start;
		struct {
			uint64_t	valid;
			uint32_t	valid_ns, pad;
			struct fuse_attributes	a;
		} attributes;
		struct {
			uint64_t	node, generation, valid, a_valid;
			uint32_t	valid_ns, a_valid_ns;
			struct fuse_attributes	a;
		} entry;
		struct {
			uint64_t	handle;
			uint32_t	flags, pad;
		} opened;
		char	bytes[FUSE_READ];
	} u;
};

#define FUSE_DEVICE	makedev(10, 229)
#define FUSE_LOOKUP	1
#define FUSE_GETATTR	3
#define FUSE_OPEN	14
#define FUSE_READ_CALL	15
#define FUSE_GETXATTR	22
#define FUSE_INIT	26
#define FUSE_ACCESS	34
#define FUSE_REQUEST	65536	/* at least the size of any request */
#define FUSE_TIME	60	/* s, until processes that wait can be killed */

/* The length in bytes of an answer with this member of the union. */
#define FUSE_LENGTH(member)	(offsetof(struct fuse_answer, u) + \
	sizeof(((struct fuse_answer *)NULL)->u.member))

/* The only directory, and the only file, if there is one. */
#define FUSE_ROOT	1
#define FUSE_FILE	2
static int fuse_file = -1;

static struct fuse_attributes
fuse_attributes(uint64_t node)
{
	struct stat s = { .st_size = 0 };

	if (node == FUSE_ROOT)
		return (struct fuse_attributes){ .node = node,
		    .mode = S_IFDIR | 0755, .links = 2 };
	fstat(fuse_file, &s);
	return (struct fuse_attributes){ .node = node, .links = 1,
	    .mode = S_IFREG | 0755, .size = (uint64_t)s.st_size };
}

/* Answers a request of PID 1 or of the kernel. */
static void
fuse_answer(int fd, const struct fuse_request *request)
{
	static struct fuse_answer answer;
	size_t length = offsetof(struct fuse_answer, u);
	ssize_t n;

	memset(&answer, 0, sizeof(answer));
	answer.unique = request->unique;
	switch (request->operation) {
	case FUSE_LOOKUP:
		if (fuse_file == -1) {
			answer.error = -ENOENT;
			break;
		}
		length = FUSE_LENGTH(entry);
		answer.u.entry.node = FUSE_FILE;
		answer.u.entry.a = fuse_attributes(FUSE_FILE);
		break;
	case FUSE_OPEN:
		length = FUSE_LENGTH(opened);
		break;
	case FUSE_READ_CALL:
		n = pread(fuse_file, answer.u.bytes, request->size,
		    (off_t)request->offset);
		length += n < 0 ? 0 : (size_t)n;
		break;
	case FUSE_INIT:
		length = FUSE_LENGTH(start);
		answer.u.start.major = 7;
		answer.u.start.minor = 31;
		answer.u.start.write_max = 4096;
		break;
	case FUSE_GETATTR:
		length = FUSE_LENGTH(attributes);
		answer.u.attributes.a = fuse_attributes(request->node);
		break;
	case FUSE_ACCESS:
		break;
	case FUSE_GETXATTR:
		answer.error = -ENOSYS;
		break;
	default:
		answer.error = -ENOENT;
	}
	answer.length = (uint32_t)length;
	if (write(fd, &answer, length) == -1)
		warn("cannot answer");
}

/* Reads all requests.  Answers FUSE_INIT, and if answers, those of PID 1. */
static _Noreturn void
fuse_serve(int fd, bool answers)
{
	static union {
		struct fuse_request	request;
		char			bytes[FUSE_REQUEST];
	} u;

	alarm(FUSE_TIME);
	while (read(fd, &u, sizeof(u)) != -1 || errno == EINTR ||
	    errno == ENOENT)
		if (u.request.operation == FUSE_INIT ||
		    (answers && u.request.pid == 1))
			fuse_answer(fd, &u.request);
	_exit(EXIT_FAILURE);
}

static void
fuse_mount(const char *path, bool answers)
{
	char options[128];
	int fd;

	if (mknod("/dev/fuse", S_IFCHR | 0600, FUSE_DEVICE) == -1 &&
	    errno != EEXIST)
		err(1, "cannot make /dev/fuse");
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,"
	    "group_id=0,allow_other", fd);
	if (fd == -1 || mount("fuse", path, "fuse", 0, options) == -1)
		err(1, "cannot mount a FUSE");
	switch (fork()) {
	case -1:
		err(1, "cannot fork");
	case 0:
		fuse_serve(fd, answers);
	}
	close(fd);
}

static void
fuse(const char *what)
{
	bool root = strcmp(what, "root") == 0;
	bool self = strcmp(what, "self") == 0;

	if (strcmp(what, "init") == 0) {
		fuse_mount("/usr/sbin", false);
		return;
	}
	mkdir("/fuse", 0755);
	if (self)
		fuse_file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	fuse_mount("/fuse", root || self);
	if (self) {
		execl("/fuse/init", "init", "rest", (char *)NULL);
		err(1, "/fuse/init");
	}
	if (root && chroot("/fuse") == -1)
		err(1, "cannot change the root directory");
	if (root)
		return;
	signal(SIGTERM, end);
	if ((unlink("/etc/passwd") == -1 && errno != ENOENT) ||
	    symlink("/fuse/passwd", "/etc/passwd") == -1)
		err(1, "/etc/passwd");
}

/* -------------------------------------------------------------------- */

static uint64_t
number(const char *text, uint64_t max)
{
	uint64_t n;

	if (number_parse(text, max, &n) == -1)
		errx(64, "invalid number '%s': give at most %ju", text,
		    (uintmax_t)max);
	return n;
}

static uint32_t
filter_action(const char *result)
{
	return strcmp(result, "kill") == 0 ? FILTER_KILL :
	    FILTER_ERRNO | (uint32_t)number(result, 4095);
}

static bool
mode_is(char **arg, const char *mode, int words)
{
	if (arg[0] == NULL || strcmp(arg[0], mode) != 0)
		return false;
	for (int i = 1; i <= words; i++)
		if (arg[i] == NULL)
			return false;
	return true;
}

int
main(int argc, char **argv)
{
	char **arg = argv + (argc > 0);

	if (mode_is(arg, "0", 0))
		witness();
	if (chdir("/") == -1)
		err(1, "/");
	signal(SIGPWR, nothing);
	signal(SIGCHLD, SIG_IGN);	/* the kernel reaps all children */
	if (mode_is(arg, "thread", 0)) {
		signal(SIGTERM, end);
		first_thread_end();
	} else if (mode_is(arg, "leave", 0))
		leave_when_told();
	else if (mode_is(arg, "trace", 0))
		change_while_traced();
	else if (mode_is(arg, "seize", 0))
		seize();
	else if (mode_is(arg, "rest", 0))
		signal(SIGTERM, end);
	else if (mode_is(arg, "groups", 1))
		groups_take(number(arg[1], GROUPS_MAX));
	else if (mode_is(arg, "fuse", 1))
		fuse(arg[1]);
	else if (mode_is(arg, "filter", 2)) {
		notes_make();
		filter(filter_action(arg[1]), arg[2]);
	} else
		errx(64, "wrong arguments");
	say_ready();
	wait_for_ever();
}
