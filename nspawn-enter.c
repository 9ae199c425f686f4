/* SPDX-License-Identifier: GPL-3.0-only */
/*
 * Runs a command in a systemd-nspawn machine.
 *
 * What keeps it right: this program finds the machine and opens what is needed,
 * but never enters.  Its monitor does: a fresh image of it, which stays on the
 * host as well.  Whatever becomes of nspawn-enter (it may be stopped, or
 * killed), the monitor reaps the command, so that the machine's PID 1 never
 * waits for it.  See "the way in" of common.c.
 *
 * The caller's terminal never gets into the machine: the command has a pty, or
 * with --no-tty pipes, in its place, and nspawn-enter carries the bytes.
 */
#include "common.h"

#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define MACHINED_TIME	5000	/* ms, for machinectl */
#define ENTRY_TIME	10000	/* ms, for the way into the machine */
#define ENDING_TIME	100	/* ms, for a leader that is just ending */
enum tty { TTY_LIKE_CALLER, TTY_ALWAYS, TTY_NEVER };

struct settings {
	const char	*name;
	char		**command;	/* ends with NULL; empty: a shell */
	unsigned	 namespaces;	/* a set, as for namespaces_open() */
	const char	*user;		/* name or number; NULL: root */
	const char	*group;		/* the same; NULL: the user's own */
	const char	*directory;	/* NULL: the user's home, or / */
	char		**variables;	/* NAME=VALUE; ends with NULL */
	size_t		 variable_count;
	enum tty	 tty;
	bool		 preserve;	/* the caller's environment */
	bool		 privileged;
	bool		 no_seccomp;
	bool		 foreign;
	bool		 quiet;
};

/* What takes the place of the caller's terminal. */
struct terminal {
	unsigned	replaced;	/* a set of the standard descriptors */
	bool		pty;		/* by one, else by pipes */
	int		outer;		/* the caller's terminal; -1: none */
	struct termios	modes;		/* as the caller had it */
	struct winsize	size;
	int		inner[STANDARD];	/* pipes' ends, its */
	int		own[STANDARD];		/* and ours */
};

/* All that there is to one call. */
struct context {
	struct settings	 settings;
	struct host	 host;
	struct machine	 machine;
	struct terminal	 terminal;
	char		**defaults;	/* of the command's environment */
	struct command	 command;
	struct monitor	 monitor;
};

enum {
	KEY_NAMESPACE = 256, KEY_ONLY = 512, KEY_PRESERVE, KEY_PRIVILEGED,
	KEY_NO_SECCOMP, KEY_FOREIGN, KEY_HELP, KEY_VERSION
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
	{ "privileged", KEY_PRIVILEGED, NULL, "keep the caller's capabilities,"
	    " cgroups and limits, no filters" },
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

/* The key of the option that leaves out a namespace. */
static int
namespace_key(int namespace)
{
	switch (namespace) {
	case NAMESPACE_NETWORK:
		return 'n';
	case NAMESPACE_PID:
		return 'p';
	default:
		return KEY_NAMESPACE + namespace;
	}
}

/* Puts the options of all namespaces before our own. */
static void
options_fill(struct option_spec options[NAMESPACES + OWN_OPTIONS + 1])
{
	static char names[NAMESPACES][16], helps[NAMESPACES][48];

	for (int i = 0; i < NAMESPACES; i++) {
		const char *name = namespace_kinds[i].name;

		snprintf(names[i], sizeof(names[i]), "no-%.7s", name);
		snprintf(helps[i], sizeof(helps[i]),
		    "stay in the caller's %.7s namespace", name);
		options[i] = (struct option_spec){ .name = names[i],
		    .key = namespace_key(i), .help = helps[i] };
	}
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
	exit(ENTRY_STATUS_FAILED);
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

/* Splits USER[:GROUP]. */
static void
set_user(struct settings *settings, char *text)
{
	char *colon = strchr(text, ':');

	if (colon != NULL)
		*colon = '\0';
	settings->user = text;
	settings->group = colon == NULL ? NULL : colon + 1;
	if (*text != '\0' && (colon == NULL || colon[1] != '\0'))
		return;
	warnx("a user is USER or USER:GROUP, by name or number");
	try_help();
}

/* Finds the caller's variable of that name, as NAME=VALUE; NULL: none. */
static char *
variable_find(const char *name, size_t length)
{
	for (char **variable = environ; *variable != NULL; variable++)
		if (strncmp(*variable, name, length) == 0 &&
		    (*variable)[length] == '=')
			return *variable;
	return NULL;
}

/* Takes NAME=VALUE, or the caller's value of NAME. */
static void
set_variable(struct settings *settings, char *text)
{
	size_t length = strcspn(text, "=");
	char *variable = text[length] == '=' ? text :
	    variable_find(text, length);

	if (length == 0) {
		warnx("a variable needs a name: give NAME=VALUE or NAME");
		try_help();
	}
	if (variable != NULL)
		settings->variables[settings->variable_count++] = variable;
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
		if (namespace_key(i) == key) {
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
		err(ENTRY_STATUS_FAILED, "cannot hold the variables");
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
		errx(ENTRY_STATUS_FAILED, "only root may enter a machine; try"
		    " it with sudo");
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
		errx(ENTRY_STATUS_FAILED, "%s: %s", settings->name,
		    machine_strerror(errno, suspects, text, sizeof(text)));
	if (machine_foreign(machine) && !settings->foreign)
		errx(ENTRY_STATUS_FAILED, "%s: belongs to the user %u, not to"
		    " root; --foreign enters it all the same", settings->name,
		    machine->owner);
}

/* True if the machine has a user namespace that the command does not join. */
static bool
leaves_user_namespace(const struct context *context)
{
	int fds[NAMESPACES];
	bool leaves;

	if (context->settings.namespaces & 1u << NAMESPACE_USER ||
	    namespaces_open(context->host.proc, &context->machine.leader,
	    1u << NAMESPACE_USER, fds) == -1)
		return false;
	leaves = fds[NAMESPACE_USER] != -1;
	fd_close(&fds[NAMESPACE_USER]);
	return leaves;
}

/* Says what root of the machine can make of the command, in a line each. */
static void
warn_dangers(const struct context *context)
{
	const struct settings *settings = &context->settings;
	bool mount = settings->namespaces & 1u << NAMESPACE_MOUNT;
	bool pid = settings->namespaces & 1u << NAMESPACE_PID;

	if (settings->privileged)
		warnx("%s: warning: the command has the caller's capabilities,"
		    " which root of the machine can take over", settings->name);
	else if (settings->no_seccomp)
		warnx("%s: warning: the command may make system calls that the"
		    " machine's filters forbid", settings->name);
	if (!mount && pid)
		warnx("%s: warning: the command has the host's files, which"
		    " root of the machine can reach through it",
		    settings->name);
	if (leaves_user_namespace(context))
		warnx("%s: warning: the command is a user of the host, and root"
		    " of the machine can choose what it executes",
		    settings->name);
}

/* Says what is likely to surprise, in a line each. */
static void
warn_surprises(const struct context *context)
{
	const struct settings *settings = &context->settings;
	const struct machine *machine = &context->machine;
	bool mount = settings->namespaces & 1u << NAMESPACE_MOUNT;

	if (settings->quiet)
		return;
	if (machine_foreign(machine))
		warnx("%s: warning: is the user %u's, whose processes see the"
		    " command", settings->name, machine->owner);
	if (mount && !(settings->namespaces & 1u << NAMESPACE_PID))
		warnx("%s: warning: outside of its pid namespace the command"
		    " has no /proc/self, and does not end with the machine",
		    settings->name);
	if (mount && !(settings->namespaces & 1u << NAMESPACE_NETWORK))
		warnx("%s: warning: in our network namespace the command can"
		    " reach the host's sockets", settings->name);
	warn_dangers(context);
}

/* ---- the command --------------------------------------------------- */

/* Lists the caller's variables that the command has, too. */
static char **
defaults_make(const struct settings *settings)
{
	static const char *const kept[] = {
		"TERM", "COLORTERM", "NO_COLOR", "LANG",
		"PATH",		/* only where the programs are the host's */
	};
	const size_t count = sizeof(kept) / sizeof(kept[0]) -
	    ((settings->namespaces & 1u << NAMESPACE_MOUNT) != 0);
	char **defaults, *variable;
	size_t used = 0;

	if (settings->preserve)
		return environ;
	defaults = calloc(count + 1, sizeof(*defaults));
	if (defaults == NULL)
		err(ENTRY_STATUS_FAILED,
		    "cannot allocate memory for the environment");
	for (size_t i = 0; i < count; i++) {
		variable = variable_find(kept[i], strlen(kept[i]));
		if (variable != NULL)
			defaults[used++] = variable;
	}
	return defaults;
}

/* Fills in what is to be run, and how. */
static void
command_make(struct context *context)
{
	static char complaint[sizeof("nspawn-enter: ") + MACHINE_NAME_MAX];
	const struct settings *settings = &context->settings;
	const struct terminal *terminal = &context->terminal;
	struct command *command = &context->command;

	snprintf(complaint, sizeof(complaint), "nspawn-enter: %s",
	    settings->name);
	context->defaults = defaults_make(settings);
	*command = (struct command){
		.argv = settings->command, .namespaces = settings->namespaces,
		.privileged = settings->privileged,
		.unfiltered = settings->no_seccomp, .time = ENTRY_TIME,
		.user = settings->user, .group = settings->group,
		.directory = settings->directory,
		.defaults = context->defaults,
		.variables = settings->variables, .complaint = complaint,
		.terminal = terminal->pty ? terminal->replaced : 0,
	};
	for (int fd = 0; fd < STANDARD; fd++)
		command->fds[fd] = (command->terminal & 1u << fd) != 0 ? -1 :
		    terminal->inner[fd] != -1 ? terminal->inner[fd] : fd;
	if (terminal->outer != -1) {
		command->modes = &terminal->modes;
		command->size = &terminal->size;
	}
}

/* Says why there is no command, and ends. */
static _Noreturn void
command_failed(const struct context *context,
    const struct entry_report *report)
{
	static const char *const hints[] = {
		[ENTRY_LACKS_FILTERS] = "; --no-seccomp leaves them out",
		[ENTRY_LACKS_CGROUPS] = "; --privileged leaves them out",
		[ENTRY_LACKS_OTHER] = "",
	};
	struct pollfd leader = { context->machine.leader.fd, POLLIN, 0 };
	char text[1024];

	/* A machine that is ending is in the way in many ways. */
	if (poll(&leader, 1, ENDING_TIME) == 1)
		errx(ENTRY_STATUS_FAILED, "%s: its leader has ended meanwhile",
		    context->settings.name);
	errx(ENTRY_STATUS_FAILED, "%s: %s%s", context->settings.name,
	    entry_strerror(report, &context->command, text, sizeof(text)),
	    hints[entry_lacks(report)]);
}

/* Opens all that is needed of the leader, and has the command run. */
static void
command_order(struct context *context)
{
	const struct settings *settings = &context->settings;
	struct entry_report report;
	struct entry entry;

	if (entry_read(&context->host, &context->machine,
	    &context->command, &entry, &report) == -1)
		command_failed(context, &report);
	context->monitor = MONITOR_NONE;
	if (monitor_order(&context->monitor, 0, &entry,
	    &context->command) == -1)
		err(ENTRY_STATUS_FAILED, "%s: cannot start a monitor from a"
		    " sealed copy in memory; do /proc/self/exe and"
		    " vm.memfd_noexec allow it?", settings->name);
	entry_close(&entry);
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
		err(ENTRY_STATUS_FAILED, "cannot make a pipe for the command");
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
		err(ENTRY_STATUS_FAILED, "cannot look at the terminal");
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

/* Leaves the caller's session, and takes no signal but KILL from now on. */
static void
detach(void)
{
	signals_block();
	setsid();
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
		err(ENTRY_STATUS_FAILED,
		    "cannot make a guard for the terminal");
	if (pid == 0) {
		detach();
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
	const struct context *context;
	const struct terminal *terminal;
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
		err(ENTRY_STATUS_FAILED,
		    "cannot use the terminal of the command");
	relay->flows[0].from = outer != -1 ? outer : STDIN_FILENO;
	relay->flows[0].to = master;
	relay->flows[1].from = master;
	relay->flows[1].to = outer != -1 ? outer : STDOUT_FILENO;
	if (outer != -1)
		relay->guard = terminal_guard_start(terminal, &relay->alive);
	relay_attend(relay);
}

/* Signals the command; if the monitor has ended, it has, too. */
static void
relay_command(const struct relay *relay, int signal)
{
	monitor_signal(&relay->context->monitor, 0, signal);
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
			relay_command(relay, SIGHUP);
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

/* Takes the next signal.  True if the command gets it. */
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
		relay_command(relay, (int)info.ssi_signo);
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

/* Takes up the command's terminal, which has been made. */
static void
relay_terminal(struct relay *relay, const struct entry_report *report, int fd)
{
	const struct settings *settings = &relay->context->settings;

	if (report->foreign && !settings->quiet)
		warnx("%s: warning: its /dev/pts gives no terminal; the command"
		    " has one of the host's", settings->name);
	relay_begin(relay, fd);
}

/*
 * Hands on signals and bytes until the monitor reports what has become of the
 * command.
 * Returns  as monitor_report()
 */
static int
relay_run(struct relay *relay, struct entry_report *report)
{
	enum { CHANNEL, SIGNALS, FLOWS };
	const struct monitor *monitor = &relay->context->monitor;
	struct pollfd fds[FLOWS + STANDARD];
	int fd;

	do {
		fds[CHANNEL] = (struct pollfd){ monitor->channel, POLLIN, 0 };
		fds[SIGNALS] = (struct pollfd){ relay->signals, POLLIN, 0 };
		for (int i = 0; i < STANDARD; i++)
			fds[FLOWS + i] = flow_poll(relay, &relay->flows[i]);
		report->event = ENTRY_TERMINAL;
		if (poll(fds, FLOWS + STANDARD, -1) == -1) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		if (fds[SIGNALS].revents != 0)
			relay_signal(relay);
		relay_flows(relay, fds + FLOWS);
		if (fds[CHANNEL].revents == 0)
			continue;
		if (monitor_report(monitor, report, &fd) == -1)
			return -1;
		if (report->event == ENTRY_TERMINAL)
			relay_terminal(relay, report, fd);
	} while (report->event == ENTRY_TERMINAL);
	return 0;
}

/* Waits until flow can write, or a signal says not to. */
static bool
flow_wait(struct relay *relay, const struct flow *flow)
{
	struct pollfd fds[] = {
		{ .fd = flow->to, .events = POLLOUT },
		{ .fd = relay->signals, .events = POLLIN },
	};

	/* Where that fails the write may do. */
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

/* Gets the relay ready; of a pty it hears later. */
static void
relay_make(struct relay *relay, struct context *context, int signals)
{
	struct terminal *terminal = &context->terminal;

	*relay = (struct relay){ .context = context, .terminal = terminal,
	    .signals = signals, .master = -1, .alive = -1 };
	for (int fd = 0; fd < STANDARD; fd++) {
		fd_close(&terminal->inner[fd]);	/* a reader may wait */
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
 * Has the command run, and sees it through.
 * Returns  its status as wait(2) gives it
 */
static int
enter(struct context *context)
{
	int signals = signals_open(context->terminal.outer != -1), n, error;
	static struct relay relay;
	struct entry_report report;

	if (signals == -1)
		err(ENTRY_STATUS_FAILED, "cannot take signals as events");
	command_order(context);
	relay_make(&relay, context, signals);
	relay_attend(&relay);
	n = relay_run(&relay, &report);
	error = errno;
	relay_end(&relay);
	if (n == -1 && error == ECONNRESET)
		errx(ENTRY_STATUS_FAILED, "%s: the monitor of the command has"
		    " ended", context->settings.name);
	errno = error;
	if (n == -1)	/* who is not waited for is hung up */
		err(ENTRY_STATUS_FAILED, "%s: cannot wait for the command",
		    context->settings.name);
	monitor_close(&context->monitor);
	if (report.event != ENTRY_ENDED)
		command_failed(context, &report);
	close(signals);
	return report.status;
}

/*
 * Ends as the command did, by its signal too, but without a core file of a
 * process that did nothing wrong.
 */
static int
exit_like(int status)
{
	struct rlimit none = { 0, 0 };
	sigset_t set;

	if (WIFSIGNALED(status)) {
		prlimit(0, RLIMIT_CORE, &none, NULL);
		prctl(PR_SET_DUMPABLE, 0);	/* nor one through a pipe */
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
		sigemptyset(&set);
		sigaddset(&set, WTERMSIG(status));
		sigprocmask(SIG_UNBLOCK, &set, NULL);
	}
	return exit_status(status);
}

static void
prepare(void)
{
	signal(SIGCHLD, SIG_DFL);	/* a caller's SIG_IGN would reap */
	if (fds_tidy() == -1)
		err(ENTRY_STATUS_FAILED, "cannot open /dev/null");
}

int
main(int argc, char **argv)
{
	static struct context context;
	int status;

	monitor_main(argv);
	parse_options(argc, argv, &context.settings);
	prepare();
	if (host_open("/proc", NULL, &context.host) == -1)
		err(ENTRY_STATUS_FAILED,
		    "cannot open /proc or the cgroups of the host");
	find(&context.settings, &context.host, &context.machine);
	warn_surprises(&context);
	terminal_open(&context.settings, &context.terminal);
	command_make(&context);
	status = enter(&context);
	machine_close(&context.machine);
	host_close(&context.host);
	return exit_like(status);
}
