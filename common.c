/* SPDX-License-Identifier: GPL-3.0-only */
/*
 * What keeps it right: a process is believed only in one order.  It is opened
 * by its number, then everything about it is read, then its pidfd still lives:
 * so what was read was its own, and not that of a later process with the same
 * number.  From there on only the pidfd counts.
 */
#include "common.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* Values of the kernel's interface that older headers of a libc lack. */
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME	0x00000080
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP	0x02000000
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal	424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open	434
#endif
#ifndef SYS_clone3
#define SYS_clone3	435
#endif
#ifndef SYS_close_range
#define SYS_close_range	436
#endif
#ifndef SYS_openat2
#define SYS_openat2	437
#endif

#define SYS_NS_GET_OWNER_UID		_IO(0xb7, 0x4)
#define SYS_TIOCGPTPEER			_IO('T', 0x41)
#define SYS_RESOLVE_NO_XDEV		0x01
#define SYS_RESOLVE_NO_MAGICLINKS	0x02
#define SYS_RESOLVE_NO_SYMLINKS		0x04
#define SYS_RESOLVE_BENEATH		0x08
#define SYS_RESOLVE_IN_ROOT		0x10

#define SYS_PTRACE_SEIZE		0x4206
#define SYS_PTRACE_INTERRUPT		0x4207
#define SYS_PTRACE_DETACH		17
#define SYS_PTRACE_GET_FILTER		0x420c
#define SYS_PTRACE_EVENT_STOP		128
#define SYS_SECCOMP_SET_MODE_FILTER	1
#define SYS_KEYCTL_JOIN_SESSION		1
#define SYS_CAPABILITY_VERSION_3	0x20080522
#define SYS_F_SEAL_FUTURE_WRITE		0x0010
#define SYS_MFD_EXEC			0x0010
#define SYS_CLONE_INTO_CGROUP		UINT64_C(0x200000000)

#define STATUS_SIZE	16384	/* /proc/PID/status; a line of groups grows */
#define NSPAWN_WORD_SIZE	(PATH_MAX + 32)	/* an option and its path */
#define PID_NAMESPACE_SIZE	32	/* what the link /proc/PID/ns/pid says */
#define CGROUP_PROCS_SIZE	4096	/* the beginning of a cgroup.procs */

#define MACHINED_FILES	"/run/systemd/machines"

/* machinectl takes as long as a look at so many processes: about 5 ms. */
#define SCAN_MAX	1000

/* So often the parent of a process ends while it is looked at, at most. */
#define PARENTS_MAX	16

#define STAT_STARTTIME	22	/* the field's place in /proc/PID/stat */

#define SYS_DEVPTS_MAGIC	0x1cd1
#define SYS_CGROUP_MAGIC	0x27e0eb
#define SYS_CGROUP2_MAGIC	0x63677270

#define SECOND		INT64_C(1000)
#define TIME_MAX	(INT64_C(1000000000) * SECOND)

/* struct pidfd_info of Linux 6.15, in its first form. */
struct sys_pidfd_info {
	uint64_t	mask, cgroup;
	uint32_t	pid, tgid, ppid, ids[8];
	int32_t		exit_code;
};

#define SYS_PIDFD_GET_INFO	_IOWR(0xff, 11, struct sys_pidfd_info)
#define SYS_PIDFD_INFO_EXIT	(UINT64_C(1) << 3)

const struct namespace_kind namespace_kinds[NAMESPACES] = {
	[NAMESPACE_MOUNT] = { "mount", "mnt", CLONE_NEWNS, "no-mount", 256,
	    "stay in the caller's mount namespace",
	    "join its mount namespace" },
	[NAMESPACE_UTS] = { "uts", "uts", CLONE_NEWUTS, "no-uts", 257,
	    "stay in the caller's uts namespace (host name)",
	    "join its uts namespace" },
	[NAMESPACE_IPC] = { "ipc", "ipc", CLONE_NEWIPC, "no-ipc", 258,
	    "stay in the caller's ipc namespace",
	    "join its ipc namespace" },
	[NAMESPACE_NETWORK] = { "network", "net", CLONE_NEWNET, "no-network",
	    'n', "stay in the caller's network namespace",
	    "join its network namespace" },
	[NAMESPACE_PID] = { "pid", "pid", CLONE_NEWPID, "no-pid", 'p',
	    "stay in the caller's pid namespace",
	    "join its pid namespace" },
	[NAMESPACE_CGROUP] = { "cgroup", "cgroup", CLONE_NEWCGROUP,
	    "no-cgroup", 259, "stay in the caller's cgroup namespace",
	    "join its cgroup namespace" },
	[NAMESPACE_TIME] = { "time", "time", CLONE_NEWTIME, "no-time", 260,
	    "stay in the caller's time namespace",
	    "join its time namespace" },
	[NAMESPACE_USER] = { "user", "user", CLONE_NEWUSER, "no-user", 261,
	    "stay in the caller's user namespace",
	    "join its user namespace" },
};

/* Arrays, here and below: pointers would have to be relocated at each start. */
static const char signal_names[][8] = {
	[SIGHUP] = "HUP", [SIGINT] = "INT", [SIGQUIT] = "QUIT",
	[SIGILL] = "ILL", [SIGTRAP] = "TRAP", [SIGABRT] = "ABRT",
	[SIGBUS] = "BUS", [SIGFPE] = "FPE", [SIGKILL] = "KILL",
	[SIGUSR1] = "USR1", [SIGSEGV] = "SEGV", [SIGUSR2] = "USR2",
	[SIGPIPE] = "PIPE", [SIGALRM] = "ALRM", [SIGTERM] = "TERM",
#ifdef SIGSTKFLT
	[SIGSTKFLT] = "STKFLT",
#endif
	[SIGCHLD] = "CHLD", [SIGCONT] = "CONT", [SIGSTOP] = "STOP",
	[SIGTSTP] = "TSTP", [SIGTTIN] = "TTIN", [SIGTTOU] = "TTOU",
	[SIGURG] = "URG", [SIGXCPU] = "XCPU", [SIGXFSZ] = "XFSZ",
	[SIGVTALRM] = "VTALRM", [SIGPROF] = "PROF", [SIGWINCH] = "WINCH",
	[SIGIO] = "IO", [SIGPWR] = "PWR", [SIGSYS] = "SYS",
};

#define SIGNAL_NAMES	(sizeof(signal_names) / sizeof(signal_names[0]))

/*
 * systemd-nspawn's long options that take an argument, "=", and those that
 * take none, of all releases from 252 to 262.  Of those with a common
 * beginning the eldest comes first: an abbreviation that was accepted meant it.
 */
static const char nspawn_options[][32] = {
	"machine=", "directory=", "image=", "image-policy=", "ephemeral",
	"kill-signal=", "template=", "boot", "as-pid2", "user=", "uid=",
	"uuid=", "help", "hostname=", "version", "verity-data=", "volatile",
	"read-only", "register=", "resolv-conf=", "restrict-address-families=",
	"rlimit=", "root-hash=", "root-hash-sig=", "quiet", "keep-unit",
	"private-network", "private-users", "private-users-chown",
	"private-users-ownership=", "private-users-delegate=", "property=",
	"port=", "personality=", "pipe", "pivot-root=", "bind=", "bind-ro=",
	"bind-user=", "bind-user-group=", "bind-user-shell=", "background=",
	"tmpfs=", "timezone=", "overlay=", "overlay-ro=", "oci-bundle=",
	"oom-score-adjust=", "inaccessible=", "slice=", "setenv=",
	"settings=", "set-credential=", "selinux-context=",
	"selinux-apifs-context=", "share-system", "suppress-sync=", "system",
	"system-call-filter=", "load-credential=", "link-journal=",
	"network-interface=", "network-macvlan=", "network-ipvlan=",
	"network-veth", "network-veth-extra=", "network-bridge=",
	"network-zone=", "network-namespace-path=", "notify-ready=",
	"no-new-privileges=", "no-pager", "no-ask-password", "capability=",
	"chdir=", "cpu-affinity=", "console=", "cleanup",
	"ambient-capability=", "drop-capability=", "forward-journal=",
	"forward-journal-max-use=", "forward-journal-keep-free=",
	"forward-journal-max-file-size=", "forward-journal-max-files=",
};

#define NSPAWN_OPTIONS	(sizeof(nspawn_options) / sizeof(nspawn_options[0]))

/* Its short options that take an argument. */
#define NSPAWN_SHORT_ARG	"DuLMSZipEs"

/*
 * The inits, by the name of their program; where that is also something else (a
 * script, whose program is its shell), by the first word of their command line
 * or the second; where releases differ, by a signal that is caught and one that
 * is not.  What is not here stops by TERM, or not at all.
 */
static const struct {
	const char	*program;
	const char	*word;		/* it calls itself; NULL: whatever */
	const char	*argument;	/* the next word; NULL: whatever */
	int		 caught;	/* 0: whatever it catches */
	int		 uncaught;
	struct init	 init;
} inits[] = {
	{ .program = "systemd",
	    .init = { "systemd", INIT_SIGNAL, SIGNAL_RTMIN + 4 } },
	{ .program = "systemd-nspawn", .word = "(sd-stubinit)",
	    .init = { "systemd-nspawn's stub", INIT_SIGNAL,
	    SIGNAL_RTMIN + 4 } },
	{ .program = "runit", .caught = SIGPWR,
	    .init = { "runit", INIT_SIGNAL, SIGPWR } },
	{ .program = "runit", .caught = SIGCONT,
	    .init = { "runit", INIT_COMMAND, SIGTERM } },
	{ .program = "runsvdir",
	    .init = { "runsvdir", INIT_NONE, SIGTERM } },
	{ .program = "busybox", .word = "runsvdir",
	    .init = { "busybox runsvdir", INIT_NONE, SIGTERM } },
	{ .program = "busybox", .word = "init",
	    .init = { "busybox init", INIT_SIGNAL, SIGUSR2 } },
	{ .program = "init", .caught = SIGNAL_RTMIN + 4, .uncaught = SIGTERM,
	    .init = { "sysvinit", INIT_SIGNAL, SIGNAL_RTMIN + 4 } },
	{ .program = "init", .caught = SIGPWR, .uncaught = SIGTERM,
	    .init = { "sysvinit", INIT_COMMAND, SIGTERM } },
	{ .program = "openrc-init",
	    .init = { "openrc-init", INIT_SIGNAL, SIGTERM } },
	{ .program = "s6-svscan", .argument = "-X3",
	    .init = { "s6-linux-init", INIT_SIGNAL, SIGUSR1 } },
	{ .program = "s6-svscan",
	    .init = { "s6-svscan", INIT_SIGNAL, SIGTERM } },
	{ .program = "finit",
	    .init = { "finit", INIT_SIGNAL, SIGUSR2 } },
	{ .program = "procd",
	    .init = { "procd", INIT_SIGNAL, SIGUSR2 } },
	{ .program = "dinit",
	    .init = { "dinit", INIT_SIGNAL, SIGTERM } },
};

#define INITS	(sizeof(inits) / sizeof(inits[0]))

/* ---- text ---------------------------------------------------------- */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_alnum(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool
machine_name_valid(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > MACHINE_NAME_MAX)
		return false;
	for (size_t i = 0; i < length; i++) {
		bool first = i == 0 || name[i - 1] == '.';
		bool last = name[i + 1] == '.' || name[i + 1] == '\0';

		if (name[i] == '-' || name[i] == '.') {
			if (first || (last && name[i] == '-') ||
			    name[i + 1] == '\0')
				return false;
		} else if (!is_alnum(name[i]))
			return false;
	}
	return true;
}

/* Writes \xHH, without a NUL, and gives its length. */
static size_t
hex_escape(unsigned char byte, char *out)
{
	static const char digits[] = "0123456789abcdef";

	out[0] = '\\';
	out[1] = 'x';
	out[2] = digits[byte >> 4];
	out[3] = digits[byte & 15];
	return 4;
}

int
unit_name_escape(const char *text, char *escaped, size_t size)
{
	size_t used = 0;

	if (size < 4 * strlen(text) + 1) {
		errno = ENAMETOOLONG;
		return -1;
	}
	for (; *text != '\0'; text++) {
		if (is_alnum(*text) || strchr(":_.", *text) != NULL)
			escaped[used++] = *text;
		else
			used += hex_escape((unsigned char)*text,
			    escaped + used);
	}
	escaped[used] = '\0';
	return 0;
}

int
number_parse(const char *text, uint64_t max, uint64_t *number)
{
	uint64_t n = 0;

	if (*text == '\0') {
		errno = EINVAL;
		return -1;
	}
	for (; *text != '\0'; text++) {
		if (!is_digit(*text)) {
			errno = EINVAL;
			return -1;
		}
		uint64_t digit = (uint64_t)(*text - '0');

		if (digit > max || n > (max - digit) / 10) {
			errno = ERANGE;
			return -1;
		}
		n = n * 10 + digit;
	}
	*number = n;
	return 0;
}

/* Says how many ms the unit behind a number is long, 0 for no unit. */
static int64_t
time_unit(const char *text)
{
	if (*text == '\0' || strcmp(text, "s") == 0)
		return SECOND;
	if (strcmp(text, "min") == 0)
		return 60 * SECOND;
	if (strcmp(text, "h") == 0)
		return 3600 * SECOND;
	return 0;
}

/*
 * Gives the value of a fraction's digits in units, rounded up: 10 digits count,
 * so that with units of at most an hour nothing overflows.
 */
static int64_t
fraction_of(const char *digits, size_t count, int64_t unit)
{
	int64_t value = 0, scale = 1;

	for (size_t i = 0; i < count && i < 10; i++) {
		value = value * 10 + (digits[i] - '0');
		scale *= 10;
	}
	return (value * unit + scale - 1) / scale;
}

int
time_parse(const char *text, int64_t *ms)
{
	char whole[24];
	size_t digits = strspn(text, "0123456789");
	const char *fraction = text + digits + (text[digits] == '.');
	size_t places = text[digits] == '.' ?
	    strspn(fraction, "0123456789") : 0;
	int64_t unit = time_unit(fraction + places);
	uint64_t n;

	if (strcmp(text, "infinity") == 0) {
		*ms = INT64_MAX;
		return 0;
	}
	errno = EINVAL;
	if (unit == 0 || digits == 0 || (text[digits] == '.' && places == 0))
		return -1;
	errno = ERANGE;
	if (digits >= sizeof(whole))
		return -1;
	memcpy(whole, text, digits);
	whole[digits] = '\0';
	if (number_parse(whole, (uint64_t)(TIME_MAX / unit), &n) == -1)
		return -1;
	*ms = (int64_t)n * unit + fraction_of(fraction, places, unit);
	return 0;
}

/* Reads what stands behind RTMIN or RTMAX: nothing, or sign and number. */
static int
signal_offset(const char *text, char sign)
{
	uint64_t offset;

	if (*text == '\0')
		return 0;
	if (*text != sign || number_parse(text + 1,
	    SIGNAL_RTMAX - SIGNAL_RTMIN, &offset) == -1)
		return -1;
	return (int)offset;
}

int
signal_number(const char *text)
{
	uint64_t number;
	int offset;

	if (number_parse(text, SIGNAL_RTMAX, &number) == 0)
		return number == 0 ? -1 : (int)number;
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	if (strncasecmp(text, "RTMIN", 5) == 0) {
		offset = signal_offset(text + 5, '+');
		return offset == -1 ? -1 : SIGNAL_RTMIN + offset;
	}
	if (strncasecmp(text, "RTMAX", 5) == 0) {
		offset = signal_offset(text + 5, '-');
		return offset == -1 ? -1 : SIGNAL_RTMAX - offset;
	}
	for (size_t i = 1; i < SIGNAL_NAMES; i++)
		if (signal_names[i][0] != '\0' &&
		    strcasecmp(text, signal_names[i]) == 0)
			return (int)i;
	return -1;
}

const char *
signal_name(int signal, char name[SIGNAL_NAME_SIZE])
{
	if (signal > 0 && (size_t)signal < SIGNAL_NAMES &&
	    signal_names[signal][0] != '\0')
		snprintf(name, SIGNAL_NAME_SIZE, "SIG%s", signal_names[signal]);
	else if (signal == SIGNAL_RTMIN)
		snprintf(name, SIGNAL_NAME_SIZE, "SIGRTMIN");
	else if (signal > SIGNAL_RTMIN && signal <= SIGNAL_RTMAX)
		snprintf(name, SIGNAL_NAME_SIZE, "SIGRTMIN+%d",
		    signal - SIGNAL_RTMIN);
	else
		snprintf(name, SIGNAL_NAME_SIZE, "%d", signal);
	return name;
}

const char *
printable(const char *text, char *clean, size_t size)
{
	size_t used = 0;

	for (; *text != '\0'; text++) {
		bool plain = *text >= ' ' && *text <= '~' && *text != '\\';

		if (used + (plain ? 1 : 4) >= size)
			break;
		if (plain)
			clean[used++] = *text;
		else
			used += hex_escape((unsigned char)*text, clean + used);
	}
	clean[used] = '\0';
	return clean;
}

/* ---- options ------------------------------------------------------- */

int
option_next(int argc, char **argv, const struct option_spec *table)
{
	struct option longs[OPTIONS_MAX + 1] = { 0 };
	char shorts[2 * OPTIONS_MAX + 2] = "-";	/* words in their place */
	size_t used = 1;

	for (size_t i = 0; i < OPTIONS_MAX && table[i].name != NULL; i++) {
		longs[i].name = table[i].name;
		longs[i].has_arg = table[i].arg != NULL;
		longs[i].val = table[i].key;
		if (table[i].key > UCHAR_MAX)
			continue;
		shorts[used++] = (char)table[i].key;
		if (table[i].arg != NULL)
			shorts[used++] = ':';
	}
	return getopt_long(argc, argv, shorts, longs, NULL);
}

void
option_help(FILE *stream, const struct option_spec *table)
{
	for (; table->name != NULL; table++) {
		char form[40];

		snprintf(form, sizeof(form), "--%s%s%s", table->name,
		    table->arg == NULL ? "" : "=",
		    table->arg == NULL ? "" : table->arg);
		if (table->key <= UCHAR_MAX)
			fprintf(stream, "  -%c, ", table->key);
		else
			fprintf(stream, "      ");
		fprintf(stream, "%-18s %s\n", form, table->help);
	}
}

/* ---- time ---------------------------------------------------------- */

static int64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec / 1000000;
}

int64_t
deadline_in(int64_t ms)
{
	int64_t start = now();

	return ms >= DEADLINE_NEVER - start ? DEADLINE_NEVER : start + ms;
}

int
deadline_left(int64_t deadline)
{
	int64_t left;

	if (deadline == DEADLINE_NEVER)
		return -1;
	left = deadline - now();
	if (left < 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

/* ---- files --------------------------------------------------------- */

void
fd_close(int *fd)
{
	int keep = errno;

	if (*fd != -1)
		close(*fd);
	*fd = -1;
	errno = keep;
}

void
fds_close_from(int first)
{
	long max;

	if (syscall(SYS_close_range, first, UINT_MAX, 0) == 0)
		return;
	max = sysconf(_SC_OPEN_MAX);	/* before Linux 5.9 */
	for (int fd = first; fd < max; fd++)
		close(fd);
}

int
fds_tidy(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd != -1 && fd <= STDERR_FILENO);
	if (fd == -1)
		return -1;
	fds_close_from(STDERR_FILENO + 1);
	return 0;
}

/* Reads all of fd, which is closed. */
static ssize_t
fd_read(int fd, char *buffer, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size && (n = read(fd, buffer + used, size - used)) != 0) {
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			fd_close(&fd);
			return -1;
		}
		used += (size_t)n;
	}
	fd_close(&fd);
	if (used == size) {
		buffer[size - 1] = '\0';
		errno = EFBIG;
		return -1;
	}
	buffer[used] = '\0';
	return (ssize_t)used;
}

ssize_t
file_read(int dir, const char *path, char *buffer, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	return fd == -1 ? -1 : fd_read(fd, buffer, size);
}

/* Says whether fd is on that type of file system. */
static bool
fd_is_on(int fd, long magic)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (long)fs.f_type == magic;
}

struct sys_open_how {
	uint64_t	flags, mode, resolve;
};

static int
sys_openat2(int dir, const char *path, struct sys_open_how *how)
{
	return (int)syscall(SYS_openat2, dir, path, how, sizeof(*how));
}

int
file_open_in_root(int root, const char *path)
{
	struct sys_open_how how = {
		/* O_NONBLOCK: a FIFO in its place must not hold us up. */
		.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		.resolve = SYS_RESOLVE_IN_ROOT | SYS_RESOLVE_NO_MAGICLINKS,
	};
	struct stat st;
	int fd = sys_openat2(root, path, &how);

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	fd_close(&fd);
	errno = EINVAL;
	return -1;
}

ssize_t
file_read_in_root(int root, const char *path, char *buffer, size_t size)
{
	int fd = file_open_in_root(root, path);
	ssize_t n = fd == -1 ? -1 : fd_read(fd, buffer, size);

	if (n != -1 && strlen(buffer) != (size_t)n) {
		errno = EINVAL;
		return -1;
	}
	return n;
}

void
stream_of_fd(int fd, struct stream *stream)
{
	stream->fd = fd;
	stream->error = 0;
	stream->cut = false;
	stream->next = stream->end = stream->buffer;
}

int
stream_open(int dir, const char *path, struct stream *stream)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd == -1)
		return -1;
	stream_of_fd(fd, stream);
	return 0;
}

void
stream_of_text(const char *text, size_t length, struct stream *stream)
{
	stream_of_fd(-1, stream);
	stream->next = text;
	stream->end = text + length;
}

/* Takes one byte; gives -1 at the end of the text. */
static int
stream_byte(struct stream *stream)
{
	ssize_t n;

	if (stream->next == stream->end) {
		if (stream->fd == -1 || stream->error != 0)
			return -1;
		do
			n = read(stream->fd, stream->buffer,
			    sizeof(stream->buffer));
		while (n == -1 && errno == EINTR);
		if (n == -1)
			stream->error = errno;
		if (n <= 0)
			return -1;
		stream->next = stream->buffer;
		stream->end = stream->buffer + n;
	}
	return (unsigned char)*stream->next++;
}

int
stream_word(struct stream *stream, const char *delimiters, char *word,
    size_t size)
{
	size_t used = 0;
	int byte;

	stream->cut = false;
	/* The NUL at the end of delimiters is one of them. */
	while ((byte = stream_byte(stream)) != -1 &&
	    strchr(delimiters, byte) == NULL) {
		if (used < size - 1)
			word[used++] = (char)byte;
		else
			stream->cut = true;
	}
	word[used] = '\0';
	return byte;
}

bool
stream_line(struct stream *stream, int delimiter)
{
	while (delimiter != '\n' && delimiter != -1)
		delimiter = stream_byte(stream);
	return delimiter != -1;
}

void
stream_close(struct stream *stream)
{
	fd_close(&stream->fd);
}

/* ---- helper -------------------------------------------------------- */

int
child_wait(pid_t pid, int *status)
{
	pid_t n;
	int wstatus;

	do
		n = waitpid(pid, &wstatus, 0);
	while (n == -1 && errno == EINTR);
	if (n == -1)
		return -1;
	*status = wstatus;
	return 0;
}

/* Starts the program of argv with out as its stdout. */
static int
helper_start(const char *const argv[], int out, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	int error = posix_spawn_file_actions_init(&actions);

	if (error == 0) {
		error = posix_spawn_file_actions_addopen(&actions,
		    STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		if (error == 0)
			error = posix_spawn_file_actions_addopen(&actions,
			    STDERR_FILENO, "/dev/null", O_WRONLY, 0);
		if (error == 0)
			error = posix_spawn_file_actions_adddup2(&actions,
			    out, STDOUT_FILENO);
		if (error == 0)	/* posix_spawn(3) never changes the words */
			error = posix_spawnp(pid, argv[0], &actions, NULL,
			    (char *const *)(uintptr_t)argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	errno = error;
	return error == 0 ? 0 : -1;
}

/*
 * Reads what is there now; where output is full the rest is dropped.
 * Returns  1; 0 at the end; -1
 */
static int
helper_read(int fd, char *output, size_t size, size_t *used)
{
	char rest[512];
	ssize_t n = size - *used > 1 ?
	    read(fd, output + *used, size - *used - 1) :
	    read(fd, rest, sizeof(rest));

	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? 1 : -1;
	if (size - *used > 1)
		*used += (size_t)n;
	return n > 0;
}

/* Collects output until helper has ended. */
static int
helper_wait(const struct process *helper, int out, int64_t deadline,
    char *output, size_t size)
{
	struct pollfd fds[] = {
		{ .fd = helper->fd, .events = POLLIN },
		{ .fd = out, .events = POLLIN },
	};
	size_t used = 0;
	int n, more = 1;

	do {
		n = poll(fds, 2, deadline_left(deadline));
		if (n > 0 && fds[1].revents != 0 && (more =
		    helper_read(out, output, size, &used)) == 0)
			fds[1].fd = -1;
	} while (more != -1 && ((n == -1 && errno == EINTR) ||
	    (n > 0 && (fds[0].revents == 0 || fds[1].revents & POLLIN))));
	output[used] = '\0';
	if (n == 0)
		errno = ETIMEDOUT;
	return n > 0 && more != -1 ? 0 : -1;
}

int
run(const char *const argv[], int64_t deadline, char *output, size_t size)
{
	struct process helper = PROCESS_NONE;
	int pipefd[2], status, result = -1;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC) == -1)
		return -1;
	/* Our end alone: the helper's descriptor is like any other. */
	if (fcntl(pipefd[0], F_SETFL, O_NONBLOCK) == -1)
		goto out;
	if (helper_start(argv, pipefd[1], &pid) == -1)
		goto out;
	fd_close(&pipefd[1]);
	/* Our own child until waitpid(): its number cannot be another's. */
	bool ended = process_open(pid, &helper) == 0 &&
	    helper_wait(&helper, pipefd[0], deadline, output, size) == 0;
	int error = errno;

	if (!ended)
		kill(pid, SIGKILL);
	if (child_wait(pid, &status) == 0) {
		if (ended)
			result = exit_status(status);
		errno = error;
	}
out:
	process_close(&helper);
	fd_close(&pipefd[0]);
	fd_close(&pipefd[1]);
	return result;
}

/* ---- process ------------------------------------------------------- */

int
process_open(pid_t pid, struct process *process)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd == -1)
		return -1;
	*process = (struct process){ .pid = pid, .fd = fd };
	return 0;
}

bool
process_alive(const struct process *process)
{
	struct pollfd fd = { .fd = process->fd, .events = POLLIN };
	int n = process->fd == -1 ? 1 : poll(&fd, 1, 0);

	if (n == 1)
		errno = ESRCH;
	return n == 0;
}

int
process_signal(const struct process *process, int signal)
{
	return (int)syscall(SYS_pidfd_send_signal, process->fd, signal, NULL,
	    0);
}

void
process_close(struct process *process)
{
	fd_close(&process->fd);
	process->pid = 0;
}

int
exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
	    WEXITSTATUS(status);
}

/* Gives the line behind this one; at the end that is empty. */
static const char *
line_next(const char *text)
{
	text += strcspn(text, "\n");
	return text + (*text == '\n');
}

/* Finds the line of text that begins with key, and gives what follows. */
static const char *
line_value(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (; *text != '\0'; text = line_next(text))
		if (strncmp(text, key, length) == 0)
			return text + length;
	return NULL;
}

/* Reads a line that is a set of signals, as 16 hexadecimal digits. */
static bool
line_signals(const char *line, uint64_t *signals)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t set = 0;

	line += strspn(line, " \t");
	if (strspn(line, digits) != 16)
		return false;
	for (int i = 0; i < 16; i++)
		set = set << 4 | (uint64_t)(strchr(digits, line[i]) - digits);
	*signals = set;
	return true;
}

/*
 * Takes the next number of a line, with the blanks before it.  Gives false at
 * the line's end and for anything else.
 */
static bool
line_number(const char **line, uint64_t *number)
{
	char digits[24];
	size_t length;

	*line += strspn(*line, " \t");
	length = strspn(*line, "0123456789");
	if (length >= sizeof(digits))
		return false;
	memcpy(digits, *line, length);
	digits[length] = '\0';
	*line += length;
	return number_parse(digits, INT64_MAX, number) == 0;
}

/* Copies what a line says; what does not fit is cut. */
static void
line_copy(const char *line, char *copy, size_t size)
{
	size_t length;

	line += strspn(line, " \t");
	length = strcspn(line, "\n");
	if (length > size - 1)
		length = size - 1;
	memcpy(copy, line, length);
	copy[length] = '\0';
}

/* Reads the line of a set of signals. */
static bool
status_signals(const char *text, const char *key, uint64_t *signals)
{
	const char *line = line_value(text, key);

	return line != NULL && line_signals(line, signals);
}

/* Reads the first number of a line. */
static bool
status_number(const char *text, const char *key, uint64_t max,
    uint32_t *number)
{
	const char *line = line_value(text, key);
	uint64_t n;

	if (line == NULL || !line_number(&line, &n) || n > max)
		return false;
	*number = (uint32_t)n;
	return true;
}

/* Takes the next word of a line, with the blanks before it. */
static int
line_word(struct stream *stream, char *word, size_t size)
{
	int delimiter;

	do
		delimiter = stream_word(stream, " \t\n", word, size);
	while (word[0] == '\0' && (delimiter == ' ' || delimiter == '\t'));
	return delimiter;
}

/* Goes on to what stands after "key:" at the beginning of a line. */
static int
line_find(struct stream *stream, const char *key)
{
	char word[16];
	int delimiter;

	do {
		delimiter = stream_word(stream, ":\n", word, sizeof(word));
		if (delimiter == ':' && !stream->cut && strcmp(word, key) == 0)
			return 0;
	} while (stream_line(stream, delimiter));
	errno = stream->error != 0 ? stream->error : EINVAL;
	return -1;
}

/* The lines of a /proc/PID/status that are read. */
enum {
	STATUS_NAME, STATUS_STATE, STATUS_PPID, STATUS_TRACER, STATUS_UID,
	STATUS_NSPID, STATUS_PENDING, STATUS_BLOCKED, STATUS_CAUGHT,
	STATUS_BOUNDING, STATUS_NO_NEW_PRIVS,
	STATUS_SECCOMP,	/* missing where the kernel has no filters */
	STATUS_LINES
};

static const char status_keys[STATUS_LINES][12] = {
	"Name", "State", "PPid", "TracerPid", "Uid", "NSpid", "ShdPnd",
	"SigBlk", "SigCgt", "CapBnd", "NoNewPrivs", "Seccomp",
};

/* Keeps one word of a line.  True if it is as it should be. */
static bool
status_keep(size_t line, const char *word, struct process_status *status)
{
	uint64_t n = 0;
	bool number = number_parse(word, UINT32_MAX, &n) == 0;
	bool pid = number && n < INT_MAX;

	switch (line) {
	case STATUS_NAME:
		line_copy(word, status->name, sizeof(status->name));
		return true;
	case STATUS_STATE:
		status->state = *word;
		return *word != '\0';
	case STATUS_PPID:
		status->ppid = (pid_t)n;
		return pid;
	case STATUS_TRACER:
		status->tracer = (pid_t)n;
		return pid;
	case STATUS_UID:
		status->uid = (uid_t)n;
		return number;
	case STATUS_NSPID:
		status->inner = (pid_t)n;
		status->depth++;
		return pid;
	case STATUS_PENDING:
		return line_signals(word, &status->pending);
	case STATUS_BLOCKED:
		return line_signals(word, &status->blocked);
	case STATUS_CAUGHT:
		return line_signals(word, &status->caught);
	case STATUS_BOUNDING:
		return line_signals(word, &status->bounding);
	case STATUS_NO_NEW_PRIVS:
		status->no_new_privs = n != 0;
		return number;
	default:
		status->filtered = n != 0;
		return number;
	}
}

/*
 * Reads the words of a line behind its key.
 * Returns  the last delimiter, as stream_word(); -2 for a line of nonsense
 */
static int
status_line(struct stream *stream, size_t line, struct process_status *status)
{
	char word[PROCESS_NAME_SIZE + 1];	/* a tab is before the name */
	int delimiter;

	if (line == STATUS_NAME) {
		delimiter = stream_word(stream, "\n", word, sizeof(word));
		return status_keep(line, word, status) ? delimiter : -2;
	}
	do {
		delimiter = line_word(stream, word, sizeof(word));
		if (!status_keep(line, word, status))
			return -2;
	} while (line == STATUS_NSPID && delimiter == '\t');
	return delimiter;
}

int
process_status_parse(struct stream *stream, struct process_status *status)
{
	const unsigned needed = (1u << STATUS_SECCOMP) - 1;
	struct process_status s = { .depth = 0 };
	unsigned seen = 0;
	int delimiter;

	do {
		char key[sizeof(status_keys[0])];
		size_t line = 0;

		delimiter = stream_word(stream, ":\n", key, sizeof(key));
		while (line < STATUS_LINES &&
		    strcmp(key, status_keys[line]) != 0)
			line++;
		if (delimiter != ':' || stream->cut || line == STATUS_LINES)
			continue;
		delimiter = status_line(stream, line, &s);
		seen |= 1u << line;
	} while (delimiter != -2 && stream_line(stream, delimiter));
	if (stream->error != 0 || delimiter == -2 ||
	    (seen & needed) != needed) {
		errno = stream->error != 0 ? stream->error : EINVAL;
		return -1;
	}
	*status = s;
	return 0;
}

bool
signal_in(uint64_t set, int signal)
{
	return (set >> (signal - 1) & 1) != 0;
}

#define PROC_PATH_SIZE	64

/* Writes the path of a process's file below proc; process 0 is the caller. */
static const char *
proc_path(char path[PROC_PATH_SIZE], pid_t pid, const char *file)
{
	if (pid == 0)
		snprintf(path, PROC_PATH_SIZE, "self/%s", file);
	else
		snprintf(path, PROC_PATH_SIZE, "%d/%s", pid, file);
	return path;
}

/* Reads such a file. */
static ssize_t
proc_read(int proc, pid_t pid, const char *file, char *buffer, size_t size)
{
	char path[PROC_PATH_SIZE];

	return file_read(proc, proc_path(path, pid, file), buffer, size);
}

/* Opens such a file as a stream. */
static int
proc_stream(int proc, pid_t pid, const char *file, struct stream *stream)
{
	char path[PROC_PATH_SIZE];

	return stream_open(proc, proc_path(path, pid, file), stream);
}

int
process_status_read(int proc, pid_t pid, struct process_status *status)
{
	struct stream stream;
	int n;

	if (proc_stream(proc, pid, "status", &stream) == -1)
		return -1;
	n = process_status_parse(&stream, status);
	stream_close(&stream);
	return n;
}

/* Adds the number of a group to a list, which becomes longer by doubling. */
static int
group_add(gid_t **groups, size_t count, const char *word)
{
	uint64_t gid;

	if (number_parse(word, UINT32_MAX, &gid) == -1)
		return -1;
	if ((count & (count - 1)) == 0) {	/* 0, or a power of 2 */
		gid_t *longer = realloc(*groups,
		    (count == 0 ? 1 : 2 * count) * sizeof(**groups));

		if (longer == NULL)
			return -1;
		*groups = longer;
	}
	(*groups)[count] = (gid_t)gid;
	return 0;
}

int
process_groups_read(int proc, pid_t pid, gid_t **groups, size_t *count)
{
	struct stream stream;
	gid_t *list = NULL;
	char word[16];
	size_t used = 0;
	int delimiter = 0, n;

	if (proc_stream(proc, pid, "status", &stream) == -1)
		return -1;
	n = line_find(&stream, "Groups");
	while (n == 0 && delimiter != '\n' && delimiter != -1) {
		delimiter = line_word(&stream, word, sizeof(word));
		if (word[0] != '\0')
			n = group_add(&list, used++, word);
	}
	if (n == 0 && stream.error != 0) {
		errno = stream.error;
		n = -1;
	}
	stream_close(&stream);
	if (n == -1) {
		free(list);
		return -1;
	}
	*groups = list;
	*count = used;
	return 0;
}

#define HIERARCHY_SIZE	256	/* the names of all controllers */

/*
 * Takes the next line of a /proc/PID/cgroup: the hierarchy's controllers or
 * name, and the path of the process in it.
 * Returns  as stream_word(); -1 at the end of the text
 */
static int
cgroup_line(struct stream *stream, char hierarchy[HIERARCHY_SIZE],
    char path[PATH_MAX])
{
	char number[16];
	int delimiter;

	hierarchy[0] = path[0] = '\0';
	delimiter = stream_word(stream, ":\n", number, sizeof(number));
	if (delimiter == ':')
		delimiter = stream_word(stream, ":\n", hierarchy,
		    HIERARCHY_SIZE);
	if (delimiter == ':')
		delimiter = stream_word(stream, "\n", path, PATH_MAX);
	return stream_line(stream, delimiter) || path[0] != '\0' ? 0 : -1;
}

/* True if a hierarchy is called so or has that controller. */
static bool
hierarchy_is(const char *hierarchy, const char *name)
{
	size_t length = strlen(name);

	if (*hierarchy == '\0' || strcmp(hierarchy, name) == 0)
		return *hierarchy == *name;
	do {
		hierarchy += *hierarchy == ',';
		if (strcspn(hierarchy, ",") == length &&
		    memcmp(hierarchy, name, length) == 0)
			return true;
		hierarchy += strcspn(hierarchy, ",");
	} while (*hierarchy != '\0');
	return false;
}

int
process_cgroup(int proc, pid_t pid, const char *hierarchy, char *path,
    size_t size)
{
	char name[HIERARCHY_SIZE], found[PATH_MAX];
	struct stream stream;
	int n;

	if (proc_stream(proc, pid, "cgroup", &stream) == -1)
		return -1;
	do
		n = cgroup_line(&stream, name, found);
	while (n == 0 && (found[0] == '\0' || !hierarchy_is(name, hierarchy)));
	stream_close(&stream);
	errno = n == 0 ? ENAMETOOLONG :
	    stream.error != 0 ? stream.error : ENOENT;
	/* So long a path is one that newer kernels have cut. */
	if (n == -1 || strlen(found) >= size || strlen(found) == PATH_MAX - 1)
		return -1;
	memcpy(path, found, strlen(found) + 1);
	return 0;
}

int64_t
process_age(int proc, pid_t pid)
{
	char text[1024];
	struct timespec t;
	uint64_t ticks;
	const char *field;

	if (proc_read(proc, pid, "stat", text, sizeof(text)) == -1)
		return -1;
	/* Its name, the second field, may have blanks and parentheses. */
	field = strrchr(text, ')');
	for (int i = 2; field != NULL && i < STAT_STARTTIME; i++)
		field = strchr(field + 1, ' ');
	if (field == NULL || !line_number(&field, &ticks))
		return -1;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec / 1000000 -
	    (int64_t)ticks * SECOND / sysconf(_SC_CLK_TCK);
}

const char *
process_place(int proc, pid_t pid, char place[PROCESS_NAME_SIZE])
{
	if (proc_read(proc, pid, "wchan", place, PROCESS_NAME_SIZE) == -1 ||
	    strcmp(place, "0") == 0)
		place[0] = '\0';
	return place;
}

int
process_ended(const struct process *process, int *status)
{
	struct sys_pidfd_info info = { .mask = SYS_PIDFD_INFO_EXIT };

	/* A libc's ioctl(2) may take no request of its size. */
	if (syscall(SYS_ioctl, process->fd, SYS_PIDFD_GET_INFO, &info) == -1)
		return -1;
	if ((info.mask & SYS_PIDFD_INFO_EXIT) == 0) {
		errno = EAGAIN;
		return -1;
	}
	*status = info.exit_code;
	return 0;
}

/* ---- machine ------------------------------------------------------- */

/* Compares a part of a path with a whole word. */
static bool
part_is(const char *part, size_t length, const char *word)
{
	return strlen(word) == length && memcmp(part, word, length) == 0;
}

/* The names that the unit of a machine may have. */
struct unit_names {
	char	names[4][UNIT_NAME_MAX];
};

static void
unit_names_make(const char *name, struct unit_names *units)
{
	char escaped[4 * MACHINE_NAME_MAX + 1] = "";
	const struct {
		const char *prefix, *name, *suffix;
	} forms[] = {
		{ "machine-", escaped, ".scope" },
		{ "", name, ".scope" },
		{ "systemd-nspawn@", name, ".service" },
		{ "systemd-nspawn@", escaped, ".service" },	/* long ago */
	};

	unit_name_escape(name, escaped, sizeof(escaped));
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		snprintf(units->names[i], UNIT_NAME_MAX, "%s%s%s",
		    forms[i].prefix, forms[i].name, forms[i].suffix);
}

/* True if a folder below the slices is the unit of the machine. */
static bool
folder_is_unit(const char *folder, const struct unit_names *units)
{
	folder += *folder == '_';	/* systemd's own escape */
	for (size_t i = 0; i < sizeof(units->names) / UNIT_NAME_MAX; i++)
		if (strcmp(folder, units->names[i]) == 0)
			return true;
	return false;
}

static bool
part_is_slice(const char *part, size_t length)
{
	static const char slice[] = ".slice";
	const size_t tail = sizeof(slice) - 1;

	return length >= tail && part_is(part + length - tail, tail, slice);
}

/*
 * Cuts a cgroup's path after the unit in whose payload it is, without the '/'
 * at its beginning; it becomes empty where it is in none.
 */
static void
path_cut(char *path)
{
	static const char payload[] = "/payload";
	const size_t tail = sizeof(payload) - 1;
	char *part = path;
	size_t length;

	for (;;) {
		part += *part == '/';
		length = strcspn(part, "/");
		if (!part_is_slice(part, length))
			break;
		part += length;
	}
	part += length;
	if (strncmp(part, payload, tail) == 0 &&
	    strchr("/", part[tail]) != NULL)
		*part = '\0';
	else
		*path = '\0';
	if (*path == '/')
		memmove(path, path + 1, strlen(path));
}

/* Opens the directory path if it is one of that type of file system. */
static int
hierarchy_open(const char *path, long magic)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		return -1;
	if (fd_is_on(fd, magic))
		return fd;
	fd_close(&fd);
	errno = ENOENT;
	return -1;
}

/*
 * Opens the root of the hierarchy of cgroups in which systemd keeps its units.
 */
static int
hierarchy_of_units(void)
{
	int fd = hierarchy_open("/sys/fs/cgroup", SYS_CGROUP2_MAGIC);

	return fd != -1 ? fd : hierarchy_open("/sys/fs/cgroup/systemd",
	    SYS_CGROUP_MAGIC);
}

int
host_open(const char *proc, const char *cgroup, struct host *host)
{
	const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
	int fd = open(proc, flags);

	if (fd == -1)
		return -1;
	host->proc = fd;
	host->cgroup = cgroup == NULL ? hierarchy_of_units() :
	    open(cgroup, flags);
	return 0;
}

void
host_close(struct host *host)
{
	fd_close(&host->cgroup);
	fd_close(&host->proc);
}

int
cgroup_unit(struct stream *stream, char path[PATH_MAX])
{
	char hierarchy[HIERARCHY_SIZE];

	path[0] = '\0';
	while (path[0] == '\0' && cgroup_line(stream, hierarchy, path) == 0) {
		if (hierarchy[0] == '\0' ||
		    strcmp(hierarchy, "name=systemd") == 0)
			path_cut(path);
		else
			path[0] = '\0';
	}
	errno = stream->error;
	return stream->error == 0 ? 0 : -1;
}

/* Gives the last part of a path. */
static const char *
path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

bool
unit_is_machines(const char *path, const char *name)
{
	struct unit_names units;

	if (!machine_name_valid(name))
		return false;
	unit_names_make(name, &units);
	return folder_is_unit(path_base(path), &units);
}

/*
 * Finds the option that word, up to length, is or abbreviates.  NULL for one
 * that no release has.
 */
static const char *
nspawn_option(const char *word, size_t length)
{
	const char *found = NULL;

	for (size_t i = 0; i < NSPAWN_OPTIONS; i++) {
		const char *option = nspawn_options[i];

		if (strncmp(option, word, length) != 0)
			continue;
		if (option[length] == '\0' || option[length] == '=')
			return option;
		if (found == NULL)
			found = option;
	}
	return found;
}

static void
text_copy(const char *text, char *copy, size_t size)
{
	size_t length = strnlen(text, size - 1);

	memcpy(copy, text, length);
	copy[length] = '\0';
}

/* Keeps what concerns us of an option; letter is 0 where it is a long one. */
static void
nspawn_option_keep(const char *option, char letter, const char *value,
    struct nspawn_words *words)
{
	bool image = letter == 'i' || strcmp(option, "image=") == 0;

	if (letter == 'M' || strcmp(option, "machine=") == 0)
		text_copy(value, words->machine, sizeof(words->machine));
	else if (image || (!words->image &&
	    (letter == 'D' || strcmp(option, "directory=") == 0)))
		text_copy(value, words->path, sizeof(words->path));
	else if (strcmp(option, "kill-signal=") == 0)
		text_copy(value, words->kill_signal,
		    sizeof(words->kill_signal));
	else if (letter == 'x' || strcmp(option, "ephemeral") == 0)
		words->ephemeral = true;
	words->image = words->image || image;
}

/*
 * Reads a word of short options; next is the word after it.  True if that is
 * the argument of the last.
 */
static bool
nspawn_shorts(const char *word, const char *next, struct nspawn_words *words)
{
	for (word++; *word != '\0'; word++) {
		if (strchr(NSPAWN_SHORT_ARG, *word) == NULL) {
			nspawn_option_keep("", *word, "", words);
			continue;
		}
		nspawn_option_keep("", *word, word[1] == '\0' ? next : word + 1,
		    words);
		return word[1] == '\0';
	}
	return false;
}

/* The same for a word that is a long option. */
static bool
nspawn_long(const char *word, const char *next, struct nspawn_words *words)
{
	size_t length = strcspn(word + 2, "=");
	const char *value = word + 2 + length;
	const char *option = nspawn_option(word + 2, length);

	if (option == NULL)
		return false;
	if (*value == '=') {
		nspawn_option_keep(option, 0, value + 1, words);
		return false;
	}
	bool takes = option[strlen(option) - 1] == '=';

	/* Since 260 this one can do without, and then has another meaning. */
	if (strcmp(option, "user=") == 0 && *next == '-')
		takes = false;
	nspawn_option_keep(option, 0, takes ? next : "", words);
	return takes;
}

/* Takes the next word of a command line.  False at its end. */
static bool
nspawn_word(struct stream *stream, char word[NSPAWN_WORD_SIZE])
{
	return stream_word(stream, "", word, NSPAWN_WORD_SIZE) != -1 ||
	    word[0] != '\0';
}

int
nspawn_words_parse(struct stream *stream, struct nspawn_words *words)
{
	char buffers[2][NSPAWN_WORD_SIZE];
	char *word = buffers[0], *next = buffers[1];
	bool more = nspawn_word(stream, word);	/* argv[0] */

	memset(words, 0, sizeof(*words));
	more = more && nspawn_word(stream, word);
	while (more && word[0] == '-' && word[1] != '\0' &&
	    strcmp(word, "--") != 0) {
		bool taken;

		more = nspawn_word(stream, next);
		taken = word[1] == '-' ? nspawn_long(word, next, words) :
		    nspawn_shorts(word, next, words);
		if (taken)
			more = more && nspawn_word(stream, next);
		char *other = word;

		word = next;
		next = other;
	}
	errno = stream->error;
	return stream->error == 0 ? 0 : -1;
}

/*
 * Compares a name with what systemd-nspawn makes of a path: its last part,
 * without suffix, without what no name has.  What name has more is in *rest.
 */
static bool
path_names(const char *path, const char *suffix, const char *name,
    const char **rest)
{
	size_t end = strlen(path), tail = strlen(suffix), start;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (start = end; start > 0 && path[start - 1] != '/'; start--)
		;
	if (end - start > tail && memcmp(path + end - tail, suffix, tail) == 0)
		end -= tail;
	for (; start < end; start++) {
		if (!is_alnum(path[start]) && strchr("-.", path[start]) == NULL)
			continue;
		if (*name != path[start])
			return false;
		name++;
	}
	*rest = name;
	return true;
}

/* Says whether text is what --ephemeral appends: '-' and 16 digits. */
static bool
is_ephemeral_tail(const char *text)
{
	return text[0] == '-' && strlen(text) == 17 &&
	    strspn(text + 1, "0123456789abcdef") == 16;
}

/* Says whether the last part of path is one that has no name of its own. */
static bool
path_nameless(const char *path)
{
	size_t end = strlen(path);
	size_t dots = 0;

	while (end > 0 && path[end - 1] == '/')
		end--;
	while (end > 0 && path[end - 1] == '.') {
		end--;
		dots++;
	}
	return dots <= 2 && (end == 0 || path[end - 1] == '/');
}

enum naming
nspawn_words_name(const struct nspawn_words *words, const char *name)
{
	const char *suffix = words->image ? ".raw" : "";
	const char *rest;
	bool same;

	if (words->machine[0] != '\0')
		return strcmp(words->machine, name) == 0 ? NAMES_IT :
		    NAMES_OTHER;
	if (path_nameless(words->path))
		return NAMES_NONE;
	same = path_names(words->path, suffix, name, &rest) &&
	    (words->ephemeral ? is_ephemeral_tail(rest) : *rest == '\0');
	return same ? NAMES_IT : NAMES_OTHER;
}

/*
 * Compares a namespace of a process with the caller's.
 * Returns  1 for the same, 0 for another; -1
 */
static int
namespace_same(int proc, pid_t pid, const char *file)
{
	char path[PROC_PATH_SIZE];
	struct stat theirs, ours;

	if (fstatat(proc, proc_path(path, 0, file), &ours, 0) == -1 ||
	    fstatat(proc, proc_path(path, pid, file), &theirs, 0) == -1)
		return -1;
	return ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/*
 * Opens a namespace of a process.  The descriptor is -1 where the process is in
 * the caller's, or the kernel has no such namespaces.
 * errors   EOWNERDEAD  when the process has none, since its first thread ended
 */
static int
namespace_open(int proc, pid_t pid, const char *file, int *fd)
{
	char path[PROC_PATH_SIZE];
	struct stat theirs, ours;

	*fd = -1;
	if (fstatat(proc, proc_path(path, 0, file), &ours, 0) == -1)
		return errno == ENOENT ? 0 : -1;
	*fd = openat(proc, proc_path(path, pid, file), O_RDONLY | O_CLOEXEC);
	if (*fd == -1) {
		if (errno == ENOENT)
			errno = EOWNERDEAD;
		return -1;
	}
	int n = fstat(*fd, &theirs);

	if (n == -1 || (ours.st_dev == theirs.st_dev &&
	    ours.st_ino == theirs.st_ino))
		fd_close(fd);
	return n;
}

/*
 * Finds the name of a process's program, the last part of its path, as the
 * kernel knows it.
 *   name     a part of path
 * errors   ENOENT  when it has ended, or its first thread has
 */
static int
process_exe(int proc, pid_t pid, char path[PATH_MAX], const char **name)
{
	static const char deleted[] = " (deleted)";
	const size_t tail = sizeof(deleted) - 1;
	char link[PROC_PATH_SIZE];
	ssize_t n = readlinkat(proc, proc_path(link, pid, "exe"), path,
	    PATH_MAX - 1);

	if (n == -1)
		return -1;
	path[n] = '\0';
	if ((size_t)n > tail && strcmp(path + (size_t)n - tail, deleted) == 0)
		path[(size_t)n - tail] = '\0';
	*name = path_base(path);
	return 0;
}

/*
 * Finds out whether a process is a systemd-nspawn of the caller's pid
 * namespace.
 * Returns  1 for yes, 0 for no; -1
 */
static int
process_is_nspawn(int proc, pid_t pid)
{
	static const char nspawn[] = "systemd-nspawn";
	char comm[128], path[PATH_MAX];
	const char *program;
	ssize_t n = proc_read(proc, pid, "comm", comm, sizeof(comm));

	if (n <= 0)
		return (int)n;
	if (!part_is(comm, (size_t)n - 1, nspawn))
		return 0;
	if (process_exe(proc, pid, path, &program) == -1)
		return errno == ENOENT ? 0 : -1;	/* it is ending */
	return strcmp(program, nspawn) != 0 ? 0 :
	    namespace_same(proc, pid, "ns/pid");
}

/* Reads the command line of a systemd-nspawn. */
static int
nspawn_words_read(int proc, pid_t pid, struct nspawn_words *words)
{
	struct stream stream;
	int n;

	if (proc_stream(proc, pid, "cmdline", &stream) == -1)
		return -1;
	n = nspawn_words_parse(&stream, words);
	stream_close(&stream);
	return n;
}

/* The ways in which a machine is looked for. */
enum {
	WAY_UNIT = 1,		/* its leader is in a unit that has its name */
	WAY_SUPERVISOR = 2,	/* its supervisor's command line names it */
	WAY_MACHINED = 4,	/* machined says so */
};

/* What is looked for, and what one way after the other has found of it. */
struct search {
	const struct host	*host;
	const char		*name;
	struct unit_names	 units;
	struct machined		*machined;
	unsigned		 ways;		/* that are being tried */
	struct machine		 found;	/* by all ways that were tried */
	bool			 twins;	/* found is one of two */
	pid_t			*suspects;
	unsigned		 depth;		/* pid namespaces, of a leader */
	bool			 unsure;	/* a way may have missed one */
	int			 error;		/* what ends it: an errno */
	int			 doubt;		/* why "none" is no answer */
};

/*
 * One look at a process that may be a leader: each file of it and of its parent
 * is read once.  The parent's number alone is read again, once the parent is
 * held: no pidfd tells whose parent it is.
 */
struct look {
	struct process		 leader;
	struct process_status	 status;
	bool			 is_leader;	/* of whatever machine */
	bool			 hidden;	/* nobody can name its unit */
	char			 unit[PATH_MAX];	/* as cgroup_unit() */
	struct process		 parent;	/* empty: none that matters */
	bool			 supervised;	/* by its parent */
	uid_t			 owner;		/* the parent's user */
	struct nspawn_words	 words;		/* the parent's */
};

static void
look_close(struct look *look)
{
	process_close(&look->leader);
	process_close(&look->parent);
}

/*
 * Takes hold of a process if it is a leader: PID 1 of a pid namespace that is
 * the next one below the caller's.
 * errors   ESRCH    when it is something else or has ended
 *          ENOTSUP  when it is in the caller's own pid namespace
 */
static int
look_leader(const struct search *search, pid_t pid, struct look *look)
{
	int proc = search->host->proc, same;

	if (process_open(pid, &look->leader) == -1 ||
	    process_status_read(proc, pid, &look->status) == -1)
		return -1;
	look->is_leader = look->status.inner == 1 &&
	    look->status.depth == search->depth;
	if (!look->is_leader && search->ways != WAY_MACHINED) {
		errno = ESRCH;
		return -1;
	}
	same = namespace_same(proc, pid, "ns/pid");
	if (same == -1 || !process_alive(&look->leader))
		return -1;
	if (same == 0 && look->is_leader)
		return 0;
	look->is_leader = false;
	errno = same == 1 ? ENOTSUP : ESRCH;
	return -1;
}

/* Reads in which unit's payload the leader is. */
static int
look_unit(const struct search *search, struct look *look)
{
	struct stream stream;
	int n;

	if (proc_stream(search->host->proc, look->leader.pid, "cgroup",
	    &stream) == -1)
		return -1;
	n = cgroup_unit(&stream, look->unit);
	stream_close(&stream);
	/* So deep in its payload that the kernel has no room for the path. */
	look->hidden = n == -1 && errno == ENAMETOOLONG;
	return look->hidden ? 0 : n;
}

/*
 * Judges a leader by the unit that it is in, and by what the command line of
 * its supervisor says.
 */
static bool
look_names(const struct search *search, const struct look *look,
    enum naming naming)
{
	/*
	 * The scope of a registered web and that of an unregistered
	 * machine-web have one name: what the supervisor says decides.
	 */
	return search->ways == WAY_MACHINED ||
	    ((search->ways & WAY_UNIT) != 0 && naming != NAMES_OTHER &&
	    folder_is_unit(path_base(look->unit), &search->units)) ||
	    ((search->ways & WAY_SUPERVISOR) != 0 && naming == NAMES_IT);
}

/* Reads of the parent what a supervisor has. */
static int
look_supervisor(const struct search *search, struct look *look)
{
	int proc = search->host->proc, nspawn;
	struct process_status status;
	pid_t pid = look->parent.pid;

	if (nspawn_words_read(proc, pid, &look->words) == -1)
		return -1;
	/* This rules out most, where there are many machines. */
	if (!look->hidden && !look_names(search, look, NAMES_NONE) &&
	    nspawn_words_name(&look->words, search->name) != NAMES_IT) {
		process_close(&look->parent);
		return 0;
	}
	nspawn = process_is_nspawn(proc, pid);
	if (nspawn == -1 || process_status_read(proc, pid, &status) == -1)
		return -1;
	look->supervised = nspawn == 1;
	look->owner = status.uid;
	return process_alive(&look->parent) ? 0 : -1;
}

/* True if an error says that a process has ended, and so is an answer. */
static bool
error_is_end(int error)
{
	return error == ESRCH || error == ENOENT;
}

/*
 * Looks at the leader's parent, which is the supervisor if it is a
 * systemd-nspawn.
 * Returns  0; 1 when the leader has got another parent meanwhile; -1
 */
static int
look_parent(const struct search *search, struct look *look)
{
	pid_t pid = look->status.ppid;
	struct process_status status;
	int n;

	if (pid == 0)		/* outside of our pid namespace */
		return 0;
	n = process_open(pid, &look->parent);
	if (n == 0)
		n = look_supervisor(search, look);
	if (n == 0 && look->parent.fd == -1)
		return 0;
	if ((n == -1 && !error_is_end(errno)) || process_status_read(
	    search->host->proc, look->leader.pid, &status) == -1)
		return -1;
	if (n == 0 && status.ppid == pid)
		return 0;
	process_close(&look->parent);
	look->status.ppid = status.ppid;
	look->supervised = false;
	return 1;
}

/*
 * Whose machine it is: its supervisor's user's; without one, of whoever made
 * the leader's user namespace.  Nobody but root makes a machine without one.
 */
static int
look_owner(const struct search *search, struct look *look)
{
	int fd, n = 0;

	if (look->supervised)
		return 0;
	if (namespace_open(search->host->proc, look->leader.pid, "ns/user",
	    &fd) == -1)
		return -1;
	look->owner = 0;
	if (fd != -1)
		n = ioctl(fd, SYS_NS_GET_OWNER_UID, &look->owner);
	fd_close(&fd);
	return n;
}

/*
 * Takes hold of the machine whose leader a process is, if it is the one that is
 * looked for.
 * errors   as look_leader(); ESRCH also when it is another's
 */
static int
look_at(const struct search *search, pid_t pid, struct look *look)
{
	enum naming naming = NAMES_NONE;
	int n = 1;

	if (look_leader(search, pid, look) == -1 ||
	    ((search->ways & WAY_UNIT) != 0 && look_unit(search, look) == -1))
		return -1;
	for (int tries = 0; n == 1 && tries < PARENTS_MAX; tries++)
		n = look_parent(search, look);
	if (n == 1)
		errno = EAGAIN;
	if (n != 0)
		return -1;
	if (look->supervised)
		naming = nspawn_words_name(&look->words, search->name);
	if (!look_names(search, look, naming)) {
		errno = look->hidden && naming == NAMES_NONE ? ENAMETOOLONG :
		    ESRCH;
		return -1;
	}
	if (look_owner(search, look) == -1)
		return -1;
	return process_alive(&look->leader) ? 0 : -1;
}

/*
 * Adds the machine of a look, which is found's or closed then.  One of a
 * stranger never stands in the way of one that is root's or the caller's.
 */
static void
search_add(struct search *search, struct look *look)
{
	struct machine *found = &search->found;
	struct machine machine = { look->leader, PROCESS_NONE, look->owner };

	if (found->leader.fd != -1 &&
	    (!machine_foreign(found) || machine_foreign(&machine))) {
		if (found->leader.pid != machine.leader.pid &&
		    machine_foreign(found) == machine_foreign(&machine)) {
			search->twins = true;
			search->suspects[0] = found->leader.pid;
			search->suspects[1] = machine.leader.pid;
		}
		return;
	}
	look->leader.fd = -1;
	if (look->supervised) {
		machine.supervisor = look->parent;
		look->parent.fd = -1;
	}
	machine_close(found);
	*found = machine;
	search->twins = false;
}

/*
 * Takes note of an error.  What is due to one process leaves the others to be
 * looked at; what the caller has run short of ends the search.
 */
static void
search_failed(struct search *search, int error)
{
	if (error == EACCES || error == EPERM || error == ENAMETOOLONG)
		search->doubt = error;
	else if (!error_is_end(error) && error != ENOTSUP)
		search->error = error;
}

/* Says whether nothing else needs to be tried. */
static bool
search_over(const struct search *search)
{
	return search->error != 0 || (search->found.leader.fd != -1 &&
	    !machine_foreign(&search->found));
}

/*
 * Adds the machine whose leader a process is, if it is the one that is looked
 * for.
 * Returns  whether it is the leader of this or another machine
 */
static bool
search_try(struct search *search, pid_t pid)
{
	struct look look = { .leader = PROCESS_NONE, .parent = PROCESS_NONE };

	if (look_at(search, pid, &look) == 0)
		search_add(search, &look);
	else
		search_failed(search, errno);
	look_close(&look);
	return look.is_leader;
}

/* Opens a directory for readdir(3). */
static DIR *
directory_open(int dir, const char *path)
{
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	DIR *opened = fd == -1 ? NULL : fdopendir(fd);

	if (opened == NULL)
		fd_close(&fd);
	return opened;
}

/* Gives the next entry of a directory; NULL at the end, where errno is 0. */
static const struct dirent *
directory_next(DIR *dir)
{
	errno = 0;
	return readdir(dir);
}

/*
 * Tries the processes of one cgroup.  Its leader joined it before all others
 * and so stands at the beginning of the list, however long that is.
 * Returns  whether the leader of a machine is there
 */
static bool
cgroup_try(struct search *search, int dir, const char *path)
{
	char text[CGROUP_PROCS_SIZE], *rest = text;
	uint64_t pid;

	if (file_read(dir, path, text, sizeof(text)) == -1 && errno != EFBIG) {
		/* Gone, or made so by the machine: then /proc tells. */
		if (errno != ENODEV && errno != EOPNOTSUPP && errno != EACCES)
			search_failed(search, errno);
		return false;
	}
	for (const char *line; search->error == 0 &&
	    (line = strsep(&rest, "\n")) != NULL;)
		/* 0 is a process that our pid namespace does not see. */
		if (number_parse(line, INT_MAX, &pid) == 0 && pid != 0 &&
		    search_try(search, (pid_t)pid))
			return true;
	return false;
}

/* Tries the machine that the unit below the folder dir may be. */
static void
unit_try(struct search *search, int dir, const char *unit)
{
	/* Where nspawn puts a machine's PID 1, and where systemd puts itself. */
	static const char *const places[] = { "payload", "payload/init.scope" };
	char path[NAME_MAX + 64];

	snprintf(path, sizeof(path), "%s/payload", unit);
	if (faccessat(dir, path, F_OK, 0) == -1 && error_is_end(errno))
		return;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s/cgroup.procs", unit,
		    places[i]);
		if (cgroup_try(search, dir, path))
			return;
	}
	search->unsure = true;	/* it may be elsewhere in the payload */
}

/*
 * Tries the units in a slice and in those below it: the ones that are named
 * after the machine, or with WAY_SUPERVISOR all.  Slices nest as often as their
 * names have a '-', see systemd.slice(5).
 */
static void
slice_try(struct search *search, int dir, const char *path)
{
	DIR *slice = directory_open(dir, path);
	const struct dirent *entry;

	if (slice == NULL) {
		if (errno == EACCES)
			search->unsure = true;
		else
			search_failed(search, errno);
		return;
	}
	while (search->error == 0 && (entry = directory_next(slice)) != NULL) {
		const char *unit = entry->d_name;

		/* No unit's folder begins with a dot; see folder_is_unit(). */
		if (entry->d_type != DT_DIR || unit[0] == '.')
			continue;
		if (part_is_slice(unit, strlen(unit)))
			slice_try(search, dirfd(slice), unit);
		else if (search->ways != WAY_UNIT ||
		    folder_is_unit(unit, &search->units))
			unit_try(search, dirfd(slice), unit);
	}
	if (search->error == 0 && errno != 0)
		search_failed(search, errno);
	closedir(slice);
}

/* Gives the next process of a proc directory; 0 at the end, as above. */
static pid_t
proc_next(DIR *dir)
{
	const struct dirent *entry;
	uint64_t pid;

	while ((entry = directory_next(dir)) != NULL)
		if (number_parse(entry->d_name, INT_MAX, &pid) == 0)
			return (pid_t)pid;
	return 0;
}

/* Reads which pid namespace a process is in, the cheapest thing to ask it. */
static bool
proc_pid_namespace(int proc, pid_t pid, char text[PID_NAMESPACE_SIZE])
{
	char path[PROC_PATH_SIZE];
	ssize_t n = readlinkat(proc, proc_path(path, pid, "ns/pid"), text,
	    PID_NAMESPACE_SIZE - 1);

	text[n == -1 ? 0 : n] = '\0';
	return n != -1;
}

/* Tries all processes but those of the caller's own pid namespace. */
static void
proc_try(struct search *search)
{
	char own[PID_NAMESPACE_SIZE], theirs[PID_NAMESPACE_SIZE];
	int proc = search->host->proc;
	bool known = proc_pid_namespace(proc, 0, own);
	DIR *dir = directory_open(proc, ".");
	pid_t pid;

	if (dir == NULL) {
		search->error = errno;
		return;
	}
	while (search->error == 0 && (pid = proc_next(dir)) != 0)
		if (!known || !proc_pid_namespace(proc, pid, theirs) ||
		    strcmp(own, theirs) != 0)
			search_try(search, pid);
	if (search->error == 0)
		search->error = errno;
	closedir(dir);
}

/*
 * Runs machinectl, as long as machined has not hung.
 * Returns  as run()
 */
static int
machined_run(const char *const argv[], struct machined *machined, char *output,
    size_t size)
{
	int status;

	if (machined->hung) {
		errno = ETIMEDOUT;
		return -1;
	}
	status = run(argv, machined->deadline, output, size);
	if (status == -1 && errno == ETIMEDOUT)
		machined->hung = true;
	return status;
}

/*
 * Asks machined for the leader of a machine.
 * errors   ESRCH      when it has no answer, or there is no machinectl
 *          ETIMEDOUT  when it hangs, or was killed
 */
static int
machined_leader(const char *name, struct machined *machined, pid_t *leader)
{
	const char *const argv[] = {
		"machinectl", "show", "-p", "Leader", "--value", name, NULL
	};
	char output[32];
	uint64_t pid;
	int status = machined_run(argv, machined, output, sizeof(output));

	if (status == -1) {
		if (errno == ENOENT)
			errno = ESRCH;
		return -1;
	}
	output[status == 0 ? strcspn(output, "\n") : 0] = '\0';
	if (number_parse(output, INT_MAX, &pid) == -1 || pid <= 1) {
		errno = status > 128 ? ETIMEDOUT : ESRCH;
		return -1;
	}
	*leader = (pid_t)pid;
	return 0;
}

/*
 * The unit that is named after the machine.  systemd puts units nowhere but
 * directly into slices, so the hierarchy shows all of them; where there is no
 * hierarchy, /proc tells the same of each process.
 */
static void
find_by_unit(struct search *search)
{
	search->ways = WAY_UNIT;
	search->unsure = search->host->cgroup == -1;
	if (!search->unsure)
		slice_try(search, search->host->cgroup, ".");
	if (search->unsure && search->error == 0)
		proc_try(search);
}

/*
 * A supervisor whose command line names the machine, if its unit is directly in
 * a slice.
 */
static void
find_by_supervisor(struct search *search)
{
	search->ways = WAY_SUPERVISOR;
	search->unsure = false;
	if (search->host->cgroup != -1)
		slice_try(search, search->host->cgroup, ".");
	/* What was found may be one of two. */
	if (search->unsure && search->error == 0 && search_over(search))
		proc_try(search);
}

/*
 * Both once more, for a supervisor anywhere, and for a hierarchy that has
 * another root than the paths in /proc, as in a container it may.
 */
static void
find_in_proc(struct search *search)
{
	search->ways = WAY_UNIT | WAY_SUPERVISOR;
	proc_try(search);
}

/* What machinectl says; another way may tell where it cannot be run. */
static void
find_by_machined(struct search *search)
{
	struct look look = { .leader = PROCESS_NONE, .parent = PROCESS_NONE };
	pid_t pid;

	search->ways = WAY_MACHINED;
	if (machined_leader(search->name, search->machined, &pid) == -1) {
		if (errno != ESRCH)
			search->doubt = errno;
		return;
	}
	if (look_at(search, pid, &look) == 0)
		search_add(search, &look);
	else if (!error_is_end(errno)) {
		search->suspects[0] = pid;
		search->error = errno;
	}
	look_close(&look);
}

/* Gives what was found to the caller, or says why nothing is. */
static int
search_end(struct search *search, struct machine *machine)
{
	if (search->error == 0 && search->twins)
		search->error = ENOTUNIQ;
	if (search->error == 0 && search->found.leader.fd != -1) {
		*machine = search->found;
		return 0;
	}
	machine_close(&search->found);
	if (search->error == 0)
		search->error = search->doubt;
	errno = search->error != 0 ? search->error : ESRCH;
	return -1;
}

/* Says whether it takes longer to look at all processes than to ask machined. */
static bool
host_busy(const struct host *host)
{
	struct stat st;

	/* The kernel counts each process as a link of /proc. */
	return fstat(host->proc, &st) == 0 && st.st_nlink > SCAN_MAX;
}

int
machine_find(const struct host *host, const char *name,
    struct machined *machined, struct machine *machine, pid_t suspects[2])
{
	bool busy = host_busy(host);
	void (*const ways[])(struct search *) = {
		find_by_unit,
		find_by_supervisor,
		busy ? find_by_machined : find_in_proc,
		busy ? find_in_proc : find_by_machined,
	};
	struct search search = {
		.host = host, .name = name, .machined = machined,
		.found = MACHINE_NONE, .suspects = suspects,
	};
	struct process_status own;

	if (process_status_read(host->proc, 0, &own) == -1)
		return -1;
	search.depth = own.depth + 1;
	unit_names_make(name, &search.units);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]) &&
	    !search_over(&search); i++)
		ways[i](&search);
	return search_end(&search, machine);
}

const char *
machine_strerror(int error, const pid_t suspects[2], char *text, size_t size)
{
	switch (error) {
	case ESRCH:
		snprintf(text, size, "no such machine is running");
		break;
	case ETIMEDOUT:
		snprintf(text, size, "cannot tell whether it is running: "
		    "/proc does not show it, and machinectl did not answer");
		break;
	case ENOTUNIQ:
		snprintf(text, size, "two machines have that name: "
		    "their leaders are %d and %d", suspects[0], suspects[1]);
		break;
	case ENOTSUP:
		snprintf(text, size, "is no container: its leader %d is in "
		    "our own pid namespace", suspects[0]);
		break;
	case ENOSYS:
		snprintf(text, size, "cannot hold on to its leader: "
		    "pidfd_open(2) needs Linux 5.3 or later");
		break;
	default:
		snprintf(text, size, "cannot find its leader: %s",
		    strerror(error));
	}
	return text;
}

bool
machine_foreign(const struct machine *machine)
{
	return machine->owner != 0 && machine->owner != geteuid();
}

/*
 * Says whether machined may know a machine: for each it has a file of that
 * name, in which libsystemd looks the machine up, see sd_machine_get_class(3).
 */
static bool
machined_may_know(const char *name)
{
	char path[sizeof(MACHINED_FILES) + MACHINE_NAME_MAX + 1];

	snprintf(path, sizeof(path), "%s/%s", MACHINED_FILES, name);
	return faccessat(AT_FDCWD, path, F_OK, 0) == 0 || errno != ENOENT;
}

/* Sends it through machined, if that knows the leader by this name. */
static int
machined_signal(const struct machine *machine, const char *name, int signal,
    struct machined *machined)
{
	char option[32], output[8];
	const char *const argv[] = {
		"machinectl", "kill", name, "--kill-who=leader", option, NULL
	};
	pid_t leader;

	if (!machined_may_know(name) ||
	    machined_leader(name, machined, &leader) == -1 ||
	    leader != machine->leader.pid || !process_alive(&machine->leader))
		return -1;
	snprintf(option, sizeof(option), "--signal=%d", signal);
	return machined_run(argv, machined, output, sizeof(output)) == 0 ? 0 :
	    -1;
}

int
machine_signal(const struct machine *machine, const char *name, int signal,
    struct machined *machined)
{
	if (machined_signal(machine, name, signal, machined) == 0)
		return 0;
	return process_signal(&machine->leader, signal);
}

/*
 * Reads the path of a process in the hierarchy of units, without the '/' at its
 * beginning; it is a part of text.
 */
static const char *
proc_cgroup(const struct host *host, pid_t pid, char text[PATH_MAX])
{
	bool unified = fd_is_on(host->cgroup, SYS_CGROUP2_MAGIC);

	if (process_cgroup(host->proc, pid, unified ? "" : "name=systemd",
	    text, PATH_MAX) == -1)
		return NULL;
	return text + (*text == '/');
}

/* True if a unit is a scope that is named after the machine. */
static bool
unit_is_scope(const char *unit, const char *name)
{
	static const char suffix[] = ".scope";
	size_t length = strlen(unit), tail = sizeof(suffix) - 1;

	return length > tail && strcmp(unit + length - tail, suffix) == 0 &&
	    unit_is_machines(unit, name);
}

int
machine_scope(const struct host *host, const char *name,
    const struct machine *machine, char *path, size_t size)
{
	struct stream stream;
	char unit[PATH_MAX] = "";
	int n = host->cgroup == -1 ? 0 : proc_stream(host->proc,
	    machine->leader.pid, "cgroup", &stream);

	if (n == 0 && host->cgroup != -1) {
		n = cgroup_unit(&stream, unit);
		stream_close(&stream);
		/* Whoever is in a unit of that name: it is the machine's. */
		if (!unit_is_scope(unit, name))
			unit[0] = '\0';
		else if (n == 0)
			n = faccessat(host->cgroup, unit, F_OK, 0);
	}
	if (n == -1 && !error_is_end(errno))
		return -1;
	if (n == -1)
		unit[0] = '\0';
	if (strlen(unit) >= size) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(path, unit, strlen(unit) + 1);
	return 0;
}

bool
machine_frozen(const struct host *host, const struct machine *machine)
{
	char text[PATH_MAX], path[PATH_MAX + 16], events[256];
	const char *cgroup = proc_cgroup(host, machine->leader.pid, text);
	const char *frozen;

	if (cgroup == NULL)
		return false;
	snprintf(path, sizeof(path), "%s/cgroup.events", cgroup);
	if (file_read(host->cgroup, path, events, sizeof(events)) == -1)
		return false;
	frozen = line_value(events, "frozen ");
	return frozen != NULL && *frozen == '1' &&
	    process_alive(&machine->leader);
}

ssize_t
machine_processes(int proc, const struct machine *machine, pid_t *pids,
    size_t size)
{
	char theirs[PID_NAMESPACE_SIZE], its[PID_NAMESPACE_SIZE];
	DIR *dir = directory_open(proc, ".");
	ssize_t count = 0;
	pid_t pid;

	if (dir == NULL)
		return -1;
	if (!proc_pid_namespace(proc, machine->leader.pid, theirs) ||
	    !process_alive(&machine->leader)) {
		count = error_is_end(errno) ? 0 : -1;
		goto out;
	}
	while ((pid = proc_next(dir)) != 0) {
		if (!proc_pid_namespace(proc, pid, its) ||
		    strcmp(its, theirs) != 0)
			continue;
		if ((size_t)count < size)
			pids[count] = pid;
		count++;
	}
	if (errno != 0)
		count = -1;
out:
	closedir(dir);
	return count;
}

void
machine_close(struct machine *machine)
{
	process_close(&machine->leader);
	process_close(&machine->supervisor);
}

/* ---- init ---------------------------------------------------------- */

/*
 * True if a command line begins with word, whatever folder is named and even
 * where busybox is called by its own name, and goes on with argument.
 *   line     two words, each ended with a NUL
 */
static bool
words_are(const char *line, const char *word, const char *argument)
{
	const char *first = line, *second;

	if (strcmp(path_base(first), "busybox") == 0)
		first += strlen(first) + 1;
	second = first + strlen(first) + 1;
	return (word == NULL || strcmp(path_base(first), word) == 0) &&
	    (argument == NULL || strcmp(second, argument) == 0);
}

/* What tells which init a leader is. */
struct leader_facts {
	char			 path[PATH_MAX];
	const char		*program;	/* a part of path; or NULL */
	char			 line[PATH_MAX + 3];	/* the first words */
	struct process_status	 status;
};

/*
 * Reads what tells which init a leader is.
 * errors   ESRCH  when it has ended
 */
static int
leader_facts_read(int proc, const struct process *leader,
    struct leader_facts *facts)
{
	facts->program = NULL;
	memset(facts->line, 0, sizeof(facts->line));
	/* Gone with its first thread; or longer than the kernel can say. */
	if (process_exe(proc, leader->pid, facts->path, &facts->program) ==
	    -1 && errno != ENOENT && errno != ENAMETOOLONG)
		return -1;
	/* The beginning of its command line will do. */
	if (proc_read(proc, leader->pid, "cmdline", facts->line, PATH_MAX) ==
	    -1 && errno != EFBIG && errno != ENOENT)
		return -1;
	if (process_status_read(proc, leader->pid, &facts->status) == -1) {
		if (errno == ENOENT)
			errno = ESRCH;
		return -1;
	}
	return process_alive(leader) ? 0 : -1;
}

int
init_of(int proc, const struct process *leader, const struct init **init)
{
	struct leader_facts facts;
	size_t i;

	if (leader_facts_read(proc, leader, &facts) == -1) {
		if (errno != ESRCH)
			return -1;
		facts.program = NULL;
	}
	for (i = facts.program == NULL ? INITS : 0; i < INITS; i++)
		if (strcmp(facts.program, inits[i].program) == 0 &&
		    words_are(facts.line, inits[i].word, inits[i].argument) &&
		    (inits[i].caught == 0 ||
		    signal_in(facts.status.caught, inits[i].caught)) &&
		    (inits[i].uncaught == 0 ||
		    !signal_in(facts.status.caught, inits[i].uncaught)))
			break;
	*init = i < INITS ? &inits[i].init : NULL;
	return 0;
}

int
init_early(int proc, const struct process *leader, bool *early)
{
	struct leader_facts facts;

	if (leader_facts_read(proc, leader, &facts) == -1) {
		if (errno != ESRCH)
			return -1;
		facts.program = NULL;
	}
	*early = facts.program != NULL &&
	    strcmp(facts.program, "systemd-nspawn") == 0 &&
	    !words_are(facts.line, "(sd-stubinit)", NULL);
	return 0;
}

/*
 * Finds out whether the main thread of a process waits in rt_sigtimedwait(2).
 * Returns  1 for yes, 0 for no; -1
 */
static int
signals_are_awaited(int proc, pid_t pid)
{
	char text[256], place[PROCESS_NAME_SIZE];
	const char *line = text;
	uint64_t call;

	if (strcmp(process_place(proc, pid, place), "do_sigtimedwait") == 0)
		return 1;
	if (proc_read(proc, pid, "syscall", text, sizeof(text)) == -1)
		return errno == ENOENT ? 0 : -1;
	return line_number(&line, &call) && call == SYS_rt_sigtimedwait;
}

int
signal_verdict(int proc, const struct process *leader, int signal,
    enum verdict *verdict)
{
	struct process_status s = { .depth = 0 };
	bool heard, queued, unheeded = signal == SIGKILL || signal == SIGSTOP;
	int awaited = 0;

	if (!unheeded && process_status_read(proc, leader->pid, &s) == -1)
		awaited = -1;
	heard = signal_in(s.caught, signal);
	queued = signal_in(s.blocked, signal);
	if (awaited == 0 && !unheeded && !heard && !queued)
		awaited = signals_are_awaited(proc, leader->pid);
	if (awaited == 0 && !process_alive(leader))
		awaited = -1;
	if (awaited == -1 && !error_is_end(errno) && errno != EACCES &&
	    errno != EPERM)
		return -1;
	*verdict = awaited != 0 || unheeded ? VERDICT_UNKNOWN :
	    heard ? VERDICT_HEARD : queued ? VERDICT_QUEUED : VERDICT_DROPPED;
	return 0;
}

/*
 * Finds out whether one of a process's descriptors is a signalfd(2) that gives
 * signal.
 * Returns  as signal_awaited()
 */
static int
descriptor_gives(int dir, const char *name, int signal)
{
	struct stream stream;
	char word[32] = "";
	uint64_t set = 0;
	int n;

	if (stream_open(dir, name, &stream) == -1)
		return error_is_end(errno) ? 0 : -1;
	n = line_find(&stream, "sigmask");
	if (n == 0)
		line_word(&stream, word, sizeof(word));
	stream_close(&stream);
	if (stream.error != 0 && !error_is_end(stream.error)) {
		errno = stream.error;
		return -1;
	}
	return n == 0 && line_signals(word, &set) && signal_in(set, signal);
}

int
signal_awaited(int proc, const struct process *process, int signal)
{
	char path[PROC_PATH_SIZE];
	DIR *dir = directory_open(proc, proc_path(path, process->pid,
	    "fdinfo"));
	const struct dirent *entry;
	int n = 0;

	if (dir == NULL)
		return error_is_end(errno) ? 0 : -1;
	while (n == 0 && (entry = directory_next(dir)) != NULL)
		if (entry->d_name[0] != '.')
			n = descriptor_gives(dirfd(dir), entry->d_name, signal);
	if (n == 0 && errno != 0)
		n = -1;
	closedir(dir);
	return n;
}

int
machine_kill_signal(int proc, const struct machine *machine, int *signal)
{
	const struct process *supervisor = &machine->supervisor;
	struct nspawn_words words;

	if (supervisor->fd == -1 ||
	    nspawn_words_read(proc, supervisor->pid, &words) == -1 ||
	    !process_alive(supervisor)) {
		if (supervisor->fd != -1 && !error_is_end(errno))
			return -1;
		words.kill_signal[0] = '\0';
	}
	*signal = words.kill_signal[0] == '\0' ? 0 :
	    signal_number(words.kill_signal);
	if (*signal == SIGKILL || *signal == SIGSTOP)
		*signal = -1;
	return 0;
}

/* ---- namespaces ---------------------------------------------------- */

int
namespace_number(const char *name, size_t length)
{
	for (int i = 0; i < NAMESPACES; i++)
		if (part_is(name, length, namespace_kinds[i].name) ||
		    part_is(name, length, namespace_kinds[i].file))
			return i;
	return -1;
}

int
namespaces_open(int proc, const struct process *process, unsigned wanted,
    int fds[NAMESPACES])
{
	int opened[NAMESPACES], error = 0;

	for (int i = 0; i < NAMESPACES; i++) {
		char file[16] = "ns/";

		opened[i] = -1;
		text_copy(namespace_kinds[i].file, file + 3, sizeof(file) - 3);
		if (error == 0 && (wanted & 1u << i) != 0 && namespace_open(
		    proc, process->pid, file, &opened[i]) == -1)
			error = errno;
	}
	/* A process that has ended has lost its namespaces, too. */
	if (!process_alive(process) && (error == 0 || errno == ESRCH))
		error = errno;
	for (int i = 0; i < NAMESPACES; i++) {
		if (error != 0)
			fd_close(&opened[i]);
		else
			fds[i] = opened[i];
	}
	errno = error;
	return error == 0 ? 0 : -1;
}

int
namespaces_join(const int fds[NAMESPACES], int *failed)
{
	for (int i = 0; i < NAMESPACES; i++)
		if (fds[i] != -1 &&
		    setns(fds[i], namespace_kinds[i].flag) == -1) {
			*failed = i;
			return -1;
		}
	return 0;
}

/* ---- entry --------------------------------------------------------- */

/* Reads the leader's groups, as the host knows them. */
static int
entry_groups(const char *text, struct entry *entry)
{
	const char *line = line_value(text, "Groups:");
	uint64_t gid;

	while (line != NULL && line_number(&line, &gid)) {
		if (entry->group_count == ENTRY_GROUPS_MAX) {
			errno = E2BIG;
			return -1;
		}
		entry->groups[entry->group_count++] = (gid_t)gid;
	}
	return 0;
}

/* Reads what /proc/PID/status says of the leader's bonds. */
static int
entry_status(int proc, pid_t pid, struct entry *entry)
{
	char text[STATUS_SIZE];
	uint32_t mode, privs;

	if (proc_read(proc, pid, "status", text, sizeof(text)) == -1 ||
	    entry_groups(text, entry) == -1)
		return -1;
	if (!status_signals(text, "CapBnd:", &entry->bounding) ||
	    !status_number(text, "NoNewPrivs:", 1, &privs) ||
	    !status_number(text, "Seccomp:", UINT8_MAX, &mode)) {
		errno = EINVAL;
		return -1;
	}
	entry->no_new_privs = privs != 0;
	entry->filtered = mode != 0;
	return 0;
}

/* Reads how willingly the kernel kills a process where memory is short. */
static int
oom_score_read(int proc, const char *who, int *score)
{
	char path[64], text[16];
	uint64_t n;

	snprintf(path, sizeof(path), "%s/oom_score_adj", who);
	if (file_read(proc, path, text, sizeof(text)) == -1)
		return -1;
	text[strcspn(text, "\n")] = '\0';
	if (number_parse(text + (*text == '-'), 1000, &n) == -1)
		return -1;
	*score = *text == '-' ? -(int)n : (int)n;
	return 0;
}

/* Reads the leader's limits; where we may not see them, they stay our own. */
static int
limits_read(pid_t pid, struct entry *entry)
{
	for (int i = 0; i < ENTRY_LIMITS; i++)
		if (syscall(SYS_prlimit64, pid, i, NULL, &entry->limits[i]) ==
		    -1 && (errno != EPERM || syscall(SYS_prlimit64, 0, i, NULL,
		    &entry->limits[i]) == -1))
			return -1;
	return 0;
}

/* Reads all that binds the leader but its filters. */
static int
entry_bonds(const struct host *host, pid_t pid, struct entry *entry)
{
	char text[PATH_MAX], who[16];
	const char *path;

	snprintf(who, sizeof(who), "%d", pid);
	if (entry_status(host->proc, pid, entry) == -1 ||
	    oom_score_read(host->proc, who, &entry->oom_score_adj) == -1)
		return -1;
	if (limits_read(pid, entry) == -1)
		return -1;
	path = proc_cgroup(host, pid, text);
	if (path != NULL &&
	    fd_is_on(host->cgroup, SYS_CGROUP2_MAGIC))
		entry->cgroup = openat(host->cgroup, *path == '\0' ? "." : path,
		    O_PATH | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

/* Opens the leader's root directory, and reads what its user ids are outside. */
static int
entry_places(int proc, pid_t pid, struct entry *entry, const char **step)
{
	char path[32];

	*step = "open the root directory of its leader";
	snprintf(path, sizeof(path), "%d/root", pid);
	if (entry->namespaces[NAMESPACE_MOUNT] != -1 && (entry->root =
	    openat(proc, path, O_PATH | O_CLOEXEC)) == -1)
		return -1;
	*step = "read the user ids of its leader";
	return entry->namespaces[NAMESPACE_USER] == -1 || proc_read(proc, pid,
	    "uid_map", entry->uid_map, sizeof(entry->uid_map)) != -1 ? 0 : -1;
}

int
entry_read(const struct host *host, const struct process *leader,
    unsigned wanted, bool confined, struct entry *entry, const char **step)
{
	struct entry e = { .confined = confined, .root = -1, .cgroup = -1 };

	*step = "open the namespaces of its leader";
	if (namespaces_open(host->proc, leader, wanted, e.namespaces) == -1)
		return -1;
	if (entry_places(host->proc, leader->pid, &e, step) == -1)
		goto fail;
	*step = "read what binds its leader";
	if (confined && entry_bonds(host, leader->pid, &e) == -1)
		goto fail;
	/* What was read is the leader's if it lives still. */
	*step = "enter it: its leader ended meanwhile";
	errno = ESRCH;
	if (!process_alive(leader))
		goto fail;
	*entry = e;
	return 0;
fail:
	entry_close(&e);
	return -1;
}

void
entry_close(struct entry *entry)
{
	for (int i = 0; i < NAMESPACES; i++)
		fd_close(&entry->namespaces[i]);
	fd_close(&entry->root);
	fd_close(&entry->cgroup);
}

static long
sys_ptrace(long request, pid_t pid, uintptr_t address, void *data)
{
	return syscall(SYS_ptrace, request, pid, address, data);
}

/* Copies the filters of a process that stands still. */
static int
filters_copy(pid_t pid, struct filters *filters)
{
	size_t used = 0;
	long n;

	for (filters->count = 0;; filters->count++) {
		n = sys_ptrace(SYS_PTRACE_GET_FILTER, pid, filters->count,
		    NULL);
		if (n == -1)
			return errno == ENOENT ? 0 : -1;
		if ((size_t)n > ENTRY_FILTER_MAX - used ||
		    filters->count == ENTRY_FILTER_MAX / 5) {
			errno = E2BIG;
			return -1;
		}
		if (sys_ptrace(SYS_PTRACE_GET_FILTER, pid, filters->count,
		    filters->steps + used) != n)
			return -1;
		filters->lengths[filters->count] = (size_t)n;
		used += (size_t)n;
	}
}

int
filters_read(const struct process *leader, struct filters *filters)
{
	int status, error, signal = 0, n = -1;
	pid_t pid = leader->pid, stopped;

	if (sys_ptrace(SYS_PTRACE_SEIZE, pid, 0, NULL) == -1)
		return -1;
	/* Held now: if it lives, the number is the leader's own. */
	if (!process_alive(leader) ||
	    sys_ptrace(SYS_PTRACE_INTERRUPT, pid, 0, NULL) == -1) {
		sys_ptrace(SYS_PTRACE_DETACH, pid, 0, NULL);
		errno = ESRCH;
		return -1;
	}
	do
		stopped = waitpid(pid, &status, __WALL);
	while (stopped == -1 && errno == EINTR);
	if (stopped == pid && WIFSTOPPED(status)) {
		n = filters_copy(pid, filters);
		/* It may have stopped for a signal, which is to go on. */
		if (status >> 16 == 0)
			signal = WSTOPSIG(status);
	} else
		errno = ESRCH;
	error = errno;
	sys_ptrace(SYS_PTRACE_DETACH, pid, 0, (void *)(intptr_t)signal);
	errno = error;
	return n;
}

/* struct clone_args of Linux 5.7. */
struct sys_clone_args {
	uint64_t	flags, pidfd, child_tid, parent_tid, exit_signal;
	uint64_t	stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

pid_t
entry_fork(const struct entry *entry, bool *joined)
{
	struct sys_clone_args args = {
		.flags = SYS_CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)entry->cgroup,
	};
	long pid = -1;
	int procs;

	*joined = true;
	if (entry->cgroup != -1)
		pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid != -1)
		return (pid_t)pid;
	pid = fork();
	if (pid != 0 || entry->cgroup == -1) {
		*joined = false;
		return (pid_t)pid;
	}
	procs = openat(entry->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	*joined = procs != -1 && write(procs, "0", 1) == 1;
	fd_close(&procs);
	return 0;
}

pid_t
fork_sibling(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
}

/*
 * Takes the leader's limits upon itself.  Without CAP_SYS_RESOURCE one that is
 * lower already stays.
 */
static int
limits_become(const struct entry *entry, int proc)
{
	char text[16];
	int own, fd, n;

	for (int i = 0; i < ENTRY_LIMITS; i++)
		if (syscall(SYS_prlimit64, 0, i, &entry->limits[i], NULL) ==
		    -1 && errno != EPERM)
			return -1;
	if (oom_score_read(proc, "self", &own) == -1)
		return -1;
	if (own == entry->oom_score_adj)
		return 0;
	fd = openat(proc, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	n = snprintf(text, sizeof(text), "%d", entry->oom_score_adj);
	n = (int)write(fd, text, (size_t)n);
	fd_close(&fd);
	return n == -1 ? -1 : 0;
}

/* Takes all other capabilities out of what this process can ever have. */
static int
bounding_become(uint64_t bounding)
{
	for (unsigned long n = 0; n < 64; n++)
		if ((bounding >> n & 1) == 0 &&
		    prctl(PR_CAPBSET_DROP, n, 0, 0, 0) == -1)
			return errno == EINVAL ? 0 : -1;	/* the end */
	return 0;
}

/* Keeps no capability but those of set; what it has not it does not get. */
static int
capabilities_become(uint64_t set)
{
	struct {
		uint32_t	version;
		int		pid;
	} header = { .version = SYS_CAPABILITY_VERSION_3, .pid = 0 };
	struct {
		uint32_t	effective, permitted, inheritable;
	} data[2];

	if (syscall(SYS_capget, &header, data) == -1)
		return -1;
	for (int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(set >> 32 * i);
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return (int)syscall(SYS_capset, &header, data);
}

static int
filters_become(const struct filters *filters)
{
	const struct filter_step *steps = filters->steps;

	for (size_t i = 0; i < filters->count; i++) {
		struct {
			unsigned short			 length;
			const struct filter_step	*steps;
		} program = { (unsigned short)filters->lengths[i], steps };

		if (syscall(SYS_seccomp, SYS_SECCOMP_SET_MODE_FILTER, 0,
		    &program) == -1)
			return -1;
		steps += filters->lengths[i];
	}
	return 0;
}

/*
 * Binds itself as the leader is bound, inside.  The filters come when all that
 * they may forbid has been done, and before the capability that they need goes.
 */
static int
bonds_become(const struct entry *entry, const struct filters *filters,
    const char **step)
{
	*step = "give up the capabilities that its leader has not";
	if (bounding_become(entry->bounding) == -1 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == -1)
		return -1;
	*step = "take over its leader's no_new_privs";
	if (entry->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		return -1;
	*step = "take over its leader's system call filters";
	if (filters != NULL && filters_become(filters) == -1)
		return -1;
	*step = "give up the capabilities that its leader has not";
	return capabilities_become(entry->bounding);
}

/* Leaves the caller's session keyring for an empty one. */
static int
keyring_leave(void)
{
	/* Without keyrings, or where they are forbidden, nobody has one. */
	return syscall(SYS_keyctl, SYS_KEYCTL_JOIN_SESSION, NULL) != -1 ||
	    errno == ENOSYS || errno == EPERM ? 0 : -1;
}

int
entry_become(const struct entry *entry, int proc,
    const struct filters *filters, const char **step)
{
	int failed;

	*step = "leave the caller's groups";
	/* Now: a user namespace may forbid it. */
	if (setgroups(entry->group_count, entry->groups) == -1)
		return -1;
	*step = "leave the caller's session keyring";
	if (entry->confined && keyring_leave() == -1)
		return -1;
	*step = "take over its leader's limits";
	if (entry->confined && limits_become(entry, proc) == -1)
		return -1;
	if (namespaces_join(entry->namespaces, &failed) == -1) {
		*step = namespace_kinds[failed].join;
		return -1;
	}
	*step = "go to its root directory";
	/* The leader may have changed its root since the machine's start. */
	if (entry->root != -1 &&
	    (fchdir(entry->root) == -1 || chroot(".") == -1))
		return -1;
	*step = "become its root";
	if (setresgid(0, 0, 0) == -1 || setresuid(0, 0, 0) == -1 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1)
		return -1;
	fds_close_from(STDERR_FILENO + 1);
	return entry->confined ? bonds_become(entry, filters, step) : 0;
}

/* F_SEAL_WRITE can fail where a page happens to be in other use, too. */
#define SELF_SEALS	(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | \
			SYS_F_SEAL_FUTURE_WRITE)

/* Says whether the program of this process is such a copy. */
static bool
self_is_sealed(int self)
{
	return fcntl(self, F_GET_SEALS) == SELF_SEALS;
}

static int
sys_memfd_create(const char *name, unsigned flags)
{
	return (int)syscall(SYS_memfd_create, name, flags);
}

/* Makes the copy. */
static int
self_copy(int self)
{
	const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int copy = sys_memfd_create("nspawn-tools", flags | SYS_MFD_EXEC);
	struct stat st;
	ssize_t n = -1;

	if (copy == -1 && errno == EINVAL)	/* before Linux 6.3 */
		copy = sys_memfd_create("nspawn-tools", flags);
	if (copy == -1 || fstat(self, &st) == -1)
		goto fail;
	for (off_t left = st.st_size; left > 0; left -= n) {
		n = sendfile(copy, self, NULL, (size_t)left);
		if (n <= 0)
			goto fail;
	}
	if (fcntl(copy, F_ADD_SEALS, SELF_SEALS) == -1)
		goto fail;
	return copy;
fail:
	fd_close(&copy);
	return -1;
}

int
self_seal(char **argv)
{
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int copy = -1;

	if (self == -1)
		return -1;
	if (self_is_sealed(self)) {
		fd_close(&self);
		return 0;
	}
	copy = self_copy(self);
	if (copy != -1)
		syscall(SYS_execveat, copy, "", argv, environ, AT_EMPTY_PATH);
	fd_close(&copy);
	fd_close(&self);
	return -1;
}

/* ---- user ---------------------------------------------------------- */

/*
 * Copies the next field of a line of passwd(5) and steps behind it.
 * Returns false where it is not there or too long.
 */
static bool
field_next(const char **line, char *field, size_t size)
{
	size_t length = strcspn(*line, ":\n");

	if (**line == '\n' || **line == '\0' || length >= size)
		return false;
	memcpy(field, *line, length);
	field[length] = '\0';
	*line += length + ((*line)[length] == ':');
	return true;
}

/* The same for one that is the number of a user or a group. */
static bool
field_id(const char **line, uint32_t *id)
{
	char text[16];
	uint64_t n;

	if (!field_next(line, text, sizeof(text)) ||
	    number_parse(text, USER_ID_MAX, &n) == -1)
		return false;
	*id = (uint32_t)n;
	return true;
}

/* Reads one line; says whether it is a sound one. */
static bool
user_line(const char *line, struct user *user)
{
	char password[USER_TEXT_MAX], gecos[USER_TEXT_MAX];

	if (!field_next(&line, user->name, sizeof(user->name)) ||
	    !field_next(&line, password, sizeof(password)) ||
	    !field_id(&line, &user->uid) || !field_id(&line, &user->gid) ||
	    !field_next(&line, gecos, sizeof(gecos)) ||
	    !field_next(&line, user->home, sizeof(user->home)))
		return false;
	user->shell[0] = '\0';	/* an empty one at the end of the line */
	return user->home[0] == '/' && (*line == '\n' || *line == '\0' ||
	    (field_next(&line, user->shell, sizeof(user->shell)) &&
	    (user->shell[0] == '/' || user->shell[0] == '\0')));
}

int
user_parse(const char *text, const char *who, struct user *user)
{
	struct user found;
	uint64_t uid;

	for (const char *line = text; *line != '\0'; line = line_next(line))
		if (user_line(line, &found) && strcmp(found.name, who) == 0) {
			*user = found;
			return 0;
		}
	if (number_parse(who, USER_ID_MAX, &uid) == 0)
		for (; *text != '\0'; text = line_next(text))
			if (user_line(text, &found) && found.uid == uid) {
				*user = found;
				return 0;
			}
	errno = ENOENT;
	return -1;
}

/* Reads one line up to its members. */
static bool
group_line(const char **line, char name[USER_TEXT_MAX], gid_t *gid)
{
	char password[USER_TEXT_MAX];

	return field_next(line, name, USER_TEXT_MAX) &&
	    field_next(line, password, sizeof(password)) &&
	    field_id(line, gid);
}

int
group_parse(const char *text, const char *who, gid_t *gid)
{
	char name[USER_TEXT_MAX];
	uint64_t n;
	gid_t found;

	for (; *text != '\0'; text = line_next(text)) {
		const char *line = text;

		if (group_line(&line, name, &found) &&
		    strcmp(name, who) == 0) {
			*gid = found;
			return 0;
		}
	}
	if (number_parse(who, USER_ID_MAX, &n) == -1) {
		errno = ENOENT;
		return -1;
	}
	*gid = (gid_t)n;
	return 0;
}

/* Says whether name is one of the words of a line, with ',' between them. */
static bool
line_has(const char *line, const char *name)
{
	size_t length;

	for (;; line += length + 1) {
		length = strcspn(line, ",\n");
		if (part_is(line, length, name))
			return true;
		if (line[length] != ',')
			return false;
	}
}

int
user_groups(const char *text, const char *name, gid_t *groups, size_t size)
{
	char group[USER_TEXT_MAX];
	size_t count = 0;
	gid_t gid;

	for (; *text != '\0'; text = line_next(text)) {
		const char *line = text;

		if (!group_line(&line, group, &gid) || !line_has(line, name))
			continue;
		if (count == size) {
			errno = E2BIG;
			return -1;
		}
		groups[count++] = gid;
	}
	return (int)count;
}

int
id_outside(const char *text, uint32_t id, uint32_t *outside)
{
	uint64_t first, to, count;

	for (; *text != '\0'; text = line_next(text)) {
		const char *line = text;

		if (line_number(&line, &first) && line_number(&line, &to) &&
		    line_number(&line, &count) && id >= first &&
		    id - first < count && to + (id - first) <= USER_ID_MAX) {
			*outside = (uint32_t)(to + (id - first));
			return 0;
		}
	}
	errno = ENOENT;
	return -1;
}

/* ---- terminal ------------------------------------------------------ */

/* Opens the ptmx of the devpts that a process with that root has. */
static int
ptmx_open(int root)
{
	struct sys_open_how folder = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = SYS_RESOLVE_IN_ROOT | SYS_RESOLVE_NO_MAGICLINKS |
		    SYS_RESOLVE_NO_SYMLINKS,
	};
	struct sys_open_how file = {
		.flags = O_RDWR | O_NOCTTY | O_CLOEXEC,
		.resolve = SYS_RESOLVE_BENEATH | SYS_RESOLVE_NO_XDEV |
		    SYS_RESOLVE_NO_SYMLINKS,
	};
	int master = -1, pts = sys_openat2(root, "dev/pts", &folder);

	if (pts != -1 && fd_is_on(pts, SYS_DEVPTS_MAGIC))
		master = sys_openat2(pts, "ptmx", &file);
	else
		errno = ENODEV;
	fd_close(&pts);
	return master;
}

int
pty_open(int root)
{
	int unlocked = 0, master = root == -1 ?
	    open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC) : ptmx_open(root);

	if (master != -1 && ioctl(master, TIOCSPTLCK, &unlocked) == -1)
		fd_close(&master);
	return master;
}

int
pty_peer(int master)
{
	return ioctl(master, SYS_TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}
