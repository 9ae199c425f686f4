/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * Runs a command in a systemd-nspawn machine.
 *
 * What keeps it right: this program finds the machine and opens what is needed,
 * but never enters it.  Its monitor does, which is a fresh image of this
 * program and stays on the host as well.  Even if nspawn-enter is stopped or
 * killed, the monitor reaps the command, so that the machine's PID 1 never has
 * to wait for nspawn-enter.  See the sections on entry of common.c.
 *
 * The caller's terminal never gets into the machine: the command has a pty
 * instead, or with --no-tty pipes, and nspawn-enter copies the bytes.  Keys may
 * be meant for others: for the shell, or for another program of the same
 * pipeline.  So keys are read only in the foreground, only while the terminal
 * has the modes that we know, and mostly only after the command has read all
 * keys before them.  Modes are changed only while they are those that we know.
 *
 * Sections: messages; options; the machine; the command; the caller's
 * terminals; the modes of the caller's terminal; flows of bytes; the pty; the
 * relay; nspawn-enter.
 */
#include "common.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define MACHINED_TIME	5000	/* ms, for machinectl */
#define ENTRY_TIME	10000	/* ms, to enter the machine */
#define ENDING_TIME	100	/* ms, for a leader that is about to end */
#define LIST_ROOM	64	/* machines, at first */
#define START_INTERVAL	10	/* ms, between checks of a starting machine; */
#define START_INTERVAL_MAX	160	/* it doubles up to this */

enum tty { TTY_LIKE_CALLER, TTY_ALWAYS, TTY_NEVER };

struct settings {
	const char	*name;
	char		**command;	/* ends with NULL; empty: a shell */
	unsigned	 namespaces;	/* a set, see namespaces_open() */
	const char	*user;		/* name or number; NULL: root */
	const char	*group;		/* the same; NULL: of the user */
	const char	*directory;	/* NULL: the user's home, or / */
	char		**variables;	/* NAME=VALUE; ends with NULL */
	size_t		 variable_count;
	enum tty	 tty;
	bool		 preserve;	/* keep the caller's environment */
	bool		 privileged;
	bool		 no_seccomp;
	bool		 foreign;
	bool		 quiet;
	bool		 list;		/* list the machines, enter none */
};

/* Where a pty's input comes from, and who edits lines. */
enum source {
	SOURCE_NONE,		/* no pty */
	SOURCE_RAW,		/* keys; the pty edits, our terminal is raw */
	SOURCE_LINES,		/* keys; our terminal edits lines */
	SOURCE_STREAM,		/* standard input, which is not a terminal */
};

/* The caller's terminals, and what the command gets instead. */
struct terminal {
	int		tty[FDS_STANDARD]; /* opened again; -1: no terminal */
	int		keys;		/* of these: where keys are read */
	int		screen;		/* of these: gets a pty's output */
	unsigned	pty;		/* a set: those replaced by a pty */
	unsigned	pipes;		/* a set: those replaced by pipes */
	bool		same;		/* keys and screen are one terminal */
	enum source	source;
	struct termios	modes;		/* of the new pty */
	struct winsize	size;
	int		inner[FDS_STANDARD];	/* the command's ends */
	int		own[FDS_STANDARD];	/* our ends of the pipes */
};

/* Everything about one call. */
struct context {
	struct settings	 settings;
	struct host	 host;
	struct machine	 machine;
	struct terminal	 terminal;
	char		**defaults;	/* for the command's environment */
	struct command	 command;
	struct monitor	 monitor;
	bool		 interrupted;	/* the last keys would interrupt it */
};

enum {
	KEY_NAMESPACE = 256, KEY_ONLY = 512, KEY_PRESERVE, KEY_PRIVILEGED,
	KEY_NO_SECCOMP, KEY_FOREIGN, KEY_LIST, KEY_VERSION
};

#define OWN_OPTIONS	14

/* All options except those for namespaces. */
static const struct option_spec own_options[OWN_OPTIONS] = {
	{ "user", 'u', "USER", "run as USER of the machine, or as USER:GROUP" },
	{ "chdir", 'w', "DIR", "start in the directory DIR of the machine" },
	{ "setenv", 'e', "VAR", "set VAR=VALUE, or copy the caller's VAR;"
	    " repeatable" },
	{ "tty", 't', NULL, "always give the command a terminal" },
	{ "no-tty", 'T', NULL, "give the command pipes, never a terminal" },
	{ "preserve-env", KEY_PRESERVE, NULL, "keep the caller's environment" },
	{ "quiet", 'q', NULL, "print no warnings" },
	{ "list", KEY_LIST, NULL, "list the running machines, and exit" },
	{ "foreign", KEY_FOREIGN, NULL, "allow a machine that belongs to"
	    " another user" },
	{ "privileged", KEY_PRIVILEGED, NULL, "do not confine the command as"
	    " PID 1 is confined" },
	{ "no-seccomp", KEY_NO_SECCOMP, NULL, "do not apply the machine's"
	    " system call filters" },
	{ "help", 'h', NULL, "show this help" },
	{ "version", KEY_VERSION, NULL, "show the version" },
	{ "only", KEY_ONLY, "LIST", "join only these namespaces, like"
	    " mount,network,pid" },
};

/* Signals that are passed on to the command. */
static const int passed_signals[] = {
	SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
};

#define PASSED_SIGNALS	(sizeof(passed_signals) / sizeof(passed_signals[0]))

/* ---- messages ------------------------------------------------------ */

/* Not by printf(3), which is large in a static program: see text_format(). */
static void __attribute__((format(printf, 1, 0)))
say_line(const char *format, va_list args, const char *reason)
{
	char line[PIPE_BUF];
	size_t length = text_line(line, sizeof(line), "nspawn-enter", format,
	    args, reason);

	if (write(STDERR_FILENO, line, length) == -1)
		return;		/* there is no other place for it */
}

static void __attribute__((format(printf, 1, 2)))
say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_line(format, args, NULL);
	va_end(args);
}

/* Reports a failure by errno. */
static void __attribute__((format(printf, 1, 2)))
say_errno(const char *format, ...)
{
	const char *reason = strerror(errno);
	va_list args;

	va_start(args, format);
	say_line(format, args, reason);
	va_end(args);
}

/* Reports why we cannot go on, and exits. */
static _Noreturn void __attribute__((format(printf, 1, 2)))
fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_line(format, args, NULL);
	va_end(args);
	exit(ENTRY_STATUS_FAILED);
}

/* The same, with errno as the reason. */
static _Noreturn void __attribute__((format(printf, 1, 2)))
fail_errno(const char *format, ...)
{
	const char *reason = strerror(errno);
	va_list args;

	va_start(args, format);
	say_line(format, args, reason);
	va_end(args);
	exit(ENTRY_STATUS_FAILED);
}

/* Prints a text to standard output. */
static void
print(const char *text)
{
	if (fputs(text, stdout) == EOF)
		fail_errno("cannot write to standard output");
}

/* Exits after all that was printed has been written. */
static _Noreturn void
leave(void)
{
	if (ferror(stdout))	/* stdio has lost the errno */
		errno = EIO;
	if (ferror(stdout) || fflush(stdout) == EOF)
		fail_errno("cannot write to standard output");
	exit(EXIT_SUCCESS);
}

/* ---- options ------------------------------------------------------- */

/* Returns the key of the option --no-NAME of a namespace. */
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

/* Fills in all options: our own, then one for each namespace. */
static void
options_fill(struct option_spec options[OWN_OPTIONS + NAMESPACES + 1])
{
	static char names[NAMESPACES][16], helps[NAMESPACES][48];

	memcpy(options, own_options, sizeof(own_options));
	options += OWN_OPTIONS;
	for (int i = 0; i < NAMESPACES; i++) {
		const char *name = namespace_name(i);

		text_format(names[i], sizeof(names[i]), "no-%s", name);
		text_format(helps[i], sizeof(helps[i]),
		    "stay in the caller's %s namespace", name);
		options[i] = (struct option_spec){ .name = names[i],
		    .key = namespace_key(i), .help = helps[i] };
	}
	options[NAMESPACES] = (struct option_spec){ 0 };
}

static void
help(const struct option_spec *options)
{
	print("Usage: nspawn-enter [OPTION]... MACHINE [OPTION]..."
	    " [--] [COMMAND [ARGUMENT]...]\n"
	    "       nspawn-enter --list\n\n"
	    "Runs COMMAND in a running systemd-nspawn machine, in all of its"
	    " namespaces.\nWithout COMMAND it runs the login shell of the"
	    " user, who is root by default.\n\n"
	    "Options, before or after the machine name:\n");
	option_help(stdout, options);
	print("\nExit status:\n"
	    "  125    a usage error, or nspawn-enter itself failed\n"
	    "  126    the command could not be executed\n"
	    "  127    the command was not found\n"
	    "  128+n  signal n ended the command\n"
	    "  else   the exit status of the command\n");
}

static _Noreturn void
try_help(void)
{
	fputs("Try 'nspawn-enter --help'.\n", stderr);
	exit(ENTRY_STATUS_FAILED);
}

static void
set_name(struct settings *settings, const char *name)
{
	char clean[4 * MACHINE_NAME_MAX + 1];

	if (!machine_name_valid(name)) {
		say(MACHINE_NAME_INVALID, text_printable(name, clean,
		    sizeof(clean)), MACHINE_NAME_MAX);
		if (strchr(clean, '@') != NULL)
			say("use -u USER to choose a user of the machine");
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
			say("invalid namespace '%.*s': use mount, uts, ipc,"
			    " network, pid, cgroup, time or user",
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

	if (*text == '\0' || colon == text ||
	    (colon != NULL && colon[1] == '\0')) {
		say("invalid user '%s': give USER or USER:GROUP, by name or"
		    " number", text);
		try_help();
	}
	if (colon != NULL)
		*colon = '\0';
	settings->user = text;
	settings->group = colon == NULL ? NULL : colon + 1;
}

/* Finds a variable of the caller as NAME=VALUE, or returns NULL. */
static char *
variable_find(const char *name, size_t length)
{
	for (char **variable = environ; *variable != NULL; variable++)
		if (strncmp(*variable, name, length) == 0 &&
		    (*variable)[length] == '=')
			return *variable;
	return NULL;
}

/* Takes NAME=VALUE, or NAME with the caller's value. */
static void
set_variable(struct settings *settings, char *text)
{
	size_t length = strcspn(text, "=");
	char *variable = text[length] == '=' ? text :
	    variable_find(text, length);

	if (length == 0) {
		say("invalid variable '%s': give NAME=VALUE or NAME", text);
		try_help();
	}
	if (variable != NULL)
		settings->variables[settings->variable_count++] = variable;
}

static void
set_directory(struct settings *settings, const char *text)
{
	if (*text != '/') {
		say("invalid directory '%s': give an absolute path", text);
		try_help();
	}
	settings->directory = text;
}

/* Handles an option without an argument.  False if the key is not one. */
static bool
set_flag(struct settings *settings, int key)
{
	switch (key) {
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
	case KEY_LIST:
		settings->list = true;
		break;
	default:
		return false;
	}
	return true;
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
	if (set_flag(settings, key))
		return;
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
	case 'h':
		help(options);
		leave();
	case KEY_VERSION:
		print("nspawn-enter " VERSION "\n");
		leave();
	}
}

/*
 * Options of other programs get a hint.  word may be the option; if optopt is
 * 0, it is, and it is a long one.
 */
static void
refuse_option(const char *word)
{
	static const char machine[] = "--machine";

	if (optopt == 'i')
		say("-i is not needed: the command always has the caller's"
		    " standard input");
	if (optopt == 'M' || (optopt == 0 && strncmp(word, machine,
	    sizeof(machine) - 1) == 0))
		say("give the machine's name alone, without -M");
	try_help();
}

static void
parse_options(int argc, char **argv, struct settings *settings)
{
	struct option_spec options[OWN_OPTIONS + NAMESPACES + 1];
	int key;

	/* The words of argv that were read leave room for the variables. */
	*settings = (struct settings){ .namespaces = NAMESPACES_ALL,
	    .variables = argv + 1 };
	options_fill(options);
	while ((key = option_next(argc, argv, options)) != -1) {
		if (key == '?')
			refuse_option(argv[optind - 1]);
		else if (key != OPTION_WORD)
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
	if (settings->list != (settings->name == NULL)) {
		say(settings->list ? "--list does not take a machine name" :
		    "no machine name given; --list shows the running ones");
		try_help();
	}
	if (settings->list)
		return;
	if (settings->namespaces == 0) {
		say("no namespace is left to join; --no-... and --only exclude"
		    " all of them");
		try_help();
	}
	settings->variables[settings->variable_count] = NULL;
	settings->command = argv + optind;
	if (geteuid() != 0)
		fail("only root can enter a machine; try sudo");
}

/* ---- the machine --------------------------------------------------- */

/* The running machines. */
struct list {
	struct machine_line	*lines;
	size_t			 count, room;
};

/* Adds a machine to the list. */
static void
list_take(void *argument, const struct machine_line *line)
{
	struct list *list = argument;

	if (list->count == list->room) {
		const size_t size = list->room * sizeof(*line);
		struct machine_line *more = shared_map(size == 0 ?
		    LIST_ROOM * sizeof(*line) : 2 * size);

		if (more == NULL)
			fail_errno("cannot allocate memory for the list");
		if (size != 0)
			memcpy(more, list->lines, size);
		shared_unmap(list->lines, size);
		list->lines = more;
		list->room = size == 0 ? LIST_ROOM : 2 * list->room;
	}
	list->lines[list->count++] = *line;
}

static int
list_compare(const void *a, const void *b)
{
	const struct machine_line *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order != 0 ? order : x->leader - y->leader;
}

/* Prints a machine; '-' stands for what is missing or unknown. */
static void
list_print(const struct machine_line *line)
{
	char text[sizeof(*line) + 64], supervisor[16] = "-";

	if (line->supervisor != 0)
		text_format(supervisor, sizeof(supervisor), "%d",
		    line->supervisor);
	text_format(text, sizeof(text), "%s\t%d\t%s\t%s\t%u\n",
	    line->name[0] == '\0' ? "-" : line->name, line->leader, supervisor,
	    line->unit[0] == '\0' ? "-" : line->unit, line->owner);
	print(text);
}

/* Lists the running machines, and exits. */
static _Noreturn void
list_machines(const struct host *host)
{
	struct list list = { .lines = NULL };
	int n = machines_list(host, deadline_in(ENTRY_TIME), list_take, &list);

	if (n == -1)
		fail_errno("cannot list all processes");
	if (n == 1 && geteuid() == 0)	/* others may not see all */
		say_errno("warning: a machine may be missing, because a"
		    " process could not be read");
	if (list.count > 0)
		qsort(list.lines, list.count, sizeof(*list.lines),
		    list_compare);
	for (size_t i = 0; i < list.count; i++)
		list_print(&list.lines[i]);
	leave();
}

/* Finds the machine and opens its leader.  Waits for one that is starting. */
static void
find(const struct settings *settings, const struct host *host,
    struct machine *machine)
{
	struct machined machined = { .search = deadline_in(ENTRY_TIME) };
	struct wanted wanted = { .name = settings->name };
	int64_t deadline = deadline_in(ENTRY_TIME);
	int pause = START_INTERVAL;
	char text[160], hint[256];

	for (;;) {
		machined.deadline = deadline_in(MACHINED_TIME);
		machines_find(host, &machined, &wanted, 1, 0);
		if (wanted.error != EAGAIN || deadline_left(deadline) == 0)
			break;
		machine_close(&wanted.machine);
		poll(NULL, 0, pause);
		pause = pause < START_INTERVAL_MAX ? 2 * pause : pause;
	}
	if (wanted.error != 0)
		fail("%s: %s%s", settings->name, machine_strerror(wanted.error,
		    wanted.pids, text, sizeof(text)),
		    wanted_hint(&wanted, hint, sizeof(hint)));
	*machine = wanted.machine;
	if (machine_foreign(machine) && !settings->foreign)
		fail("%s: belongs to user %u, not to root; use --foreign to"
		    " enter it anyway", settings->name, machine->owner);
}

/*
 * Finds out whether the machine has its own user namespace.
 * Returns  1 for yes, 0 for no; -1
 */
static int
has_user_namespace(const struct context *context)
{
	int fds[NAMESPACES], has;

	if (namespaces_open(context->host.proc, &context->machine.leader,
	    1u << NAMESPACE_USER, fds) == -1)
		return -1;
	has = fds[NAMESPACE_USER] != -1;
	fd_close(&fds[NAMESPACE_USER]);
	return has;
}

/* Warns of what root of the machine can do with the command, a line each. */
static void
warn_dangers(const struct context *context)
{
	const struct settings *settings = &context->settings;
	bool mount = settings->namespaces & 1u << NAMESPACE_MOUNT;
	bool pid = settings->namespaces & 1u << NAMESPACE_PID;
	bool user = settings->namespaces & 1u << NAMESPACE_USER;
	int own = !user || (mount && !pid) ? has_user_namespace(context) : 0;

	if (settings->privileged)
		say("%s: warning: the command has the caller's capabilities,"
		    " and root of the machine can take it over",
		    settings->name);
	else if (settings->no_seccomp)
		say("%s: warning: the command may make system calls that the"
		    " machine's filters forbid", settings->name);
	if (!mount && pid)
		say("%s: warning: the command has the host's files, and root"
		    " of the machine can reach them through it",
		    settings->name);
	if (mount && !pid && !(user && own == 1))
		say("%s: warning: the command has the host's processes, and"
		    " root of the machine can reach them through it",
		    settings->name);
	if (!user && own != 0)
		say("%s: warning: the command runs as a user of the host, but"
		    " root of the machine can choose what it executes",
		    settings->name);
}

/* Warns of what may surprise the caller, a line each. */
static void
warn_surprises(const struct context *context)
{
	const struct settings *settings = &context->settings;
	const struct machine *machine = &context->machine;
	bool mount = settings->namespaces & 1u << NAMESPACE_MOUNT;

	if (settings->quiet)
		return;
	if (machine_foreign(machine))
		say("%s: warning: belongs to user %u, whose processes can see"
		    " the command", settings->name, machine->owner);
	if (mount && !(settings->namespaces & 1u << NAMESPACE_PID))
		say("%s: warning: outside the machine's PID namespace the"
		    " command has no /proc/self, and does not end with the"
		    " machine", settings->name);
	if (mount && !(settings->namespaces & 1u << NAMESPACE_NETWORK))
		say("%s: warning: in the host's network namespace the command"
		    " can reach the host's sockets", settings->name);
	warn_dangers(context);
}

/* ---- the command --------------------------------------------------- */

/* Lists the caller's variables that the command gets. */
static char **
defaults_make(const struct settings *settings)
{
	static const char kept[][10] = {
		"TERM", "COLORTERM", "NO_COLOR", "LANG",
		"PATH",		/* only with the host's programs */
	};
	static char *defaults[sizeof(kept) / sizeof(kept[0]) + 1];
	const size_t count = sizeof(kept) / sizeof(kept[0]) -
	    ((settings->namespaces & 1u << NAMESPACE_MOUNT) != 0);
	size_t used = 0;

	if (settings->preserve)
		return environ;
	for (size_t i = 0; i < count; i++) {
		char *variable = variable_find(kept[i], strlen(kept[i]));

		if (variable != NULL)
			defaults[used++] = variable;
	}
	return defaults;
}

/* Fills in what to run, and how. */
static void
command_make(struct context *context)
{
	static char complaint[sizeof("nspawn-enter: ") + MACHINE_NAME_MAX];
	const struct settings *settings = &context->settings;
	const struct terminal *terminal = &context->terminal;
	struct command *command = &context->command;

	text_format(complaint, sizeof(complaint), "nspawn-enter: %s",
	    settings->name);
	context->defaults = defaults_make(settings);
	*command = (struct command){
		.argv = settings->command, .namespaces = settings->namespaces,
		.last = true, .privileged = settings->privileged,
		.unfiltered = settings->no_seccomp, .time = ENTRY_TIME,
		.user = settings->user, .group = settings->group,
		.directory = settings->directory,
		.defaults = context->defaults,
		.variables = settings->variables, .complaint = complaint,
		.terminal = terminal->pty,
	};
	for (int fd = 0; fd < FDS_STANDARD; fd++)
		command->fds[fd] = (command->terminal & 1u << fd) != 0 ? -1 :
		    terminal->inner[fd] != -1 ? terminal->inner[fd] : fd;
	if (terminal->keys != -1 || terminal->screen != -1) {
		command->modes = &terminal->modes;
		command->size = &terminal->size;
	}
}

/* Returns what would help, as the end of a message. */
static const char *
hint(const struct context *context, const struct entry_report *report,
    char *text, size_t size)
{
	char path[PATH_MAX], clean[512];

	switch (entry_lacks(report)) {
	case ENTRY_LACKS_FILTERS:
		return "; use --no-seccomp to enter without them";
	case ENTRY_LACKS_CGROUPS:
		return "; use --privileged to enter without them";
	case ENTRY_LACKS_PROCESSES:
		if (!machine_full(&context->host, &context->machine, path))
			return "; raise RLIMIT_NPROC of its leader, or"
			    " kernel.threads-max of the host";
		text_format(text, size, "; raise TasksMax= (pids.max) of %s",
		    text_printable(path, clean, sizeof(clean)));
		return text;
	default:
		return "";
	}
}

/* Reports why the command was not run, and exits. */
static _Noreturn void
command_failed(const struct context *context,
    const struct entry_report *report)
{
	struct pollfd leader = { context->machine.leader.fd, POLLIN, 0 };
	char text[1024], more[1024];

	/* A machine that is ending causes many kinds of errors. */
	if (poll(&leader, 1, ENDING_TIME) == 1)
		fail("%s: its leader has just ended",
		    context->settings.name);
	fail("%s: %s%s", context->settings.name,
	    entry_strerror(report, &context->command, text, sizeof(text)),
	    hint(context, report, more, sizeof(more)));
}

/* Reports by errno why there is no monitor, and exits. */
static _Noreturn void
monitor_failed(const struct settings *settings)
{
	if (errno == EAGAIN)
		fail("%s: cannot start the monitor: the caller's limit on"
		    " processes is reached; raise RLIMIT_NPROC, or TasksMax="
		    " of the caller's unit", settings->name);
	if (errno == EACCES || errno == EPERM || errno == ENOENT)
		fail_errno("%s: cannot start the monitor from a sealed copy"
		    " in memory; check /proc/self/exe and vm.memfd_noexec",
		    settings->name);
	fail_errno("%s: cannot start the monitor", settings->name);
}

/* Opens what is needed of the leader, and has the monitor run the command. */
static void
command_start(struct context *context)
{
	const struct settings *settings = &context->settings;
	struct machine *machine = &context->machine;
	int64_t deadline = deadline_in(ENTRY_TIME);
	struct entry_report report;
	struct entry_needs entry;

	while (entry_read(&context->host, machine, &context->command, &entry,
	    &report) == -1) {
		/* A machine that is still starting is waited for. */
		if (report.error != EAGAIN || deadline_left(deadline) == 0)
			command_failed(context, &report);
		poll(NULL, 0, START_INTERVAL);
		process_status_read(context->host.proc, machine->leader.pid,
		    &machine->status);
	}
	context->monitor = MONITOR_NONE;
	if (monitor_order(&context->monitor, 0, &entry,
	    &context->command) == -1)
		monitor_failed(settings);
	entry_close(&entry);
}

/* ---- the caller's terminals ---------------------------------------- */

/* Opens a terminal again, so that O_NONBLOCK is ours alone. */
static int
terminal_reopen(int fd)
{
	char path[32];
	int again;

	text_format(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return again != -1 ? again : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* True if both descriptors are of the same terminal. */
static bool
terminal_same(int a, int b)
{
	unsigned numbers[2];

	/* The C libraries have different types for the request. */
	return syscall(SYS_ioctl, a, TIOCGDEV, &numbers[0]) == 0 &&
	    syscall(SYS_ioctl, b, TIOCGDEV, &numbers[1]) == 0 &&
	    numbers[0] == numbers[1];
}

/* Makes a pipe to replace a standard descriptor; our end does not block. */
static void
terminal_pipe(struct terminal *terminal, int fd)
{
	int ends[2], mine = fd == STDIN_FILENO ? 1 : 0;

	if (pipe2(ends, O_CLOEXEC) == -1 ||
	    fcntl(ends[mine], F_SETFL, O_NONBLOCK) == -1)
		fail_errno("cannot create a pipe for the command");
	terminal->own[fd] = ends[mine];
	terminal->inner[fd] = ends[1 - mine];
	terminal->pipes |= 1u << fd;
}

/* Decides which terminals a pty replaces, and which of them pipes. */
static void
terminal_replace(struct terminal *terminal, enum tty tty)
{
	const int *ttys = terminal->tty;

	for (int fd = 0; fd < FDS_STANDARD; fd++) {
		/* The output of a pty goes to one place only. */
		bool elsewhere = fd == STDERR_FILENO && ttys[1] != -1 &&
		    !terminal_same(ttys[1], ttys[fd]);

		if (tty != TTY_ALWAYS && ttys[fd] == -1)
			continue;
		if (tty == TTY_NEVER || (tty != TTY_ALWAYS && elsewhere))
			terminal_pipe(terminal, fd);
		else
			terminal->pty |= 1u << fd;
	}
}

/* Decides where keys are read, and where a pty's output goes. */
static void
terminal_decide(struct terminal *terminal, enum tty tty)
{
	const int *ttys = terminal->tty;
	bool always = tty == TTY_ALWAYS;

	terminal->screen = ttys[1] != -1 || always ? ttys[1] :
	    ttys[2] != -1 ? ttys[2] : ttys[0];
	terminal->keys = ttys[0] != -1 || always || terminal->pty == 0 ?
	    ttys[0] : terminal->screen;
	terminal->same = terminal->keys != -1 && terminal->screen != -1 &&
	    terminal_same(terminal->keys, terminal->screen);
	if (terminal->pty == 0)
		terminal->source = SOURCE_NONE;
	else if (ttys[0] != -1 && (ttys[1] != -1 || always))
		terminal->source = SOURCE_RAW;
	else
		terminal->source = always ? SOURCE_STREAM : SOURCE_LINES;
}

/*
 * Makes the pty's modes from those of the caller's terminal.  If these are not
 * for reading lines, another program has set them, so the usual modes are
 * restored.
 */
static void
terminal_make_modes(struct terminal *terminal, const struct termios *modes)
{
	struct termios *m = &terminal->modes;

	*m = *modes;
	if ((modes->c_lflag & ICANON) == 0) {
		m->c_lflag |= ICANON | ISIG | IEXTEN | ECHO | ECHOE | ECHOK;
		m->c_iflag |= ICRNL;
		m->c_oflag |= OPOST;
	}
	m->c_lflag &= ~(tcflag_t)EXTPROC;
	if (terminal->source == SOURCE_LINES)
		m->c_lflag |= EXTPROC;
	/* A terminal that is not raw processes the output itself. */
	if (terminal->screen != -1 &&
	    (terminal->source != SOURCE_RAW || !terminal->same))
		m->c_oflag &= ~(tcflag_t)OPOST;
}

/* Finds out which standard descriptors are terminals, and replaces these. */
static void
terminal_open(const struct settings *settings, struct terminal *terminal)
{
	struct termios modes;
	int fd;

	*terminal = (struct terminal){ .inner = { -1, -1, -1 },
	    .own = { -1, -1, -1 } };
	for (fd = 0; fd < FDS_STANDARD; fd++)
		terminal->tty[fd] = isatty(fd) ? terminal_reopen(fd) : -1;
	terminal_replace(terminal, settings->tty);
	terminal_decide(terminal, settings->tty);
	fd = terminal->screen != -1 ? terminal->screen : terminal->keys;
	if (fd == -1)
		return;
	if (ioctl(fd, TIOCGWINSZ, &terminal->size) == -1 || tcgetattr(
	    terminal->keys != -1 ? terminal->keys : fd, &modes) == -1)
		fail_errno("cannot read the settings of the terminal");
	terminal_make_modes(terminal, &modes);
}

/* ---- the modes of the caller's terminal ---------------------------- */

/*
 * The modes of the caller's terminal, in memory shared with the guard.  If the
 * terminal has others than the last ones, another program has set them, and
 * they are left alone.
 */
struct modes {
	bool		known;
	struct termios	first;		/* to be restored */
	struct termios	last;		/* as we have set them; or first */
	struct termios	before;		/* as they were before that */
};

/* The guard is a process that restores the modes when we cannot. */
struct guard {
	struct modes	*modes;
	pid_t		 pid;		/* 0: not started yet */
	int		 alive;		/* the guard waits for its end */
};

static bool
modes_same(const struct termios *a, const struct termios *b)
{
	return a->c_lflag == b->c_lflag && a->c_iflag == b->c_iflag &&
	    a->c_oflag == b->c_oflag;
}

/* True if our process group may use the terminal. */
static bool
terminal_foreground(int fd)
{
	pid_t group = tcgetpgrp(fd), own = getpgid(0);

	/* It cannot be asked if it is not our controlling terminal. */
	return group == -1 || own == -1 || group == own;
}

/* Restores the modes after the end of nspawn-enter, its parent. */
static _Noreturn void
guard_main(const struct modes *modes, int keys, int parent)
{
	struct termios now;
	char byte;

	while (read(parent, &byte, 1) == -1 && errno == EINTR)
		;
	if (modes->known && tcgetattr(keys, &now) == 0 &&
	    (modes_same(&now, &modes->last) ||
	    modes_same(&now, &modes->before)))
		tcsetattr(keys, TCSANOW, &modes->first);
	_exit(EXIT_SUCCESS);
}

/*
 * Starts the guard, in its own session, so that neither a signal to the job nor
 * job control stops it.
 */
static void
guard_start(struct guard *guard, int keys)
{
	int ends[2] = { -1, -1 };

	if (pipe2(ends, O_CLOEXEC) == -1 || (guard->pid = fork()) == -1) {
		/* The command is run anyway: the guard is seldom needed. */
		say_errno("warning: cannot start the guard of the terminal; if"
		    " nspawn-enter is killed, run reset(1)");
		fd_close(&ends[0]);
		fd_close(&ends[1]);
		guard->pid = -1;
		return;
	}
	if (guard->pid == 0) {
		signals_block();
		setsid();
		close(ends[1]);
		guard_main(guard->modes, keys, ends[0]);
	}
	close(ends[0]);
	guard->alive = ends[1];
}

/* Sets the modes of a terminal that has the last ones. */
static int
modes_set(struct guard *guard, int keys, const struct termios *want)
{
	struct modes *modes = guard->modes;
	int n;

	if (modes_same(want, &modes->last))
		return 0;
	if (guard->pid == 0)
		guard_start(guard, keys);
	modes->before = modes->last;
	modes->last = *want;
	/* Waiting output is written first, if it needs the old modes. */
	n = tcsetattr(keys, want->c_oflag == modes->before.c_oflag ? TCSANOW :
	    TCSADRAIN, want);
	if (n == -1)
		modes->last = modes->before;
	else if (tcgetattr(keys, &modes->last) == -1)
		modes->last = *want;
	modes->before = modes->last;
	return n;
}

/*
 * Restores the first modes, unless another program has set others.  Fails if
 * they must still be restored.
 */
static int
modes_restore(struct guard *guard, int keys)
{
	const struct modes *modes = guard->modes;
	struct termios now;

	if (!modes->known || !terminal_foreground(keys))
		return 0;
	if (tcgetattr(keys, &now) == -1)
		return -1;
	return !modes_same(&now, &modes->last) ? 0 :
	    modes_set(guard, keys, &modes->first);
}

/* Restores the modes, by the guard if we cannot, and ends the guard. */
static void
guard_end(struct guard *guard, int keys)
{
	int status;

	if (keys != -1 && modes_restore(guard, keys) == 0)
		guard->modes->known = false;
	fd_close(&guard->alive);
	if (guard->pid > 0)
		child_wait(guard->pid, &status);
}

/* ---- flows of bytes ------------------------------------------------ */

#define CHUNK		4096
#define DRAIN_MAX	262144	/* bytes: more than a pty holds */

/* Bytes on their way; an end is -1 when it is closed. */
struct flow {
	int	from, to;
	size_t	start, end;	/* what was read and not written */
	char	data[CHUNK];
};

enum { INPUT, OUTPUT, ERRORS };		/* the flows, by descriptor */

/* ms, between checks of whether the command has read its input, */
#define INTERVAL_MIN	10
#define INTERVAL_MAX	250
/* and of whether we are in the foreground. */
#define FOREGROUND_TIME	500

struct relay {
	struct context	*context;
	struct terminal	*terminal;
	int		 signals;
	int		 master, slave;	/* of the pty; -1: none, or not yet */
	struct guard	 guard;
	struct termios	 inside;	/* the pty's modes now */
	bool		 input_over;	/* the input has ended for good */
	bool		 unfinished;	/* the last line of input */
	bool		 modes_told;	/* by a packet without data */
	int		 interval;	/* ms */
	int64_t		 end_deadline;	/* no end of input before */
	struct flow	 flows[FDS_STANDARD];
};

/* Signals the command.  It has ended if the monitor has. */
static void
relay_command(const struct relay *relay, int signal)
{
	monitor_signal(&relay->context->monitor, 0, signal);
}

/*
 * Writes what it can.  If nobody reads the output any more, the command gets
 * HUP, as from a terminal that was switched off, unless the caller ignores HUP.
 * Further output is dropped.
 */
static void
flow_write(struct relay *relay, struct flow *flow)
{
	ssize_t n = write(flow->to, flow->data + flow->start,
	    flow->end - flow->start);

	if (n > 0)
		flow->start += (size_t)n;
	else if (n == -1 && errno != EAGAIN && errno != EINTR) {
		flow->to = -1;
		flow->start = flow->end = 0;
		if (flow == &relay->flows[INPUT])
			flow->from = -1;
		else if (!signal_is_ignored(SIGHUP))
			relay_command(relay, SIGHUP);
	}
}

/* ---- the pty ------------------------------------------------------- */

/* Gives the pty the size of the caller's terminal. */
static void
pty_resize(const struct relay *relay)
{
	const struct terminal *terminal = relay->terminal;
	struct winsize size;

	if (ioctl(terminal->screen != -1 ? terminal->screen : terminal->keys,
	    TIOCGWINSZ, &size) == 0)
		ioctl(relay->master, TIOCSWINSZ, &size);
}

/* Starts to use a pty that was made for the command. */
static void
pty_connect(struct relay *relay, int master)
{
	const struct terminal *terminal = relay->terminal;
	int packets = 1;

	relay->master = master;
	/* To ask what is unread; while it is open the master has no end. */
	relay->slave = pty_peer(master);
	if (relay->slave == -1 || fcntl(master, F_SETFL, O_NONBLOCK) == -1 ||
	    (terminal->source == SOURCE_LINES &&
	    ioctl(master, TIOCPKT, &packets) == -1))
		fail_errno("cannot use the terminal of the command");
	relay->flows[INPUT].from = terminal->keys != -1 ? terminal->keys :
	    STDIN_FILENO;
	relay->flows[INPUT].to = master;
	relay->flows[OUTPUT].from = master;
	relay->flows[OUTPUT].to = terminal->screen != -1 ? terminal->screen :
	    STDOUT_FILENO;
	pty_resize(relay);
}

/* True if the command has not read all its input yet. */
static bool
pty_is_unread(struct relay *relay)
{
	struct pollfd slave = { relay->slave, POLLIN, 0 };

	if (poll(&slave, 1, 0) != 1)
		return false;
	if ((slave.revents & POLLHUP) == 0)
		return true;
	/* vhangup(2) has closed it, as login(1) does: opens it again. */
	fd_close(&relay->slave);
	relay->slave = pty_peer(relay->master);
	return false;
}

/*
 * Returns the modes that the caller's terminal needs for those of the pty.  If
 * it is not standard input, its keys keep their meaning for the pipeline.
 */
static struct termios
modes_like(const struct relay *relay)
{
	const struct termios *first = &relay->guard.modes->first;
	const struct termios *inside = &relay->inside;
	const tcflag_t keys = ICRNL | INLCR | IGNCR | IXON;
	const tcflag_t line = ICANON | ECHO | ECHONL | IEXTEN |
	    (relay->terminal->tty[STDIN_FILENO] != -1 ? ISIG : 0);
	struct termios like = *first;

	if ((inside->c_lflag & ICANON) == 0) {
		like.c_iflag = (first->c_iflag & ~keys) |
		    (inside->c_iflag & keys);
		like.c_lflag = (first->c_lflag & ~line) |
		    (inside->c_lflag & line);
		like.c_cc[VMIN] = 1;
		like.c_cc[VTIME] = 0;
	} else if ((inside->c_lflag & ECHO) == 0)
		like.c_lflag = (first->c_lflag & ~(tcflag_t)ECHO) |
		    (inside->c_lflag & ECHONL);
	return like;
}

/* Reads the modes of a pty whose lines the caller's terminal edits. */
static void
pty_read_modes(struct relay *relay)
{
	if (tcgetattr(relay->master, &relay->inside) == -1)
		relay->inside = relay->terminal->modes;
	/* Without EXTPROC the pty would echo and edit lines. */
	if ((relay->inside.c_lflag & EXTPROC) == 0) {
		relay->inside.c_lflag |= EXTPROC;
		tcsetattr(relay->master, TCSANOW, &relay->inside);
	}
}

/* True if the command has changed echo or line mode of its terminal. */
static bool
pty_wants_keys(const struct relay *relay)
{
	return ((relay->inside.c_lflag ^ relay->terminal->modes.c_lflag) &
	    (ICANON | ECHO)) != 0;
}

/* Gives the pty the caller's modes, if these were not known before. */
static void
pty_adopt(struct relay *relay)
{
	struct terminal *terminal = relay->terminal;
	struct termios old = terminal->modes, inside;

	terminal_make_modes(terminal, &relay->guard.modes->first);
	if (tcgetattr(relay->master, &inside) == 0 &&
	    modes_same(&inside, &old))
		tcsetattr(relay->master, TCSANOW, &terminal->modes);
}

/*
 * Writes the pty's end-of-file character, because the input has ended.  After
 * an unfinished line it is needed twice, or after the line's end.  A command
 * that edits lines itself may get it only at the next try.
 */
static void
pty_write_end(struct relay *relay)
{
	struct flow *flow = &relay->flows[INPUT];
	struct termios modes;
	bool line;

	if (tcgetattr(relay->master, &modes) == -1)
		return;
	line = (modes.c_lflag & ICANON) != 0;
	flow->start = flow->end = 0;
	if (relay->unfinished && (modes.c_lflag & EXTPROC) == 0)
		flow->data[flow->end++] = (char)(line ? modes.c_cc[VEOF] :
		    '\r');
	flow->data[flow->end++] = (char)modes.c_cc[VEOF];
	relay->unfinished = relay->unfinished && line;
	/* A command that goes on reading gets it only now and then. */
	relay->end_deadline = deadline_in(relay->interval);
}

/* ---- the relay ----------------------------------------------------- */

/* What to do about the input. */
enum input {
	INPUT_NONE,		/* nothing, until the next event */
	INPUT_WANTED,		/* read it */
	INPUT_UNREAD,		/* wait until the command has read its input */
	INPUT_ELSEWHERE,	/* wait: the terminal is not ours now */
};

/* Takes the present modes as the caller's own. */
static void
modes_take(struct relay *relay, const struct termios *now)
{
	struct modes *modes = relay->guard.modes;

	modes->first = modes->last = modes->before = *now;
	modes->known = true;
	if (relay->master != -1)
		pty_adopt(relay);
}

/*
 * Takes the modes at the start as the caller's own, if they can be.  In the
 * background they are the shell's; those of a pager are not for lines.
 */
static void
modes_take_first(struct relay *relay)
{
	const struct terminal *terminal = relay->terminal;
	struct termios now;

	if (terminal_foreground(terminal->keys) &&
	    tcgetattr(terminal->keys, &now) == 0 &&
	    ((now.c_lflag & ICANON) != 0 || terminal->source == SOURCE_RAW))
		modes_take(relay, &now);
}

/*
 * True if modes that we have not set can be the caller's own: they are for
 * lines with echo.
 */
static bool
modes_are_callers(const struct relay *relay, const struct termios *now)
{
	const tcflag_t shown = ICANON | ECHO;

	/* The pty is being made with other modes already. */
	if (relay->master == -1 && relay->terminal->pty != 0)
		return false;
	return (now->c_lflag & shown) == shown ||
	    (relay->terminal->source == SOURCE_RAW &&
	    !relay->guard.modes->known);
}

/*
 * Sets the modes of the caller's terminal as the pty needs them, unless another
 * program has set others.
 * Returns  true if we may read its keys
 */
static bool
relay_sync_terminal(struct relay *relay)
{
	const struct terminal *terminal = relay->terminal;
	struct modes *modes = relay->guard.modes;
	struct termios now, want;

	if (!terminal_foreground(terminal->keys) ||
	    tcgetattr(terminal->keys, &now) == -1)
		return false;
	if (modes->known && modes_same(&now, &modes->first))
		modes->last = modes->first;
	else if ((!modes->known || !modes_same(&now, &modes->last)) &&
	    modes_are_callers(relay, &now))
		modes_take(relay, &now);
	if (!modes->known || !modes_same(&now, &modes->last))
		return terminal->source == SOURCE_RAW;
	want = modes->first;
	if (relay->master != -1 && terminal->source == SOURCE_RAW) {
		cfmakeraw(&want);
		if (!terminal->same)
			want.c_oflag = modes->first.c_oflag;
	} else if (relay->master != -1)
		want = modes_like(relay);
	modes_set(&relay->guard, terminal->keys, &want);
	return true;
}

/* True if the command has not read all its input yet. */
static bool
input_is_unread(struct relay *relay)
{
	int count;

	if (relay->master != -1)
		return pty_is_unread(relay);
	return ioctl(relay->flows[INPUT].to, FIONREAD, &count) == 0 &&
	    count > 0;
}

/* Updates the caller's terminal, and decides what to do about the input. */
static enum input
input_next(struct relay *relay)
{
	const struct terminal *terminal = relay->terminal;
	const struct flow *flow = &relay->flows[INPUT];
	bool lines = terminal->source == SOURCE_LINES, ours = false;

	if (relay->master != -1 && lines)
		pty_read_modes(relay);
	if (terminal->keys != -1)
		ours = relay_sync_terminal(relay);
	if (flow->start < flow->end)
		return INPUT_NONE;	/* the rest must be written first */
	if (relay->input_over && flow->to != -1) {
		if (pty_is_unread(relay) ||
		    deadline_left(relay->end_deadline) != 0)
			return INPUT_UNREAD;
		pty_write_end(relay);
		return INPUT_NONE;
	}
	if (flow->from == -1 || (lines &&
	    terminal->tty[STDIN_FILENO] == -1 && !pty_wants_keys(relay)))
		return INPUT_NONE;
	if (flow->from == terminal->keys && !ours)
		return INPUT_ELSEWHERE;
	return (lines || terminal->source == SOURCE_NONE) &&
	    input_is_unread(relay) ? INPUT_UNREAD : INPUT_WANTED;
}

/* Handles the end of the input: for now by a key, or for good. */
static void
input_ended(struct relay *relay, bool input_over)
{
	struct flow *flow = &relay->flows[INPUT];

	if (relay->master == -1) {
		flow->from = -1;
		fd_close(&flow->to);
	} else if (input_over) {
		flow->from = -1;
		relay->input_over = true;
	} else
		pty_write_end(relay);
}

/*
 * True if the input has a key that would have interrupted the command if the
 * caller's terminal were not raw.  The caller's modes tell which keys do that.
 */
static bool
input_interrupts(const struct relay *relay, const struct flow *flow)
{
	const struct modes *modes = relay->guard.modes;

	if (relay->terminal->source != SOURCE_RAW || !modes->known ||
	    (modes->first.c_lflag & ISIG) == 0)
		return false;
	for (size_t i = 0; i < flow->end; i++)
		if ((cc_t)flow->data[i] == modes->first.c_cc[VINTR] ||
		    (cc_t)flow->data[i] == modes->first.c_cc[VQUIT])
			return true;
	return false;
}

/* Reads some input. */
static void
input_read(struct relay *relay, short events)
{
	struct flow *flow = &relay->flows[INPUT];
	ssize_t n = read(flow->from, flow->data, sizeof(flow->data));

	flow->start = flow->end = 0;
	if (n > 0) {
		flow->end = (size_t)n;
		relay->unfinished = flow->data[n - 1] != '\n';
		relay->interval = INTERVAL_MIN;
		relay->context->interrupted = input_interrupts(relay, flow);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		input_ended(relay, n == -1 || (events & POLLHUP) != 0 ||
		    flow->from != relay->terminal->keys);
}

/*
 * Removes the \r that the screen adds itself: a command, as less does, may have
 * its terminal end lines with \r\n.  It is not known when the command wrote
 * them, so this is done to all of its output, where it makes no visible
 * difference.
 */
static void
flow_remove_returns(struct flow *flow, int screen)
{
	const tcflag_t adds = OPOST | ONLCR;
	struct termios modes;
	size_t end = flow->start;

	if (tcgetattr(screen, &modes) == -1 || (modes.c_oflag & adds) != adds)
		return;
	for (size_t i = flow->start; i < flow->end; i++)
		if (flow->data[i] != '\r' || i + 1 == flow->end ||
		    flow->data[i + 1] != '\n')
			flow->data[end++] = flow->data[i];
	flow->end = end;
}

/*
 * Reads some output.  A packet of a pty begins with a byte for its kind; the
 * modes are checked after each packet in any case.
 * Returns  false if there is none
 */
static bool
output_read(struct relay *relay, struct flow *flow)
{
	bool packet = flow->from == relay->master &&
	    relay->terminal->source == SOURCE_LINES;
	ssize_t n = read(flow->from, flow->data, sizeof(flow->data));

	relay->modes_told = packet && n == 1;
	flow->start = packet ? 1 : 0;
	flow->end = n <= 0 || (packet && flow->data[0] != TIOCPKT_DATA) ?
	    flow->start : (size_t)n;
	if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
		flow->from = -1;
	if (packet)
		flow_remove_returns(flow, flow->to);
	if (flow->to == -1)
		flow->start = flow->end = 0;
	return n > 0;
}

/*
 * Stops with the job.  If keys are signals the command stops, too, as if it
 * were part of the job.
 */
static void
relay_stop(struct relay *relay)
{
	const struct terminal *terminal = relay->terminal;
	bool alone = terminal->source == SOURCE_RAW;
	sigset_t set;

	if (!alone)
		relay_command(relay, SIGSTOP);
	if (terminal->keys != -1)
		modes_restore(&relay->guard, terminal->keys);
	/* By raise(3): it has no effect where nobody could continue us. */
	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (!alone)
		relay_command(relay, SIGCONT);
}

/*
 * Passes on a signal.  If a key has made it, it goes to the foreground of the
 * pty, as the key would.
 * source   TIOCSIG of ioctl_tty(2)
 */
static void
relay_pass_on(const struct relay *relay, const struct signalfd_siginfo *info)
{
	int signal = (int)info->ssi_signo;

	relay->context->interrupted = false;
	if (info->ssi_code != SI_KERNEL || relay->master == -1 ||
	    relay->terminal->source != SOURCE_LINES ||
	    ioctl(relay->master, TIOCSIG, signal) == -1)
		relay_command(relay, signal);
}

/* Handles the next signal.  True if it was passed on. */
static bool
relay_signal(struct relay *relay)
{
	struct signalfd_siginfo info;

	if (read(relay->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return false;
	switch (info.ssi_signo) {
	case SIGTSTP:
		relay_stop(relay);
		return false;
	case SIGCONT:
	case SIGWINCH:
		if (relay->master != -1)
			pty_resize(relay);
		return false;
	default:
		relay_pass_on(relay, &info);
		return true;
	}
}

/* Returns the event that a flow waits for. */
static struct pollfd
flow_poll(const struct flow *flow, bool wanted)
{
	if (flow->start < flow->end)
		return (struct pollfd){ flow->to, POLLOUT, 0 };
	/* The end of the input always matters. */
	return (struct pollfd){ flow->from, wanted ? POLLIN : 0, 0 };
}

/* Copies what can be copied, after poll(2). */
static void
relay_flows(struct relay *relay, const struct pollfd fds[FDS_STANDARD])
{
	for (int i = 0; i < FDS_STANDARD; i++) {
		struct flow *flow = &relay->flows[i];

		if (fds[i].fd == -1 || fds[i].revents == 0)
			continue;
		if (flow->start < flow->end)
			flow_write(relay, flow);
		else if (i != INPUT)
			output_read(relay, flow);
		/* A key wakes all readers of a terminal: whose is it now? */
		else if (input_next(relay) == INPUT_WANTED)
			input_read(relay, fds[i].revents);
		else if ((fds[i].revents & (POLLHUP | POLLERR)) != 0)
			input_ended(relay, true);
	}
}

/* Takes the command's pty, which the monitor has sent. */
static void
relay_pty_ready(struct relay *relay, const struct entry_report *report, int fd)
{
	const struct settings *settings = &relay->context->settings;

	if (report->host_terminal && !settings->quiet)
		say("%s: warning: its /dev/pts has no terminals, so the"
		    " command gets a terminal of the host", settings->name);
	pty_connect(relay, fd);
}

/*
 * Waits for the next event, and passes on signals and bytes.
 * Returns  1 if there is a report, else 0; -1 on failure
 */
static int
relay_step(struct relay *relay)
{
	enum { CHANNEL, SIGNALS, FLOWS };
	enum input input = input_next(relay);
	struct pollfd fds[FLOWS + FDS_STANDARD] = {
		{ relay->context->monitor.channel, POLLIN, 0 },
		{ relay->signals, POLLIN, 0 },
	};
	int n;

	/* Modes that change all the time must not take all our time. */
	if (relay->modes_told)
		poll(NULL, 0, 1);
	relay->modes_told = false;
	for (int i = 0; i < FDS_STANDARD; i++)
		fds[FLOWS + i] = flow_poll(&relay->flows[i], i != INPUT ||
		    input == INPUT_WANTED);
	n = poll(fds, FLOWS + FDS_STANDARD, input == INPUT_UNREAD ?
	    relay->interval : input == INPUT_ELSEWHERE ? FOREGROUND_TIME : -1);
	if (n == -1)
		return errno == EINTR ? 0 : -1;
	if (n == 0 && input == INPUT_UNREAD && relay->interval < INTERVAL_MAX)
		relay->interval *= 2;
	/* A signal may have changed everything. */
	if (fds[SIGNALS].revents != 0) {
		relay_signal(relay);
		return 0;
	}
	relay_flows(relay, fds + FLOWS);
	return fds[CHANNEL].revents != 0;
}

/*
 * Passes on signals and bytes until the monitor reports what became of the
 * command.
 * Returns  as monitor_report()
 */
static int
relay_run(struct relay *relay, struct entry_report *report)
{
	const struct monitor *monitor = &relay->context->monitor;
	int n, fd;

	while ((n = relay_step(relay)) != -1) {
		if (n == 0)
			continue;
		if (monitor_report(monitor, report, &fd) == -1)
			return -1;
		if (report->event != ENTRY_TERMINAL)
			return 0;
		relay_pty_ready(relay, report, fd);
	}
	return -1;
}

/* Waits until flow can write.  False if a signal was passed on. */
static bool
flow_wait(struct relay *relay, const struct flow *flow)
{
	struct pollfd fds[] = {
		{ .fd = flow->to, .events = POLLOUT },
		{ .fd = relay->signals, .events = POLLIN },
	};

	/* If poll(2) fails, the write is tried. */
	return poll(fds, 2, -1) == -1 || fds[1].revents == 0 ||
	    !relay_signal(relay);
}

/* Writes all that was read.  False if a signal was passed on. */
static bool
flow_flush(struct relay *relay, struct flow *flow)
{
	while (flow->start < flow->end) {
		if (!flow_wait(relay, flow))
			return false;
		flow_write(relay, flow);
	}
	return true;
}

/*
 * Copies what the command has written before its end.  What others write to its
 * terminal or pipes from now on is left out.
 */
static void
relay_drain(struct relay *relay)
{
	for (int i = OUTPUT; i < FDS_STANDARD; i++) {
		struct flow *flow = &relay->flows[i];
		int left = DRAIN_MAX;

		if (flow->from != -1 && flow->from != relay->master)
			ioctl(flow->from, FIONREAD, &left);
		if (!flow_flush(relay, flow))
			return;
		for (; flow->from != -1 && left > 0 &&
		    output_read(relay, flow); left -= (int)flow->end)
			if (!flow_flush(relay, flow))
				return;
	}
}

static void
relay_end(struct relay *relay)
{
	relay_drain(relay);
	guard_end(&relay->guard, relay->terminal->keys);
	fd_close(&relay->slave);
	fd_close(&relay->master);
}

/* Connects the pipes with the terminals that they replace. */
static void
relay_open_pipes(struct relay *relay)
{
	struct terminal *terminal = relay->terminal;

	for (int fd = 0; fd < FDS_STANDARD; fd++) {
		struct flow *flow = &relay->flows[fd];

		fd_close(&terminal->inner[fd]);	/* a reader may wait */
		flow->from = flow->to = -1;
		if ((terminal->pipes & 1u << fd) == 0)
			continue;
		flow->from = fd == STDIN_FILENO ? terminal->tty[fd] :
		    terminal->own[fd];
		flow->to = fd == STDIN_FILENO ? terminal->own[fd] :
		    terminal->tty[fd];
	}
}

/* Prepares the relay; a pty comes later. */
static void
relay_make(struct relay *relay, struct context *context, int signals)
{
	struct modes *modes = NULL;

	if (context->terminal.keys != -1)
		modes = mmap(NULL, sizeof(*modes), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (modes == MAP_FAILED)
		fail_errno("cannot allocate memory for the terminal's"
		    " settings");
	*relay = (struct relay){ .context = context,
	    .terminal = &context->terminal, .signals = signals, .master = -1,
	    .slave = -1, .guard = { .modes = modes, .alive = -1 },
	    .interval = INTERVAL_MIN };
	relay_open_pipes(relay);
	if (modes != NULL)
		modes_take_first(relay);
}

/* ---- nspawn-enter -------------------------------------------------- */

/* Adds a signal to a set, unless the caller ignores it. */
static void
signal_add(sigset_t *set, int signal)
{
	if (!signal_is_ignored(signal))
		sigaddset(set, signal);
}

/* Opens a descriptor for the signals to the command and the job. */
static int
signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < PASSED_SIGNALS; i++)
		signal_add(&set, passed_signals[i]);
	signal_add(&set, SIGTSTP);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGCONT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/*
 * Has the command run, and waits for its end.
 * Returns  its status as wait(2) has it
 */
static int
enter(struct context *context)
{
	int signals = signals_open(), n, error;
	static struct relay relay;
	struct entry_report report;

	if (signals == -1)
		fail_errno("cannot open a descriptor for signals");
	command_start(context);
	relay_make(&relay, context, signals);
	n = relay_run(&relay, &report);
	error = errno;
	relay_end(&relay);
	if (n == -1 && error == ECONNRESET)
		fail("%s: the monitor of the command has ended, so its status"
		    " is not known", context->settings.name);
	errno = error;
	if (n == -1)	/* without us the command is hung up */
		fail_errno("%s: cannot wait for the command",
		    context->settings.name);
	monitor_close(&context->monitor);
	if (report.event != ENTRY_ENDED)
		command_failed(context, &report);
	close(signals);
	return report.status;
}

/*
 * True if a key has ended the command while our terminal was raw.  Otherwise
 * the terminal would have sent the signal to our whole process group.
 */
static bool
ended_by_key(const struct context *context, int signal)
{
	return context->interrupted &&
	    (signal == SIGINT || signal == SIGQUIT) &&
	    tcgetpgrp(context->terminal.keys) == getpgrp();
}

/*
 * Ends as the command did, by its signal, too, but without a core file of
 * nspawn-enter.
 */
static int
exit_like(const struct context *context, int status)
{
	if (WIFSIGNALED(status))
		signal_end_by(WTERMSIG(status),
		    ended_by_key(context, WTERMSIG(status)) ? 0 : getpid());
	return process_exit_status(status);
}

static void
prepare(const struct settings *settings)
{
	signal(SIGCHLD, SIG_DFL);	/* else children vanish unseen */
	if (!settings->list)
		signal(SIGPIPE, SIG_IGN);	/* the command may end early */
	else if (fcntl(STDOUT_FILENO, F_GETFD) == -1)
		fail_errno("cannot write to standard output");
	signal(SIGXFSZ, SIG_IGN);	/* LimitFSIZE= limits memory, too */
	if (fds_tidy() == -1)
		fail_errno("cannot open /dev/null");
}

int
main(int argc, char **argv)
{
	static struct context context;
	int status;

	monitor_main(argv);
	parse_options(argc, argv, &context.settings);
	prepare(&context.settings);
	if (host_open("/proc", NULL, &context.host) == -1)
		fail("cannot open /proc or the host's cgroups: %s",
		    host_strerror(errno));
	if (context.settings.list)
		list_machines(&context.host);
	find(&context.settings, &context.host, &context.machine);
	warn_surprises(&context);
	terminal_open(&context.settings, &context.terminal);
	command_make(&context);
	status = enter(&context);
	machine_close(&context.machine);
	host_close(&context.host);
	return exit_like(&context, status);
}
