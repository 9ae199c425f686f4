/* SPDX-License-Identifier: GPL-3.0-only */
/*
 * Runs a command in a systemd-nspawn machine.
 *
 * What keeps it right: four processes, of which the machine sees the last alone.
 * nspawn-enter itself stays as it was called and only hands on signals and the
 * status.  The keeper, in a session of its own, stays on the host, too: whatever
 * becomes of nspawn-enter (it may be stopped, or killed), it reaps the command,
 * so that the machine's PID 1 never waits for it.  The envoy reads what it needs
 * of the machine, becomes all that the command is to be, keeps nothing open but
 * the three standard descriptors, makes the command, as the keeper's child and
 * not its own, and ends.  A machine's files may block for ever: the keeper kills
 * an envoy that takes too long.
 */
#include "common.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <paths.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The statuses of env(1), chroot(1) and others. */
enum {
	STATUS_FAILED		= 125,	/* a mistake, or our own failure */
	STATUS_NOT_EXECUTABLE	= 126,
	STATUS_NOT_FOUND	= 127,
};

#define MACHINED_TIME	5000	/* ms, for machinectl */
#define ENTRY_TIME	10000	/* ms, for the way into the machine */
#define PASSWD_SIZE	65536

#define MACHINE_PATH	"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:" \
			"/sbin:/bin"

struct settings {
	const char	*name;
	char		**command;	/* ends with NULL; empty: a shell */
	unsigned	 namespaces;	/* a set, as for namespaces_open() */
	bool		 foreign;
};

/* What the envoy needs of the leader, opened before anything is joined. */
struct entry {
	int	namespaces[NAMESPACES];
	int	root;		/* the root directory to have; -1: our own */
};

/* What keeper and nspawn-enter tell each other, a packet each. */
enum message_kind { MESSAGE_ENDED, MESSAGE_LATE, MESSAGE_SIGNAL };

struct message {
	enum message_kind	kind;
	int			value;	/* status of wait(2), or signal */
};

enum { KEY_ONLY = 512, KEY_FOREIGN, KEY_HELP, KEY_VERSION };

#define OWN_OPTIONS	4

static const struct option_spec own_options[OWN_OPTIONS] = {
	{ "only", KEY_ONLY, "LIST", "join only those, separated by commas:"
	    " mount, uts, ..." },
	{ "foreign", KEY_FOREIGN, NULL, "also enter a machine that belongs to"
	    " another user" },
	{ "help", KEY_HELP, NULL, "show this text" },
	{ "version", KEY_VERSION, NULL, "show the version" },
};

/* Signals that are meant for the command. */
static const int passed_signals[] = {
	SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
};

#define PASSED_SIGNALS	(sizeof(passed_signals) / sizeof(passed_signals[0]))

/* Puts the options of all namespaces before our own. */
static void
options_fill(struct option_spec options[NAMESPACES + OWN_OPTIONS + 1])
{
	for (int i = 0; i < NAMESPACES; i++)
		options[i] = (struct option_spec){
			.name = namespace_kinds[i].option,
			.key = namespace_kinds[i].key,
			.help = namespace_kinds[i].help,
		};
	memcpy(options + NAMESPACES, own_options, sizeof(own_options));
	options[NAMESPACES + OWN_OPTIONS] = (struct option_spec){ 0 };
}

static void
help(const struct option_spec *options)
{
	printf("Usage: nspawn-enter [OPTION]... MACHINE [OPTION]..."
	    " [--] [COMMAND [ARGUMENT]...]\n\n"
	    "Runs a command in a running systemd-nspawn machine, in all of its"
	    " namespaces;\nwithout a command the login shell of its root.\n\n"
	    "Options:\n");
	option_help(stdout, options);
	printf("\nExit status: the command's; 128 + n if signal n ended it;"
	    " 127 if it was not\nfound, 126 if it could not be executed, 125"
	    " for a mistake in the call or a\nfailure of nspawn-enter"
	    " itself.\n");
}

static _Noreturn void
try_help(void)
{
	fprintf(stderr, "Try 'nspawn-enter --help'.\n");
	exit(STATUS_FAILED);
}

static void
set_name(struct settings *settings, const char *name)
{
	char clean[4 * MACHINE_NAME_MAX + 1];

	if (!machine_name_valid(name)) {
		warnx("'%s' cannot be the name of a machine: it is made of 1 to"
		    " %d letters, digits, '-' and '.'",
		    printable(name, clean, sizeof(clean)), MACHINE_NAME_MAX);
		try_help();
	}
	settings->name = name;
}

static void
set_only(struct settings *settings, const char *list)
{
	settings->namespaces = 0;
	do {
		size_t length = strcspn(list, ",");
		int number = namespace_number(list, length);

		if (number == -1) {
			warnx("'%.*s' is no kind of namespace",
			    (int)length, list);
			try_help();
		}
		settings->namespaces |= 1u << number;
		list += length;
	} while (*list++ == ',');
}

static void
set_option(struct settings *settings, const struct option_spec *options,
    int key)
{
	for (int i = 0; i < NAMESPACES; i++)
		if (namespace_kinds[i].key == key) {
			settings->namespaces &= ~(1u << i);
			return;
		}
	switch (key) {
	case KEY_ONLY:
		set_only(settings, optarg);
		break;
	case KEY_FOREIGN:
		settings->foreign = true;
		break;
	case KEY_HELP:
		help(options);
		exit(EXIT_SUCCESS);
	case KEY_VERSION:
		printf("nspawn-enter %s\n", VERSION);
		exit(EXIT_SUCCESS);
	default:
		try_help();
	}
}

static void
parse_options(int argc, char **argv, struct settings *settings)
{
	struct option_spec options[NAMESPACES + OWN_OPTIONS + 1];
	int key;

	*settings = (struct settings){ .namespaces = NAMESPACES_ALL };
	options_fill(options);
	while ((key = option_next(argc, argv, options)) != -1) {
		if (key != OPTION_WORD)
			set_option(settings, options, key);
		else if (settings->name == NULL)
			set_name(settings, optarg);
		else {			/* the command begins here */
			optind--;
			break;
		}
	}
	if (settings->name == NULL && optind < argc)
		set_name(settings, argv[optind++]);
	if (settings->name == NULL) {
		warnx("no machine is named");
		try_help();
	}
	settings->command = argv + optind;
	if (geteuid() != 0)
		errx(STATUS_FAILED, "only root may enter a machine; try it"
		    " with sudo");
}

static void
find(const struct settings *settings, int proc, struct machine *machine)
{
	struct machined machined = {
		.deadline = deadline_in(MACHINED_TIME),
	};
	struct host host = { .proc = proc, .cgroup = hierarchy_of_units() };
	pid_t suspects[2];
	char text[160];

	if (machine_find(&host, settings->name, &machined, machine,
	    suspects) == -1)
		errx(STATUS_FAILED, "%s: %s", settings->name,
		    machine_strerror(errno, suspects, text, sizeof(text)));
	fd_close(&host.cgroup);
	if (machine_foreign(machine) && !settings->foreign)
		errx(STATUS_FAILED, "%s: belongs to the user %u, not to root;"
		    " --foreign enters it all the same", settings->name,
		    machine->owner);
}

/* Opens all that is needed of the leader, and then sees that it is its own. */
static void
entry_open(const struct settings *settings, int proc,
    const struct process *leader, struct entry *entry)
{
	char path[32];

	entry->root = -1;
	snprintf(path, sizeof(path), "%d/root", leader->pid);
	if (namespaces_open(proc, leader, settings->namespaces,
	    entry->namespaces) == -1)
		err(STATUS_FAILED, "%s: cannot open the namespaces of its"
		    " leader %d", settings->name, leader->pid);
	if (entry->namespaces[NAMESPACE_MOUNT] != -1)
		entry->root = openat(proc, path, O_PATH | O_CLOEXEC);
	if (entry->namespaces[NAMESPACE_MOUNT] != -1 && entry->root == -1)
		err(STATUS_FAILED, "%s: cannot open the root directory of its"
		    " leader %d", settings->name, leader->pid);
	if (!process_alive(leader))
		errx(STATUS_FAILED, "%s: ended while it was entered",
		    settings->name);
}

/* ---- the command --------------------------------------------------- */

/* err(3) for a process that was forked: what its parent flushes is not its. */
static _Noreturn void __attribute__((format(printf, 1, 2)))
child_err(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vwarn(format, arguments);
	va_end(arguments);
	_exit(STATUS_FAILED);
}

/*
 * Finds out about the user whose shell it is, from the machine's /etc/passwd
 * (ours where its mount namespace is not joined).  There need not be one.
 */
static void
user_read(int root, struct user *user)
{
	static char text[PASSWD_SIZE];
	int host = root == -1 ? open("/", O_PATH | O_CLOEXEC) : -1;
	int fd = file_open_in_root(root == -1 ? host : root, "/etc/passwd");
	size_t used = 0;
	ssize_t n = 0;

	while (fd != -1 && used < sizeof(text) - 1 &&
	    (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	if (user_parse(text, 0, user) == -1)
		*user = (struct user){ "root", "/root", "" };
	if (user->shell[0] == '\0')
		strcpy(user->shell, _PATH_BSHELL);
	fd_close(&fd);
	fd_close(&host);
}

/* Makes NAME=value, or only what the caller has under that name. */
static void
environment_add(const char *name, const char *value)
{
	if (value != NULL && setenv(name, value, 1) == -1)
		child_err("cannot set %s for the command", name);
}

/*
 * Leaves nothing of the caller's environment but what describes its terminal
 * and language.
 */
static void
environment_become(const struct user *user, bool inside)
{
	static const char *const kept[] = {
		"TERM", "COLORTERM", "NO_COLOR", "LANG",
	};
	const char *values[sizeof(kept) / sizeof(kept[0])];
	const char *path = inside ? MACHINE_PATH : getenv("PATH");

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		values[i] = getenv(kept[i]);
	if (clearenv() != 0)
		child_err("cannot empty the environment");
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		environment_add(kept[i], values[i]);
	environment_add("PATH", path == NULL ? MACHINE_PATH : path);
	environment_add("HOME", user->home);
	environment_add("USER", user->name);
	environment_add("LOGNAME", user->name);
	environment_add("SHELL", user->shell);
	if (inside)
		environment_add("container", "systemd-nspawn");
}

/*
 * Gives a signal its default disposition, by the kernel's number: a libc hides
 * some from its users.
 */
static void
sys_signal_default(int signal)
{
	/* No less than any kernel's struct sigaction: SIG_DFL, no flags. */
	static const uint64_t action[8];

	syscall(SYS_rt_sigaction, signal, action, NULL, SIGNAL_RTMAX / 8);
}

/* Gives the command the signals as a login would find them. */
static void
signals_default(void)
{
	sigset_t none;

	for (int n = 1; n <= SIGNAL_RTMAX; n++)
		sys_signal_default(n);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void
command_failed(const struct settings *settings, const char *command)
{
	int status = errno == ENOENT || errno == ENOTDIR ?
	    STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
	char clean[PATH_MAX];

	warn("%s: cannot execute %s", settings->name,
	    printable(command, clean, sizeof(clean)));
	_exit(status);
}

/* Becomes the command.  This process is inside the machine. */
static _Noreturn void
command_run(const struct settings *settings, const struct user *user)
{
	char login[USER_TEXT_MAX + 1];
	char **command = settings->command;

	setsid();
	/* Should even the keeper be killed, the command does not outlive it. */
	prctl(PR_SET_PDEATHSIG, SIGHUP);
	signals_default();
	if (command[0] != NULL) {
		execvp(command[0], command);
		command_failed(settings, command[0]);
	}
	snprintf(login, sizeof(login), "-%s", strrchr(user->shell, '/') != NULL
	    ? strrchr(user->shell, '/') + 1 : user->shell);
	execl(user->shell, login, (char *)NULL);
	command_failed(settings, user->shell);
}

/* ---- the envoy ----------------------------------------------------- */

/* Joins what is to be joined, and becomes the root of it. */
static void
entry_become(const struct settings *settings, const struct entry *entry)
{
	int failed;

	/* Now: a user namespace may forbid it. */
	if (setgroups(0, NULL) == -1)
		child_err("%s: cannot drop the caller's groups",
		    settings->name);
	if (namespaces_join(entry->namespaces, &failed) == -1)
		child_err("%s: cannot join its %s namespace",
		    settings->name, namespace_kinds[failed].name);
	/* The leader may have changed its root since the machine's start. */
	if (entry->root != -1 &&
	    (fchdir(entry->root) == -1 || chroot(".") == -1))
		child_err("%s: cannot go to its root directory",
		    settings->name);
	if (setresgid(0, 0, 0) == -1 || setresuid(0, 0, 0) == -1)
		child_err("%s: cannot become its root",
		    settings->name);
}

/* fork(2), but the child's parent is the caller's. */
static pid_t
sys_fork_sibling(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
}

/*
 * The envoy's life.  *command becomes the command's number, for the keeper, with
 * whom it is shared.
 */
static _Noreturn void
envoy(const struct settings *settings, const struct entry *entry,
    volatile pid_t *command)
{
	struct user user;
	pid_t pid;

	user_read(entry->root, &user);
	environment_become(&user, entry->root != -1);
	umask(022);
	entry_become(settings, entry);
	if (chdir(user.home) == -1 && chdir("/") == -1)
		child_err("%s: cannot go to /", settings->name);
	fds_close_from(STDERR_FILENO + 1);
	pid = sys_fork_sibling();
	if (pid == -1 && errno == ENOMEM)	/* PID 1 ended: fork(2) */
		child_err("%s: cannot make a process in it; is it just ending?",
		    settings->name);
	if (pid == -1)
		child_err("%s: cannot make a process for the command",
		    settings->name);
	if (pid == 0)
		command_run(settings, &user);
	*command = pid;
	_exit(EXIT_SUCCESS);
}

/* ---- the keeper ---------------------------------------------------- */

static void
message_send(int channel, enum message_kind kind, int value)
{
	struct message message = { .kind = kind, .value = value };

	/* The other side may have ended: nobody is left to be told. */
	while (send(channel, &message, sizeof(message), MSG_NOSIGNAL) == -1 &&
	    errno == EINTR)
		;
}

/* Signals the command and what it started in its process group. */
static void
command_signal(pid_t command, int signal)
{
	if (kill(-command, signal) == -1)	/* not yet a group's leader */
		kill(command, signal);
}

/*
 * Hands on to the command what nspawn-enter says.
 * Returns false when nspawn-enter has ended; the command is then hung up.
 */
static bool
keeper_hear(int channel, pid_t command)
{
	struct message message;
	ssize_t n = recv(channel, &message, sizeof(message), MSG_DONTWAIT);

	if (n == (ssize_t)sizeof(message)) {
		command_signal(command, message.value);
		return true;
	}
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return true;
	command_signal(command, SIGHUP);
	command_signal(command, SIGCONT);
	return false;
}

/*
 * Waits for the end of a child until the deadline, and sees to what is said on
 * the channel once there is a command.  Says whether it ended in time.
 */
static bool
keeper_wait(pid_t child, int channel, pid_t command, int64_t deadline)
{
	struct process process = PROCESS_NONE;
	int n;

	/* Our own child until waitpid(): its number cannot be another's. */
	if (process_open(child, &process) == -1)
		child_err("cannot wait for a child");
	struct pollfd fds[] = {
		{ .fd = process.fd, .events = POLLIN },
		{ .fd = command == 0 ? -1 : channel, .events = POLLIN },
	};

	do {
		fds[0].revents = fds[1].revents = 0;
		n = poll(fds, 2, deadline_left(deadline));
		if (n > 0 && fds[1].revents != 0 &&
		    !keeper_hear(channel, command))
			fds[1].fd = -1;
	} while (n != 0 && fds[0].revents == 0);
	process_close(&process);
	return n != 0;
}

/*
 * Sends the envoy ahead.
 * Returns the number of the command that it made; 0 where it has made none, and
 * that has been told.
 */
static pid_t
keeper_send(const struct settings *settings, const struct entry *entry,
    int channel)
{
	volatile pid_t *command = mmap(NULL, sizeof(*command),
	    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = command == MAP_FAILED ? -1 : fork();
	int status = 0;

	if (pid == -1)
		child_err("cannot make a process for the envoy");
	if (pid == 0)
		envoy(settings, entry, command);
	bool late = !keeper_wait(pid, channel, 0, deadline_in(ENTRY_TIME));

	if (late)
		kill(pid, SIGKILL);
	if (child_wait(pid, &status) == -1)
		child_err("cannot wait for the envoy");
	if (*command == 0)
		message_send(channel, late ? MESSAGE_LATE : MESSAGE_ENDED,
		    status);
	return *command;
}

/*
 * The keeper's life: nothing but SIGKILL ends it before the command does, and
 * whoever signals the whole unit does not mean it.
 */
static _Noreturn void
keep(const struct settings *settings, const struct entry *entry, int channel)
{
	sigset_t all;
	pid_t command;
	int status;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (setsid() == -1)
		child_err("cannot make a session for the keeper");
	command = keeper_send(settings, entry, channel);
	if (command == 0)
		_exit(EXIT_SUCCESS);
	keeper_wait(command, channel, command, DEADLINE_NEVER);
	if (child_wait(command, &status) == -1)
		child_err("cannot wait for the command");
	message_send(channel, MESSAGE_ENDED, status);
	_exit(EXIT_SUCCESS);
}

/* ---- nspawn-enter -------------------------------------------------- */

/* Takes the signals of passed_signals as events. */
static int
signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < PASSED_SIGNALS; i++)
		sigaddset(&set, passed_signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void
signal_pass(int signals, int channel)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
		message_send(channel, MESSAGE_SIGNAL, (int)info.ssi_signo);
}

/*
 * Passes signals to the keeper until that says what has become of the command.
 * Returns false where the keeper ended without a word.
 */
static bool
relay(int signals, int channel, struct message *message)
{
	struct pollfd fds[] = {
		{ .fd = channel, .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};
	int n;

	do {
		fds[0].revents = fds[1].revents = 0;
		n = poll(fds, 2, -1);
		if (n > 0 && fds[1].revents != 0)
			signal_pass(signals, channel);
	} while (fds[0].revents == 0);
	return recv(channel, message, sizeof(*message), 0) > 0;
}

/* Makes the keeper, which has the other end of the channel. */
static pid_t
keeper_start(const struct settings *settings, const struct entry *entry,
    int *channel)
{
	int ends[2];
	pid_t keeper;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == -1)
		err(STATUS_FAILED, "cannot make a channel to the keeper");
	keeper = fork();
	if (keeper == -1)
		err(STATUS_FAILED, "cannot make a process for the keeper");
	if (keeper == 0) {
		close(ends[0]);
		keep(settings, entry, ends[1]);
	}
	close(ends[1]);
	*channel = ends[0];
	return keeper;
}

/*
 * Sees the keeper and its command through.
 * Returns the command's status as wait(2) gives it, -1 where there is none.
 */
static int
enter(const struct settings *settings, const struct entry *entry)
{
	int channel, keeper_status = 0, signals = signals_open();
	struct message message;
	pid_t keeper;

	if (signals == -1)
		err(STATUS_FAILED, "cannot take signals as events");
	keeper = keeper_start(settings, entry, &channel);
	bool told = relay(signals, channel, &message);

	if (child_wait(keeper, &keeper_status) == -1)
		err(STATUS_FAILED, "cannot wait for the keeper");
	if (told && message.kind == MESSAGE_LATE)
		warnx("%s: was not entered within %d s; something in it hangs",
		    settings->name, ENTRY_TIME / 1000);
	else if (!told && WIFSIGNALED(keeper_status))
		warnx("%s: the keeper of the command was killed",
		    settings->name);
	close(channel);
	close(signals);
	return told && message.kind == MESSAGE_ENDED ? message.value : -1;
}

/*
 * Ends as the command did, by its signal too, but without a core file of a
 * process that did nothing wrong.
 */
static int
end_like(int status)
{
	struct rlimit none = { 0, 0 };
	sigset_t set;

	if (status == -1)
		return STATUS_FAILED;
	if (WIFSIGNALED(status)) {
		setrlimit(RLIMIT_CORE, &none);
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
		sigemptyset(&set);
		sigaddset(&set, WTERMSIG(status));
		sigprocmask(SIG_UNBLOCK, &set, NULL);
	}
	return exit_status(status);
}

int
main(int argc, char **argv)
{
	struct settings settings;
	struct machine machine;
	struct entry entry;
	int proc, status;

	parse_options(argc, argv, &settings);
	signal(SIGCHLD, SIG_DFL);	/* a caller's SIG_IGN would reap */
	if (fds_tidy() == -1)
		err(STATUS_FAILED, "cannot open /dev/null");
	proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc == -1)
		err(STATUS_FAILED, "cannot open /proc");
	find(&settings, proc, &machine);
	entry_open(&settings, proc, &machine.leader, &entry);
	machine_close(&machine);
	close(proc);
	status = enter(&settings, &entry);
	return end_like(status);
}
