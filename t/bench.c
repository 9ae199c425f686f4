/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * Measures for t/bench: times and memory of commands, and the cost of finding a
 * machine among many processes.
 *
 * What keeps it right: the compared commands take turns, round by round.  So
 * other load of the computer slows all of them.  The time of a command begins
 * before its fork and ends when it has been reaped, and there is no shell.
 */
#include "../common.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COMMANDS_MAX	16
#define ROUNDS_MAX	10000
#define PATH_SIZE	64

static int64_t times[COMMANDS_MAX][ROUNDS_MAX];	/* ns */

static int64_t
clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Prints a median and the quartiles, in us. */
static void
print_times(int64_t *ns, int rounds)
{
	int half = rounds / 2, quarter = rounds / 4;

	qsort(ns, (size_t)rounds, sizeof(*ns), compare);
	printf("%.1f %.1f %.1f\n", (double)ns[half] / 1000,
	    (double)ns[quarter] / 1000,
	    (double)ns[rounds - 1 - quarter] / 1000);
}

static int
number(const char *text, int max)
{
	uint64_t n;

	if (number_parse(text, (uint64_t)max, &n) == -1)
		err(64, "invalid number '%s'", text);
	if (n == 0)
		errx(64, "invalid number 0: give 1 at least");
	return (int)n;
}

/* ---- commands ------------------------------------------------------ */

/*
 * Starts a command without input.  Its standard output is out, or /dev/null if
 * that is -1; its standard error is errors, or ours if that is -1.
 */
static pid_t
command_start(char **words, int out, int errors)
{
	pid_t pid;

	if (words[0] == NULL)
		errx(64, "no command to measure");
	pid = fork();
	if (pid == -1)
		err(1, "cannot fork");
	if (pid != 0)
		return pid;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, STDIN_FILENO);
	dup2(out == -1 ? null : out, STDOUT_FILENO);
	if (errors != -1)
		dup2(errors, STDERR_FILENO);
	execvp(words[0], words);
	warn("%s", words[0]);
	_exit(127);
}

static void
command_time(char **words, int64_t *ns)
{
	int64_t start = clock_ns();
	pid_t pid = command_start(words, -1, -1);
	int status;

	if (child_wait(pid, &status) == -1)
		err(1, "cannot wait for %s", words[0]);
	*ns = clock_ns() - start;
	if (status != 0)
		errx(1, "%s: failed with status %d", words[0],
		    process_exit_status(status));
}

/* Splits the words at each ",".  Returns the number of commands. */
static int
commands_split(char **arg, char **commands[COMMANDS_MAX])
{
	int count = 0;

	for (commands[count++] = arg; *arg != NULL; arg++)
		if (strcmp(*arg, ",") == 0 && count < COMMANDS_MAX) {
			*arg = NULL;
			commands[count++] = arg + 1;
		}
	return count;
}

/* Shuffles the numbers below count, in the same way in each run. */
static void
order_shuffle(int order[], int count)
{
	static uint32_t seed = 1;

	for (int i = 0; i < count; i++) {
		seed = seed * 1103515245 + 12345;
		int other = (int)((seed >> 16) % (uint32_t)(i + 1));

		if (other != i)
			order[i] = order[other];
		order[other] = i;
	}
}

/*
 * Arguments: ROUNDS, TIMES, and commands, separated by ",".  Prints a line for
 * each.  A round runs each command TIMES times in a row, as a script does,
 * because the kernel's cleaning up after one run slows the next run.  It also
 * slows the next command, so each round has another order.
 */
static int
do_time(char **arg)
{
	int rounds = number(*arg++, ROUNDS_MAX);
	int each = number(*arg++, ROUNDS_MAX / rounds);
	char **commands[COMMANDS_MAX];
	int count = commands_split(arg, commands);

	for (int i = 0; i < rounds; i++) {
		int order[COMMANDS_MAX] = { 0 };

		order_shuffle(order, count);
		for (int c = 0; c < count; c++)
			for (int n = 0; n < each; n++)
				command_time(commands[order[c]],
				    &times[order[c]][i * each + n]);
	}
	for (int c = 0; c < count; c++)
		print_times(times[c], rounds * each);
	return 0;
}

/* ---- memory -------------------------------------------------------- */

/* Returns the number after key in a file of /proc, -1 if there is none. */
static long
proc_number(const char *path, const char *key)
{
	char text[16384];
	const char *found;

	if (file_read(AT_FDCWD, path, text, sizeof(text)) == -1)
		return -1;
	found = strstr(text, key);
	return found == NULL ? -1 : strtol(found + strlen(key), NULL, 10);
}

/* Adds up the peaks of a process and its children that run its program. */
static long
peak(pid_t pid, const char *program)
{
	char path[PATH_SIZE], own[PATH_MAX], children[4096], *rest = children;
	ssize_t n;
	long sum;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, own, sizeof(own) - 1);
	own[n == -1 ? 0 : n] = '\0';
	if (program != NULL && strcmp(own, program) != 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	sum = proc_number(path, "VmHWM:");
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	if (file_read(AT_FDCWD, path, children, sizeof(children)) == -1)
		return sum;
	for (const char *word; (word = strsep(&rest, " ")) != NULL;)
		if (*word != '\0')
			sum += peak(number(word, INT_MAX), own);
	return sum;
}

/*
 * Argument: a command that needs no more memory once it has written something,
 * and then stays.  Prints the KiB of the program's own processes, without the
 * programs that they started.
 */
static int
do_memory(char **arg)
{
	int ends[2], status;
	char byte;

	if (pipe2(ends, O_CLOEXEC) == -1)
		err(1, "cannot make a pipe");
	pid_t pid = command_start(arg, ends[1], -1);

	close(ends[1]);
	if (read(ends[0], &byte, 1) != 1)
		errx(1, "%s has written nothing", arg[0]);
	printf("%ld\n", peak(pid, NULL));
	kill(pid, SIGTERM);
	return child_wait(pid, &status) == 0 ? 0 : 1;
}

/* Argument: a command that starts no other.  Prints its peak in KiB. */
static int
do_peak(char **arg)
{
	struct rusage usage;
	pid_t pid = command_start(arg, -1, -1);
	int status;

	if (wait4(pid, &status, 0, &usage) == -1 || status != 0)
		errx(1, "%s: failed", arg[0]);
	printf("%ld\n", usage.ru_maxrss);
	return 0;
}

/* ---- finding ------------------------------------------------------- */

static int64_t
time_find(const struct host *host, const char *name)
{
	struct machined machined = { .deadline = deadline_in(5000) };
	struct machine machine;
	pid_t pids[2];
	int64_t start = clock_ns();

	if (machine_find(host, name, &machined, &machine, pids) == -1)
		err(1, "cannot find %s", name);
	machine_close(&machine);
	return clock_ns() - start;
}

/* Finds all machines by one call. */
static int64_t
time_find_all(const struct host *host, struct wanted *wanted, size_t count)
{
	struct machined machined = { .deadline = deadline_in(5000) };
	int64_t start = clock_ns();

	machines_find(host, &machined, wanted, count, 0);
	start = clock_ns() - start;
	for (size_t i = 0; i < count; i++) {
		if (wanted[i].error != 0)
			errx(1, "cannot find %s", wanted[i].name);
		machine_close(&wanted[i].machine);
	}
	return start;
}

static void
count_machine(void *argument, const struct machine_line *line)
{
	if (line->name[0] != '\0')
		++*(int *)argument;
}

static int64_t
time_list(const struct host *host, int count)
{
	int64_t start = clock_ns();
	int found = 0;

	if (machines_list(host, deadline_in(5000), count_machine, &found) == -1)
		err(1, "cannot list the machines");
	if (found < count)
		errx(1, "%d machines are not in the list", count - found);
	return clock_ns() - start;
}

/* Makes a list of machines to find, from their names. */
static struct wanted *
wanted_make(char **names, int *count)
{
	struct wanted *wanted;

	for (*count = 0; names[*count] != NULL;)
		++*count;
	if (*count == 0)
		errx(64, "no machine given");
	wanted = calloc((size_t)*count, sizeof(*wanted));
	if (wanted == NULL)
		err(1, "cannot allocate memory for the machines");
	for (int i = 0; i < *count; i++)
		wanted[i].name = names[i];
	return wanted;
}

/*
 * Arguments: ROUNDS and names of machines.  Prints a line for each of these: to
 * find all machines, to find the last one, and to list all.
 */
static int
do_machines(char **arg)
{
	int rounds = number(*arg++, ROUNDS_MAX), count;
	struct wanted *wanted = wanted_make(arg, &count);
	struct host host;

	if (host_open("/proc", NULL, &host) == -1)
		err(1, "cannot open /proc");
	for (int i = 0; i < rounds; i++) {
		times[0][i] = time_find_all(&host, wanted, (size_t)count);
		times[1][i] = time_find(&host, arg[count - 1]);
		times[2][i] = time_list(&host, count);
	}
	for (int c = 0; c < 3; c++)
		print_times(times[c], rounds);
	free(wanted);
	return 0;
}

static int64_t
time_machinectl(const char *name)
{
	const char *const argv[] = {
		"machinectl", "show", "-p", "Leader", "--value", name, NULL
	};
	char output[32];
	int64_t start = clock_ns();

	if (helper_run(argv, deadline_in(5000), output, sizeof(output)) != 0)
		errx(1, "machinectl does not know %s", name);
	return clock_ns() - start;
}

/*
 * Arguments: ROUNDS and a machine; its unit has the same name.  Prints a line
 * for each way to find it: by cgroups, by reading all of /proc, by machinectl.
 */
static int
do_find(char **arg)
{
	int rounds = number(arg[0], ROUNDS_MAX);
	struct host host, bare;

	if (host_open("/proc", NULL, &host) == -1 || host.cgroup == -1)
		err(1, "cannot open /proc or the hierarchy of cgroups");
	bare = (struct host){ .proc = host.proc, .cgroup = -1 };
	for (int i = 0; i < rounds; i++) {
		times[0][i] = time_find(&host, arg[1]);
		times[1][i] = time_find(&bare, arg[1]);
		times[2][i] = time_machinectl(arg[1]);
	}
	for (int c = 0; c < 3; c++)
		print_times(times[c], rounds);
	return 0;
}

/* ---- a crowd ------------------------------------------------------- */

static int
processes_count(void)
{
	DIR *dir = opendir("/proc");
	const struct dirent *entry;
	int count = 0;

	if (dir == NULL)
		err(1, "cannot open /proc");
	while ((entry = readdir(dir)) != NULL)
		count += *entry->d_name >= '0' && *entry->d_name <= '9';
	closedir(dir);
	return count;
}

/* Makes processes until the host has count; they end with this process. */
static void
crowd_make(int count)
{
	for (count -= processes_count(); count > 0; count--) {
		pid_t pid = fork();

		if (pid == -1)
			err(1, "cannot make %d more processes", count);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}
}

/* ---- waiting ------------------------------------------------------- */

#define LATE		"late"	/* the name of the machine */
#define SETTLE		300	/* ms, until the command only waits */
#define WATCH		1000	/* ms, in which wake-ups are counted */

/* Starts the machine, and waits for its leader. */
static pid_t
late_start(const struct host *host, char *tree, struct machine *machine)
{
	char shell[] = "sh", option[] = "-c";
	char script[] = "exec systemd-nspawn --quiet --link-journal=no"
	    " --console=pipe --resolv-conf=off --timezone=off --read-only"
	    " -M " LATE " -D \"$0\" /bin/sleep 600 2>/dev/null";
	char *words[] = { shell, option, script, tree, NULL };
	struct machined none = { .hung = true };
	int64_t deadline = deadline_in(30000);
	pid_t pids[2], pid = command_start(words, -1, -1);
	bool starting;

	for (;;) {
		if (deadline_left(deadline) == 0)
			errx(1, "the machine does not start");
		if (machine_find(host, LATE, &none, machine, pids) == 0) {
			if (init_starting(host->proc, &machine->leader,
			    &starting) == 0 && !starting)
				return pid;
			machine_close(machine);
		}
		poll(NULL, 0, 10);
	}
}

/* Measures a waiting process: its KiB, and its wake-ups in a second. */
static void
waiter_watch(pid_t pid, long *kib, long *wakes)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	*kib = proc_number(path, "VmRSS:");
	*wakes = proc_number(path, "\nvoluntary_ctxt_switches:");
	poll(NULL, 0, WATCH);
	*wakes = proc_number(path, "\nvoluntary_ctxt_switches:") - *wakes;
}

/*
 * Runs a command that waits for the machine's end.  Its word PID becomes the
 * PID of the supervisor.
 */
static void
late_round(const struct host *host, char *tree, char **command, int64_t *ns,
    long *kib, long *wakes)
{
	struct machine machine;
	char supervisor[16], *words[COMMANDS_MAX + 1] = { NULL };
	pid_t pid = late_start(host, tree, &machine), waiter;
	int status;

	snprintf(supervisor, sizeof(supervisor), "%d", pid);
	for (int i = 0; i < COMMANDS_MAX && command[i] != NULL; i++)
		words[i] = strcmp(command[i], "PID") == 0 ? supervisor :
		    command[i];
	waiter = command_start(words, -1, -1);
	poll(NULL, 0, SETTLE);
	waiter_watch(waiter, kib, wakes);
	process_signal(&machine.leader, SIGKILL);
	if (child_wait(pid, &status) == -1)
		err(1, "cannot wait for the machine");
	*ns = clock_ns();
	if (child_wait(waiter, &status) == -1 || status != 0)
		errx(1, "%s: failed", words[0]);
	*ns = clock_ns() - *ns;
	machine_close(&machine);
}

/*
 * Arguments: ROUNDS, a tree, and commands, separated by ",", that end when the
 * machine has ended.  Prints for each its KiB, its wake-ups a second, and the
 * time from the end of the supervisor to its own end.
 */
static int
do_late(char **arg)
{
	int rounds = number(arg[0], ROUNDS_MAX);
	char **commands[COMMANDS_MAX];
	int count = commands_split(arg + 2, commands);
	long kib[COMMANDS_MAX] = { 0 }, wakes[COMMANDS_MAX] = { 0 };
	struct host host;

	if (host_open("/proc", NULL, &host) == -1)
		err(1, "cannot open /proc");
	for (int i = 0; i < rounds; i++)
		for (int c = 0; c < count; c++)
			late_round(&host, arg[1], commands[c], &times[c][i],
			    &kib[c], &wakes[c]);
	for (int c = 0; c < count; c++) {
		printf("%ld %ld ", kib[c], wakes[c]);
		print_times(times[c], rounds);
	}
	return 0;
}

/* Binds the socket on which a systemd would receive status messages. */
static int
notify_open(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	static const char name[] = "bench";
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path + 1, name, sizeof(name) - 1);
	if (fd == -1 || bind(fd, (struct sockaddr *)&address,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
	    sizeof(name))) == -1 ||
	    setenv("NOTIFY_SOCKET", "@bench", 1) == -1)
		err(1, "cannot make a socket");
	return fd;
}

/*
 * Arguments: SECONDS, and a command that waits and sends its status to systemd.
 * Prints its KiB, its wake-ups a second, and us of processor time a second.
 */
static int
do_wait(char **arg)
{
	int seconds = number(*arg++, 60), status, notify = notify_open();
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	char path[PATH_SIZE], text[64];
	long kib = 0, wakes, sum = 0, ran, before = 0;
	pid_t pid = command_start(arg, -1, null);

	poll(NULL, 0, 2000);
	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	if (file_read(AT_FDCWD, path, text, sizeof(text)) > 0)
		before = strtol(text, NULL, 10);
	for (int i = 0; i < seconds; i++, sum += wakes) {
		waiter_watch(pid, &kib, &wakes);
		while (recv(notify, text, sizeof(text), MSG_DONTWAIT) != -1)
			;
	}
	if (file_read(AT_FDCWD, path, text, sizeof(text)) <= 0)
		errx(1, "%s has ended too early", arg[0]);
	ran = strtol(text, NULL, 10) - before;
	kill(pid, SIGTERM);
	if (child_wait(pid, &status) == -1)
		err(1, "cannot wait for %s", arg[0]);
	printf("%ld %.1f %ld\n", kib, (double)sum / seconds,
	    ran / 1000 / seconds);
	return 0;
}

/* ---- signalling ---------------------------------------------------- */

#define TOLD		": sent SIG"	/* by nspawn-stop --verbose, for each */

/*
 * Arguments: COUNT, and a nspawn-stop command for COUNT machines.  Prints the
 * us until it has signalled the last one.
 */
static int
do_tell(char **arg)
{
	int count = number(*arg++, INT_MAX), ends[2], status;
	int64_t start = clock_ns();
	char line[1024];

	if (pipe2(ends, O_CLOEXEC) == -1)
		err(1, "cannot make a pipe");
	pid_t pid = command_start(arg, -1, ends[1]);
	FILE *said = fdopen(ends[0], "r");

	close(ends[1]);
	if (said == NULL)
		err(1, "cannot read the output of %s", arg[0]);
	while (count > 0 && fgets(line, sizeof(line), said) != NULL)
		count -= strstr(line, TOLD) != NULL;
	start = clock_ns() - start;
	while (fgets(line, sizeof(line), said) != NULL)
		;
	fclose(said);
	if (child_wait(pid, &status) == -1 || status != 0 || count > 0)
		errx(1, "%s: failed; it has not signalled %d machines", arg[0],
		    count);
	printf("%" PRId64 "\n", start / 1000);
	return 0;
}

/* ---- stopping ------------------------------------------------------ */

/*
 * Arguments: SIGNAL and names of machines.  Prints the us of the least possible
 * work, when all their processes are known: to send the signal to all leaders,
 * and to wait for all supervisors.
 */
static int
do_kill(char **arg)
{
	int signal = signal_number(*arg++), count;
	struct machined machined = { .deadline = deadline_in(5000) };
	struct wanted *wanted = wanted_make(arg, &count);
	struct pollfd *fds = calloc((size_t)count, sizeof(*fds));
	struct host host;
	int64_t start;

	if (fds == NULL || host_open("/proc", NULL, &host) == -1)
		err(1, "cannot prepare the search for machines");
	machines_find(&host, &machined, wanted, (size_t)count, 0);
	start = clock_ns();
	for (int i = 0; i < count; i++) {
		if (wanted[i].error != 0 ||
		    kill(wanted[i].machine.leader.pid, signal) == -1)
			err(1, "cannot signal %s", arg[i]);
		fds[i] = (struct pollfd){ wanted[i].machine.supervisor.fd,
		    POLLIN, 0 };
	}
	for (int left = count; left > 0;) {
		if (poll(fds, (nfds_t)count, -1) == -1)
			err(1, "cannot wait");
		for (int i = 0; i < count; i++)
			if (fds[i].fd != -1 && fds[i].revents != 0) {
				fds[i].fd = -1;
				left--;
			}
	}
	printf("%" PRId64 "\n", (clock_ns() - start) / 1000);
	free(fds);
	free(wanted);
	return 0;
}

static const struct {
	const char *name;
	int (*function)(char **arg);
	int arguments;
} functions[] = {
	{ "time", do_time, 3 }, { "memory", do_memory, 1 },
	{ "peak", do_peak, 1 }, { "find", do_find, 2 },
	{ "late", do_late, 3 }, { "tell", do_tell, 2 },
	{ "machines", do_machines, 2 }, { "kill", do_kill, 2 },
	{ "wait", do_wait, 2 },
};

int
main(int argc, char **argv)
{
	char **arg = argv + 1;

	if (argc > 2 && strcmp(arg[0], "crowd") == 0) {
		crowd_make(number(arg[1], INT_MAX));
		arg += 2;
	}
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (*arg != NULL && strcmp(*arg, functions[i].name) == 0 &&
		    argv + argc - arg > functions[i].arguments)
			return functions[i].function(arg + 1);
	errx(64, "unknown measurement, or too few arguments");
}
