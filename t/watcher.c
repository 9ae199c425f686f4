/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * Runs a program that enters or stops a machine whose PID 1 is t/hostile.c, and
 * reports what must never happen.  The command inside is t/hostile.c again; it
 * is called the witness.
 *
 *   watcher MACHINE LEADER UID SECONDS PROGRAM [ARGUMENT]...
 *
 * UID is the user of the command inside, and SECONDS the time that the program
 * may take.  Each reported error is a line that begins with "it".  The last
 * line is "inside" if the witness was seen inside of the machine, else
 * "nothing", and the program's status.
 *
 * What keeps it right:
 * - All processes that the program starts stay below this process, which adopts
 *   orphans.  So nothing is left when this process has no child any more.
 * - The checks use what the host sees of the witness.  The witness waits until
 *   they are done.
 * - Another process, the canary, is in the program's process group.  The
 *   witness kills its own process group, and the canary must survive this.
 */
#include "../common.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_SIZE	16384
#define PROCESSES_MAX	256
#define GRACE		10000	/* ms, for processes that are about to end */
#define SETTLE		1000	/* ms, until the witness waits */
#define SAMPLE		50	/* ms, in which processor time is measured */
#define BURNT		25	/* ms, most processor time in these */
#define BURNT_ALL	1000	/* ms, most for all processes together */

struct watch {
	const char	*machine;
	pid_t		 leader;
	uint64_t	 uid;		/* inside */
	const char	*program;	/* its name without the folder */
	char		 own[64], inner[64];	/* pid namespaces */
	struct stat	 file;		/* PID 1's own, and the witness's */
	pid_t		 canary;
	pid_t		 tool;
	pid_t		 seen;		/* the last witness; 0: none */
	bool		 inside;	/* a witness was in the machine */
	bool		 late;
	int		 output;
	int		 status;	/* the program's, as wait(2) gives it */
};

struct pids {
	pid_t	list[PROCESSES_MAX];
	size_t	count;
};

/* Reports what must not happen. */
#define found(...)	(fputs("it ", stdout), printf(__VA_ARGS__), \
			putchar('\n'))

/* ---- reading /proc ------------------------------------------------- */

/* Reads a file of a process; cuts it if it is too long.  "": no such file. */
static const char *
proc_text(pid_t pid, const char *name, char text[TEXT_SIZE])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	if (file_read(AT_FDCWD, path, text, TEXT_SIZE) == -1 && errno != EFBIG)
		text[0] = '\0';
	return text;
}

static void
proc_namespace(pid_t pid, char text[64])
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	n = readlink(path, text, 63);
	text[n == -1 ? 0 : n] = '\0';
}

/* Finds the text after a name at the beginning of a line; "": no such line. */
static const char *
line_of(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	return line == NULL ? "" : line + strlen(name);
}

struct stat_line {
	char	state;		/* '\0': there is no such process */
	pid_t	group, session;
};

static struct stat_line
proc_stat(pid_t pid)
{
	struct stat_line line = { .state = '\0' };
	char text[TEXT_SIZE];
	char *end = strrchr(proc_text(pid, "stat", text), ')');

	/* After the name in parentheses: " S PARENT GROUP SESSION ...". */
	if (end == NULL || strlen(end) < 4)
		return line;
	line.state = end[2];
	end += 3;
	strtol(end, &end, 10);
	line.group = (pid_t)strtol(end, &end, 10);
	line.session = (pid_t)strtol(end, &end, 10);
	return line;
}

/* Returns processor time in ms; 0 if the kernel does not count it. */
static uint64_t
proc_time(pid_t pid)
{
	char text[TEXT_SIZE];

	return strtoull(proc_text(pid, "schedstat", text), NULL, 10) / 1000000;
}

/* Adds all descendants of a process, except the canary. */
static void
pids_below(const struct watch *watch, pid_t pid, struct pids *pids)
{
	char path[32], text[TEXT_SIZE];
	char *next = text, *end;

	snprintf(path, sizeof(path), "task/%d/children", pid);
	proc_text(pid, path, text);
	for (long child; (child = strtol(next, &end, 10)) > 0; next = end) {
		if (child == watch->canary || pids->count == PROCESSES_MAX)
			continue;
		pids->list[pids->count++] = (pid_t)child;
		pids_below(watch, (pid_t)child, pids);
	}
}

static void
pids_own(const struct watch *watch, struct pids *pids)
{
	pids->count = 0;
	pids_below(watch, getpid(), pids);
}

/* Lists all processes. */
static void
pids_all(struct pids *pids)
{
	const struct dirent *entry;
	DIR *proc = opendir("/proc");

	pids->count = 0;
	if (proc == NULL)
		err(1, "/proc");
	while ((entry = readdir(proc)) != NULL) {
		long pid = strtol(entry->d_name, NULL, 10);

		if (pid > 0 && pids->count < PROCESSES_MAX)
			pids->list[pids->count++] = (pid_t)pid;
	}
	closedir(proc);
}

/* ---- the witness --------------------------------------------------- */

static bool
is_witness(const struct watch *watch, pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	return stat(path, &st) == 0 && st.st_dev == watch->file.st_dev &&
	    st.st_ino == watch->file.st_ino;
}

/* Opens a file in the machine's first root directory, where no FUSE blocks. */
static int
machine_open(const struct watch *watch, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root/%s", watch->leader, name);
	return open(path, flags | O_NONBLOCK | O_CLOEXEC);
}

static void
machine_notes(const struct watch *watch, char text[TEXT_SIZE])
{
	int fd = machine_open(watch, "notes", O_RDONLY);
	ssize_t n = fd == -1 ? -1 : read(fd, text, TEXT_SIZE - 1);

	text[n == -1 ? 0 : n] = '\0';
	fd_close(&fd);
}

/* Clears the notes of an earlier witness. */
static void
machine_notes_clear(const struct watch *watch)
{
	int fd = machine_open(watch, "notes", O_WRONLY);
	struct stat st;

	if (fd == -1 || fstat(fd, &st) == -1 || ftruncate(fd, 0) == -1 ||
	    ftruncate(fd, st.st_size) == -1)
		err(1, "cannot clear the machine's notes");
	fd_close(&fd);
}

/* Waits until the witness has written its notes, and then waits itself. */
static void
witness_await(const struct watch *watch, pid_t pid)
{
	int64_t deadline = deadline_in(SETTLE);
	char text[TEXT_SIZE];

	do {
		machine_notes(watch, text);
		if (strstr(text, "\nall\n") != NULL &&
		    proc_stat(pid).state == 'S')
			return;
		poll(NULL, 0, 1);
	} while (deadline_left(deadline) > 0);
}

/* Checks that the witness itself sees the same pid namespace. */
static void
check_notes(const struct watch *watch)
{
	char text[TEXT_SIZE];
	const char *namespace;

	machine_notes(watch, text);
	namespace = line_of(text, "namespace ");
	if (text[0] != '\0' && strncmp(namespace, watch->inner,
	    strlen(watch->inner)) != 0)
		found("has another pid namespace, as it sees itself:\n%s",
		    text);
}

static void
check_descriptors(pid_t pid)
{
	char path[64], held[600], target[600];
	const struct dirent *entry;
	ssize_t n;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' ||
		    strtol(entry->d_name, NULL, 10) < 3)
			continue;
		snprintf(held, sizeof(held), "%s/%s", path, entry->d_name);
		n = readlink(held, target, sizeof(target) - 1);
		target[n == -1 ? 0 : n] = '\0';
		found("leaves the descriptor %s open: %s", entry->d_name,
		    target);
	}
	if (dir != NULL)
		closedir(dir);
}

static void
check_capabilities(const char *status, const char *leader, bool root)
{
	static const char *const sets[] = {
		"\nCapInh:\t", "\nCapPrm:\t", "\nCapEff:\t", "\nCapBnd:\t",
		"\nCapAmb:\t",
	};
	uint64_t bound = strtoull(line_of(leader, "\nCapBnd:\t"), NULL, 16);

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		uint64_t set = strtoull(line_of(status, sets[i]), NULL, 16);
		bool any = root || strcmp(sets[i], "\nCapBnd:\t") == 0;

		if ((set & ~(any ? bound : 0)) != 0)
			found("has capabilities beyond PID 1's: %.7s %jx",
			    sets[i] + 1, (uintmax_t)set);
	}
}

/* Checks that each id of a line is in the line allowed, or is more. */
static void
check_numbers(const char *line, const char *what, const char *allowed,
    uint64_t more)
{
	char *end;

	for (; *line != '\n' && *line != '\0'; line = end) {
		uint64_t id = strtoull(line, &end, 10);
		bool is_allowed = id == more;

		if (end == line)
			return;
		end += *end == ' ' || *end == '\t';
		for (const char *next = allowed; *next != '\n' && !is_allowed;
		    next++) {
			char *after;

			is_allowed = strtoull(next, &after, 10) == id &&
			    after != next;
			next = after;
			if (*next == '\n' || *next == '\0')
				break;
		}
		if (!is_allowed)
			found("has the %s %ju", what, (uintmax_t)id);
	}
}

static void
check_identity(const struct watch *watch, pid_t pid)
{
	char status[TEXT_SIZE], leader[TEXT_SIZE];
	uint64_t uid, gid;

	proc_text(pid, "status", status);
	proc_text(watch->leader, "status", leader);
	uid = strtoull(line_of(leader, "\nUid:\t"), NULL, 10) + watch->uid;
	gid = strtoull(line_of(leader, "\nGid:\t"), NULL, 10) + watch->uid;
	check_numbers(line_of(status, "\nUid:\t"), "user", "\n", uid);
	check_numbers(line_of(status, "\nGid:\t"), "group", "\n", gid);
	check_numbers(line_of(status, "\nGroups:\t"), "group",
	    line_of(leader, "\nGroups:\t"), gid);
	check_capabilities(status, leader, watch->uid == 0);
}

/* Finds another process in the session or process group of the witness. */
static pid_t
company(const struct watch *watch, pid_t pid)
{
	struct stat_line own = proc_stat(pid), other;
	static struct pids pids;

	pids_all(&pids);
	for (size_t i = 0; i < pids.count; i++) {
		other = proc_stat(pids.list[i]);
		if (pids.list[i] != pid && other.state != '\0' &&
		    other.state != 'Z' && (other.group == own.group ||
		    other.session == own.session) &&
		    !is_witness(watch, pids.list[i]))
			return pids.list[i];
	}
	return 0;
}

/* Waits for the parent of the witness, which may be about to end. */
static void
check_company(const struct watch *watch, pid_t pid)
{
	int64_t deadline = deadline_in(GRACE);
	char text[TEXT_SIZE];
	pid_t other;

	while ((other = company(watch, pid)) != 0 &&
	    deadline_left(deadline) > 0)
		poll(NULL, 0, 2);
	if (other != 0)
		found("is in a session or group with %d: %.60s", other,
		    proc_text(other, "stat", text));
}

/* Checks that the program's processes only wait now. */
static void
check_time(const struct watch *watch)
{
	uint64_t before[PROCESSES_MAX];
	struct pids pids;

	pids_own(watch, &pids);
	for (size_t i = 0; i < pids.count; i++)
		before[i] = proc_time(pids.list[i]);
	poll(NULL, 0, SAMPLE);
	for (size_t i = 0; i < pids.count; i++)
		if (proc_time(pids.list[i]) > before[i] + BURNT)
			found("burns processor time: %d", pids.list[i]);
}

/* Lets the witness go on, which then ends itself. */
static void
witness_release(const struct watch *watch, pid_t pid)
{
	int64_t deadline = deadline_in(SETTLE);
	int fd = -1;

	while (fd == -1 && is_witness(watch, pid) &&
	    deadline_left(deadline) > 0) {
		fd = machine_open(watch, "go", O_WRONLY);
		poll(NULL, 0, 1);
	}
	if (fd == -1)
		kill(pid, SIGKILL);
	fd_close(&fd);
}

static void
witness_check(struct watch *watch, pid_t pid)
{
	char namespace[64];

	watch->seen = pid;
	witness_await(watch, pid);
	proc_namespace(pid, namespace);
	if (!is_witness(watch, pid))
		return;		/* it was killed */
	if (strcmp(namespace, watch->inner) != 0) {
		found("runs the command in the %s",
		    strcmp(namespace, watch->own) == 0 ?
		    "host's pid namespace" : "wrong pid namespace");
		kill(pid, SIGKILL);
		return;
	}
	watch->inside = true;
	check_notes(watch);
	check_descriptors(pid);
	check_identity(watch, pid);
	check_company(watch, pid);
	check_time(watch);
	witness_release(watch, pid);
}

/* ---- the program --------------------------------------------------- */

/* Gives the program what the command must not inherit, and executes it. */
static _Noreturn void
tool_run(const struct watch *watch, char **argv)
{
	static const gid_t groups[] = { 4242, 4243 };
	int null = open("/dev/null", O_RDONLY);

	if (setpgid(0, watch->canary) == -1 || setgroups(2, groups) == -1 ||
	    null == -1 || dup2(null, STDIN_FILENO) == -1 ||
	    dup2(watch->output, STDOUT_FILENO) == -1 ||
	    dup2(watch->output, STDERR_FILENO) == -1 ||
	    dup2(null, 7) == -1)
		err(126, "cannot prepare the program");
	execv(argv[0], argv);
	err(126, "%s", argv[0]);
}

static pid_t
canary_start(void)
{
	pid_t pid = fork();

	if (pid == -1)
		err(1, "cannot fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	setpgid(pid, pid);
	return pid;
}

/* Reaps all processes that have ended.  Returns false if no child is left. */
static bool
reap(struct watch *watch)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == watch->tool) {
			watch->tool = 0;
			watch->status = status;
		} else if (pid == watch->canary) {
			watch->canary = 0;
			found("ends somebody else in the caller's group,"
			    " status %d", process_exit_status(status));
		}
	}
	return pid == 0;
}

/* Checks each witness among the program's processes, once. */
static void
look(struct watch *watch, struct pids *pids)
{
	pids_own(watch, pids);
	for (size_t i = 0; i < pids->count; i++)
		if (pids->list[i] != watch->seen &&
		    is_witness(watch, pids->list[i]))
			witness_check(watch, pids->list[i]);
}

/* Checks the program's processes until the program has ended. */
static void
follow(struct watch *watch, int64_t deadline)
{
	struct pids pids;

	while (reap(watch) && watch->tool != 0) {
		if (deadline_left(deadline) == 0) {
			watch->late = true;
			return;
		}
		look(watch, &pids);
		poll(NULL, 0, 1);
	}
}

/* After the program's end: reports and kills each process that is left. */
static void
check_left(struct watch *watch)
{
	int64_t deadline = deadline_in(GRACE);
	char text[TEXT_SIZE];
	struct pids pids;

	do {
		poll(NULL, 0, 1);
		reap(watch);
		/* The command that nspawn-stop ran may appear only now. */
		look(watch, &pids);
	} while (pids.count > 0 && deadline_left(deadline) > 0);
	for (size_t i = 0; i < pids.count; i++) {
		found("leaves behind: %.60s",
		    proc_text(pids.list[i], "stat", text));
		kill(pids.list[i], SIGKILL);
	}
}

/* Checks that the canary, in the caller's group, is still there. */
static void
check_canary(struct watch *watch)
{
	int64_t deadline = deadline_in(GRACE);

	/* It may have been started a moment ago. */
	while (watch->canary != 0 && proc_stat(watch->canary).state != 'S' &&
	    deadline_left(deadline) > 0)
		poll(NULL, 0, 1);
	if (watch->canary != 0 && proc_stat(watch->canary).state != 'S')
		found("stops somebody else in the caller's group");
	if (watch->canary != 0)
		kill(watch->canary, SIGKILL);
	watch->canary = 0;
	while (reap(watch) && deadline_left(deadline) > 0)
		poll(NULL, 0, 1);
}

static void
check_time_of_all(void)
{
	struct rusage usage;
	int64_t ms;

	getrusage(RUSAGE_CHILDREN, &usage);
	ms = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
	    (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
	if (ms > BURNT_ALL)
		found("has burnt %jd ms of processor time", (intmax_t)ms);
}

/* Checks that the status and the messages agree with what happened. */
static void
check_truth(const struct watch *watch)
{
	char text[TEXT_SIZE], begin[128];
	int status = process_exit_status(watch->status);
	bool stops = strcmp(watch->program, "nspawn-stop") == 0;
	bool traps = status == 128 + SIGILL || status == 128 + SIGTRAP;
	bool filtered = status == 128 + SIGSYS, said, is_true;
	ssize_t n = pread(watch->output, text, sizeof(text) - 1, 0);

	text[n == -1 ? 0 : n] = '\0';
	snprintf(begin, sizeof(begin), "%s: %s: ", watch->program,
	    watch->machine);
	said = strstr(text, begin) != NULL;
	if (stops)	/* the machine still runs */
		is_true = said && (status == 124 ||
		    (status == 1 && !watch->inside));
	else if (watch->inside)
		is_true = status == 128 + SIGKILL || traps;
	else	/* a command that can neither run nor exit traps */
		is_true = filtered || (said && (traps ||
		    (status >= 125 && status <= 127)));
	if (watch->late)
		found("does not end in time, and says: %.200s", text);
	else if (!is_true)
		found("ends with the status %d, and says: %.200s", status,
		    text);
}

/* Parses the command line, and reads what differs in host and machine. */
static void
parse(char **arg, struct watch *watch, int64_t *ms)
{
	uint64_t leader, seconds;
	char path[64];

	if (number_parse(arg[1], INT32_MAX, &leader) == -1 ||
	    number_parse(arg[2], UINT32_MAX, &watch->uid) == -1 ||
	    number_parse(arg[3], 3600, &seconds) == -1 ||
	    strrchr(arg[4], '/') == NULL)
		errx(64, "invalid arguments");
	watch->machine = arg[0];
	watch->leader = (pid_t)leader;
	*ms = (int64_t)seconds * 1000;
	watch->program = strrchr(arg[4], '/') + 1;
	proc_namespace(getpid(), watch->own);
	proc_namespace(watch->leader, watch->inner);
	snprintf(path, sizeof(path), "/proc/%d/exe", watch->leader);
	if (stat(path, &watch->file) == -1)
		err(1, "%s", path);
}

int
main(int argc, char **argv)
{
	static struct watch watch;
	int64_t ms;

	if (argc < 6)
		errx(64, "too few arguments");
	parse(argv + 1, &watch, &ms);
	machine_notes_clear(&watch);
	watch.output = memfd_create("output", MFD_CLOEXEC);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	watch.canary = canary_start();
	watch.tool = fork();
	if (watch.output == -1 || watch.tool == -1)
		err(1, "cannot start the program");
	if (watch.tool == 0)
		tool_run(&watch, argv + 5);
	follow(&watch, deadline_in(ms));
	check_left(&watch);
	check_canary(&watch);
	check_time_of_all();
	check_truth(&watch);
	if (kill(watch.leader, 0) == -1)
		found("ends the machine");
	printf("%s %d\n", watch.inside ? "inside" : "nothing",
	    process_exit_status(watch.status));
	return 0;
}
