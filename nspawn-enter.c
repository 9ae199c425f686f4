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
 *
 * The caller's terminal never gets into the machine: the command has a pty, or
 * with --no-tty pipes, in its place, and nspawn-enter carries the bytes.
 */
#include "common.h"

#include <sys/ioctl.h>
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
#include <termios.h>
#include <unistd.h>

/* The statuses of env(1), chroot(1) and others. */
enum {
	STATUS_FAILED		= 125,	/* a mistake, or our own failure */
	STATUS_NOT_EXECUTABLE	= 126,
	STATUS_NOT_FOUND	= 127,
};

#define MACHINED_TIME	5000	/* ms, for machinectl */
#define ENTRY_TIME	10000	/* ms, for the way into the machine */
#define ID_FILE_SIZE	1048576	/* of the machine's passwd and group */
#define GROUPS_MAX	256	/* of one user */

#define MACHINE_PATH	"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:" \
			"/sbin:/bin"

enum tty { TTY_LIKE_CALLER, TTY_ALWAYS, TTY_NEVER };

/* A variable of the command's environment; NULL: none of that name. */
struct variable {
	char		*name;
	const char	*value;
};

struct settings {
	const char	*name;
	char		**command;	/* ends with NULL; empty: a shell */
	unsigned	 namespaces;	/* a set, as for namespaces_open() */
	char		*user;		/* name or number; NULL: root */
	const char	*group;		/* the same; NULL: the user's own */
	const char	*directory;	/* NULL: the user's home, or / */
	struct variable	*variables;
	size_t		 variable_count;
	enum tty	 tty;
	bool		 preserve;	/* the caller's environment */
	bool		 privileged;
	bool		 no_seccomp;
	bool		 foreign;
	bool		 quiet;
};

/* Who the command is. */
struct identity {
	struct user	user;
	gid_t		groups[GROUPS_MAX];
	size_t		group_count;
};

#define STANDARD	3	/* descriptors: 0, 1 and 2 */

/* What takes the place of the caller's terminal. */
struct terminal {
	unsigned	replaced;	/* a set of the standard descriptors */
	bool		pty;		/* by one, else by pipes */
	int		outer;		/* the caller's terminal; -1: none */
	struct termios	modes;		/* as the caller had it */
	struct winsize	size;
	int		inner[STANDARD];	/* pipes' ends for the command */
	int		own[STANDARD];		/* and ours */
};

/* What the envoy is sent to do. */
struct errand {
	struct settings		 settings;
	struct host		 host;
	struct machine		 machine;
	struct entry		 entry;
	struct terminal		 terminal;
	int			 channel;
	volatile pid_t		*command;	/* shared with the keeper */
};

/* What keeper and nspawn-enter tell each other, a packet each. */
enum message_kind {
	MESSAGE_ENDED, MESSAGE_LATE, MESSAGE_SIGNAL,
	MESSAGE_TERMINAL,	/* with the descriptor of a pty's master */
};

struct message {
	enum message_kind	kind;
	int			value;	/* status of wait(2), or signal */
};

enum {
	KEY_ONLY = 512, KEY_PRESERVE, KEY_PRIVILEGED, KEY_NO_SECCOMP,
	KEY_FOREIGN, KEY_HELP, KEY_VERSION
};

#define OWN_OPTIONS	13

static const struct option_spec own_options[OWN_OPTIONS] = {
	{ "only", KEY_ONLY, "LIST", "join only those, separated by commas:"
	    " mount, uts, ..." },
	{ "user", 'u', "USER", "be that user of the machine, or USER:GROUP" },
	{ "chdir", 'w', "DIR", "start in that directory of the machine" },
	{ "setenv", 'e', "VAR", "set VAR=VALUE, or the caller's VAR; may be"
	    " repeated" },
	{ "preserve-env", KEY_PRESERVE, NULL, "keep the caller's environment" },
	{ "tty", 't', NULL, "make a terminal, whatever the caller has" },
	{ "no-tty", 'T', NULL, "make none, and use pipes in its place" },
	{ "privileged", KEY_PRIVILEGED, NULL, "keep the caller's capabilities"
	    " and cgroup, and no filters" },
	{ "no-seccomp", KEY_NO_SECCOMP, NULL, "leave out the machine's system"
	    " call filters" },
	{ "quiet", 'q', NULL, "no warnings" },
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
	    " namespaces;\nwithout a command the user's login shell.\n\n"
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

/* Copies the first part of a word; the words themselves are used again. */
static char *
part_copy(const char *text, size_t length)
{
	char *copy = strndup(text, length);

	if (copy == NULL)
		err(STATUS_FAILED, "cannot hold the command line");
	return copy;
}

/* Splits USER[:GROUP]. */
static void
set_user(struct settings *settings, const char *text)
{
	const char *colon = strchr(text, ':');

	free(settings->user);
	settings->user = part_copy(text, strcspn(text, ":"));
	settings->group = colon == NULL ? NULL : colon + 1;
	if (*settings->user != '\0' && (colon == NULL || colon[1] != '\0'))
		return;
	warnx("a user is USER or USER:GROUP, by name or number");
	try_help();
}

/* Splits NAME=VALUE. */
static void
set_variable(struct settings *settings, const char *text)
{
	const char *equals = strchr(text, '=');
	char *name = part_copy(text, strcspn(text, "="));

	if (*name == '\0') {
		warnx("a variable needs a name: give NAME=VALUE or NAME");
		try_help();
	}
	settings->variables[settings->variable_count++] = (struct variable){
		.name = name,
		.value = equals == NULL ? getenv(name) : equals + 1,
	};
}

static void
set_directory(struct settings *settings, const char *text)
{
	if (*text != '/') {
		warnx("'%s' is no absolute path of a directory", text);
		try_help();
	}
	settings->directory = text;
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
	case 'u':
		set_user(settings, optarg);
		break;
	case 'w':
		set_directory(settings, optarg);
		break;
	case 'e':
		set_variable(settings, optarg);
		break;
	case KEY_PRESERVE:
		settings->preserve = true;
		break;
	case 't':
		settings->tty = TTY_ALWAYS;
		break;
	case 'T':
		settings->tty = TTY_NEVER;
		break;
	case KEY_PRIVILEGED:
		settings->privileged = true;
		break;
	case KEY_NO_SECCOMP:
		settings->no_seccomp = true;
		break;
	case 'q':
		settings->quiet = true;
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
	settings->variables = calloc((size_t)argc + 1,
	    sizeof(*settings->variables));
	if (settings->variables == NULL)
		err(STATUS_FAILED, "cannot hold the variables");
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
find(const struct settings *settings, const struct host *host,
    struct machine *machine)
{
	struct machined machined = {
		.deadline = deadline_in(MACHINED_TIME),
	};
	pid_t suspects[2];
	char text[160];

	if (machine_find(host, settings->name, &machined, machine,
	    suspects) == -1)
		errx(STATUS_FAILED, "%s: %s", settings->name,
		    machine_strerror(errno, suspects, text, sizeof(text)));
	if (machine_foreign(machine) && !settings->foreign)
		errx(STATUS_FAILED, "%s: belongs to the user %u, not to root;"
		    " --foreign enters it all the same", settings->name,
		    machine->owner);
}

/* Says what is likely to surprise, in a line each. */
static void
warn_surprises(const struct settings *settings, const struct machine *machine)
{
	bool mount = settings->namespaces & 1u << NAMESPACE_MOUNT;

	if (settings->quiet)
		return;
	if (machine_foreign(machine))
		warnx("%s: warning: is the user %u's, whose processes see the"
		    " command", settings->name, machine->owner);
	if (mount && !(settings->namespaces & 1u << NAMESPACE_PID))
		warnx("%s: warning: outside of its pid namespace the command has"
		    " no /proc/self, and does not end with the machine",
		    settings->name);
	if (mount && !(settings->namespaces & 1u << NAMESPACE_NETWORK))
		warnx("%s: warning: in our network namespace the command can"
		    " reach the host's sockets", settings->name);
	if (settings->privileged)
		warnx("%s: warning: the command has the caller's capabilities,"
		    " which root of the machine can take over", settings->name);
	else if (settings->no_seccomp)
		warnx("%s: warning: the command may make system calls that the"
		    " machine's filters forbid", settings->name);
}

/* Opens all that is needed of the leader. */
static void
entry_open(const struct settings *settings, const struct host *host,
    const struct machine *machine, struct entry *entry)
{
	const char *step;

	if (!settings->privileged && machine_frozen(host, machine))
		errx(STATUS_FAILED, "%s: is frozen: nothing in it runs until it"
		    " is thawed, see systemctl thaw", settings->name);
	if (entry_read(host, &machine->leader, settings->namespaces,
	    !settings->privileged, entry, &step) == -1)
		err(STATUS_FAILED, "%s: cannot %s", settings->name, step);
	if (settings->user != NULL)	/* its groups are of the machine */
		entry->group_count = 0;
}

/*
 * Leaves the caller's session, and takes no signal but KILL from now on.
 * Returns as setsid(2).
 */
static pid_t
stand_aside(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	return setsid();
}

/* ---- messages ------------------------------------------------------ */

/* Sends one, with the descriptor fd unless that is -1. */
static void
message_send(int channel, enum message_kind kind, int value, int fd)
{
	struct message message = { .kind = kind, .value = value };
	struct iovec part = { &message, sizeof(message) };
	union {
		struct cmsghdr	header;
		char		space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
	    .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct msghdr packet = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	if (fd != -1) {
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		packet.msg_control = &control;
		packet.msg_controllen = sizeof(control);
	}
	do
		n = sendmsg(channel, &packet, MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	/* The other side may have ended: nobody is left to be told. */
	if (n == -1 && errno != EPIPE && errno != ECONNRESET)
		warn("cannot hand on what became of the command");
}

/* Takes one; *fd becomes the descriptor that came with it, else -1. */
static bool
message_receive(int channel, struct message *message, int *fd)
{
	struct iovec part = { message, sizeof(*message) };
	union {
		struct cmsghdr	header;
		char		space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr packet = { .msg_iov = &part, .msg_iovlen = 1,
	    .msg_control = &control, .msg_controllen = sizeof(control) };
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(channel, &packet, MSG_CMSG_CLOEXEC);
	while (n == -1 && errno == EINTR);
	if (n == -1)
		warn("cannot hear what became of the command");
	if (n == (ssize_t)sizeof(*message) && CMSG_FIRSTHDR(&packet) != NULL)
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&packet)), sizeof(*fd));
	return n == (ssize_t)sizeof(*message);
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

/* errx(3) for such a process. */
static _Noreturn void __attribute__((format(printf, 1, 2)))
child_errx(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vwarnx(format, arguments);
	va_end(arguments);
	_exit(STATUS_FAILED);
}

/*
 * Reads a file of the machine, or ours where its mount namespace is not joined.
 * One that is not there is like an empty one.
 */
static void
id_file_read(int root, const char *path, char *text, size_t size)
{
	int host = root == -1 ? open("/", O_PATH | O_CLOEXEC) : -1;

	if (file_read_in_root(root == -1 ? host : root, path, text, size) == -1)
		text[0] = '\0';
	fd_close(&host);
}

/* Finds the user of --user; root is one even where no passwd says so. */
static void
user_find(const struct settings *settings, const char *passwd,
    struct user *user)
{
	const char *who = settings->user == NULL ? "0" : settings->user;
	char clean[USER_TEXT_MAX];
	uint64_t uid;

	if (user_parse(passwd, who, user) == 0)
		return;
	*user = (struct user){ .name = "root", .home = "/root" };
	if (strcmp(who, "0") == 0 || strcmp(who, "root") == 0)
		return;
	printable(who, clean, sizeof(clean));
	if (number_parse(who, USER_ID_MAX, &uid) == -1)
		child_errx("%s: has no user '%s' in its /etc/passwd",
		    settings->name, clean);
	if (settings->group == NULL)
		child_errx("%s: has no user %s in its /etc/passwd; with a group,"
		    " as in %s:GROUP, the number will do", settings->name,
		    clean, clean);
	*user = (struct user){ .uid = (uid_t)uid, .home = "/" };
	snprintf(user->name, sizeof(user->name), "%s", clean);
}

/* Finds out who the command is to be, from the machine's own files. */
static void
identity_read(const struct settings *settings, int root,
    struct identity *identity)
{
	static char text[ID_FILE_SIZE];
	char clean[USER_TEXT_MAX];
	struct user *user = &identity->user;
	int count = 0;

	id_file_read(root, "/etc/passwd", text, sizeof(text));
	user_find(settings, text, user);
	if (user->shell[0] == '\0')
		snprintf(user->shell, sizeof(user->shell), _PATH_BSHELL);
	if (settings->user != NULL) {
		id_file_read(root, "/etc/group", text, sizeof(text));
		if (settings->group != NULL &&
		    group_parse(text, settings->group, &user->gid) == -1)
			child_errx("%s: has no group '%s' in its /etc/group",
			    settings->name, printable(settings->group, clean,
			    sizeof(clean)));
		count = user_groups(text, user->name, identity->groups,
		    GROUPS_MAX);
	}
	if (count == -1)
		child_errx("%s: its user %s is in more than %d groups",
		    settings->name, printable(user->name, clean,
		    sizeof(clean)), GROUPS_MAX);
	identity->group_count = (size_t)count;
}

/* Becomes that user, in the machine. */
static void
identity_become(const struct settings *settings,
    const struct identity *identity)
{
	const struct user *user = &identity->user;

	/* There are none any more; a user namespace may forbid to say so. */
	if ((identity->group_count != 0 &&
	    setgroups(identity->group_count, identity->groups) == -1) ||
	    setresgid(user->gid, user->gid, user->gid) == -1 ||
	    setresuid(user->uid, user->uid, user->uid) == -1)
		child_err("%s: cannot become its user %u:%u", settings->name,
		    user->uid, user->gid);
}

/* Makes NAME=value, or only what the caller has under that name. */
static void
environment_add(const char *name, const char *value)
{
	if (value != NULL && setenv(name, value, 1) == -1)
		child_err("cannot set %s for the command", name);
}

/* Leaves nothing of the caller's but what describes terminal and language. */
static void
environment_clear(void)
{
	static const char *const kept[] = {
		"TERM", "COLORTERM", "NO_COLOR", "LANG",
	};
	const char *values[sizeof(kept) / sizeof(kept[0])];

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		values[i] = getenv(kept[i]);
	if (clearenv() != 0)
		child_err("cannot empty the environment");
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		environment_add(kept[i], values[i]);
}

static void
environment_become(const struct settings *settings, const struct user *user,
    bool inside)
{
	const char *path = inside ? MACHINE_PATH : getenv("PATH");

	if (!settings->preserve)
		environment_clear();
	environment_add("PATH", path == NULL ? MACHINE_PATH : path);
	environment_add("HOME", user->home);
	environment_add("USER", user->name);
	environment_add("LOGNAME", user->name);
	environment_add("SHELL", user->shell);
	if (inside)
		environment_add("container", "systemd-nspawn");
	for (size_t i = 0; i < settings->variable_count; i++)
		environment_add(settings->variables[i].name,
		    settings->variables[i].value);
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

/* Goes where the command is to start. */
static void
directory_go(const struct settings *settings, const struct user *user)
{
	char clean[PATH_MAX];

	if (settings->directory != NULL) {
		if (chdir(settings->directory) == -1)
			child_err("%s: cannot go to %s", settings->name,
			    printable(settings->directory, clean,
			    sizeof(clean)));
	} else if (chdir(user->home) == -1 && chdir("/") == -1)
		child_err("%s: cannot go to /", settings->name);
}

/*
 * Becomes the command.  This process is inside the machine, and from the moment
 * at which it takes signals again one of them can end it, should a file hang.
 */
static _Noreturn void
command_run(const struct settings *settings, const struct identity *identity,
    int tty)
{
	const char *shell = identity->user.shell;
	char login[USER_TEXT_MAX + 1];
	char **command = settings->command;

	setsid();
	if (tty != -1 && ioctl(tty, TIOCSCTTY, 0) == -1)
		child_err("%s: cannot take the terminal", settings->name);
	identity_become(settings, identity);
	/* Should even the keeper be killed, the command does not outlive it. */
	prctl(PR_SET_PDEATHSIG, SIGHUP);
	signals_default();
	directory_go(settings, &identity->user);
	if (command[0] != NULL) {
		execvp(command[0], command);
		command_failed(settings, command[0]);
	}
	snprintf(login, sizeof(login), "-%s", strrchr(shell, '/') + 1);
	execl(shell, login, (char *)NULL);
	command_failed(settings, shell);
}

/* ---- the envoy ----------------------------------------------------- */

/*
 * Copies the leader's filters, unless they are not wanted or there are none.
 * Returns NULL for none
 */
static const struct filters *
filters_get(const struct errand *errand)
{
	static struct filters filters;
	const struct settings *settings = &errand->settings;
	const struct process *leader = &errand->machine.leader;
	struct process_status status;

	if (!errand->entry.filtered || settings->no_seccomp)
		return NULL;
	if (filters_read(leader, &filters) == 0)
		return &filters;
	if (errno == EPERM && process_status_read(errand->host.proc, leader->pid,
	    &status) == 0 && status.tracer != 0)
		child_errx("%s: cannot copy the system call filters of its"
		    " leader %d, which the process %d traces; --no-seccomp does"
		    " without", settings->name, leader->pid, status.tracer);
	child_err("%s: cannot copy the system call filters of its leader %d"
	    " (--no-seccomp does without)", settings->name, leader->pid);
}

/* Opens a pty for the command, of the host's if the machine has none. */
static int
terminal_master(const struct settings *settings, int root)
{
	int master = pty_open(root);

	if (master == -1 && root != -1) {
		if (!settings->quiet)
			warnx("%s: warning: its /dev/pts gives no terminal;"
			    " the command has one of the host's",
			    settings->name);
		master = pty_open(-1);
	}
	if (master == -1)
		child_err("%s: cannot make a terminal", settings->name);
	return master;
}

/*
 * Opens the command's side, makes it what the caller's terminal is and lets the
 * user have it, as a login does.
 */
static int
terminal_slave(const struct errand *errand, uid_t uid, int master)
{
	const struct terminal *terminal = &errand->terminal;
	const char *name = errand->settings.name;
	const char *map = errand->entry.uid_map;
	uint32_t outside = uid;
	int slave = pty_peer(master);

	if (slave == -1)
		child_err("%s: cannot open the terminal of the command", name);
	if (terminal->outer != -1 &&
	    (tcsetattr(slave, TCSANOW, &terminal->modes) == -1 ||
	    ioctl(slave, TIOCSWINSZ, &terminal->size) == -1))
		child_err("%s: cannot set up the terminal", name);
	if (*map != '\0' && id_outside(map, uid, &outside) == -1)
		child_errx("%s: its user namespace has no user %u", name, uid);
	if (fchown(slave, outside, (gid_t)-1) == -1)
		child_err("%s: cannot give the terminal to its user %u", name,
		    uid);
	return slave;
}

/*
 * Puts a pty, or the pipes, in the place of the caller's terminal.
 * Returns the standard descriptor to be the controlling terminal; -1: none
 */
static int
terminal_replace(const struct errand *errand, uid_t uid)
{
	const struct terminal *terminal = &errand->terminal;
	int tty = -1, slave = -1;

	if (terminal->pty) {
		int master = terminal_master(&errand->settings,
		    errand->entry.root);

		slave = terminal_slave(errand, uid, master);
		message_send(errand->channel, MESSAGE_TERMINAL, 0, master);
		close(master);
	}
	for (int fd = 0; fd < STANDARD; fd++) {
		if ((terminal->replaced & 1u << fd) == 0)
			continue;
		if (dup2(slave != -1 ? slave : terminal->inner[fd], fd) == -1)
			child_err("%s: cannot replace the descriptor %d",
			    errand->settings.name, fd);
		if (slave != -1)
			tty = fd;
	}
	return tty;
}

/* The envoy's life.  The command's number is for the keeper. */
static _Noreturn void
envoy(const struct errand *errand)
{
	const struct settings *settings = &errand->settings;
	const struct entry *entry = &errand->entry;
	const struct filters *filters = filters_get(errand);
	static struct identity identity;
	const char *step;
	pid_t pid;
	int tty;

	identity_read(settings, entry->root, &identity);
	tty = terminal_replace(errand, identity.user.uid);
	environment_become(settings, &identity.user, entry->root != -1);
	umask(022);
	/* The machine could write to it as soon as it sees the command. */
	if (madvise((void *)(uintptr_t)errand->command, 1,
	    MADV_DONTFORK) == -1)
		child_err("%s: cannot hide memory from the command",
		    settings->name);
	if (entry_become(entry, errand->host.proc, filters, &step) == -1)
		child_err("%s: cannot %s", settings->name, step);
	pid = fork_sibling();
	if (pid == -1 && errno == ENOMEM)	/* PID 1 ended: fork(2) */
		child_err("%s: cannot make a process in it; is it just ending?",
		    settings->name);
	if (pid == -1)
		child_err("%s: cannot make a process for the command",
		    settings->name);
	if (pid == 0)
		command_run(settings, &identity, tty);
	*errand->command = pid;
	_exit(EXIT_SUCCESS);
}

/* ---- the keeper ---------------------------------------------------- */

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
 * Waits for the end of a child until the deadline, and hands on to it what is
 * said on the channel, unless that is -1.  Says whether it ended in time.
 */
static bool
keeper_wait(pid_t child, int channel, int64_t deadline)
{
	struct process process = PROCESS_NONE;
	int n;

	/* Our own child until waitpid(): its number cannot be another's. */
	if (process_open(child, &process) == -1) {
		warn("cannot wait for the process %d, which is killed", child);
		kill(child, SIGKILL);
		_exit(STATUS_FAILED);
	}
	struct pollfd fds[] = {
		{ .fd = process.fd, .events = POLLIN },
		{ .fd = channel, .events = POLLIN },
	};

	do {
		fds[0].revents = fds[1].revents = 0;
		n = poll(fds, 2, deadline_left(deadline));
		if (n > 0 && fds[1].revents != 0 &&
		    !keeper_hear(channel, child))
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
keeper_send(struct errand *errand)
{
	volatile pid_t *command = mmap(NULL, sizeof(*command),
	    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool joined, confined = errand->entry.confined;
	pid_t pid = command == MAP_FAILED ? -1 :
	    entry_fork(&errand->entry, &joined);
	int status = 0;

	if (pid == -1)
		child_err("cannot make a process for the envoy");
	errand->command = command;
	if (pid == 0) {
		if (confined && !joined && !errand->settings.quiet)
			warnx("%s: warning: the command stays in the caller's"
			    " cgroup", errand->settings.name);
		envoy(errand);
	}
	bool late = !keeper_wait(pid, -1, deadline_in(ENTRY_TIME));

	if (late)
		kill(pid, SIGKILL);
	if (child_wait(pid, &status) == -1)
		child_err("cannot wait for the envoy");
	if (*command == 0)
		message_send(errand->channel, late ? MESSAGE_LATE :
		    MESSAGE_ENDED, status, -1);
	return *command;
}

static void
fds_close(int fds[STANDARD])
{
	for (int i = 0; i < STANDARD; i++)
		fd_close(&fds[i]);
}

/*
 * The keeper's life: nothing but SIGKILL ends it before the command does, and
 * whoever signals the whole unit does not mean it.
 */
static _Noreturn void
keep(struct errand *errand)
{
	pid_t command;
	int status;

	if (stand_aside() == -1)
		child_err("cannot make a session for the keeper");
	fds_close(errand->terminal.own);
	command = keeper_send(errand);
	if (command == 0)
		_exit(EXIT_SUCCESS);
	fds_close(errand->terminal.inner);	/* a pipe's reader may wait */
	keeper_wait(command, errand->channel, DEADLINE_NEVER);
	if (child_wait(command, &status) == -1)
		child_err("cannot wait for the command");
	message_send(errand->channel, MESSAGE_ENDED, status, -1);
	_exit(EXIT_SUCCESS);
}

/* ---- the terminal -------------------------------------------------- */

/* The same terminal, to be read and written without being held up. */
static int
terminal_reopen(int fd)
{
	char path[32];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return again != -1 ? again : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* Makes a pipe in the place of a standard descriptor; our end never waits. */
static void
terminal_pipe(struct terminal *terminal, int fd)
{
	int ends[2], mine = fd == STDIN_FILENO ? 1 : 0;

	if (pipe2(ends, O_CLOEXEC) == -1 ||
	    fcntl(ends[mine], F_SETFL, O_NONBLOCK) == -1)
		err(STATUS_FAILED, "cannot make a pipe for the command");
	terminal->own[fd] = ends[mine];
	terminal->inner[fd] = ends[1 - mine];
}

/* Looks at the standard descriptors and decides what replaces which. */
static void
terminal_open(const struct settings *settings, struct terminal *terminal)
{
	*terminal = (struct terminal){ .outer = -1,
	    .inner = { -1, -1, -1 }, .own = { -1, -1, -1 } };
	for (int fd = 0; fd < STANDARD; fd++) {
		if (!isatty(fd))
			continue;
		terminal->replaced |= 1u << fd;
		if (terminal->outer == -1)
			terminal->outer = terminal_reopen(fd);
		if (settings->tty == TTY_NEVER)
			terminal_pipe(terminal, fd);
	}
	if (terminal->outer != -1 &&
	    (tcgetattr(terminal->outer, &terminal->modes) == -1 ||
	    ioctl(terminal->outer, TIOCGWINSZ, &terminal->size) == -1))
		err(STATUS_FAILED, "cannot look at the terminal");
	if (settings->tty == TTY_ALWAYS)
		terminal->replaced = (1u << STANDARD) - 1;
	terminal->pty = terminal->replaced != 0 && settings->tty != TTY_NEVER;
}

static struct termios
terminal_raw(const struct terminal *terminal)
{
	struct termios raw = terminal->modes;

	cfmakeraw(&raw);
	return raw;
}

/* Says whether a program of this process group may read the terminal. */
static bool
terminal_foreground(const struct terminal *terminal)
{
	pid_t group = tcgetpgrp(terminal->outer);

	return group == -1 || group == getpgrp();	/* -1: not ours */
}

/*
 * Gives the terminal back when nspawn-enter, its parent, has ended by whatever
 * signal: unless somebody else has set it up meanwhile.
 */
static _Noreturn void
terminal_guard(const struct terminal *terminal, int parent)
{
	struct termios raw = terminal_raw(terminal), now;
	char byte;

	while (read(parent, &byte, 1) == -1 && errno == EINTR)
		;
	if (tcgetattr(terminal->outer, &now) == 0 &&
	    now.c_lflag == raw.c_lflag && now.c_iflag == raw.c_iflag &&
	    now.c_oflag == raw.c_oflag)
		tcsetattr(terminal->outer, TCSANOW, &terminal->modes);
	_exit(EXIT_SUCCESS);
}

/*
 * Starts the guard, in a session of its own: a signal to the whole job does not
 * reach it, and no job control holds it up.
 */
static pid_t
terminal_guard_start(const struct terminal *terminal, int *alive)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) == -1 || (pid = fork()) == -1)
		err(STATUS_FAILED, "cannot make a guard for the terminal");
	if (pid == 0) {
		stand_aside();
		close(ends[1]);
		terminal_guard(terminal, ends[0]);
	}
	close(ends[0]);
	*alive = ends[1];
	return pid;
}

/* ---- the relay ----------------------------------------------------- */

#define CHUNK		4096
#define DRAIN_MAX	262144	/* bytes: more than a pty or pipe holds */

/* Bytes on their way; -1: that end is closed. */
struct flow {
	int	from, to;
	size_t	start, end;	/* of what was read and is not yet written */
	char	data[CHUNK];
};

struct relay {
	struct terminal	*terminal;
	int		 channel;
	int		 signals;
	int		 master;	/* of the pty; -1: none, or not yet */
	pid_t		 guard;
	int		 alive;		/* while it is open the guard waits */
	bool		 raw;
	bool		 foreground;
	struct flow	 flows[STANDARD];	/* the first is the input */
};

/* Makes the terminal raw, and as big, as long as we are in the foreground. */
static void
relay_attend(struct relay *relay)
{
	const struct terminal *terminal = relay->terminal;
	struct winsize size;

	if (terminal->outer == -1)
		return;
	relay->foreground = terminal_foreground(terminal);
	if (relay->master == -1)
		return;
	struct termios raw = terminal_raw(terminal);

	relay->raw = relay->foreground &&
	    tcsetattr(terminal->outer, TCSADRAIN, &raw) == 0;
	if (ioctl(terminal->outer, TIOCGWINSZ, &size) == 0)
		ioctl(relay->master, TIOCSWINSZ, &size);
}

static void
relay_restore(struct relay *relay)
{
	if (relay->raw)
		tcsetattr(relay->terminal->outer, TCSADRAIN,
		    &relay->terminal->modes);
	relay->raw = false;
}

/* Takes up the work on the pty that has come. */
static void
relay_begin(struct relay *relay, int master)
{
	const struct terminal *terminal = relay->terminal;
	int outer = terminal->outer;

	relay->master = master;
	/* Ours too, so that the master has no end while the command can run. */
	if (fcntl(master, F_SETFL, O_NONBLOCK) == -1 || pty_peer(master) == -1)
		err(STATUS_FAILED, "cannot use the terminal of the command");
	relay->flows[0].from = outer != -1 ? outer : STDIN_FILENO;
	relay->flows[0].to = master;
	relay->flows[1].from = master;
	relay->flows[1].to = outer != -1 ? outer : STDOUT_FILENO;
	if (outer != -1)
		relay->guard = terminal_guard_start(terminal, &relay->alive);
	relay_attend(relay);
}

/* The input has ended: what reads a pty is told by its own character. */
static void
flow_end(struct relay *relay, struct flow *flow)
{
	struct termios modes;

	flow->from = -1;
	if (flow != &relay->flows[0])
		return;
	if (relay->master == -1)
		fd_close(&flow->to);
	else if (tcgetattr(relay->master, &modes) == 0 &&
	    modes.c_lflag & ICANON) {
		flow->data[0] = (char)modes.c_cc[VEOF];
		flow->start = 0;
		flow->end = 1;
	}
}

/* Reads what is there.  Says whether there was something. */
static bool
flow_read(struct relay *relay, struct flow *flow)
{
	ssize_t n = read(flow->from, flow->data, sizeof(flow->data));

	flow->start = 0;
	flow->end = n > 0 ? (size_t)n : 0;
	if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
		flow_end(relay, flow);
	return n > 0;
}

/*
 * Writes what goes at once.  Where nobody takes the output any more the command
 * is hung up, as by a terminal that is switched off.
 */
static void
flow_write(struct relay *relay, struct flow *flow)
{
	ssize_t n = write(flow->to, flow->data + flow->start,
	    flow->end - flow->start);

	if (n > 0)
		flow->start += (size_t)n;
	else if (n == -1 && errno != EAGAIN && errno != EINTR) {
		flow->from = flow->to = -1;
		flow->start = flow->end = 0;
		if (flow != &relay->flows[0])
			message_send(relay->channel, MESSAGE_SIGNAL, SIGHUP,
			    -1);
	}
}

/* Says what a flow waits for. */
static struct pollfd
flow_poll(const struct relay *relay, const struct flow *flow)
{
	bool input = flow == &relay->flows[0];

	if (flow->start < flow->end)
		return (struct pollfd){ flow->to, POLLOUT, 0 };
	if (input && relay->terminal->outer != -1 && !relay->foreground)
		return (struct pollfd){ -1, 0, 0 };
	return (struct pollfd){ flow->from, POLLIN, 0 };
}

/* Takes the next signal.  Says whether it was for the command, which gets it. */
static bool
relay_signal(struct relay *relay)
{
	struct signalfd_siginfo info;

	if (read(relay->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return false;
	switch (info.ssi_signo) {
	case SIGTSTP:
		relay_restore(relay);
		raise(SIGSTOP);
		return false;
	case SIGCONT:
	case SIGWINCH:
		relay_attend(relay);
		return false;
	default:
		message_send(relay->channel, MESSAGE_SIGNAL,
		    (int)info.ssi_signo, -1);
		return true;
	}
}

/* Hands on what can be handed on, after poll(2). */
static void
relay_flows(struct relay *relay, const struct pollfd fds[STANDARD])
{
	for (int i = 0; i < STANDARD; i++) {
		struct flow *flow = &relay->flows[i];

		if (fds[i].fd == -1 || fds[i].revents == 0)
			continue;
		if (flow->start < flow->end)
			flow_write(relay, flow);
		else
			flow_read(relay, flow);
	}
}

/*
 * Hands on signals and bytes until the keeper says what has become of the
 * command.
 * Returns false where the keeper ended without a word.
 */
static bool
relay_run(struct relay *relay, struct message *message)
{
	enum { CHANNEL, SIGNALS, FLOWS };
	struct pollfd fds[FLOWS + STANDARD];
	int fd;

	do {
		fds[CHANNEL] = (struct pollfd){ relay->channel, POLLIN, 0 };
		fds[SIGNALS] = (struct pollfd){ relay->signals, POLLIN, 0 };
		for (int i = 0; i < STANDARD; i++)
			fds[FLOWS + i] = flow_poll(relay, &relay->flows[i]);
		message->kind = MESSAGE_TERMINAL;
		if (poll(fds, FLOWS + STANDARD, -1) <= 0)
			continue;
		if (fds[SIGNALS].revents != 0)
			relay_signal(relay);
		relay_flows(relay, fds + FLOWS);
		if (fds[CHANNEL].revents == 0)
			continue;
		if (!message_receive(relay->channel, message, &fd))
			return false;
		if (fd != -1)
			relay_begin(relay, fd);
	} while (message->kind == MESSAGE_TERMINAL);
	return true;
}

/* Waits until flow can write, or a signal says not to. */
static bool
flow_wait(struct relay *relay, const struct flow *flow)
{
	struct pollfd fds[] = {
		{ .fd = flow->to, .events = POLLOUT },
		{ .fd = relay->signals, .events = POLLIN },
	};

	return poll(fds, 2, -1) == -1 || fds[1].revents == 0 ||
	    !relay_signal(relay);
}

/*
 * Hands on what the command had still written; not what others write from now
 * on who keep its terminal or pipe open.
 */
static void
relay_drain(struct relay *relay)
{
	for (int i = 1; i < STANDARD; i++) {
		struct flow *flow = &relay->flows[i];
		size_t done = 0;

		do {
			while (flow->start < flow->end) {
				if (!flow_wait(relay, flow))
					return;
				flow_write(relay, flow);
			}
			done += flow->end;
		} while (flow->from != -1 && done < DRAIN_MAX &&
		    flow_read(relay, flow));
	}
}

/* Lets the guard go, who finds the terminal given back already. */
static void
relay_end(struct relay *relay)
{
	int status;

	relay_drain(relay);
	relay_restore(relay);
	fd_close(&relay->alive);
	if (relay->guard != 0)
		child_wait(relay->guard, &status);
	fd_close(&relay->master);
}

/* ---- nspawn-enter -------------------------------------------------- */

/* Takes the signals of passed_signals as events, and those of a terminal. */
static int
signals_open(bool terminal)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < PASSED_SIGNALS; i++)
		sigaddset(&set, passed_signals[i]);
	if (terminal) {
		sigaddset(&set, SIGWINCH);
		sigaddset(&set, SIGTSTP);
		sigaddset(&set, SIGCONT);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Makes the keeper, which has the other end of the channel. */
static pid_t
keeper_start(struct errand *errand, int *channel)
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
		errand->channel = ends[1];
		keep(errand);
	}
	close(ends[1]);
	*channel = ends[0];
	return keeper;
}

/* Gets the relay ready; of a pty it hears later. */
static void
relay_make(struct relay *relay, struct terminal *terminal, int channel,
    int signals)
{
	*relay = (struct relay){ .terminal = terminal, .channel = channel,
	    .signals = signals, .master = -1, .alive = -1 };
	fds_close(terminal->inner);
	for (int fd = 0; fd < STANDARD; fd++) {
		relay->flows[fd].from = relay->flows[fd].to = -1;
		if (terminal->own[fd] == -1)
			continue;
		relay->flows[fd].from = fd == STDIN_FILENO ? terminal->outer :
		    terminal->own[fd];
		relay->flows[fd].to = fd == STDIN_FILENO ? terminal->own[fd] :
		    terminal->outer;
	}
}

/*
 * Sees the keeper and its command through.
 * Returns the command's status as wait(2) gives it, -1 where there is none.
 */
static int
enter(struct errand *errand)
{
	const struct settings *settings = &errand->settings;
	struct terminal *terminal = &errand->terminal;
	int channel, keeper_status = 0;
	struct message message;
	static struct relay relay;
	pid_t keeper;

	terminal_open(settings, terminal);
	int signals = signals_open(terminal->outer != -1);

	if (signals == -1)
		err(STATUS_FAILED, "cannot take signals as events");
	keeper = keeper_start(errand, &channel);
	relay_make(&relay, terminal, channel, signals);
	relay_attend(&relay);
	bool told = relay_run(&relay, &message);

	relay_end(&relay);
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

static void
prepare(char **argv)
{
	signal(SIGCHLD, SIG_DFL);	/* a caller's SIG_IGN would reap */
	if (fds_tidy() == -1)
		err(STATUS_FAILED, "cannot open /dev/null");
	if (self_seal(argv) == -1)
		err(STATUS_FAILED, "cannot go on from a sealed copy in memory;"
		    " do /proc/self/exe and vm.memfd_noexec allow it?");
}

static void
release(struct errand *errand)
{
	struct settings *settings = &errand->settings;

	entry_close(&errand->entry);
	machine_close(&errand->machine);
	host_close(&errand->host);
	for (size_t i = 0; i < settings->variable_count; i++)
		free(settings->variables[i].name);
	free(settings->variables);
	free(settings->user);
}

int
main(int argc, char **argv)
{
	static struct errand errand;
	int status;

	parse_options(argc, argv, &errand.settings);
	prepare(argv);
	if (host_open("/proc", NULL, &errand.host) == -1)
		err(STATUS_FAILED, "cannot open /proc");
	find(&errand.settings, &errand.host, &errand.machine);
	warn_surprises(&errand.settings, &errand.machine);
	entry_open(&errand.settings, &errand.host, &errand.machine,
	    &errand.entry);
	status = enter(&errand);
	release(&errand);
	return end_like(status);
}
